"""Google Cloud Storage."""

from presign.backends.signature_v4_requests import UploadMethod
from presign.gcs.backend import GCSBackend, open_gcs
from presign.gcs.signing_keys import SIGN_BLOB_LIFETIME, SIGN_BLOB_SECONDS

__all__ = ["SIGN_BLOB_LIFETIME", "SIGN_BLOB_SECONDS", "GCSBackend", "UploadMethod", "open_gcs"]
