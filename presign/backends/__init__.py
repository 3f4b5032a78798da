"""Everything that the backends share: the protocol, addresses, failures, credentials that expire, object headers."""

from presign.backends.backend import (
    AlreadyPublished,
    Backend,
    ListedObject,
    ObjectChanged,
    ObjectHead,
    ObjectStore,
    SignedUpload,
)
from presign.backends.registry import open_backend

__all__ = [
    "AlreadyPublished",
    "Backend",
    "ListedObject",
    "ObjectChanged",
    "ObjectHead",
    "ObjectStore",
    "SignedUpload",
    "open_backend",
]
