"""A strict Cloud Storage in memory: the XML API with V4 signatures, and the slice of the JSON API that its SDK uses.

XML API: see `emulators.gcs_xml`. JSON API: see `emulators.gcs_json`. Besides these it serves the token endpoint that
gives a bearer token for a service account's signed assertion.

    python -m emulators.gcs_reference --port 4443 --bucket uploads --credentials account.json --generate
        --allow-origin http://localhost:8080 --public-prefix public/ --pending-bucket pending
"""

from __future__ import annotations

import argparse
import socket
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

import uvicorn
from cryptography.hazmat.primitives.asymmetric import rsa
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from emulators.cors import CorsRule, share
from emulators.gcs_accounts import TokenEndpoint, generate_credentials, trusted_account
from emulators.gcs_bucket import GcsBucket, GcsRight, GcsStore
from emulators.gcs_json import JSON_PREFIXES, GcsJson, json_error
from emulators.gcs_parts import GcsPartLimits
from emulators.gcs_xml import GcsXml
from emulators.received_request import ReceivedRequest, Refusal, current_time, error_answer
from emulators.signature_v4 import GOOG4, HmacKey, Judge, RsaKey
from emulators.upload_buffer import UploadBuffer


class GcsReference:
    """An ASGI application that serves `buckets` to service accounts and to the holders of HMAC keys.

    `service_accounts` maps client e-mails to public keys, `hmac_keys` access ids to secrets. A bucket is addressed by
    path (`/bucket/name`), by a host `BUCKET.<one of base_hosts>`, or by a host of `custom_domains`. The JSON API wants
    a bearer token that is in `bearer_tokens` or was issued by `/token`; `anonymous_json` opens it to everybody, as
    emulators do. `rights` limits identities: e-mails, access ids, bearer tokens; who is not in it may do everything. A
    rewrite copies at most `rewrite_bytes_per_call` before it hands out a token (None: everything at once).
    """

    def __init__(
        self,
        *,
        buckets: Mapping[str, GcsBucket],
        service_accounts: Mapping[str, rsa.RSAPublicKey] | None = None,
        hmac_keys: Mapping[str, str] | None = None,
        bearer_tokens: frozenset[str] = frozenset(),
        anonymous_json: bool = False,
        clock: Callable[[], datetime] = current_time,
        base_hosts: tuple[str, ...] = ("localhost",),
        custom_domains: Mapping[str, str] | None = None,
        rights: Mapping[str, Sequence[GcsRight]] | None = None,
        rewrite_bytes_per_call: int | None = None,
        part_limits: GcsPartLimits | None = None,
    ) -> None:
        accounts, secrets = dict(service_accounts or {}), dict(hmac_keys or {})
        unknown = set(rights or {}) - set(accounts) - set(secrets) - bearer_tokens
        if unknown:
            raise ValueError(f"rights: {len(unknown)} of the identities have no key and no token")
        store = GcsStore(buckets=buckets, rights=rights or {}, clock=clock)
        self.buckets = store.buckets
        rsa_keys = {email: RsaKey(public_key=key) for email, key in accounts.items()}
        secret_keys = {
            access_id: HmacKey(secret=secret, algorithm="GOOG4-HMAC-SHA256") for access_id, secret in secrets.items()
        }
        self._xml = GcsXml(
            store=store,
            judge=Judge(dialect=GOOG4, keys={**rsa_keys, **secret_keys}),
            base_hosts=base_hosts,
            custom_domains=custom_domains or {},
            part_limits=part_limits,
        )
        self._tokens = TokenEndpoint(accounts=accounts, tokens=bearer_tokens, anonymous=anonymous_json, clock=clock)
        self._json = GcsJson(store=store, tokens=self._tokens, rewrite_bytes_per_call=rewrite_bytes_per_call)

    @property
    def latest_upload(self) -> UploadBuffer | None:
        """What was kept of the latest body, even of a refused one."""
        return self._xml.latest_upload

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise ValueError(f"the reference server speaks http only, not {scope['type']}")
        request = Request(scope, receive)
        response = await self._answer(request)
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        try:
            received = ReceivedRequest.of(request)
        except Refusal as refusal:
            return error_answer(refusal)
        if received.raw_path == "/token":
            return await self._tokens.answer(request)
        if received.raw_path.startswith(JSON_PREFIXES):
            try:
                return await self._json.answer(request, received)
            except Refusal as refusal:
                return json_error(refusal)
        try:
            response = await self._xml.answer(request, received)
        except Refusal as refusal:
            response = error_answer(refusal)
        self._share(received, response)
        return response

    def _share(self, received: ReceivedRequest, response: Response) -> None:
        try:
            share(response, received, self._xml.target(received).bucket.cors)
        except Refusal:
            return


def page_rule(*origins: str) -> CorsRule:
    """What a page needs to upload with any ticket: the methods and headers of signed requests."""
    return CorsRule(
        allowed_origins=origins,
        allowed_methods=("GET", "HEAD", "POST", "PUT"),
        allowed_headers=("cache-control", "content-disposition", "content-md5", "content-type", "x-goog-*"),
        expose_headers=("ETag", "Location", "x-goog-generation"),
        max_age_seconds=3600,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve the buckets until interrupted; the first line of output is the base URL, from then on connections work."""
    parser = argparse.ArgumentParser(prog="python -m emulators.gcs_reference")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--bucket", required=True)
    parser.add_argument(
        "--credentials", type=Path, required=True, help="a service account's JSON, whose key is trusted"
    )
    parser.add_argument("--generate", action="store_true", help="write --credentials first, pointing to this server")
    parser.add_argument("--allow-origin", action="append", default=[], help="a page's origin; may be repeated")
    parser.add_argument("--public-prefix", help="object names that anybody may read")
    parser.add_argument("--anonymous-json", action="store_true", help="no bearer token needed, as with an emulator")
    parser.add_argument("--pending-bucket", help="a second bucket, with the same origins, that nobody may read")
    options = parser.parse_args(arguments)
    listener = socket.create_server((options.host, options.port), backlog=512)
    url = f"http://{options.host}:{listener.getsockname()[1]}"
    if options.generate:
        generate_credentials(options.credentials, token_uri=f"{url}/token")
    cors = (page_rule(*options.allow_origin),) if options.allow_origin else ()
    buckets = {options.bucket: GcsBucket(cors=cors, public_prefix=options.public_prefix)}
    if options.pending_bucket is not None:
        buckets.setdefault(options.pending_bucket, GcsBucket(cors=cors))
    app = GcsReference(
        buckets=buckets,
        service_accounts=trusted_account(options.credentials),
        anonymous_json=options.anonymous_json,
    )
    print(url, flush=True)
    uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off")).run(sockets=[listener])


if __name__ == "__main__":
    main()
