"""POST policies: the form that a browser sends, and the signed document that covers every field of it.

Sources: "Creating a POST policy", Amazon S3 API Reference; "Policy document", Google Cloud Storage XML API.
"""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Mapping

import orjson


def encode_policy(*, bucket: str, fields: Mapping[str, str], min_bytes: int, max_bytes: int, expiration: str) -> str:
    """Return the policy, in base64, that admits exactly ``fields`` into ``bucket`` within the bounds of size.

    The conditions are made from the form's own fields, so that neither can hold what the other does not. ``expiration``
    is an ISO 8601 time in UTC; the bounds are in bytes, inclusive.
    """
    conditions = [
        {"bucket": bucket},
        *[{name: value} for name, value in fields.items()],
        ("content-length-range", min_bytes, max_bytes),
    ]
    document = orjson.dumps({"conditions": conditions, "expiration": expiration})
    return b2a_base64(document, newline=False).decode()
