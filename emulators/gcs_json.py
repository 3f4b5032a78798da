"""The JSON API of the GCS reference: buckets' and objects' metadata, reads, listing, rewrite, copy and delete.

A read, a rewrite and a delete can be pinned to a generation. Unknown preconditions and parameters of a listing are
answered with 501, so that none is without effect.

Sources: Cloud Storage, JSON API reference, "Objects: get", "list", "delete", "rewrite", "copy", "Standard query
parameters". A rewrite keeps the source's metadata only if its body gives none.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from emulators.body_digest import base64_or_empty
from emulators.gcs_accounts import TokenEndpoint
from emulators.gcs_bucket import GcsObject, GcsStore, Target, check_generation
from emulators.object_answer import read_answer
from emulators.received_request import ReceivedRequest, Refusal, body_of, percent_decoded

JSON_PREFIXES = ("/download/storage/v1/", "/storage/v1/")
LARGEST_PAGE = 1000
LARGEST_RESOURCE_BYTES = 100_000
CONDITIONS = frozenset({"ifGenerationMatch", "ifMetagenerationMatch"})
COPY_CONDITIONS = frozenset({"ifGenerationMatch", "ifSourceGenerationMatch"})
LISTING_PARAMETERS = frozenset(
    {"alt", "fields", "maxResults", "pageToken", "prefix", "prettyPrint", "projection", "startOffset", "endOffset"}
)
WRITABLE = frozenset(
    {
        "contentType",
        "cacheControl",
        "contentDisposition",
        "contentEncoding",
        "contentLanguage",
        "metadata",
        "storageClass",
    }
)
# The SDK sends a blob's whole resource back, if it has read it before.
READ_ONLY = frozenset(
    {
        "bucket",
        "crc32c",
        "etag",
        "generation",
        "id",
        "kind",
        "md5Hash",
        "mediaLink",
        "metageneration",
        "name",
        "selfLink",
        "size",
        "timeCreated",
        "timeFinalized",
        "timeStorageClassUpdated",
        "updated",
    }
)


@dataclass(kw_only=True)
class _Rewrite:
    """A rewrite under way: the requests of one token are for the same source, destination and metadata."""

    source: Target
    stored: GcsObject
    destination: Target
    resource: Mapping[str, Any]
    rewritten: int = 0

    def is_for(self, source: Target, destination: Target, resource: Mapping[str, Any]) -> bool:
        named = (source.name, source.key, destination.name, destination.key)
        own = (self.source.name, self.source.key, self.destination.name, self.destination.key)
        return (named, resource) == (own, self.resource)


class GcsJson:
    """Answers for the objects of `store` to the bearers of `tokens`."""

    def __init__(self, *, store: GcsStore, tokens: TokenEndpoint, rewrite_bytes_per_call: int | None) -> None:
        self._store = store
        self._tokens = tokens
        self._rewrite_bytes_per_call = rewrite_bytes_per_call
        self._rewrites: dict[str, _Rewrite] = {}

    async def answer(self, request: Request, received: ReceivedRequest) -> Response:
        """Answer a request, or raise Refusal."""
        identity = self._tokens.identity(received)
        prefix = next(prefix for prefix in JSON_PREFIXES if received.raw_path.startswith(prefix))
        parts = [percent_decoded(part) for part in received.raw_path.removeprefix(prefix).split("/")]
        match parts:
            case ["b", name] if received.method == "GET":
                rules = [dict(rule) for rule in self._store.bucket(name).lifecycle]
                if not self._store.may(identity, "getBucket", name):
                    raise Refusal(403, "forbidden", f"{identity} does not have storage.buckets.get access.")
                lifecycle = {"lifecycle": {"rule": rules}} if rules else {}
                return JSONResponse(
                    {"kind": "storage#bucket", "id": name, "name": name, "metageneration": "1", **lifecycle}
                )
            case ["b", name, "o"] if received.method == "GET":
                return self._list(received, self._store.target(name, ""), identity)
            case ["b", name, "o", key] if key and received.method in ("GET", "DELETE"):
                as_media = prefix.startswith("/download/") or received.parameter("alt") == "media"
                return self._object(received, self._store.target(name, key), identity, as_media=as_media)
            case ["b", name, "o", key, "rewriteTo" | "copyTo" as call, "b", to_name, "o", to_key] if (
                received.method == "POST" and key and to_key
            ):
                source, destination = self._store.target(name, key), self._store.target(to_name, to_key)
                resource = await _resource(request, received)
                copy = self._rewrite if call == "rewriteTo" else self._copy
                return copy(received, source, destination, resource, identity)
            case _:
                raise Refusal(501, "notImplemented", "This part of the JSON API is not part of this server.")

    def _object(self, received: ReceivedRequest, target: Target, identity: str, *, as_media: bool) -> Response:
        self._store.require(identity, "delete" if received.method == "DELETE" else "get", target)
        self._store.require_known(identity, target)
        stored = target.stored
        if stored is None or received.parameter("generation") not in (None, str(stored.generation)):
            raise _not_found(target)
        _refuse_unknown_conditions(received, CONDITIONS)
        check_generation(received.parameter("ifGenerationMatch"), stored)
        if received.parameter("ifMetagenerationMatch") not in (None, str(stored.metageneration)):
            raise Refusal(412, "conditionNotMet", "At least one of the pre-conditions you specified did not hold.")
        if received.method == "DELETE":
            del target.bucket.objects[target.key]
            return Response(status_code=204)
        if as_media:
            return read_answer(
                received, body=stored.body, etag=stored.json_etag, headers=stored.headers(), whole_object_headers={}
            )
        return JSONResponse(stored.resource(target.name, target.key), headers={"ETag": stored.json_etag})

    def _list(self, received: ReceivedRequest, target: Target, identity: str) -> Response:
        for name, _ in received.query:
            if name not in LISTING_PARAMETERS:
                raise Refusal(501, "notImplemented", f"The parameter {name} is not part of this server's listing.")
        prefix = received.parameter("prefix") or ""
        if not self._store.may(identity, "list", target.name, prefix):
            raise Refusal(403, "forbidden", f"{identity} does not have storage.objects.list access to the bucket.")
        size, token = received.parameter("maxResults") or str(LARGEST_PAGE), received.parameter("pageToken")
        if not re.fullmatch("[1-9][0-9]{0,8}", size):
            raise Refusal(400, "invalid", "maxResults must be a positive number.")
        after = base64_or_empty(token) if token else b""
        if token and not after:
            raise Refusal(400, "invalid", "Invalid page token.")
        start, end = received.parameter("startOffset") or "", received.parameter("endOffset")
        left = sorted(
            (
                name
                for name in target.bucket.objects
                if name.startswith(prefix)
                and name.encode() > after
                and name.encode() >= start.encode()
                and (end is None or name.encode() < end.encode())
            ),
            key=str.encode,
        )
        page = left[: min(int(size), LARGEST_PAGE)]
        answer: dict[str, Any] = {"kind": "storage#objects"}
        if page:
            answer["items"] = [target.bucket.objects[name].resource(target.name, name) for name in page]
        if len(left) > len(page):
            answer["nextPageToken"] = base64.b64encode(page[-1].encode()).decode()
        fields = received.parameter("fields")
        return JSONResponse(answer if fields is None else _selected(answer, fields))

    def _rewrite(
        self,
        received: ReceivedRequest,
        source: Target,
        destination: Target,
        resource: Mapping[str, Any],
        identity: str,
    ) -> Response:
        stored = self._readable_source(received, source, destination, identity)
        token = received.parameter("rewriteToken")
        if token is None:
            rewrite = _Rewrite(source=source, stored=stored, destination=destination, resource=resource)
        else:
            found = self._rewrites.pop(token, None)
            if found is None or not found.is_for(source, destination, resource) or found.stored != stored:
                raise Refusal(400, "invalid", "The rewrite token is not one of this rewrite.")
            rewrite = found
        size = len(stored.body)
        limit = received.parameter("maxBytesRewrittenPerCall")
        if limit is not None and not re.fullmatch("[1-9][0-9]{0,15}", limit):
            raise Refusal(400, "invalid", "maxBytesRewrittenPerCall must be a positive number.")
        steps = [step for step in (self._rewrite_bytes_per_call, int(limit) if limit else None) if step is not None]
        rewrite.rewritten = min(size, rewrite.rewritten + min(steps, default=size))
        answer: dict[str, Any] = {
            "kind": "storage#rewriteResponse",
            "totalBytesRewritten": str(rewrite.rewritten),
            "objectSize": str(size),
            "done": rewrite.rewritten == size,
        }
        if rewrite.rewritten < size:
            answer["rewriteToken"] = secrets.token_urlsafe(24)
            self._rewrites[answer["rewriteToken"]] = rewrite
        else:
            written = self._written(stored, destination, resource)
            answer["resource"] = written.resource(destination.name, destination.key)
        return JSONResponse(answer)

    def _copy(
        self,
        received: ReceivedRequest,
        source: Target,
        destination: Target,
        resource: Mapping[str, Any],
        identity: str,
    ) -> Response:
        stored = self._readable_source(received, source, destination, identity)
        written = self._written(stored, destination, resource)
        return JSONResponse(written.resource(destination.name, destination.key))

    def _readable_source(
        self, received: ReceivedRequest, source: Target, destination: Target, identity: str
    ) -> GcsObject:
        self._store.require(identity, "get", source)
        self._store.require_known(identity, source)
        _refuse_unknown_conditions(received, COPY_CONDITIONS)
        stored = source.stored
        if stored is None or received.parameter("sourceGeneration") not in (None, str(stored.generation)):
            raise _not_found(source)
        check_generation(received.parameter("ifSourceGenerationMatch"), stored)
        check_generation(received.parameter("ifGenerationMatch"), destination.stored)
        self._store.require_writing(identity, destination)
        return stored

    def _written(self, stored: GcsObject, destination: Target, resource: Mapping[str, Any]) -> GcsObject:
        given = {name: value for name, value in resource.items() if name in WRITABLE}
        kept = given or stored.resource("", "")
        return self._store.store(
            destination,
            stored.body,
            content_type=kept.get("contentType"),
            cache_control=kept.get("cacheControl"),
            content_disposition=kept.get("contentDisposition"),
            content_encoding=kept.get("contentEncoding"),
            content_language=kept.get("contentLanguage"),
            metadata=kept.get("metadata") or {},
            storage_class=given.get("storageClass"),
        )


def json_error(refusal: Refusal) -> Response:
    """The error document of the JSON API."""
    detail = {"message": refusal.message, "domain": "global", "reason": refusal.code}
    error = {"code": refusal.status, "message": refusal.message, "errors": [detail]}
    return JSONResponse({"error": error}, status_code=refusal.status)


async def _resource(request: Request, received: ReceivedRequest) -> dict[str, Any]:
    body = bytearray()
    async for chunk in body_of(request, received):
        body += chunk
        if len(body) > LARGEST_RESOURCE_BYTES:
            raise Refusal(400, "invalid", "The object resource is too large.")
    try:
        resource = json.loads(body) if body else {}
    except ValueError as error:
        raise Refusal(400, "parseError", "The body is not JSON.") from error
    if not isinstance(resource, dict):
        raise Refusal(400, "parseError", "The body is not an object resource.")
    for name, value in resource.items():
        if name not in WRITABLE | READ_ONLY:
            raise Refusal(501, "notImplemented", f"The member {name} is not part of this server.")
        if name == "metadata" and isinstance(value, dict) and all(isinstance(text, str) for text in value.values()):
            continue
        if name in WRITABLE and value is not None and not isinstance(value, str):
            raise Refusal(400, "invalid", f"The member {name} has the wrong type.")
    return resource


def _refuse_unknown_conditions(received: ReceivedRequest, known: frozenset[str]) -> None:
    for name, _ in received.query:
        if name.startswith("if") and name not in known:
            raise Refusal(501, "notImplemented", f"The precondition {name} is not part of this server.")


def _not_found(target: Target) -> Refusal:
    return Refusal(404, "notFound", f"No such object: {target.name}/{target.key}")


def _selected(answer: Mapping[str, Any], fields: str) -> dict[str, Any]:
    """The part of a listing that `items(a,b),nextPageToken`, or `items/a`, selects."""
    selected: dict[str, Any] = {}
    selector = r"(\w+)(?:\(([\w,]+)\)|/(\w+))?"
    if not re.fullmatch(f"{selector}(?:,{selector})*", fields):
        raise Refusal(400, "invalidParameter", "Invalid field selection.")
    for name, several, one in re.findall(selector, fields):
        members = (several or one).split(",")
        if name not in answer:
            continue
        if name == "items" and members != [""]:
            chosen = [{key: item[key] for key in members if key in item} for item in answer["items"]]
            selected.setdefault("items", [{} for _ in chosen])
            selected["items"] = [old | new for old, new in zip(selected["items"], chosen, strict=True)]
        else:
            selected[name] = answer[name]
    return selected
