"""A SAS expiration policy of an Azure account, in front of Azurite, which has none.

Azure subtracts the signed start of a SAS from its signed expiry. If the policy's action is Block, Azure refuses a SAS
whose interval is longer than the policy's limit, and one without a signed start. Its answer is AuthenticationFailed,
with a detail that begins with "Policy violated". How it answers to a copy whose source has such a SAS is not known;
here, it is as to any other source that Azure may not read.

Sources: Azure Storage documentation, "Configure an expiration policy for shared access signatures" and "Put Blob From
URL"; the answer is as https://github.com/microsoft/AzureStorageExplorer/issues/8845 shows it.
"""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from urllib.parse import parse_qs, urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from emulators.serving import serve

_FORWARDING_SECONDS = 30
# These belong to one connection.
_OF_THE_CONNECTION = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length"})


@contextmanager
def sas_policy(account_url: str, *, limit: timedelta) -> Iterator[str]:
    """Serve the account at ``account_url``, which has no TLS, with this limit; yield the account's URL there."""
    upstream = urlsplit(account_url)

    async def policed(scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        target = scope["raw_path"].decode() + (f"?{query}" if (query := scope["query_string"].decode()) else "")
        source = urlsplit(request.headers.get("x-ms-copy-source", "")).query
        # Browsers ask before an upload without authorization, so Azure does not look at the SAS.
        if request.method != "OPTIONS" and (violation := _violation(query, limit)) is not None:
            answer = _refusal("AuthenticationFailed", violation)
        elif _violation(source, limit) is not None:
            answer = _refusal("CannotVerifyCopySource", "")
        else:
            headers = {name: value for name, value in request.headers.items() if name not in _OF_THE_CONNECTION}
            answer = await run_in_threadpool(
                _forward, upstream.netloc, request.method, target, headers, await request.body()
            )
        await answer(scope, receive, send)

    with serve(policed, dates_answers=False) as url:
        yield f"{url}{upstream.path}"


def _violation(query: str, limit: timedelta) -> str | None:
    """Return how the SAS in a query breaks the policy, or None if it does not, or if there is none."""
    values = {name: found[0] for name, found in parse_qs(query).items()}
    if "sig" not in values:
        return None
    if "st" not in values:
        return "Policy violated by no signed start."
    interval = datetime.fromisoformat(values["se"].replace("Z", "+00:00")) - datetime.fromisoformat(
        values["st"].replace("Z", "+00:00")
    )
    return f"Policy violated by an interval of {interval}." if interval > limit else None


def _refusal(code: str, violation: str) -> Response:
    detail = f"<AuthenticationErrorDetail>{violation}</AuthenticationErrorDetail>" if violation else ""
    body = (
        f'<?xml version="1.0" encoding="utf-8"?><Error><Code>{code}</Code><Message>Server failed to authenticate the '
        f"request.</Message>{detail}</Error>"
    )
    return Response(body, status_code=403, media_type="application/xml", headers={"x-ms-error-code": code})


def _forward(netloc: str, method: str, target: str, headers: dict[str, str], body: bytes) -> Response:
    connection = http.client.HTTPConnection(netloc, timeout=_FORWARDING_SECONDS)
    try:
        connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name, value)
        if body or method in {"PUT", "POST"}:
            connection.putheader("content-length", str(len(body)))
        connection.endheaders(body or None)
        found = connection.getresponse()
        content = found.read()
    finally:
        connection.close()
    answer = Response(content, status_code=found.status)
    kept = [(name, value) for name, value in found.getheaders() if name.lower() not in _OF_THE_CONNECTION]
    length = found.getheader("Content-Length") if method == "HEAD" else str(len(content))
    if length is not None and found.status != 204:
        kept.append(("content-length", length))
    answer.raw_headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in kept]
    return answer
