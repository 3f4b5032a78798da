"""The views: what they answer, in which order they refuse, and that they block nobody."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from io import BytesIO
from types import ModuleType, SimpleNamespace
from typing import Any

import httpx
import pytest
from asgiref.sync import ThreadSensitiveContext
from django.core.exceptions import PermissionDenied
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.core.signals import got_request_exception
from django.db import connections
from django.test import AsyncClient, Client
from django.test.utils import override_settings

from emulators.serving import serve
from presign import Accept, Completion, InspectedObject, NotYet, Presigner, Reject, TooManyRequests
from presign.django import configuration, views
from presign.django.signals import upload_completed, upload_rejected
from presign.http.async_endpoints import AsyncEndpoints
from presign.http.request_body import MAX_BODY_BYTES
from tests.conftest import PNG, Store
from tests.django.conftest import Project
from tests.django.uploading import csrf_client, put_file, signed_in, ticket_for
from tests.small_parts import SmallPartsBackend

pytestmark = pytest.mark.usefixtures("project")
UPLOAD = "/uploads/photos/upload"
COMPLETE = "/uploads/photos/complete"
PARTS = "/uploads/photos/parts"
LIST_PARTS = "/uploads/photos/parts/list"
ABORT = "/uploads/photos/abort"


def _post(client: Any, path: str, body: object, **options: Any) -> Any:
    return client.post(path, json.dumps(body), content_type="application/json", **options)


def _raises(error: Exception) -> Callable[[Any], bool]:
    def authorize(request: Any) -> bool:
        raise error

    return authorize


def test_an_upload_is_stored_and_completed_under_the_user(users: ModuleType, s3_reference: Store) -> None:
    client = signed_in(users.alice)
    answer = _post(client, UPLOAD, {"type": "image/png", "size": len(PNG), "name": "cat.png"})
    assert (answer.status_code, answer["Cache-Control"]) == (200, "no-store")
    put_file(answer.json(), PNG)
    stored = _post(client, COMPLETE, {"token": answer.json()["token"]})
    assert (stored.status_code, stored["Cache-Control"], stored["Content-Type"]) == (
        200,
        "no-store",
        "application/json",
    )
    assert stored.json()["size"] == len(PNG)
    assert s3_reference.holds(stored.json()["key"])


def test_another_user_cannot_complete_the_upload(users: ModuleType) -> None:
    ticket = ticket_for(users.alice)
    put_file(ticket, PNG)
    for client in (signed_in(users.mallory), signed_in(users.alice)):
        answer = _post(client, COMPLETE, {"token": ticket["token"]})
        code = answer.json().get("code")
        assert (answer.status_code, code) == ((403, "invalid_token") if client.user != users.alice else (200, None))


def test_a_stranger_is_refused_with_401_and_a_user_without_permission_with_403(
    users: ModuleType, project: Project
) -> None:
    answer = _post(Client(), UPLOAD, {"type": "image/png"})
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    for authorize in (lambda _: False, _raises(PermissionDenied("a reason for the log"))):
        project(authorize=authorize)
        answer = _post(signed_in(users.alice), UPLOAD, {"type": "image/png"})
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


@pytest.mark.parametrize("verdict", [None, 1, "alice"])
def test_authorize_that_returns_neither_true_nor_false_allows_nothing(
    users: ModuleType, project: Project, verdict: object, caplog: pytest.LogCaptureFixture
) -> None:
    project(authorize=lambda request: verdict)
    failed: list[object] = []
    got_request_exception.connect(receiver := lambda request, **_: failed.append(request))
    answer = _post(signed_in(users.alice), UPLOAD, {"type": "image/png"})
    got_request_exception.disconnect(receiver)
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert "authorize must return True or False" in caplog.text
    assert "authorize must return" not in answer.content.decode()
    assert len(failed) == 1


def test_a_coroutine_function_may_authorize(users: ModuleType, project: Project) -> None:
    async def authorize(request: Any) -> bool:
        await asyncio.sleep(0)
        return bool(request.headers.get("X-Allowed"))

    project(authorize=authorize)
    client = signed_in(users.alice)
    assert _post(client, UPLOAD, {"type": "image/png"}).status_code == 403
    assert _post(client, UPLOAD, {"type": "image/png"}, HTTP_X_ALLOWED="yes").status_code == 200


def test_retry_after_comes_with_too_many_requests(users: ModuleType, project: Project) -> None:
    project(authorize=_raises(TooManyRequests("slowly", retry_after=7)))
    answer = _post(signed_in(users.alice), UPLOAD, {"type": "image/png"})
    assert (answer.status_code, answer["Retry-After"], answer["Cache-Control"]) == (429, "7", "no-store")
    assert answer["Content-Type"] == "application/problem+json"


class _Unreadable(BytesIO):
    def read(self, *_: Any) -> bytes:
        raise AssertionError("the body was read")

    readline = read


@pytest.mark.parametrize(
    ("content_type", "status"), [("application/json", 401), ("multipart/form-data; boundary=x", 401)]
)
def test_a_stranger_is_refused_before_anything_of_the_body_is_read(content_type: str, status: int) -> None:
    environ = {
        **Client()._base_environ(),
        "REQUEST_METHOD": "POST",
        "PATH_INFO": UPLOAD,
        "CONTENT_TYPE": content_type,
        "CONTENT_LENGTH": "80000000",
        "HTTP_COOKIE": "csrftoken=" + "a" * 32,
        "wsgi.input": _Unreadable(),
    }
    statuses: list[str] = []
    list(WSGIHandler()(environ, lambda line, headers: statuses.append(line)))
    assert statuses == [f"{status} Unauthorized"]


def test_a_request_without_the_csrf_token_is_refused_although_the_session_is_valid(users: ModuleType) -> None:
    client, token = csrf_client(users.alice)
    answer = _post(client, UPLOAD, {"type": "image/png"})
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert "CSRF" in answer.json()["detail"]
    for path in (UPLOAD, COMPLETE, PARTS, LIST_PARTS, ABORT):
        assert _post(client, path, {"token": "x"}, HTTP_X_CSRFTOKEN="b" * 32).json()["code"] == "forbidden"
    assert _post(client, UPLOAD, {"type": "image/png"}, HTTP_X_CSRFTOKEN=token).status_code == 200


def test_uppy_needs_the_csrf_token_to_begin_to_complete_and_to_end_an_upload_in_parts(
    users: ModuleType, project: Project, s3_reference: Store
) -> None:
    project(
        backend=lambda: SmallPartsBackend(s3_reference),
        prefix="public/",
        parts_from_bytes=10,
        part_bytes=20,
        companion=True,
    )
    client, token = csrf_client(users.alice)
    given = {"HTTP_X_CSRFTOKEN": token}
    path = "/uploads/photos/s3/multipart"
    begin = {"filename": "cat.png", "type": "image/png", "metadata": {"size": len(PNG), "part_size": 20}}
    assert _post(client, path, begin).json()["code"] == "forbidden"
    begun = _post(client, path, begin, **given)
    assert begun.status_code == 200, begun.content
    address = f"{path}/{begun.json()['uploadId']}"
    assert client.get(f"{address}/1").status_code == 200, "nothing is changed, so a browser of another page may ask"
    assert _post(client, f"{address}/complete", {}).json()["code"] == "forbidden"
    assert _post(client, f"{address}/complete", {}, **given).json()["code"] == "parts_missing"
    refused = client.delete(address)
    assert (refused.status_code, "CSRF" in refused.json()["message"]) == (403, True)
    assert client.get(address).json() == []
    assert client.delete(address, **given).json() == {}
    assert client.get(address).json()["code"] == "upload_ended"


def test_a_list_needs_the_csrf_token_and_is_bound_to_the_user(users: ModuleType) -> None:
    client, token = csrf_client(users.alice)
    for path, items in ((UPLOAD, [{"type": "image/png"}]), (COMPLETE, [{"token": "x"}])):
        refused = _post(client, path, items)
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    given = {"HTTP_X_CSRFTOKEN": token}
    (listed,) = _post(client, UPLOAD, [{"type": "image/png"}], **given).json()
    put_file(listed["body"], PNG)
    tokens = [{"token": listed["body"]["token"]}]
    (refused,) = _post(signed_in(users.mallory), COMPLETE, tokens).json()
    assert (refused["status"], refused["body"]["code"]) == (403, "invalid_token")
    assert [each["status"] for each in _post(client, COMPLETE, tokens, **given).json()] == [200]


@pytest.mark.parametrize("path", [UPLOAD, COMPLETE])
def test_each_kind_may_have_its_own_number_of_files_in_a_request(
    users: ModuleType, project: Project, path: str
) -> None:
    project(max_files=2)
    client, item = signed_in(users.alice), {"type": "image/png"} if path == UPLOAD else {"token": "x"}
    assert len(_post(client, path, [item] * 2).json()) == 2
    refused = _post(client, path, [item] * 3)
    assert (refused.status_code, refused.json()["code"], refused.json()["limit"]) == (413, "too_many_files", 2)
    too_long = _post(client, path, [{**item, "more": "x" * 2 * MAX_BODY_BYTES}])
    assert (too_long.status_code, too_long.json()["limit"]) == (413, 2 * MAX_BODY_BYTES)


@pytest.mark.parametrize("is_async", [False, True], ids=["wsgi", "asgi"])
def test_the_completions_of_a_list_use_the_database_from_threads_and_close_their_connections(
    users: ModuleType, project: Project, is_async: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads, closed = list[str](), list[str]()

    def close_all() -> None:
        closed.append(threading.current_thread().name)
        connections.close_all()

    monkeypatch.setattr(views, "connections", SimpleNamespace(close_all=close_all))

    def on_complete(completion: Completion) -> None:
        threads.append(threading.current_thread().name)
        found = users.alice.__class__.objects.get(pk=completion.owner)
        assert found.username == "alice"

    project(on_complete=on_complete)
    tickets = [ticket_for(users.alice, name=f"{number}.png") for number in range(3)]
    for ticket in tickets:
        put_file(ticket, PNG)
    tokens = [{"token": ticket["token"]} for ticket in tickets]
    answer = _listed(users.alice, tokens, is_async=is_async)
    assert [each["status"] for each in answer] == [200] * 3
    assert threads == closed == ["presign complete"] * 3


@pytest.mark.parametrize("is_async", [False, True], ids=["wsgi", "asgi"])
def test_each_file_of_a_list_has_its_signals_its_refusal_and_its_failure(
    users: ModuleType, project: Project, is_async: bool, caplog: pytest.LogCaptureFixture
) -> None:
    completed, rejected, reported = list[str | None](), list[Any](), list[Any]()

    def inspect(found: InspectedObject) -> Accept | Reject:
        return Reject("it is a dog") if found.name == "dog.png" else Accept()

    async def on_complete(completion: Completion) -> None:
        await asyncio.sleep(0)
        if completion.name == "denied.png":
            raise PermissionDenied
        if completion.name == "fails.png":
            raise RuntimeError("a detail for the log")

    def on_completed(completion: Completion, **_: object) -> None:
        completed.append(completion.name)

    def on_rejected(error: Exception, owner: str | None, **_: object) -> None:
        rejected.append((str(error), owner))

    def on_fault(**given: Any) -> None:
        reported.append((given["request"].path, str(sys.exc_info()[1])))

    project(inspect=inspect, on_complete=on_complete)
    names = ("cat.png", "dog.png", "denied.png", "fails.png")
    tickets = [ticket_for(users.alice, name=name) for name in names]
    for ticket in tickets:
        put_file(ticket, PNG)
    upload_completed.connect(on_completed)
    upload_rejected.connect(on_rejected)
    got_request_exception.connect(on_fault)
    try:
        with caplog.at_level(logging.ERROR, logger="presign"):
            answers = _listed(users.alice, [{"token": ticket["token"]} for ticket in tickets], is_async=is_async)
    finally:
        upload_completed.disconnect(on_completed)
        upload_rejected.disconnect(on_rejected)
        got_request_exception.disconnect(on_fault)
    verdicts = [(each["status"], each["body"].get("code")) for each in answers]
    assert verdicts == [(200, None), (422, "rejected"), (403, "forbidden"), (500, "internal")]
    assert completed == ["cat.png"]
    assert rejected == [("it is a dog", str(users.alice.pk))]
    assert reported == [(COMPLETE, "a detail for the log")]
    assert caplog.text.count("RuntimeError: a detail for the log") == 1


def _listed(user: Any, tokens: list[dict[str, str]], *, is_async: bool) -> list[Any]:
    """Complete the uploads of a user in one request."""
    client: Any = (AsyncClient if is_async else Client)(raise_request_exception=False)
    client.force_login(user)
    answer = asyncio.run(_post(client, COMPLETE, tokens)) if is_async else _post(client, COMPLETE, tokens)
    assert answer.status_code == 200, answer.content
    listed: list[Any] = answer.json()
    return listed


def test_the_csrf_token_is_checked_also_in_a_project_without_the_middleware(users: ModuleType) -> None:
    client, token = csrf_client(users.alice)
    kept = ["django.contrib.sessions.middleware.SessionMiddleware"]
    kept += ["django.contrib.auth.middleware.AuthenticationMiddleware"]
    with override_settings(MIDDLEWARE=kept):
        client.handler.load_middleware()
        assert _post(client, UPLOAD, {"type": "image/png"}).status_code == 403
        assert _post(client, UPLOAD, {"type": "image/png"}, HTTP_X_CSRFTOKEN=token).status_code == 200


def test_a_body_that_is_too_large_or_no_json_is_refused(users: ModuleType) -> None:
    client = signed_in(users.alice)
    large = _post(client, UPLOAD, {"type": "x" * MAX_BODY_BYTES})
    assert (large.status_code, large.json()["code"]) == (413, "body_too_large")
    # Servers of WSGI refuse an answer with this header.
    assert "Connection" not in large
    form = client.post(UPLOAD, {"type": "image/png"})
    assert (form.status_code, form.json()["code"]) == (415, "unsupported_media_type")
    wrong = _post(client, UPLOAD, {"types": "image/png"})
    assert (wrong.status_code, wrong.json()["code"]) == (400, "invalid_request")


def test_an_unknown_alias_and_another_method_are_problems(users: ModuleType) -> None:
    client = signed_in(users.alice)
    unknown = _post(client, "/uploads/videos/upload", {"type": "image/png"})
    assert (unknown.status_code, unknown.json()["code"]) == (404, "not_found")
    method = client.get(UPLOAD)
    assert (method.status_code, method.json()["code"], method["Allow"]) == (405, "method_not_allowed", "POST")


def test_atomic_requests_of_the_project_are_no_error(users: ModuleType) -> None:
    client = signed_in(users.alice)
    connections["default"].settings_dict["ATOMIC_REQUESTS"] = True
    try:
        assert _post(client, UPLOAD, {"type": "image/png"}).status_code == 200
    finally:
        connections["default"].settings_dict["ATOMIC_REQUESTS"] = False


def test_the_signals_say_what_was_completed_and_what_was_rejected(users: ModuleType, project: Project) -> None:
    def inspect(found: InspectedObject) -> Reject | NotYet:
        return Reject("it is a dog") if found.name == "dog.png" else NotYet(retry_after=3)

    completed: list[Completion] = []
    rejected: list[tuple[str, str, str | None]] = []

    def on_completed(completion: Completion, **_: object) -> None:
        completed.append(completion)

    def on_rejected(alias: str, error: Exception, owner: str | None, **_: object) -> None:
        rejected.append((alias, str(error), owner))

    upload_completed.connect(on_completed, sender=Presigner)
    upload_rejected.connect(on_rejected, sender=Presigner)
    client = signed_in(users.alice)
    cat, dog, other = (ticket_for(users.alice, name=name) for name in ("cat.png", "dog.png", "other.png"))
    for ticket in (cat, dog, other):
        put_file(ticket, PNG)
    assert _post(client, COMPLETE, {"token": cat["token"]}).status_code == 200
    project(inspect=inspect)
    pending = _post(client, COMPLETE, {"token": other["token"]})
    assert (pending.status_code, pending["Retry-After"]) == (202, "3")
    assert _post(client, COMPLETE, {"token": dog["token"]}).status_code == 422
    assert [(each.name, each.owner) for each in completed] == [("cat.png", str(users.alice.pk))]
    assert rejected == [("photos", "it is a dog", str(users.alice.pk))]


def test_on_complete_may_be_a_coroutine_function_and_the_signal_follows_it(users: ModuleType, project: Project) -> None:
    heard: list[str] = []

    async def on_complete(completion: Completion) -> None:
        await asyncio.sleep(0)
        heard.append("on_complete")

    upload_completed.connect(receiver := lambda **_: heard.append("signal"))
    project(on_complete=on_complete)
    ticket = ticket_for(users.alice)
    put_file(ticket, PNG)
    assert _post(signed_in(users.alice), COMPLETE, {"token": ticket["token"]}).status_code == 200
    upload_completed.disconnect(receiver)
    assert heard == ["on_complete", "signal"]


def test_under_asgi_a_completion_that_hangs_delays_no_other_request(users: ModuleType, project: Project) -> None:
    released, waiting = threading.Event(), threading.Event()

    def on_complete(completion: Completion) -> None:
        waiting.set()
        assert released.wait(20)

    project(on_complete=on_complete)
    ticket = ticket_for(users.alice)
    put_file(ticket, PNG)

    client, other = AsyncClient(), AsyncClient()
    client.force_login(users.alice)
    other.force_login(users.alice)

    async def run() -> tuple[int, int]:
        hanging = asyncio.create_task(_post(client, COMPLETE, {"token": ticket["token"]}))
        while not waiting.is_set():
            await asyncio.sleep(0.01)
        answer = await asyncio.wait_for(_post(other, UPLOAD, {"type": "image/png"}), 10)
        assert not hanging.done()
        released.set()
        return answer.status_code, (await hanging).status_code

    try:
        assert asyncio.run(run()) == (200, 200)
    finally:
        released.set()


def test_under_asgi_a_storage_that_hangs_takes_a_limited_number_of_threads_and_time(
    users: ModuleType, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = threading.Event()
    monkeypatch.setattr(views, "_endpoints", AsyncEndpoints(max_threads=2, timeout_seconds=0.5))
    project(on_complete=lambda completion: released.wait(20) and None)
    tickets = [ticket_for(users.alice) for _ in range(4)]
    for ticket in tickets:
        put_file(ticket, PNG)
    client = AsyncClient()
    client.force_login(users.alice)

    async def run() -> tuple[list[Any], Any]:
        completions = [_post(client, COMPLETE, {"token": ticket["token"]}) for ticket in tickets]
        late = await asyncio.gather(*completions)
        return late, await _post(client, UPLOAD, {"type": "image/png"})

    try:
        late, ticket = asyncio.run(run())
        hanging = [thread for thread in threading.enumerate() if thread.name == "presign complete"]
        assert len(hanging) == 2
        # The interpreter does not wait for daemons when the server is stopped.
        assert all(thread.daemon for thread in hanging)
    finally:
        released.set()
    assert [(answer.status_code, answer["Retry-After"]) for answer in late] == [(503, "5")] * 4
    assert ticket.status_code == 200
    for each in hanging:
        each.join(20)
    assert _post(signed_in(users.alice), COMPLETE, {"token": tickets[3]["token"]}).status_code == 200


def test_on_a_server_of_asgi_an_upload_is_completed_for_its_user_alone(users: ModuleType, project: Project) -> None:
    seen: list[str] = []

    def on_complete(completion: Completion) -> None:
        from django.contrib.auth.models import User

        seen.append(User.objects.get(pk=completion.owner).username)

    project(on_complete=on_complete)
    token = "a" * 32
    session = signed_in(users.alice).cookies["sessionid"].value
    with override_settings(ALLOWED_HOSTS=["127.0.0.1"]), serve(ASGIHandler()) as url:
        headers = {"X-CSRFToken": token}
        with httpx.Client(base_url=url, headers=headers, cookies={"sessionid": session, "csrftoken": token}) as alice:
            ticket = alice.post(UPLOAD, json={"type": "image/png"}).json()
            put_file(ticket, PNG)
            stranger = httpx.post(f"{url}{COMPLETE}", json={"token": ticket["token"]})
            assert (stranger.status_code, seen) == (401, [])
            assert alice.post(COMPLETE, json={"token": ticket["token"]}).status_code == 200
    assert seen == ["alice"]


def test_the_settings_of_an_alias_are_read_once(users: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    client = signed_in(users.alice)
    assert _post(client, UPLOAD, {"type": "image/png"}).status_code == 200

    def refuse(*_: Any) -> None:
        raise AssertionError("the settings were read again")

    monkeypatch.setattr(configuration, "_function", refuse)
    assert _post(client, UPLOAD, {"type": "image/png"}).status_code == 200


def _large_ticket(user: Any, project: Project, store: Store, **hooks: Any) -> dict[str, Any]:
    """Return a ticket of a file that came in parts, after it is stored."""
    project(backend=lambda: SmallPartsBackend(store), prefix="public/", parts_from_bytes=10, part_bytes=20, **hooks)
    ticket = ticket_for(user, name="cat.png")
    for request in ticket["parts"]["requests"]:
        start = 20 * (request["number"] - 1)
        part = PNG[start : start + 20]
        assert httpx.put(request["url"], headers=request["headers"], content=part).status_code == 200
    return ticket


@pytest.mark.parametrize("is_async", [False, True], ids=["wsgi", "asgi"])
def test_the_completion_of_a_large_file_uses_the_database_from_a_thread_of_its_own_and_closes_its_connection(
    users: ModuleType, project: Project, s3_reference: Store, is_async: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "_endpoints", AsyncEndpoints(timeout_seconds=0.2))
    released, threads, closed = threading.Event(), list[str](), list[str]()

    def close_all() -> None:
        closed.append(threading.current_thread().name)
        connections.close_all()

    monkeypatch.setattr(views, "connections", SimpleNamespace(close_all=close_all))

    def on_complete(completion: Completion) -> None:
        assert released.wait(20)
        threads.append(threading.current_thread().name)
        users.alice.__class__.objects.filter(pk=completion.owner).update(first_name=completion.name)

    ticket = _large_ticket(users.alice, project, s3_reference, on_complete=on_complete)
    answers = _answers_until_it_ends(users.alice, ticket, released, is_async=is_async)
    assert [answers[0].status_code, answers[-1].status_code] == [202, 200], answers[-1].content
    assert answers[0]["Retry-After"] == "1"
    assert threads == ["presign large"]
    assert closed == ["presign large"]
    users.alice.refresh_from_db()
    assert users.alice.first_name == "cat.png"


@pytest.mark.parametrize("is_async", [False, True], ids=["wsgi", "asgi"])
def test_for_a_large_file_a_coroutine_function_uses_the_database_also_after_the_request_has_ended(
    users: ModuleType, project: Project, s3_reference: Store, is_async: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "_endpoints", AsyncEndpoints(timeout_seconds=0.2))
    released = threading.Event()
    found: list[str] = []

    async def on_complete(completion: Completion) -> None:
        assert await asyncio.to_thread(released.wait, 20)
        user = await users.alice.__class__.objects.aget(pk=completion.owner)
        found.append(user.username)

    ticket = _large_ticket(users.alice, project, s3_reference, on_complete=on_complete)
    answers = _answers_until_it_ends(users.alice, ticket, released, is_async=is_async)
    assert (answers[0].status_code, answers[-1].status_code) == (202, 200), answers[-1].content
    assert found == ["alice"]


def _answers_until_it_ends(user: Any, ticket: Any, released: threading.Event, *, is_async: bool) -> list[Any]:
    """Ask for the completion again and again; after the first answer, release what it waits for."""
    body = {"token": ticket["token"]}
    client: Any = AsyncClient() if is_async else Client()
    client.force_login(user)

    async def complete_async() -> Any:
        # Django's handler of ASGI does the same for each request; its test client does not.
        async with ThreadSensitiveContext():
            return await _post(client, COMPLETE, body)

    answers: list[Any] = []
    with closing(asyncio.new_event_loop()) as loop:
        while len(answers) < 100 and (not answers or answers[-1].status_code == 202):
            answers.append(loop.run_until_complete(complete_async()) if is_async else _post(client, COMPLETE, body))
            released.set()
    return answers


def test_a_fault_of_the_server_is_logged_with_its_traceback_and_not_told(
    users: ModuleType, project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    project(authorize=_raises(RuntimeError("a detail for the log")))
    with caplog.at_level(logging.ERROR, logger="presign"):
        answer = _post(signed_in(users.alice), UPLOAD, {"type": "image/png"})
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert "a detail for the log" not in answer.content.decode()
    assert "RuntimeError: a detail for the log" in caplog.text
