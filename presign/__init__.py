"""Let browsers upload files straight to object storage, safely, on S3, Azure Blob Storage and Google Cloud Storage."""

from presign.backend import Backend, ObjectHead, SignedUpload
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
    TypeNotAdmitted,
    Unauthenticated,
)
from presign.opening import open_backend
from presign.policy import UploadPolicy
from presign.presigner import Presigner
from presign.upload import CompletionRequest, Grant, Rule, StoredObject, Ticket, UploadRequest

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
    "TypeNotAdmitted",
    "Unauthenticated",
    "UploadPolicy",
    "UploadRequest",
    "open_backend",
]
