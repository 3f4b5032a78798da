"""The components for Azure: ``UploadAccount`` and ``UploadIdentities``."""

from presign_infra.azure.account import UploadAccount
from presign_infra.azure.identities import Principal, UploadIdentities

__all__ = ["Principal", "UploadAccount", "UploadIdentities"]
