"""The digests that a request to S3 promises for its body.

Source: Amazon S3 User Guide, "Checking object integrity".
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import google_crc32c

from emulators.body_digest import base64_or_empty, check_is_md5, check_md5, is_digest
from emulators.received_request import Refusal


def _crc32(body: bytes) -> bytes:
    return zlib.crc32(body).to_bytes(4, "big")


def _crc32c(body: bytes) -> bytes:
    return int(google_crc32c.value(body)).to_bytes(4, "big")


CHECKSUMS: Mapping[str, Callable[[bytes], bytes]] = MappingProxyType(
    {
        "crc32": _crc32,
        "crc32c": _crc32c,
        "sha1": lambda body: hashlib.sha1(body).digest(),
        "sha256": lambda body: hashlib.sha256(body).digest(),
    }
)


@dataclass(frozen=True, kw_only=True)
class BodyChecks:
    """The digests that a request promised for its body, in Base64."""

    checksums: Mapping[str, str]
    content_md5: str | None

    @classmethod
    def of(cls, amz: Mapping[str, str], content_md5: str | None) -> BodyChecks:
        """Read them from the `x-amz-*` headers or fields, whose names come without that prefix."""
        checksums = {name: amz[f"checksum-{name}"] for name in CHECKSUMS if f"checksum-{name}" in amz}
        if len(checksums) > 1:
            raise Refusal(400, "InvalidRequest", "Expecting a single x-amz-checksum- header.")
        for name, value in checksums.items():
            if len(base64_or_empty(value)) != len(CHECKSUMS[name](b"")):
                raise Refusal(400, "InvalidRequest", f"Value for x-amz-checksum-{name} header is invalid.")
        for declaration in ("checksum-algorithm", "sdk-checksum-algorithm"):
            algorithm = amz.get(declaration, "").lower()
            if declaration in amz and (algorithm not in CHECKSUMS or (checksums and algorithm not in checksums)):
                raise Refusal(400, "InvalidRequest", f"Value for x-amz-{declaration} header is invalid.")
        check_is_md5(content_md5)
        return cls(checksums=checksums, content_md5=content_md5)

    def check(self, body: bytes) -> None:
        """Refuse a body that is not the one promised."""
        check_md5(self.content_md5, body)
        for name, promised in self.checksums.items():
            if not is_digest(promised, CHECKSUMS[name](body)):
                raise Refusal(
                    400, "BadDigest", f"The {name.upper()} you specified did not match the calculated checksum."
                )


def checksum_headers(checksums: Mapping[str, str]) -> dict[str, str]:
    """The headers that answer with checksums."""
    return {f"x-amz-checksum-{name}": value for name, value in checksums.items()}
