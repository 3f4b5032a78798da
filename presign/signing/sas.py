"""Shared access signatures for one blob, by an account key (service SAS) or by a user delegation key.

Sources: "Create a service SAS" and "Create a user delegation SAS", Azure Storage REST API reference.
"""

from __future__ import annotations

import base64
import binascii
from binascii import b2a_base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

from presign.errors import ConfigurationError
from presign.signing.hmac_sha256 import HmacSha256Key

VERSION = "2020-12-06"
"""The oldest service version that signs what this module signs, and so one that every region knows."""

HEADER_BINDING_VERSION = "2026-04-06"
"""The oldest service version whose user delegation SAS can bind request headers (``srh``)."""

_DELEGATED_USER_VERSION = "2025-07-05"


@dataclass(frozen=True, kw_only=True)
class DelegationKey:
    """A user delegation key, as "Get User Delegation Key" answers it, with the key that signs.

    Times are ``YYYY-MM-DDTHH:MM:SSZ``. ``key`` is the decoded ``Value`` (see ``decode_key``). Only that could sign, and
    it is left out of ``repr`` with the rest that identifies the account.
    """

    signed_oid: str = field(repr=False)
    signed_tid: str = field(repr=False)
    signed_start: str
    signed_expiry: str
    signed_service: str
    signed_version: str
    key: HmacSha256Key = field(repr=False)
    fields: str = field(init=False, repr=False)
    query: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        fields = {
            "skoid": self.signed_oid,
            "sktid": self.signed_tid,
            "skt": self.signed_start,
            "ske": self.signed_expiry,
            "sks": self.signed_service,
            "skv": self.signed_version,
        }
        # No other user and no other agent: saoid, suoid and scid stay empty.
        object.__setattr__(self, "fields", "\n".join([*fields.values(), "", "", ""]))
        object.__setattr__(self, "query", "".join(f"&{name}={quote(value)}" for name, value in fields.items()))


def decode_key(key: str) -> HmacSha256Key:
    """Return the key whose base64 form is ``key``; raises ConfigurationError, without the key, if it is not base64."""
    try:
        decoded = base64.b64decode(key, validate=True)
    except (binascii.Error, ValueError):
        decoded = b""
    if not decoded:
        raise ConfigurationError("the key is not base64; copy it as Azure shows it, up to the last =", field="key")
    return HmacSha256Key(decoded)


def service_sas(
    *,
    key: HmacSha256Key,
    resource: str,
    permissions: str,
    start: str,
    expiry: str,
    protocol: str = "",
    version: str = VERSION,
    content_disposition: str = "",
) -> str:
    """Return the query string, without ``?``, that an account key signs for one blob.

    ``resource`` is ``/blob/ACCOUNT/CONTAINER/BLOB``, not encoded, the account once also where URLs have it in the path;
    ``start`` and ``expiry`` are ``YYYY-MM-DDTHH:MM:SSZ``; ``protocol`` is ``https`` or empty for any;
    ``content_disposition`` is what a read answers with. All are signed as they are, and hold no line ends.
    """
    # sp, st, se, resource, si, sip, spr, sv, sr, snapshot, ses, rscc, rscd, rsce, rscl, rsct
    digest = key.digest(
        f"{permissions}\n{start}\n{expiry}\n{resource}\n\n\n{protocol}\n{version}\nb\n\n\n\n"
        f"{content_disposition}\n\n\n".encode()
    )
    return (
        f"st={start.replace(':', '%3A')}&se={expiry.replace(':', '%3A')}&sp={permissions}"
        f"{'&spr=' + protocol if protocol else ''}&sv={version}&sr=b"
        f"{'&rscd=' + quote(content_disposition) if content_disposition else ''}&sig={_encoded(digest)}"
    )


def user_delegation_sas(
    *,
    key: DelegationKey,
    resource: str,
    permissions: str,
    start: str,
    expiry: str,
    protocol: str = "",
    version: str = VERSION,
    content_disposition: str = "",
    request_headers: Mapping[str, str] | None = None,
) -> str:
    """Return the query string, without ``?``, that a user delegation key signs for one blob.

    ``request_headers`` must come with the request, with exactly these values. The rest is as in ``service_sas``. Raises
    ConfigurationError for request headers with a ``version`` that cannot bind them.
    """
    # The fields that came with later versions: skdutid and sduoid in 2025-07-05, srh and srq in 2026-04-06.
    delegated_user = "\n\n" if version >= _DELEGATED_USER_VERSION else ""
    bound = bound_names = ""
    if version >= HEADER_BINDING_VERSION:
        if request_headers:
            bound = "".join([f"{name}:{value}\n" for name, value in request_headers.items()])
            bound_names = f"&srh={','.join([quote(name) for name in request_headers])}"
        bound += "\n\n"
    elif request_headers:
        raise ConfigurationError(
            f"request headers can be bound from version {HEADER_BINDING_VERSION} on",
            field="version",
            value=version,
            limit=HEADER_BINDING_VERSION,
        )
    # sp, st, se, resource, skoid .. scid, [skdutid, sduoid,] sip, spr, sv, sr, snapshot, ses, [srh, srq,] rscc .. rsct
    digest = key.key.digest(
        f"{permissions}\n{start}\n{expiry}\n{resource}\n{key.fields}\n{delegated_user}\n{protocol}\n{version}\nb\n\n\n"
        f"{bound}\n{content_disposition}\n\n\n".encode()
    )
    return (
        f"st={start.replace(':', '%3A')}&se={expiry.replace(':', '%3A')}&sp={permissions}"
        f"{'&spr=' + protocol if protocol else ''}&sv={version}&sr=b"
        f"{'&rscd=' + quote(content_disposition) if content_disposition else ''}{key.query}{bound_names}"
        f"&sig={_encoded(digest)}"
    )


def _encoded(digest: bytes) -> str:
    # "/" needs no encoding in a query (RFC 3986, section 3.4).
    return b2a_base64(digest, newline=False).decode("ascii").replace("+", "%2B").replace("=", "%3D")
