"""What the Flask adapter does beside the guarantees that all adapters give."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from flask import (
    Flask,
    Request,
    Response,
    abort,
    current_app,
    g,
    got_request_exception,
    has_request_context,
    redirect,
    request,
    url_for,
)
from flask_cors import CORS
from werkzeug.exceptions import TooManyRequests as FlaskTooManyRequests
from werkzeug.exceptions import Unauthorized

from presign import Completion, ConfigurationError, Forbidden, Presigner, UploadPolicy
from presign.flask import MAX_THREADS, create_blueprint
from presign.http.lists import MAX_FILES
from presign.http.openapi import openapi
from presign.http.request_body import MAX_BODY_BYTES
from tests.adapters.conftest import store_png
from tests.adapters.serving import serve_wsgi
from tests.conftest import PNG, TOKEN_SECRET, Store
from tests.small_parts import SmallPartsBackend

REQUEST = {"type": "image/png"}


def _alice(request: Request) -> str:
    return "alice"


def _app(presigner: Presigner, authorize: Callable[[Request], Any] = _alice, **config: Any) -> Flask:
    app = Flask(__name__)
    app.config.update(config)
    app.register_blueprint(create_blueprint(presigner, authorize=authorize), url_prefix="/files")
    return app


def _post(app: Flask, path: str = "/files/upload", **options: Any) -> Any:
    return app.test_client().post(path, **({"json": REQUEST} | options))


def _is_problem(answer: Any, status: int, code: str) -> None:
    assert (answer.status_code, json.loads(answer.data)["code"]) == (status, code)
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["Cache-Control"] == "no-store"


def test_one_blueprint_serves_every_application_of_a_factory(presigner: Presigner) -> None:
    blueprint = create_blueprint(presigner, authorize=_alice)
    for prefix in ("/files", "/api/uploads"):
        app = Flask(__name__)
        app.register_blueprint(blueprint, url_prefix=prefix)
        ticket = _post(app, f"{prefix}/upload").get_json()
        answer = _post(app, f"{prefix}/complete", json={"token": store_png(ticket)})
        assert (answer.status_code, answer.get_json()["key"]) == (200, ticket["key"])
        with app.test_request_context():
            assert url_for("presign.upload") == f"{prefix}/upload"
            assert url_for("presign.complete") == f"{prefix}/complete"


def test_two_blueprints_with_names_of_their_own_stand_side_by_side(presigner: Presigner) -> None:
    def refuses(request: Request) -> str:
        raise Forbidden("not here")

    app = _app(presigner)
    app.register_blueprint(create_blueprint(presigner, authorize=refuses, name="other"), url_prefix="/other")
    assert _post(app).status_code == 200
    _is_problem(_post(app, "/other/upload"), 403, "forbidden")


def test_kinds_need_names_of_their_own(s3_reference: Store, presigner: Presigner) -> None:
    for presigners in ([], [presigner, presigner]):
        with pytest.raises(ConfigurationError, match="a name of its own"):
            create_blueprint(presigners, authorize=_alice)


def test_the_document_describes_the_contract(presigner: Presigner) -> None:
    answer = _app(presigner).test_client().get("/files/openapi.json")
    assert answer.get_json() == json.loads(json.dumps(openapi(presigner)))
    app = Flask(__name__)
    app.register_blueprint(create_blueprint(presigner, authorize=_alice, companion=True), url_prefix="/files")
    answer = app.test_client().get("/files/openapi.json")
    assert answer.get_json() == json.loads(json.dumps(openapi(presigner, companion=True)))
    answer = app.test_client().options("/files/s3/params")
    assert (answer.status_code, answer.headers["Allow"]) == (204, "GET, OPTIONS"), "flask-cors can allow it"


def test_a_preflight_request_succeeds_so_that_flask_cors_can_allow_it(presigner: Presigner) -> None:
    page = "https://www.example.com"
    asked = {
        "Origin": page,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type, x-csrftoken",
    }
    app = _app(presigner)
    answer = app.test_client().options("/files/upload", headers=asked)
    assert (answer.status_code, answer.headers["Allow"]) == (204, "OPTIONS, POST")
    assert "Access-Control-Allow-Origin" not in answer.headers
    app = _app(presigner)
    CORS(app, origins=[page], supports_credentials=True)
    answer = app.test_client().options("/files/upload", headers=asked)
    assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (204, page)
    assert answer.headers["Access-Control-Allow-Credentials"] == "true"
    assert _post(app, headers={"Origin": page}).headers["Access-Control-Allow-Origin"] == page


# authorize


@pytest.mark.parametrize(
    ("status", "code"), [(401, "unauthenticated"), (403, "forbidden"), (404, "not_found"), (418, "http_error")]
)
def test_abort_in_authorize_is_a_problem(presigner: Presigner, status: int, code: str) -> None:
    _is_problem(_post(_app(presigner, lambda request: abort(status))), status, code)


def test_the_headers_of_a_refusal_are_kept(presigner: Presigner) -> None:
    def slow_down(request: Request) -> str:
        raise FlaskTooManyRequests(retry_after=9)

    answer = _post(_app(presigner, slow_down))
    _is_problem(answer, 429, "too_many_requests")
    assert answer.headers["Retry-After"] == "9"


def test_a_response_that_authorize_aborts_with_is_the_answer(presigner: Presigner) -> None:
    answer = _post(_app(presigner, lambda request: abort(redirect("/login"))))
    assert (answer.status_code, answer.headers["Location"]) == (302, "/login")
    answer = _post(_app(presigner, lambda request: abort(Response("mine", 401))))
    assert (answer.status_code, answer.text) == (401, "mine")


def test_a_refusal_that_authorize_returns_lets_nobody_in(presigner: Presigner) -> None:
    for returned in (redirect("/login"), Unauthorized(), Response("no", 401)):
        _is_problem(_post(_app(presigner, lambda request, returned=returned: returned)), 500, "internal")  # type: ignore[misc]


def test_an_async_authorize_is_awaited(presigner: Presigner) -> None:
    async def refuses(request: Request) -> str:
        raise Forbidden("not today")

    async def allows(request: Request) -> str:
        return "alice"

    _is_problem(_post(_app(presigner, refuses)), 403, "forbidden")
    app = _app(presigner, allows)
    token = store_png(_post(app).get_json())
    assert _post(app, "/files/complete", json={"token": token}).status_code == 200


# the body


@pytest.mark.parametrize("read", [lambda: request.get_json(), lambda: request.get_data(), lambda: request.data])
def test_a_function_before_the_request_may_read_the_body(presigner: Presigner, read: Callable[[], object]) -> None:
    app = _app(presigner)

    @app.before_request
    def look() -> None:
        read()

    assert _post(app).status_code == 200
    for large in (b"{" + b" " * MAX_BODY_BYTES + b"}", b"[" + b" " * MAX_BODY_BYTES * MAX_FILES + b"]"):
        _is_problem(_post(app, json=None, data=large, content_type="application/json"), 413, "body_too_large")
    listed = json.dumps([REQUEST]).encode().replace(b"]", b" " * MAX_BODY_BYTES + b"]")
    answer = _post(app, json=None, data=listed, content_type="application/json")
    assert [each["status"] for each in answer.get_json()] == [200]


def test_a_lower_limit_of_the_application_is_kept(presigner: Presigner) -> None:
    app = _app(presigner, MAX_CONTENT_LENGTH=30)
    assert _post(app).status_code == 200
    _is_problem(_post(app, json={"type": "image/png", "name": "x" * 30}), 413, "body_too_large")


def test_a_body_that_breaks_off_is_an_invalid_request(presigner: Presigner) -> None:
    with serve_wsgi(_app(presigner)) as url:
        parts = urlsplit(url)
        with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=10) as connection:
            head = "POST /files/upload HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n"
            connection.sendall(f'{head}{{"type": "image/png"}}'.encode())
            connection.shutdown(socket.SHUT_WR)
            answer = b""
            while chunk := connection.recv(65536):
                answer += chunk
        assert answer.split()[1] == b"400", answer
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["code"] == "invalid_request"
        assert httpx.post(f"{url}/files/upload", json=REQUEST).status_code == 200


# failures


def _fails(request: Request) -> str:
    raise RuntimeError("the cause")


@pytest.fixture
def reported() -> Iterator[list[BaseException]]:
    """The errors that Flask's signal reports, as reporters of errors get them."""
    errors: list[BaseException] = []

    def report(sender: Flask, exception: BaseException) -> None:
        errors.append(exception)

    with got_request_exception.connected_to(report):
        yield errors


def test_a_failure_inside_is_logged_and_reported_and_its_cause_is_hidden(
    presigner: Presigner, reported: list[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    answer = _post(_app(presigner, _fails))
    _is_problem(answer, 500, "internal")
    assert "the cause" not in answer.text
    assert [str(error) for error in reported] == ["the cause"]
    assert "RuntimeError: the cause" in caplog.text


def test_a_refusal_is_no_failure(presigner: Presigner, reported: list[BaseException]) -> None:
    def refuses(request: Request) -> str:
        raise Forbidden("not today")

    _is_problem(_post(_app(presigner, refuses)), 403, "forbidden")
    assert reported == []


def test_a_failure_inside_is_raised_in_tests_of_the_application(presigner: Presigner) -> None:
    with pytest.raises(RuntimeError, match="the cause"):
        _post(_app(presigner, _fails, TESTING=True))


# lists


def _stored(app: Flask, *names: str) -> list[dict[str, str]]:
    """Upload a picture of each name, and return the list that completes them."""
    tickets = _post(app, json=[{**REQUEST, "name": name} for name in names]).get_json()
    return [{"token": store_png(each["body"])} for each in tickets]


def test_the_completions_of_a_list_have_contexts_of_their_own_with_the_request_in_them(s3_reference: Store) -> None:
    seen, ended = list[Any](), list[Any]()
    together = threading.Barrier(2)

    def on_complete(completion: Completion) -> None:
        assert completion.name
        g.name = completion.name
        together.wait(30)
        seen.append((completion.name, g.name, g.get("of_the_request"), request.headers["X-Who"], current_app.name))

    app = Flask("the_application")
    app.register_blueprint(
        create_blueprint(_in_parts(s3_reference, on_complete), authorize=_alice), url_prefix="/files"
    )

    @app.before_request
    def mark() -> None:
        g.of_the_request = True

    @app.teardown_appcontext
    def end(error: BaseException | None) -> None:
        if "name" in g:
            ended.append(g.name)

    names = ["a.png", "b.png"]
    answer = _post(app, "/files/complete", json=_stored(app, *names), headers={"X-Who": "alice"})
    assert [each["status"] for each in answer.get_json()] == [200, 200]
    assert sorted(seen) == [(name, name, None, "alice", "the_application") for name in names]
    assert sorted(ended) == names


def test_a_failure_and_a_refusal_in_on_complete_are_the_answers_to_their_files_and_the_failure_is_reported(
    s3_reference: Store, reported: list[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    def on_complete(completion: Completion) -> None:
        if completion.name == "fails.png":
            raise RuntimeError("the cause")
        if completion.name == "twice.png":
            abort(409)

    app = _app(_in_parts(s3_reference, on_complete))
    tokens = _stored(app, "fails.png", "twice.png", "once.png")
    answer = _post(app, "/files/complete", json=tokens)
    assert [each["status"] for each in answer.get_json()] == [500, 409, 200]
    assert "the cause" not in answer.text
    assert [str(error) for error in reported] == ["the cause"]
    assert caplog.text.count("RuntimeError: the cause") == 1
    alone = _post(app, "/files/complete", json=tokens[1])
    assert (alone.status_code, alone.get_json()) == (409, answer.get_json()[1]["body"])


def test_lists_of_completions_that_hang_take_no_thread_from_a_list_of_tickets(s3_reference: Store) -> None:
    released, hanging = threading.Event(), list[str | None]()

    def on_complete(completion: Completion) -> None:
        hanging.append(completion.name)
        assert released.wait(60)

    app = _app(_in_parts(s3_reference, on_complete))
    tokens = _stored(app, *[f"{number}.png" for number in range(MAX_THREADS)])
    half = MAX_THREADS // 2
    with ThreadPoolExecutor(2) as pool:
        try:
            for some in (tokens[:half], tokens[half:]):
                pool.submit(_post, app, "/files/complete", json=some)
            deadline = time.monotonic() + 60
            while len(hanging) < MAX_THREADS and time.monotonic() < deadline:
                time.sleep(0.01)
            tickets = _post(app, json=[{**REQUEST, "size": len(PNG)}]).get_json()
        finally:
            released.set()
    assert len(hanging) == MAX_THREADS
    assert [each["status"] for each in tickets] == [200]


# large files


def _sent_in_parts(app: Flask) -> str:
    """Upload a picture in parts, and return its ticket's token."""
    ticket = _post(app, json={**REQUEST, "size": len(PNG)}).get_json()
    for each in ticket["parts"]["requests"]:
        part = PNG[20 * (each["number"] - 1) :][: each["size"]]
        assert httpx.put(each["url"], headers=each["headers"], content=part).status_code == 200
    token: str = ticket["token"]
    return token


def _in_parts(store: Store, on_complete: Callable[[Completion], None]) -> Presigner:
    policy = UploadPolicy(
        content_types={"image/png"}, max_bytes=100, prefix="public/", parts_from_bytes=20, part_bytes=20
    )
    return Presigner(backend=SmallPartsBackend(store), policy=policy, secret=TOKEN_SECRET, on_complete=on_complete)


def test_a_large_file_is_completed_in_a_context_of_the_application_that_ends_with_the_completion(
    s3_reference: Store,
) -> None:
    released, contexts, ended = threading.Event(), list[Any](), list[Any]()

    def on_complete(completion: Completion) -> None:
        assert released.wait(30)
        contexts.append((current_app.name, has_request_context(), g.get("of_the_request")))
        g.of_the_completion = True

    app = Flask("the_application")
    blueprint = create_blueprint(_in_parts(s3_reference, on_complete), authorize=_alice, timeout_seconds=0.2)
    app.register_blueprint(blueprint, url_prefix="/files")

    @app.before_request
    def mark() -> None:
        g.of_the_request = True

    @app.teardown_appcontext
    def end(error: BaseException | None) -> None:
        if "of_the_completion" in g:
            ended.append(error)

    token = {"token": _sent_in_parts(app)}
    _is_problem(_post(app, "/files/complete", json=token), 202, "completion_pending")
    released.set()
    answers = [_post(app, "/files/complete", json=token)]
    while answers[-1].status_code == 202 and len(answers) < 100:
        answers.append(_post(app, "/files/complete", json=token))
    assert answers[-1].status_code == 200
    assert contexts == [("the_application", False, None)]
    assert ended == [None]


def test_a_failure_of_the_application_after_a_large_file_is_reported(
    s3_reference: Store, reported: list[BaseException]
) -> None:
    def on_complete(completion: Completion) -> None:
        raise RuntimeError("the cause")

    app = _app(_in_parts(s3_reference, on_complete))
    answer = _post(app, "/files/complete", json={"token": _sent_in_parts(app)})
    _is_problem(answer, 500, "internal")
    assert "the cause" not in answer.text
    assert [str(error) for error in reported] == ["the cause"]


def test_a_limit_of_nothing_is_refused(presigner: Presigner) -> None:
    with pytest.raises(ConfigurationError, match="timeout_seconds"):
        create_blueprint(presigner, authorize=_alice, timeout_seconds=0)
    with pytest.raises(ConfigurationError, match="max_files"):
        create_blueprint(presigner, authorize=_alice, max_files=0)
