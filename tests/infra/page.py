"""What a browser does when a page uploads: it asks first, and shows no answer that CORS does not allow it to show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

# Headers that a page may send without asking. A browser names all others in its preflight request.
_SAFE_HEADERS = frozenset({"accept", "accept-language", "content-language"})


class RefusedByCors(Exception):
    """The browser refuses the request of the page, or hides its answer."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """A page of ``origin`` in a browser that uses ``http``."""

    origin: str
    http: httpx.Client = field(repr=False)

    def preflight(self, method: str, url: str, headers: Mapping[str, str]) -> httpx.Response:
        """Ask whether the page may send a request; raise RefusedByCors if it may not."""
        names = sorted(name.lower() for name in headers if name.lower() not in _SAFE_HEADERS)
        asked = {"Origin": self.origin, "Access-Control-Request-Method": method}
        answer = self.http.options(
            url, headers=asked | ({"Access-Control-Request-Headers": ",".join(names)} if names else {})
        )
        allowed = _list(answer, "access-control-allow-headers")
        if not answer.is_success or answer.headers.get("access-control-allow-origin") not in {self.origin, "*"}:
            raise RefusedByCors(f"the storage does not allow {method} for {self.origin}")
        if method not in _list(answer, "access-control-allow-methods", upper=True):
            raise RefusedByCors(f"the storage does not allow the method {method}")
        if missing := [name for name in names if name not in allowed and "*" not in allowed]:
            raise RefusedByCors(f"the storage does not allow the headers {missing}")
        return answer

    def upload(self, ticket: Any, body: bytes) -> httpx.Response:
        """Send what ``ticket`` says with ``body``; raise RefusedByCors if a browser would not show the answer."""
        self.preflight(ticket.method, ticket.url, ticket.headers)
        if ticket.method == "POST":
            answer = self.http.post(
                ticket.url, data=dict(ticket.fields), files={"file": ("file", body)}, headers={"Origin": self.origin}
            )
        else:
            answer = self.http.request(
                ticket.method, ticket.url, headers={**ticket.headers, "Origin": self.origin}, content=body
            )
        if answer.headers.get("access-control-allow-origin") not in {self.origin, "*"}:
            raise RefusedByCors("the storage does not show its answer to the page")
        if "etag" not in _list(answer, "access-control-expose-headers"):
            raise RefusedByCors("the storage does not show the ETag to the page")
        return answer


def _list(answer: httpx.Response, name: str, *, upper: bool = False) -> set[str]:
    text = answer.headers.get(name, "")
    return {part.strip().upper() if upper else part.strip().lower() for part in text.split(",") if part.strip()}
