"""What a publication on Azure can give to a blob, and how large the blob can be: checked when a ticket is signed."""

from __future__ import annotations

from presign.errors import ConfigurationError
from presign.messages import Grant, check_tags

MAX_ONE_COPY_BYTES = 5000 * 1024 * 1024
"""The largest blob that Put Blob From URL copies. Put Blob has the same limit."""

CALLS_VERSION = "2021-12-02"
"""The oldest service version in which a blob can be put into every access tier. Every region supports it."""

_TIERS = ("Hot", "Cool", "Cold", "Archive")


def check_publish_options(grant: Grant) -> None:
    """Raise ConfigurationError for tags and a storage class that Azure does not accept."""
    if grant.storage_class is not None and grant.storage_class not in _TIERS:
        raise ConfigurationError(
            f"storage_class must be an access tier: {', '.join(_TIERS)}",
            field="storage_class",
            value=grant.storage_class,
            limit=_TIERS,
        )
    check_tags(grant.tags)
