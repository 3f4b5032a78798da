"""The components for AWS: ``UploadBucket`` and ``UploadSigner``."""

from presign_infra.aws.bucket import UploadBucket
from presign_infra.aws.signer import UploadSigner

__all__ = ["UploadBucket", "UploadSigner"]
