"""The components for Google Cloud: ``UploadBucket`` and ``UploadIdentities``."""

from presign_infra.gcp.bucket import UploadBucket
from presign_infra.gcp.identities import UploadIdentities

__all__ = ["UploadBucket", "UploadIdentities"]
