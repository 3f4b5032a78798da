"""Publication with one Put Blob From URL: what is asked, and what each answer means. Azurite has no such request."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import urlsplit

import pytest

from emulators.azurite import ACCOUNT_NAME
from presign import ConfigurationError, StorageUnavailable
from presign.azure import client, publication
from presign.azure.publish_options import MAX_ONE_COPY_BYTES
from presign.backends.backend import AlreadyPublished, ObjectChanged, ObjectHead
from tests.azure.accounts import KEY, NOW, PENDING_GRANT, PENDING_KEY, query_of, utc_now
from tests.azure.stub_server import (
    Respond,
    StubServer,
    answer_with_headers,
    dropped_once,
    error_answer,
    in_turn,
    recorded,
)

Start = Callable[[Respond], StubServer]

HEAD = ObjectHead(size=100, content_type="image/png", etag="0xSOURCE", version="v-pending")
CREATED = answer_with_headers(201, {"ETag": '"0xCOPY"', "x-ms-version-id": "v-published"})
FOUND = answer_with_headers(200, {"ETag": '"0x1"', "Content-Length": "7", "x-ms-blob-type": "BlockBlob"})
CONTAINERS = {"container": "public", "pending_container": "pending"}


def publish(server: StubServer, head: ObjectHead = HEAD, **changes: Any) -> ObjectHead:
    return server.backend(**CONTAINERS).publish(replace(PENDING_GRANT, **changes), head)


def test_one_request_names_the_source_and_both_conditions_and_everything_that_is_granted(stub: Start) -> None:
    requests: list[BaseHTTPRequestHandler] = []
    server = stub(recorded(requests, CREATED))
    changes: dict[str, Any] = {
        "content_disposition": "inline",
        "cache_control": "no-store",
        "metadata": {"tenant": "7"},
        "tags": {"a": "b c", "d": ""},
        "storage_class": "Cold",
    }
    published = publish(server, **changes)
    assert published == ObjectHead(
        size=100,
        content_type="image/png",
        etag="0xCOPY",
        version="v-published",
        content_disposition="inline",
        cache_control="no-store",
        metadata={"tenant": "7"},
    )
    (request,) = requests
    assert (request.command, request.path) == ("PUT", f"/{ACCOUNT_NAME}/public/{KEY}")
    headers = {name.lower(): value for name, value in request.headers.items()}
    expected = {
        "x-ms-blob-type": "BlockBlob",
        "x-ms-source-if-match": '"0xSOURCE"',
        "if-none-match": "*",
        "x-ms-copy-source-blob-properties": "false",
        "x-ms-blob-content-type": "image/png",
        "x-ms-blob-content-disposition": "inline",
        "x-ms-blob-cache-control": "no-store",
        "x-ms-meta-tenant": "7",
        "x-ms-tags": "a=b%20c&d=",
        "x-ms-access-tier": "Cold",
        "content-length": "0",
        # Without x-ms-copy-source-tag-option, tags are replaced; Cold needs this version.
        "x-ms-version": "2021-12-02",
    }
    assert {name: headers.get(name) for name in expected} == expected
    assert "x-ms-copy-source-tag-option" not in headers
    source = headers["x-ms-copy-source"]
    assert source.startswith(f"{server.account_url}/pending/{PENDING_KEY}?")
    query = query_of(source)
    assert (query["sp"], query["sr"]) == ("r", "b")
    assert timedelta(0) < datetime.fromisoformat(query["se"]) - utc_now() <= timedelta(minutes=15)


def test_a_pending_blob_in_the_same_container_is_read_from_there(stub: Start) -> None:
    requests: list[BaseHTTPRequestHandler] = []
    stub(recorded(requests, CREATED)).backend().publish(PENDING_GRANT, HEAD)
    source = urlsplit(requests[0].headers["x-ms-copy-source"]).path
    assert (requests[0].path, source) == (
        f"/{ACCOUNT_NAME}/uploads/{KEY}",
        f"/{ACCOUNT_NAME}/uploads/{PENDING_KEY}",
    )


def test_the_service_reads_the_pending_blob_where_this_program_reaches_it(stub: Start) -> None:
    requests: list[BaseHTTPRequestHandler] = []
    server = stub(recorded(requests, CREATED))
    backend = server.backend(**CONTAINERS, public_account_url="https://files.example.com")
    backend.publish(PENDING_GRANT, HEAD)
    assert requests[0].headers["x-ms-copy-source"].startswith(f"{server.account_url}/pending/")


@pytest.mark.parametrize(
    ("answer", "kind", "requests"),
    [
        (error_answer(412, "SourceConditionNotMet"), ObjectChanged, 1),
        (in_turn(error_answer(412, "CannotVerifyCopySource"), error_answer(404)), ObjectChanged, 2),
        (in_turn(error_answer(412, "ConditionNotMet"), error_answer(404, "BlobNotFound")), ObjectChanged, 2),
        (error_answer(404, "CannotVerifyCopySource"), ObjectChanged, 1),
        (error_answer(404, "BlobNotFound"), ObjectChanged, 1),
        (error_answer(409, "BlobAlreadyExists"), AlreadyPublished, 1),
        (in_turn(error_answer(412, "ConditionNotMet"), FOUND), AlreadyPublished, 2),
        (in_turn(error_answer(412, "TargetConditionNotMet"), FOUND), AlreadyPublished, 2),
        # The first answer was lost, and the request is repeated.
        (dropped_once(error_answer(409, "BlobAlreadyExists")), AlreadyPublished, 2),
        (error_answer(404, "ContainerNotFound"), StorageUnavailable, 1),
        (error_answer(403, "CannotVerifyCopySource"), StorageUnavailable, 1),
        (error_answer(403, "AuthenticationFailed"), StorageUnavailable, 1),
        (error_answer(409, "BlobArchived"), StorageUnavailable, 1),
        (error_answer(409, "BlobUsesCustomerSpecifiedEncryption"), StorageUnavailable, 1),
        (error_answer(503, "ServerBusy"), StorageUnavailable, 2),
        (in_turn(error_answer(412, "ConditionNotMet"), error_answer(503, "ServerBusy")), StorageUnavailable, 3),
    ],
)
def test_each_answer_that_publishes_nothing_is_explained(
    stub: Start, answer: Respond, kind: type[Exception], requests: int
) -> None:
    server = stub(answer)
    with pytest.raises(kind) as caught:
        publish(server)
    assert type(caught.value) is kind
    assert server.requests == requests
    assert caught.value.__cause__ is None
    assert "sig=" not in "".join(traceback.format_exception(caught.value))


def test_a_blob_that_is_too_large_for_one_request_is_copied_in_blocks(stub: Start) -> None:
    requests: list[BaseHTTPRequestHandler] = []
    server = stub(recorded(requests, CREATED))
    assert publish(server, replace(HEAD, size=MAX_ONE_COPY_BYTES)).size == 5_000 * 1024**2
    assert [query.partition("?")[2] for query in (request.path for request in requests)] == [""]
    requests.clear()
    published = publish(server, replace(HEAD, size=MAX_ONE_COPY_BYTES + 1), storage_class="Archive")
    assert (published.etag, published.version) == ("0xCOPY", "v-published")
    ranges = [request.headers.get("x-ms-source-range") for request in requests]
    block = publication.BLOCK_BYTES
    assert ranges == [
        *(f"bytes={index * block}-{(index + 1) * block - 1}" for index in range(5)),
        f"bytes={5 * block}-{5 * block}",
        None,
    ]
    assert {request.headers.get("x-ms-source-if-match") for request in requests[:-1]} == {'"0xSOURCE"'}
    commit = requests[-1]
    assert commit.path.endswith("?comp=blocklist")
    assert (commit.headers["if-none-match"], commit.headers["x-ms-access-tier"]) == ("*", "Archive")


@pytest.mark.parametrize(
    ("failing", "call"), [(1, "Put Block From URL"), (6, "Put Block From URL"), (7, "Put Block List")]
)
def test_a_copy_in_blocks_reports_which_request_failed(stub: Start, failing: int, call: str) -> None:
    answers = [CREATED] * (failing - 1) + [error_answer(409, "SomeFailure")]
    size = MAX_ONE_COPY_BYTES + 1
    with pytest.raises(StorageUnavailable, match=f"answered {call} with SomeFailure"):
        publish(stub(in_turn(*answers)), replace(HEAD, size=size))


def slow(seconds: float, then: Respond) -> Respond:
    def respond(request: BaseHTTPRequestHandler, number: int) -> None:
        time.sleep(seconds)
        then(request, number)

    return respond


def test_a_large_copy_is_waited_for_longer_than_a_small_one(stub: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "READ_TIMEOUT_SECONDS", 0.3)
    server = stub(slow(1.0, CREATED))
    with pytest.raises(StorageUnavailable, match=r"does not answer \(ServiceResponseTimeoutError\)"):
        publish(server)
    assert server.requests == 1
    assert publish(server, replace(HEAD, size=2 * publication.MIN_COPIED_BYTES_PER_SECOND)).etag == "0xCOPY"


@pytest.mark.parametrize(
    ("changes", "field", "message"),
    [
        ({"storage_class": "STANDARD_IA"}, "storage_class", "must be an access tier: Hot, Cool, Cold, Archive"),
        ({"storage_class": "cool"}, "storage_class", "must be an access tier"),
        ({"tags": {str(number): "" for number in range(11)}}, "tags", "can have 10 tags"),
        ({"tags": {"": "x"}}, "tags", "1 to 128"),
        ({"tags": {"a" * 129: "x"}}, "tags", "1 to 128"),
        ({"tags": {"a": "x" * 257}}, "tags", "at most 256"),
        ({"tags": {"a": "x&y"}}, "tags", "ASCII letters"),
        ({"tags": {"ä": "x"}}, "tags", "ASCII letters"),
    ],
)
def test_tags_and_tiers_that_azure_does_not_accept_are_refused_with_the_ticket(
    stub: Start, changes: dict[str, Any], field: str, message: str
) -> None:
    server = stub(CREATED)
    with pytest.raises(ConfigurationError, match=message) as caught:
        server.backend().sign_upload(replace(PENDING_GRANT, **changes), NOW)
    assert caught.value.field == field
    assert server.requests == 0


def test_what_the_backend_says_of_itself(stub: Start) -> None:
    backend = stub(CREATED).backend(**CONTAINERS)
    assert backend.publish_options == {"tags", "storage_class"}
    assert backend.max_upload_bytes == 5_242_880_000
    assert not backend.has_public_prefixes
    assert not backend.checks_expiry_late
    upload = backend.sign_upload(replace(PENDING_GRANT, tags={"a": "b"}, storage_class="Hot"), NOW)
    # The client gives neither tags nor a tier: publication does.
    assert not {"x-ms-tags", "x-ms-access-tier"} & {name.lower() for name in upload.headers}
