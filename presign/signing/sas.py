"""Shared access signatures for one blob, signed with an account key (service SAS) or a user delegation key.

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
"""The oldest service version with the fields that this module signs. Every region supports it."""

HEADER_BINDING_VERSION = "2026-04-06"
"""The oldest service version in which a user delegation SAS can bind request headers (``srh``)."""

_DELEGATED_USER_VERSION = "2025-07-05"


@dataclass(frozen=True, kw_only=True)
class DelegationKey:
    """A user delegation key, with the members of the response to "Get User Delegation Key".

    Times are ``YYYY-MM-DDTHH:MM:SSZ``. ``key`` is the decoded ``Value`` (see ``decode_key``). ``repr`` leaves out
    ``key`` and what identifies the account.
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
        # saoid, suoid and scid stay empty: no other user or agent is named.
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


class SasSigner:
    """Sign SAS tokens for the blobs of one container that have the same permissions, times and headers.

    An account ``key`` signs a service SAS, a ``DelegationKey`` a user delegation SAS. ``start`` and ``expiry`` are
    ``YYYY-MM-DDTHH:MM:SSZ``. ``protocol`` is ``https``, or empty for any. ``content_disposition`` becomes the header of
    the response to a read. The client must send ``request_headers`` with exactly these values. No argument may contain
    line ends. Raises ConfigurationError for request headers with an account key, or with a ``version`` that cannot
    bind headers.
    """

    __slots__ = ("_after", "_before", "_key", "_query")

    def __init__(
        self,
        key: HmacSha256Key | DelegationKey,
        *,
        account: str,
        container: str,
        permissions: str,
        start: str,
        expiry: str,
        protocol: str = "",
        version: str = VERSION,
        content_disposition: str = "",
        request_headers: Mapping[str, str] | None = None,
    ) -> None:
        bound = bound_query = identity_query = ""
        # A service SAS has si here, the name of a stored access policy; we use none. A user delegation SAS has the
        # fields that say who signs.
        identity = "\n"
        if isinstance(key, DelegationKey):
            identity, identity_query = f"{key.fields}\n", key.query
            # Later versions have more fields: skdutid and sduoid since 2025-07-05, srh and srq since 2026-04-06.
            if version >= _DELEGATED_USER_VERSION:
                identity += "\n\n"
            if version >= HEADER_BINDING_VERSION:
                bound = "\n\n"
        if request_headers:
            if not bound:
                raise ConfigurationError(
                    f"request headers can be bound by a user delegation key from version {HEADER_BINDING_VERSION} on",
                    field="version",
                    value=version,
                    limit=HEADER_BINDING_VERSION,
                )
            bound = "".join([f"{name}:{value}\n" for name, value in request_headers.items()]) + bound
            bound_query = f"&srh={','.join([quote(name) for name in request_headers])}"
        # sp, st, se, resource, [skoid .. scid, [skdutid, sduoid] | si,] sip, spr, sv, sr, snapshot, ses, [srh, srq,]
        # rscc, rscd, rsce, rscl, rsct
        self._before = f"{permissions}\n{start}\n{expiry}\n/blob/{account}/{container}/"
        self._after = f"\n{identity}\n{protocol}\n{version}\nb\n\n\n{bound}\n{content_disposition}\n\n\n"
        self._query = (
            f"st={start.replace(':', '%3A')}&se={expiry.replace(':', '%3A')}&sp={permissions}"
            f"{'&spr=' + protocol if protocol else ''}&sv={version}&sr=b"
            f"{'&rscd=' + quote(content_disposition) if content_disposition else ''}{identity_query}{bound_query}&sig="
        )
        self._key = key.key if isinstance(key, DelegationKey) else key

    def sign(self, blob: str) -> str:
        """Return the query string, without ``?``, for one blob. ``blob`` is its name in the container, not encoded."""
        digest = self._key.digest(f"{self._before}{blob}{self._after}".encode())
        # The digest's 32 bytes are 43 characters and one "=" in base64. "/" needs no encoding in a query (RFC 3986,
        # section 3.4).
        signature = b2a_base64(digest)[:43].decode().replace("+", "%2B")
        return f"{self._query}{signature}%3D"
