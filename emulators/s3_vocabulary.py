"""The headers, fields and query parameters that the S3 reference understands; it refuses all others."""

from __future__ import annotations

from collections.abc import Iterable
from types import MappingProxyType

from emulators.received_request import ReceivedRequest, Refusal
from emulators.s3_bucket import Target
from emulators.s3_checksums import CHECKSUMS
from emulators.s3_copying import COPY_SOURCE

KNOWN_AMZ_NAMES = frozenset(
    {
        "acl",
        "algorithm",
        "checksum-algorithm",
        "checksum-mode",
        "content-sha256",
        # A condition of a copy has no effect on a request that copies nothing.
        "copy-if-match",
        "copy-source-if-match",
        "credential",
        "date",
        "expected-bucket-owner",
        "sdk-checksum-algorithm",
        "security-token",
        "server-side-encryption",
        "server-side-encryption-customer-algorithm",
        "server-side-encryption-customer-key",
        "server-side-encryption-customer-key-md5",
        "signature",
        "storage-class",
        "tagging",
        "user-agent",
    }
)
COPY_AMZ_NAMES = frozenset({"metadata-directive", "object-annotation-directive", "tagging-directive"})
KNOWN_PARAMETERS = frozenset(
    "X-Amz-" + name
    for name in ("Algorithm", "Credential", "Date", "Expires", "SignedHeaders", "Signature", "Security-Token")
)
LISTING_PARAMETERS = frozenset(
    {"continuation-token", "encoding-type", "list-type", "max-keys", "prefix", "start-after"}
)
UPLOADS_PARAMETERS = frozenset({"encoding-type", "key-marker", "max-uploads", "prefix", "upload-id-marker", "uploads"})
RESPONSE_OVERRIDES = MappingProxyType(
    {
        "response-cache-control": "cache-control",
        "response-content-disposition": "content-disposition",
        "response-content-encoding": "content-encoding",
        "response-content-language": "content-language",
        "response-content-type": "content-type",
        "response-expires": "expires",
    }
)


def _known_parameters(received: ReceivedRequest, target: Target) -> frozenset[str]:
    if received.method == "GET" and not target.key:
        return UPLOADS_PARAMETERS if received.parameter("uploads") is not None else LISTING_PARAMETERS
    if not target.key:
        return frozenset()
    by_method = {
        "GET": {"versionId", "acl", "uploadId", "max-parts", "part-number-marker"},
        "HEAD": {"versionId"},
        "DELETE": {"versionId", "uploadId"},
        "PUT": {"partNumber", "uploadId"},
        "POST": {"uploads", "uploadId"},
    }
    return frozenset(by_method.get(received.method, ()))


def refuse_unknown(received: ReceivedRequest, target: Target) -> None:
    """Refuse a request with a header or a parameter that would have no effect."""
    is_copy = received.method == "PUT" and received.header(COPY_SOURCE) is not None
    refuse_unknown_amz(
        name
        for name in received.headers_with_prefix("x-amz-")
        if not (is_copy and (name in COPY_AMZ_NAMES or name.startswith("copy-source")))
    )
    parameters = _known_parameters(received, target)
    for name, _ in received.query:
        known = name in KNOWN_PARAMETERS or name in RESPONSE_OVERRIDES or name == "x-id" or name in parameters
        # A signature parameter in the wrong case is for the signature's judge.
        if not known and name.lower() not in {parameter.lower() for parameter in KNOWN_PARAMETERS}:
            raise Refusal(501, "NotImplemented", f"The query parameter {name} is not part of this server.")


def refuse_unknown_amz(names: Iterable[str]) -> None:
    """Refuse unknown `x-amz-*` names, which come without that prefix."""
    for name in names:
        is_checksum = name.removeprefix("checksum-") in CHECKSUMS and name.startswith("checksum-")
        if name not in KNOWN_AMZ_NAMES and not is_checksum and not name.startswith("meta-"):
            raise Refusal(501, "NotImplemented", f"x-amz-{name} is not part of this server.")
