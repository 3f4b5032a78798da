"""POST policies: the form that a browser sends, and the signed document that covers every field of it.

Sources: "Creating a POST policy", Amazon S3 API Reference; "Policy document", Google Cloud Storage XML API.
"""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Mapping

import orjson

from presign.signing.sigv4 import Scope


class FormSigner:
    """Signs forms that differ in their object's own fields and size alone, such as all of one second.

    ``timestamp`` is YYYYMMDDTHHMMSSZ, on the scope's day; ``expiration`` is an ISO 8601 time in UTC.
    """

    __slots__ = ("_encoded_start", "_end", "_fields", "_key", "_signature_field", "_start")

    def __init__(
        self, *, bucket: str, scope: Scope, timestamp: str, expiration: str, session_token: str | None = None
    ) -> None:
        prefix = scope.dialect.parameter_prefix.lower()
        self._fields = {
            f"{prefix}algorithm": scope.dialect.algorithm,
            f"{prefix}credential": scope.credential,
            f"{prefix}date": timestamp,
        }
        if session_token is not None:
            self._fields[f"{prefix}security-token"] = session_token
        shared = orjson.dumps({"conditions": [{"bucket": bucket}, *_equalities(self._fields)]})
        start = shared.removesuffix(b"]}") + b","
        # Base64 takes three bytes at a time: what is left of the last three begins each policy's own part.
        whole = len(start) - len(start) % 3
        self._encoded_start = b2a_base64(start[:whole], newline=False)
        self._start = start[whole:]
        self._end = b"," + orjson.dumps({"expiration": expiration})[1:]
        self._signature_field = f"{prefix}signature"
        self._key = scope.key

    def sign(self, fields: Mapping[str, str], *, min_bytes: int, max_bytes: int) -> dict[str, str]:
        """Return the form that begins with ``fields``, and is good for exactly them and a size within the bounds.

        The policy's conditions are made from the form's own fields, so that neither can hold what the other does not.
        The bounds are in bytes, inclusive.
        """
        own = orjson.dumps([*_equalities(fields), ("content-length-range", min_bytes, max_bytes)])
        policy = self._encoded_start + b2a_base64(self._start + own[1:] + self._end, newline=False)
        return {
            **fields,
            **self._fields,
            "policy": policy.decode("ascii"),
            self._signature_field: self._key.hexdigest(policy),
        }


def _equalities(fields: Mapping[str, str]) -> list[dict[str, str]]:
    return [{name: value} for name, value in fields.items()]
