"""What a store does in matters that presign depends on: asked with real requests, and answered in a few words."""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from botocore.exceptions import ClientError

from emulators.wire import Answer, Attempt, Form, send
from presign import Ticket
from tests.conftest import (
    PAGE_ORIGIN,
    PNG,
    PNG_SHA256,
    TOKEN_SECRET,
    Store,
    as_sent,
    client_of,
    png_request,
    seconds_ago,
    session_of,
)
from tests.stores.servers import PENDING_PREFIX, RunningStore, pending_identity

OTHER = PNG[:-1] + b"!"
_EVERYBODY = 'uri="http://acs.amazonaws.com/groups/global/AllUsers"'


def presigns_own_policy(running: RunningStore) -> str:
    """The policy of an identity as [Amazon S3](s3.md#rights) has it"""
    try:
        key = running.server.add_user("as-on-aws", pending_identity())
    except Exception as error:
        return f"not accepted ({type(error).__name__})"
    store = replace(running.limited, session=session_of(key))
    works = {}
    for method, status in (("put", 200), ("post", 201)):
        answer = send(as_sent(_pending(store, method).issue(png_request(size=len(PNG))), PNG))
        works[method.upper()] = answer.status == status
    client = client_of(store.endpoint_url, store.session)
    source = _put_object(running.almighty, "pending/policy", PNG)
    works["publication"] = (
        _status(lambda: client.copy_object(Bucket=store.bucket, Key="public/policy", CopySource=source)) == 200
    )
    failing = [what for what, worked in works.items() if not worked]
    return f"accepted; then 403 for {' and '.join(failing)}" if failing else "works"


def unsigned_copy_source(running: RunningStore) -> str:
    """`x-amz-copy-source` added to a PUT without guards"""
    return _copy(running.almighty, guards=False)


def unsigned_copy_source_and_guards(running: RunningStore) -> str:
    """the same with guards"""
    return _copy(running.almighty, guards=True)


def unsigned_copy_source_and_policy(running: RunningStore) -> str:
    """the same without guards, with the signer's policy against copies"""
    return _copy(running.limited, guards=False)


def unsigned_copy_source_of_a_part(running: RunningStore) -> str:
    """`x-amz-copy-source` added to a part without guards"""
    return _copy_of_a_part(running.almighty, guards=False)


def unsigned_copy_source_of_a_part_and_guards(running: RunningStore) -> str:
    """the same with guards"""
    return _copy_of_a_part(running.almighty, guards=True)


def unsigned_acl(running: RunningStore) -> str:
    """`x-amz-acl` or `x-amz-grant-read` added to a PUT without guards"""
    return _acl(running.almighty, guards=False)


def unsigned_acl_and_guards(running: RunningStore) -> str:
    """the same with guards"""
    return _acl(running.almighty, guards=True)


def unsigned_tags(running: RunningStore) -> str:
    """`x-amz-tagging` added to a PUT"""
    ticket, answer = _put(running.almighty, {"x-amz-tagging": "a=b"})
    if answer.status >= 300:
        return "refused"
    tags = running.almighty.admin.get_object_tagging(Bucket=running.almighty.bucket, Key=_pending_key(ticket))["TagSet"]
    return "**stored**" if tags else "ignored"


def unsigned_customer_key(running: RunningStore) -> str:
    """a customer's encryption key added to a PUT, without TLS"""
    key = secrets.token_bytes(32)
    prefix = "x-amz-server-side-encryption-customer"
    digest = base64.b64encode(hashlib.md5(key).digest()).decode()
    _, answer = _put(
        running.almighty,
        {
            f"{prefix}-algorithm": "AES256",
            f"{prefix}-key": base64.b64encode(key).decode(),
            f"{prefix}-key-md5": digest,
        },
    )
    return "refused" if answer.status >= 300 else "accepted"


def headers_of_a_form(running: RunningStore) -> str:
    """Content-Disposition and Cache-Control of a form"""
    presigner = _pending(running.almighty, "post", content_disposition="inline", cache_control="max-age=60")
    ticket = presigner.issue(png_request(size=len(PNG)))
    assert send(as_sent(ticket, PNG)).status == 201
    head = _head(running.almighty, _pending_key(ticket))
    stored = [name for name in ("ContentDisposition", "CacheControl") if head.get(name)]
    return "stored" if len(stored) == 2 else f"**dropped** ({2 - len(stored)} of 2)"


def cache_control_beside_a_form(running: RunningStore) -> str:
    """the header Cache-Control of the request that brings a form"""
    ticket = _pending(running.almighty, "post").issue(png_request(size=len(PNG)))
    form = as_sent(ticket, PNG)
    assert isinstance(form, Form)
    answer = send(form.attempt().with_header("Cache-Control", "no-cache"))
    assert answer.status == 201
    value = _head(running.almighty, _pending_key(ticket)).get("CacheControl")
    return "**stored with the object**" if value else "ignored"


def checksum_of_a_put(running: RunningStore) -> str:
    """other bytes than the signed SHA-256, PUT"""
    return _checksum(running.almighty, "put")


def checksum_of_a_form(running: RunningStore) -> str:
    """the same, POST"""
    return _checksum(running.almighty, "post")


def checksum_of_a_part(running: RunningStore) -> str:
    """the same, a part"""
    client, target = running.almighty.admin, {"Bucket": running.almighty.bucket, "Key": "private/part"}
    upload_id = client.create_multipart_upload(**target)["UploadId"]
    digest = base64.b64encode(hashlib.sha256(PNG).digest()).decode()
    status = _status(
        lambda: client.upload_part(**target, UploadId=upload_id, PartNumber=1, Body=OTHER, ChecksumSHA256=digest)
    )
    client.abort_multipart_upload(**target, UploadId=upload_id)
    return "**stored**" if status == 200 else "refused"


def create_only_put(running: RunningStore) -> str:
    """`If-None-Match: *` on PUT"""
    client, target = running.almighty.admin, {"Bucket": running.almighty.bucket, "Key": "private/taken"}
    _put_object(running.almighty, "private/taken", PNG)
    return _condition(_status(lambda: client.put_object(**target, Body=OTHER, IfNoneMatch="*")))


def create_only_copy(running: RunningStore) -> str:
    """`If-None-Match: *` on CopyObject"""
    client, target = running.almighty.admin, {"Bucket": running.almighty.bucket, "Key": "private/taken"}
    source = _put_object(running.almighty, "private/source", OTHER)
    _put_object(running.almighty, "private/taken", PNG)
    return _condition(_status(lambda: client.copy_object(**target, CopySource=source, IfNoneMatch="*")))


def create_only_commit(running: RunningStore) -> str:
    """`If-None-Match: *` on CompleteMultipartUpload"""
    client, target = running.almighty.admin, {"Bucket": running.almighty.bucket, "Key": "private/taken"}
    _put_object(running.almighty, "private/taken", PNG)
    upload_id = client.create_multipart_upload(**target)["UploadId"]
    part = client.upload_part(**target, UploadId=upload_id, PartNumber=1, Body=OTHER)
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    return _condition(
        _status(
            lambda: client.complete_multipart_upload(
                **target, UploadId=upload_id, MultipartUpload=parts, IfNoneMatch="*"
            )
        )
    )


def etag_of_a_source(running: RunningStore) -> str:
    """`x-amz-copy-source-if-match` on CopyObject"""
    client, bucket = running.almighty.admin, running.almighty.bucket
    copy = {"Bucket": bucket, "Key": "private/copied", "CopySource": _put_object(running.almighty, "private/s", PNG)}
    etag = f'"{"0" * 32}"'
    if _status(lambda: client.copy_object(**copy, CopySourceIfMatch=etag)) == 412:
        return "obeyed"

    def in_cephs_words(params: dict[str, Any], **_: Any) -> None:
        params["headers"]["x-amz-copy-if-match"] = etag

    client.meta.events.register("before-call.s3.CopyObject", in_cephs_words)
    try:
        status = _status(lambda: client.copy_object(**copy))
    finally:
        client.meta.events.unregister("before-call.s3.CopyObject", in_cephs_words)
    return "**ignored**; obeyed as `x-amz-copy-if-match`" if status == 412 else "**ignored**"


def etag_of_a_delete(running: RunningStore) -> str:
    """`If-Match` on DELETE"""
    client, target = running.almighty.admin, {"Bucket": running.almighty.bucket, "Key": "private/deleted"}
    _put_object(running.almighty, "private/deleted", PNG)
    return _condition(_status(lambda: client.delete_object(**target, IfMatch=f'"{"0" * 32}"')))


def date_in_the_future(running: RunningStore) -> str:
    """a PUT whose URL begins in an hour"""
    presigner = running.almighty.presigner(upload_method="put", clock=seconds_ago(-3600))
    answer = send(as_sent(presigner.issue(png_request(size=len(PNG))), PNG))
    return "**accepted**" if answer.status == 200 else "refused"


def another_region(running: RunningStore) -> str:
    """another region than the server's"""
    backend = running.almighty.backend(region="eu-west-9", upload_method="put")
    presigner = running.almighty.presigner(upload_method="put")
    other = type(presigner)(backend=backend, policy=presigner.policy, secret=TOKEN_SECRET)
    answer = send(as_sent(other.issue(png_request(size=len(PNG))), PNG))
    return "accepted" if answer.status == 200 else f"{answer.status}"


def location_of_a_form(running: RunningStore) -> str:
    """`Location` in the answer to a form"""
    answer = send(as_sent(_pending(running.almighty, "post").issue(png_request(size=len(PNG))), PNG))
    value = answer.headers.get("location")
    if value is None:
        return "no"
    return "yes" if value.startswith("http") else "without a scheme"


def cors_of_a_bucket(running: RunningStore) -> str:
    """CORS rules of a bucket"""
    store = running.almighty
    rules = [{"AllowedOrigins": [PAGE_ORIGIN], "AllowedMethods": ["PUT", "POST"], "AllowedHeaders": ["*"]}]
    status = _status(lambda: store.admin.put_bucket_cors(Bucket=store.bucket, CORSConfiguration={"CORSRules": rules}))
    allowed, other = (_preflight(store, origin) for origin in (PAGE_ORIGIN, "https://other.example"))
    answer = "works" if (allowed, other) == (True, False) else f"allowed: {allowed}, another origin: {other}"
    return answer if status == 200 else f"PutBucketCors answers {status}; by the server's settings: {answer}"


def a_missing_bucket(running: RunningStore) -> str:
    """a listing of no keys (`MaxKeys=0`) in a missing bucket"""
    client = running.almighty.admin
    return str(_status(lambda: client.list_objects_v2(Bucket="there-is-no-such-bucket", MaxKeys=0)))


MATTERS: tuple[Callable[[RunningStore], str], ...] = (
    presigns_own_policy,
    unsigned_copy_source,
    unsigned_copy_source_and_guards,
    unsigned_copy_source_and_policy,
    unsigned_copy_source_of_a_part,
    unsigned_copy_source_of_a_part_and_guards,
    unsigned_acl,
    unsigned_acl_and_guards,
    unsigned_tags,
    unsigned_customer_key,
    headers_of_a_form,
    cache_control_beside_a_form,
    checksum_of_a_put,
    checksum_of_a_form,
    checksum_of_a_part,
    create_only_put,
    create_only_copy,
    create_only_commit,
    etag_of_a_source,
    etag_of_a_delete,
    date_in_the_future,
    another_region,
    location_of_a_form,
    cors_of_a_bucket,
    a_missing_bucket,
)
"""The rows of the table, each with its title in the docstring."""


def _pending(store: Store, method: str, **policy: Any) -> Any:
    return store.presigner(upload_method=method, pending_prefix=PENDING_PREFIX, **policy)


def _pending_key(ticket: Ticket) -> str:
    return PENDING_PREFIX + ticket.key.rpartition("/")[2]


def _put(store: Store, headers: dict[str, str], *, guards: bool = False) -> tuple[Ticket, Answer]:
    presigner = _pending(store, "put")
    guarded = type(presigner)(
        backend=store.backend(upload_method="put", sign_guards=guards), policy=presigner.policy, secret=TOKEN_SECRET
    )
    ticket: Ticket = guarded.issue(png_request(size=len(PNG)))
    attempt = as_sent(ticket, PNG)
    assert isinstance(attempt, Attempt)
    return ticket, send(replace(attempt, headers=(*attempt.headers, *headers.items())))


def _copy(store: Store, *, guards: bool) -> str:
    # A pending upload of somebody else, which even a limited signer may read.
    source = _put_object(store, "pending/secret", OTHER)
    ticket, answer = _put(store, {"x-amz-copy-source": f"/{source}"}, guards=guards)
    return "refused" if not store.holds(_pending_key(ticket)) else _as_copied(store, ticket, answer)


def _as_copied(store: Store, ticket: Ticket, answer: Answer) -> str:
    stored = store.admin.get_object(Bucket=store.bucket, Key=_pending_key(ticket))["Body"].read()
    return "**the other object is copied**" if stored == OTHER else f"ignored ({answer.status})"


def _copy_of_a_part(store: Store, *, guards: bool) -> str:
    size = 5 * 1024**2
    source = _put_object(store, "private/large", b"s" * size)
    presigner = _pending(store, "put", max_bytes=10 * size, parts_from_bytes=1, part_bytes=size)
    guarded = type(presigner)(
        backend=store.backend(upload_method="put", sign_guards=guards), policy=presigner.policy, secret=TOKEN_SECRET
    )
    ticket = guarded.issue(png_request(size=size))
    assert ticket.parts is not None
    (part,) = ticket.parts.requests
    headers = {**part.headers, "x-amz-copy-source": f"/{source}"}
    answer = send(Attempt(method="PUT", url=part.url, headers=tuple(headers.items()), body=PNG.ljust(size, b"p")))
    listed = guarded.list_parts(ticket.token).numbers
    guarded.abort(ticket.token)
    if not listed:
        return "refused"
    return "**the other object is copied**" if b"CopyPartResult" in answer.body else f"ignored ({answer.status})"


def _acl(store: Store, *, guards: bool) -> str:
    readable = []
    for name, value in (("x-amz-acl", "public-read"), ("x-amz-grant-read", _EVERYBODY)):
        ticket, answer = _put(store, {name: value}, guards=guards)
        url = f"{store.endpoint_url}/{store.bucket}/{_pending_key(ticket)}"
        if send(Attempt(method="GET", url=url)).status == 200:
            return "**everybody can read the pending upload**"
        readable.append(answer.status < 300)
    return "ignored" if any(readable) else "refused"


def _checksum(store: Store, method: str) -> str:
    ticket = _pending(store, method).issue(png_request(size=len(PNG), sha256=PNG_SHA256))
    return "refused" if send(as_sent(ticket, OTHER)).status >= 400 else "**stored**"


def _put_object(store: Store, key: str, body: bytes) -> str:
    store.admin.put_object(Bucket=store.bucket, Key=key, Body=body, ContentType="image/png")
    return f"{store.bucket}/{key}"


def _head(store: Store, key: str) -> Any:
    return store.admin.head_object(Bucket=store.bucket, Key=key)


def _status(call: Callable[[], Any]) -> int:
    try:
        status: int = call()["ResponseMetadata"]["HTTPStatusCode"]
    except ClientError as error:
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
    return status


def _condition(status: int) -> str:
    return "obeyed" if status == 412 else "**ignored**"


def _preflight(store: Store, origin: str) -> bool:
    headers = (("Origin", origin), ("Access-Control-Request-Method", "PUT"))
    url = f"{store.endpoint_url}/{store.bucket}/pending/x"
    answer = send(Attempt(method="OPTIONS", url=url, headers=headers))
    return answer.status < 300 and answer.headers.get("access-control-allow-origin") in {origin, "*"}
