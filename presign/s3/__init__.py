"""Amazon S3, and every store that speaks its protocol."""

from presign.backends.signature_v4_requests import UploadMethod
from presign.s3.backend import S3Backend, open_s3

__all__ = ["S3Backend", "UploadMethod", "open_s3"]
