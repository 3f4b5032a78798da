"""A client of the HTTP contract, for scripts: it uploads one file, in parts if it is large, and goes on after a crash.

It imports no other module of presign and knows no cloud: it does what the ticket says.
"""

from presign.uploading.errors import UploadFailed
from presign.uploading.upload import Upload

__all__ = ["Upload", "UploadFailed"]
