"""POST policies: the form that a browser sends, and the signed document that covers every field of it.

Sources: "Creating a POST policy", Amazon S3 API Reference; "Policy document", Google Cloud Storage XML API.
"""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Mapping

import orjson

from presign.signing.sigv4 import Scope


class FormSigner:
    """Sign forms for one bucket that start and expire at the same time.

    ``timestamp`` is YYYYMMDDTHHMMSSZ, on the scope's day; ``expiration`` is an ISO 8601 time in UTC. Everything that
    these forms have in common is serialised and encoded once.
    """

    __slots__ = ("_common_fields", "_encoded_head", "_head_rest", "_key", "_signature_field", "_tail")

    def __init__(
        self, *, bucket: str, scope: Scope, timestamp: str, expiration: str, session_token: str | None = None
    ) -> None:
        prefix = scope.dialect.parameter_prefix.lower()
        self._common_fields = {
            f"{prefix}algorithm": scope.dialect.algorithm,
            f"{prefix}credential": scope.credential,
            f"{prefix}date": timestamp,
        }
        if session_token is not None:
            self._common_fields[f"{prefix}security-token"] = session_token
        common = orjson.dumps({"conditions": [{"bucket": bucket}, *_equalities(self._common_fields)]})
        head = common.removesuffix(b"]}") + b","
        # Base64 encodes three bytes at a time, so the policy's head can be encoded once up to a multiple of three.
        encoded_bytes = len(head) - len(head) % 3
        self._encoded_head = b2a_base64(head[:encoded_bytes], newline=False)
        self._head_rest = head[encoded_bytes:]
        self._tail = b"," + orjson.dumps({"expiration": expiration})[1:]
        self._signature_field = f"{prefix}signature"
        self._key = scope.key

    def sign(self, fields: Mapping[str, str], *, min_bytes: int, max_bytes: int) -> dict[str, str]:
        """Return a form that begins with ``fields``; the storage accepts exactly them, and a size within the bounds.

        The bounds are in bytes, inclusive. The policy's conditions are made from the form's own fields, so the two
        cannot differ.
        """
        own = orjson.dumps([*_equalities(fields), ("content-length-range", min_bytes, max_bytes)])
        policy = self._encoded_head + b2a_base64(self._head_rest + own[1:] + self._tail, newline=False)
        return {
            **fields,
            **self._common_fields,
            "policy": policy.decode("ascii"),
            self._signature_field: self._key.hexdigest(policy),
        }


def _equalities(fields: Mapping[str, str]) -> list[dict[str, str]]:
    return [{name: value} for name, value in fields.items()]
