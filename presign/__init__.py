"""Let browsers upload files straight to object storage, safely, on S3, Azure Blob Storage and Google Cloud Storage."""

from presign.backends import Backend, ObjectHead, SignedUpload, open_backend
from presign.errors import (
    ConfigurationError,
    CredentialsUnavailable,
    Forbidden,
    InvalidRequest,
    InvalidToken,
    NotUploaded,
    PresignError,
    RuleViolated,
    StorageUnavailable,
    TokenExpired,
    TooLarge,
    TooManyRequests,
    TooSmall,
    TypeNotAllowed,
    Unauthenticated,
)
from presign.messages import CompletionRequest, Grant, Rule, StoredObject, Ticket, UploadRequest
from presign.policy import UploadPolicy
from presign.presigner import Presigner

__all__ = [
    "Backend",
    "CompletionRequest",
    "ConfigurationError",
    "CredentialsUnavailable",
    "Forbidden",
    "Grant",
    "InvalidRequest",
    "InvalidToken",
    "NotUploaded",
    "ObjectHead",
    "PresignError",
    "Presigner",
    "Rule",
    "RuleViolated",
    "SignedUpload",
    "StorageUnavailable",
    "StoredObject",
    "Ticket",
    "TokenExpired",
    "TooLarge",
    "TooManyRequests",
    "TooSmall",
    "TypeNotAllowed",
    "Unauthenticated",
    "UploadPolicy",
    "UploadRequest",
    "open_backend",
]
