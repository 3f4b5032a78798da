"""Everything that the backends share: the protocol, addresses, failures, credentials that expire, object headers."""

from presign.backends.backend import Backend, ObjectHead, SignedUpload
from presign.backends.registry import open_backend

__all__ = ["Backend", "ObjectHead", "SignedUpload", "open_backend"]
