"""Google Cloud Storage."""

from presign.gcs.backend import SIGN_BLOB_LIFETIME, SIGN_BLOB_SECONDS, GCSBackend, UploadMethod, open_gcs

__all__ = ["SIGN_BLOB_LIFETIME", "SIGN_BLOB_SECONDS", "GCSBackend", "UploadMethod", "open_gcs"]
