"""What the FastAPI adapter does beside the guarantees that all adapters give."""

from __future__ import annotations

import asyncio
import inspect
import json
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, MutableMapping
from functools import wraps
from typing import Annotated, Any

import httpx
import pytest
from fastapi import APIRouter, Body, Depends, FastAPI, Form, Header, HTTPException, Request, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from openapi_spec_validator import validate as validate_openapi

from emulators.serving import serve
from presign import (
    Accept,
    Completion,
    ConfigurationError,
    InspectedObject,
    NotYet,
    Presigner,
    Reject,
    StoredObject,
    Unauthenticated,
    UploadPolicy,
)
from presign.fastapi import (
    AbortedUpload,
    ListedTicket,
    ListedUpload,
    StoredParts,
    StoredUpload,
    UploadInParts,
    UploadPart,
    UploadParts,
    UploadProblem,
    UploadTicket,
    completed_upload,
    create_router,
)
from presign.http.openapi import (
    ABORT,
    COMPANION,
    COMPANION_OPERATIONS,
    COMPLETE,
    LIST_PARTS,
    PARTS,
    PROBLEM,
    UPLOAD,
    companion_parameters,
    listed_answer,
    schemas,
)
from tests.adapters.conftest import store_png
from tests.conftest import PNG, TOKEN_SECRET, Store
from tests.small_parts import SmallPartsBackend

REQUEST = {"type": "image/png"}
ALICE = {"X-User": "alice"}


async def _alice(x_user: Annotated[str | None, Header()] = None) -> str:
    if x_user is None:
        raise HTTPException(401, "sign in first")
    return x_user


def _app(presigner: Presigner, authorize: Callable[..., Any], **options: Any) -> FastAPI:
    app = FastAPI()
    app.include_router(create_router(presigner, authorize=authorize, **options), prefix="/files")
    return app


def _kind(store: Store, name: str, content_type: str, **options: Any) -> Presigner:
    policy = UploadPolicy(content_types={content_type}, max_bytes=100, prefix=f"public/{name}/")
    return Presigner(name=name, backend=store.backend(), policy=policy, secret=TOKEN_SECRET, **options)


# OpenAPI


def test_the_applications_document_describes_each_kind_with_its_own_limits(s3_reference: Store) -> None:
    kinds = [_kind(s3_reference, "avatars", "image/png"), _kind(s3_reference, "documents", "application/pdf")]
    app = FastAPI()
    app.include_router(create_router(kinds, authorize=_alice), prefix="/files")
    document = json.loads(json.dumps(app.openapi()))
    validate_openapi(document)
    assert sorted(document["paths"]) == [
        f"/files/{kind.name}/{path}"
        for kind in kinds
        for path in ("abort", "complete", "parts", "parts/list", "upload")
    ]
    for kind in kinds:
        for operation, model in (
            (UPLOAD, "UploadTicket"),
            (COMPLETE, "StoredUpload"),
            (PARTS, "UploadParts"),
            (LIST_PARTS, "StoredParts"),
            (ABORT, "AbortedUpload"),
        ):
            path = document["paths"][f"/files/{kind.name}{operation.path}"]
            assert list(path) == ["post"], "the refusal of other methods is not described"
            body = path["post"]["requestBody"]["content"]["application/json"]["schema"]
            request = {"title": operation.request, **json.loads(json.dumps(schemas(kind)[operation.request]))}
            answers = path["post"]["responses"]
            described = answers["200"]["content"]["application/json"]["schema"]
            answer = {"$ref": f"#/components/schemas/{model}"}
            if operation in {UPLOAD, COMPLETE}:
                item = "ListedTicket" if operation is UPLOAD else "ListedUpload"
                listed = {"type": "array", "items": {"$ref": f"#/components/schemas/{item}"}}
                assert body == {"anyOf": [request, {"type": "array", "items": request, "minItems": 1, "maxItems": 100}]}
                assert described["anyOf"] == [answer, listed]
            else:
                assert (body, described) == (request, answer)
            assert answers.pop("4XX")["content"].keys() == {"application/problem+json"}
            codes = {int(status): answer["description"] for status, answer in answers.items() if status != "200"}
            assert codes == {status: ", ".join(codes) for status, codes in operation.codes.items()}
            for status in codes:
                assert list(answers[str(status)]["content"]) == ["application/problem+json"]
    ids = [path["post"]["operationId"] for path in document["paths"].values()]
    assert len({*ids}) == 10


def test_the_applications_document_describes_uppys_companion_mode(s3_reference: Store) -> None:
    kinds = [_kind(s3_reference, "avatars", "image/png"), _kind(s3_reference, "documents", "application/pdf")]
    app = FastAPI()
    app.include_router(create_router(kinds, authorize=_alice, companion=True), prefix="/files")
    document = json.loads(json.dumps(app.openapi()))
    validate_openapi(document)
    for kind in kinds:
        described = document["paths"][f"/files/{kind.name}{COMPANION.path}"]
        assert list(described) == ["get"], "the refusal of other methods is not described"
        for parameter in companion_parameters(COMPANION, kind):
            assert json.loads(json.dumps(parameter)) in described["get"]["parameters"]
        ticket = described["get"]["responses"]["200"]["content"]["application/json"]["schema"]
        assert ticket == {"$ref": "#/components/schemas/UploadTicket"}
        for operation in COMPANION_OPERATIONS:
            answers = document["paths"][f"/files/{kind.name}{operation.path}"][operation.method]["responses"]
            assert {status for status in answers if status != "200"} == {"4XX", *map(str, operation.codes)}
            assert list(answers["200"]["content"]) == ["application/json"]


@pytest.mark.parametrize(
    ("model", "name"),
    [
        (UploadTicket, "Ticket"),
        (StoredUpload, "StoredObject"),
        (UploadParts, "SignedParts"),
        (StoredParts, "UploadedParts"),
        (AbortedUpload, "AbortedUpload"),
    ],
)
def test_the_models_have_the_members_of_the_contract(presigner: Presigner, model: Any, name: str) -> None:
    schema = schemas(presigner)[name]
    assert list(model.model_fields) == list(schema["properties"])
    assert model.model_json_schema() == {"title": model.__name__, **schema}


def test_the_models_of_what_a_ticket_has_inside_have_the_members_of_the_contract(presigner: Presigner) -> None:
    parts = schemas(presigner)["Ticket"]["properties"]["parts"]
    assert list(UploadInParts.model_fields) == list(parts["properties"])
    assert list(UploadPart.model_fields) == list(parts["properties"]["requests"]["items"]["properties"])


@pytest.mark.parametrize(("model", "answer"), [(ListedTicket, UploadTicket), (ListedUpload, StoredUpload)])
def test_the_models_of_a_lists_items_have_the_members_of_the_contract(model: Any, answer: Any) -> None:
    described = model.model_json_schema()
    references = [{"$ref": f"#/$defs/{each.__name__}"} for each in (answer, UploadProblem)]
    assert {name: described[name] for name in ("type", "required", "properties", "description")} == listed_answer(
        *references
    )
    assert list(model.model_fields) == list(described["properties"])
    assert described["$defs"]["UploadProblem"] == {"title": "UploadProblem", **PROBLEM}


def test_the_models_read_the_answers_to_lists(presigner: Presigner) -> None:
    with serve(_app(presigner, _alice)) as url:
        answer = httpx.post(f"{url}/files/upload", json=[REQUEST, {}], headers=ALICE)
        ticket, problem = map(ListedTicket.model_validate, answer.json())
        assert isinstance(ticket.body, UploadTicket)
        assert isinstance(problem.body, UploadProblem)
        assert (problem.status, problem.body.code, problem.body.model_extra) == (
            400,
            "invalid_request",
            {"field": "type"},
        )
        tokens = [{"token": store_png(answer.json()[0]["body"])}, {"token": "x"}]
        stored, refused = map(
            ListedUpload.model_validate, httpx.post(f"{url}/files/complete", json=tokens, headers=ALICE).json()
        )
        assert isinstance(stored.body, StoredUpload)
        assert stored.body.size == len(PNG)
        assert isinstance(refused.body, UploadProblem)


def test_a_refusal_of_fastapi_in_on_complete_is_the_answer_to_its_file_alone(s3_reference: Store) -> None:
    async def on_complete(completion: Completion) -> None:
        if completion.name == "twice.png":
            raise HTTPException(409, "there is such a picture already", headers={"retry-after": "3"})
        if completion.name == "late.png":
            raise HTTPException(503, headers={"Retry-After": "Wed, 21 Oct 2037 07:28:00 GMT"})

    presigner = _kind(s3_reference, "avatars", "image/png", on_complete=on_complete)
    with serve(_app(presigner, _alice)) as url:
        requests = [{**REQUEST, "name": name} for name in ("twice.png", "once.png", "late.png")]
        tickets = [each["body"] for each in httpx.post(f"{url}/files/upload", json=requests, headers=ALICE).json()]
        tokens = [{"token": store_png(ticket)} for ticket in tickets]
        answers = httpx.post(f"{url}/files/complete", json=tokens, headers=ALICE).json()
        assert [each["status"] for each in answers] == [409, 200, 503]
        assert "retry_after" not in answers[2]
        assert (answers[0]["body"]["title"], answers[0]["retry_after"]) == ("there is such a picture already", 3)
        alone = httpx.post(f"{url}/files/complete", json=tokens[0], headers=ALICE)
        assert (alone.status_code, alone.json()) == (409, answers[0]["body"])


def test_the_models_read_the_answers(presigner: Presigner) -> None:
    with serve(_app(presigner, _alice)) as url:
        answer = httpx.post(f"{url}/files/upload", json=REQUEST, headers=ALICE)
        ticket = UploadTicket.model_validate_json(answer.content)
        token = store_png(answer.json())
        assert ticket.token == token
        completed = httpx.post(f"{url}/files/complete", json={"token": token}, headers=ALICE)
        assert StoredUpload.model_validate_json(completed.content).key == ticket.key


# authorize


def _names_its_thread() -> str:
    raise Unauthenticated(threading.current_thread().name)


async def _names_its_thread_on_the_loop() -> str:
    return _names_its_thread()


def test_a_plain_authorize_runs_in_a_thread_and_an_async_one_on_the_loop(presigner: Presigner) -> None:
    threads = []
    for authorize in (_names_its_thread, _names_its_thread_on_the_loop):
        with serve(_app(presigner, authorize)) as url:
            answer = httpx.post(f"{url}/files/upload", json=REQUEST)
            assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
            threads.append(answer.json()["detail"])
    assert threads[1] == "reference server"
    assert threads[0] != threads[1]


def test_the_dependencies_of_authorize_work_and_the_application_may_override_them(presigner: Presigner) -> None:
    events: list[str] = []

    async def database() -> AsyncIterator[str]:
        events.append("opened")
        yield "alice"
        events.append("closed")

    def authorize(request: Request, user: str = Depends(database)) -> str:
        return f"{user}@{request.url.path}"

    app = _app(presigner, authorize)
    with serve(app) as url:
        token = httpx.post(f"{url}/files/upload", json=REQUEST).json()["token"]
        assert events == ["opened", "closed"]
        answer = httpx.post(f"{url}/files/complete", json={"token": token})
        assert answer.json()["code"] == "invalid_token", "the owner has another path"
        app.dependency_overrides[authorize] = lambda: "alice@/files/upload"
        answer = httpx.post(f"{url}/files/complete", json={"token": token})
        assert answer.json()["code"] == "not_uploaded"


async def _anybody(request: Request) -> str:
    return "anybody"


def _with_router_dependency(presigner: Presigner, dependency: Any) -> FastAPI:
    app = FastAPI()
    app.include_router(create_router(presigner, authorize=_anybody), prefix="/files", dependencies=[dependency])
    return app


def _with_application_dependency(presigner: Presigner, dependency: Any) -> FastAPI:
    app = FastAPI(dependencies=[dependency])
    app.include_router(create_router(presigner, authorize=_anybody), prefix="/files")
    return app


def _in_another_router(presigner: Presigner, dependency: Any) -> FastAPI:
    outer = APIRouter(prefix="/files", dependencies=[dependency])
    outer.include_router(create_router(presigner, authorize=_anybody))
    app = FastAPI()
    app.include_router(outer)
    return app


def _included_twice(presigner: Presigner, dependency: Any) -> FastAPI:
    router = create_router(presigner, authorize=_anybody)
    app = FastAPI()
    app.include_router(router, prefix="/open")
    app.include_router(router, prefix="/files", dependencies=[dependency])
    return app


def _included_twice_in_the_other_order(presigner: Presigner, dependency: Any) -> FastAPI:
    router = create_router(presigner, authorize=_anybody)
    app = FastAPI()
    app.include_router(router, prefix="/files", dependencies=[dependency])
    app.include_router(router, prefix="/open")
    return app


@pytest.mark.parametrize(
    "build",
    [
        _with_router_dependency,
        _with_application_dependency,
        _in_another_router,
        _included_twice,
        _included_twice_in_the_other_order,
    ],
)
def test_a_dependency_that_the_application_adds_is_called_beside_a_plain_authorize(
    presigner: Presigner, build: Callable[[Presigner, Any], FastAPI]
) -> None:
    def refuse_crawlers(request: Request) -> None:
        if "crawler" in request.headers["user-agent"]:
            raise HTTPException(403, "no crawlers")

    app = build(presigner, Depends(refuse_crawlers))
    with serve(app) as url:
        # Some of these applications include the router at /open too, which is asked before and between.
        for _ in range(2):
            httpx.post(f"{url}/open/upload", json=REQUEST)
            for path in ("upload", "complete", "parts", "parts/list", "abort"):
                answer = httpx.post(f"{url}/files/{path}", json=REQUEST, headers={"User-Agent": "crawler"})
                assert (answer.status_code, answer.json()["title"]) == (403, "no crawlers")
        ticket = httpx.post(f"{url}/files/upload", json=REQUEST).json()
    presigner.complete(store_png(ticket), owner="anybody")


def test_the_application_may_override_a_plain_authorize(presigner: Presigner) -> None:
    def nobody() -> None:
        raise Unauthenticated("sign in")

    app = _app(presigner, _anybody)
    with serve(app) as url:
        assert httpx.post(f"{url}/files/upload", json=REQUEST).status_code == 200
        app.dependency_overrides[_anybody] = nobody
        assert httpx.post(f"{url}/files/upload", json=REQUEST).status_code == 401


class _User:
    def __init__(self, name: str) -> None:
        self.name = name

    def owner(self, request: Request) -> str:
        return self.name


def _decorated(authorize: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(authorize)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return authorize(*args, **kwargs)

    return wrapper


def _without_parameters() -> str:
    return "alice"


async def _with_another_name(*, asked: Request) -> str:
    return asked.headers["x-user"]


def _generator(request: Request) -> Iterator[str]:
    yield request.headers["x-user"]


async def _async_generator(request: Request) -> AsyncIterator[str]:
    yield request.headers["x-user"]


async def _with_the_response(request: Request, response: Response) -> str:
    assert response.status_code is None
    return request.headers["x-user"]


async def _in_a_coroutine(request: Request) -> str:
    return request.headers["x-user"]


@pytest.mark.parametrize(
    "authorize",
    [
        _without_parameters,
        _with_another_name,
        _generator,
        _async_generator,
        _with_the_response,
        _in_a_coroutine,
        _decorated(_in_a_coroutine),
        _User("alice").owner,
    ],
)
def test_an_authorize_may_have_every_form_of_a_dependency(presigner: Presigner, authorize: Callable[..., Any]) -> None:
    with serve(_app(presigner, authorize)) as url:
        answer = httpx.post(f"{url}/files/upload", json=REQUEST, headers=ALICE)
    assert answer.status_code == 200, answer.text
    presigner.complete(store_png(answer.json()), owner="alice")


def test_fastapi_resolves_nothing_for_a_plain_authorize(presigner: Presigner) -> None:
    seen: list[bool] = []

    async def authorize(request: Request) -> str:
        seen.append(any(frame.function == "solve_dependencies" for frame in inspect.stack(context=0)))
        return "alice"

    async def with_fastapi(request: Request, x_user: Annotated[str | None, Header()] = None) -> str:
        return await authorize(request)

    for dependency in (authorize, with_fastapi):
        with serve(_app(presigner, dependency)) as url:
            assert httpx.post(f"{url}/files/upload", json=REQUEST).status_code == 200
    assert seen == [False, True]


def test_a_refusal_of_fastapi_in_a_plain_authorize_is_a_problem_and_no_failure(
    presigner: Presigner, caplog: pytest.LogCaptureFixture
) -> None:
    async def refuse(request: Request) -> None:
        raise HTTPException(401, "sign in first", headers={"WWW-Authenticate": "Bearer"})

    with serve(_app(presigner, refuse)) as url:
        answer = httpx.post(f"{url}/files/upload", json=REQUEST)
    assert (answer.status_code, answer.json()["title"]) == (401, "sign in first")
    assert answer.headers["www-authenticate"] == "Bearer"
    assert "Traceback" not in caplog.text


def test_fastapis_own_security_refuses_with_a_problem_and_its_header(presigner: Presigner) -> None:
    async def authorize(bearer: Annotated[HTTPAuthorizationCredentials, Depends(HTTPBearer())]) -> str:
        return bearer.credentials

    with serve(_app(presigner, authorize)) as url:
        answer = httpx.post(f"{url}/files/upload", json=REQUEST)
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.headers["cache-control"] == "no-store"
        answer = httpx.post(f"{url}/files/upload", json=REQUEST, headers={"Authorization": "Bearer alice"})
        assert answer.status_code == 200


def test_a_header_that_authorize_needs_and_does_not_get_is_an_invalid_request(presigner: Presigner) -> None:
    async def authorize(x_user: Annotated[str, Header()]) -> str:
        return x_user

    with serve(_app(presigner, authorize)) as url:
        answer = httpx.post(f"{url}/files/upload", json=REQUEST)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
        assert answer.json()["field"] == "x-user"


def _with_a_body(token: Annotated[str, Body()]) -> str:
    return token


def _with_a_form(token: Annotated[str, Form()]) -> str:
    return token


def _above_a_body(token: Annotated[str, Depends(_with_a_body)]) -> str:
    return token


@pytest.mark.parametrize("authorize", [_with_a_body, _with_a_form, _above_a_body])
def test_an_authorize_that_needs_the_body_is_refused(presigner: Presigner, authorize: Callable[..., Any]) -> None:
    with pytest.raises(ConfigurationError, match="must not declare a body"):
        create_router(presigner, authorize=authorize)


@pytest.mark.parametrize("owner", [7, ["alice"], object()])
def test_an_owner_that_is_not_text_gets_no_ticket(presigner: Presigner, owner: Any) -> None:
    with serve(_app(presigner, lambda: owner)) as url:
        answer = httpx.post(f"{url}/files/upload", json=REQUEST)
        assert (answer.status_code, answer.json()["code"]) == (500, "internal")


# failures


def test_a_failure_inside_reaches_the_middleware_of_the_application(presigner: Presigner) -> None:
    seen: list[str] = []

    def fails() -> str:
        raise RuntimeError("the cause")

    app = _app(presigner, fails)

    class Reporter:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            try:
                await self.app(scope, receive, send)
            except RuntimeError as error:
                seen.append(str(error))
                raise

    app.add_middleware(Reporter)
    with serve(app) as url:
        answer = httpx.post(f"{url}/files/upload", json=REQUEST)
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert seen == ["the cause"]


def test_a_completion_that_hangs_is_answered_and_blocks_nothing(s3_reference: Store) -> None:
    goes_on = threading.Event()

    def inspect(uploaded: InspectedObject) -> Accept:
        goes_on.wait(30)
        return Accept()

    presigner = _kind(s3_reference, "avatars", "image/png", inspect=inspect)
    try:
        with serve(_app(presigner, _alice, max_threads=1, timeout_seconds=0.5)) as url:
            token = store_png(httpx.post(f"{url}/files/upload", json=REQUEST, headers=ALICE).json())
            began = time.monotonic()
            for _ in range(2):
                answer = httpx.post(f"{url}/files/complete", json={"token": token}, headers=ALICE, timeout=20)
                assert (answer.status_code, answer.json()["code"]) == (503, "storage_unavailable")
                assert answer.headers["retry-after"] == "5"
                assert httpx.post(f"{url}/files/upload", json=REQUEST, headers=ALICE).status_code == 200
            assert time.monotonic() - began < 20
    finally:
        goes_on.set()


def test_the_dependency_answers_202_while_a_large_file_is_completed(s3_reference: Store) -> None:
    goes_on = threading.Event()
    policy = UploadPolicy(
        content_types={"image/png"}, max_bytes=100, prefix="public/", parts_from_bytes=20, part_bytes=100
    )
    presigner = Presigner(
        backend=SmallPartsBackend(s3_reference),
        policy=policy,
        secret=TOKEN_SECRET,
        inspect=lambda uploaded: Accept() if goes_on.wait(30) else Reject("too late"),
    )
    app = _app(presigner, _alice)
    upload = Depends(completed_upload(presigner, authorize=_alice, timeout_seconds=0.2))

    @app.put("/profile")
    async def save(avatar: StoredObject = upload) -> str:
        return avatar.key

    with serve(app) as url, httpx.Client(base_url=url, headers=ALICE, timeout=30) as client:
        ticket = client.post("/files/upload", json={**REQUEST, "size": len(PNG)}).json()
        (request,) = ticket["parts"]["requests"]
        assert httpx.put(request["url"], headers=request["headers"], content=PNG).status_code == 200
        answers = [client.put("/profile", json={"token": ticket["token"]})]
        assert (answers[0].status_code, answers[0].headers["retry-after"]) == (202, "1")
        assert answers[0].json()["detail"]["code"] == "completion_pending"
        goes_on.set()
        while answers[-1].status_code == 202 and len(answers) < 100:
            answers.append(client.put("/profile", json={"token": ticket["token"]}))
    assert (answers[-1].status_code, answers[-1].json()) == (200, ticket["key"])


@pytest.mark.parametrize(
    ("authorize", "reason"),
    [
        (lambda request: "alice", "a parameter request without a type.* write request: Request$"),
        ("alice", "must be a function, not str$"),
    ],
)
def test_an_authorize_that_fastapi_cannot_call_is_refused(presigner: Presigner, authorize: Any, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^authorize (has )?{reason}"):
        create_router(presigner, authorize=authorize)
    with pytest.raises(ConfigurationError, match=f"^authorize (has )?{reason}"):
        completed_upload(presigner, authorize=authorize)


@pytest.mark.parametrize("options", [{"max_threads": 0}, {"timeout_seconds": 0}])
def test_a_limit_of_nothing_is_refused(presigner: Presigner, options: Any) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        create_router(presigner, authorize=_alice, **options)
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        completed_upload(presigner, authorize=_alice, **options)


def test_a_list_of_no_files_as_a_limit_is_refused(presigner: Presigner) -> None:
    with pytest.raises(ConfigurationError, match="max_files"):
        create_router(presigner, authorize=_alice, max_files=0)


def test_the_last_of_many_kinds_is_found_without_looking_through_the_others(s3_reference: Store) -> None:
    body = b'{"type": "image/png", "size": 1}'

    async def nobody() -> None:
        return None

    def calls_for_a_ticket(count: int) -> int:
        kinds = [_kind(s3_reference, f"kind-{number:02d}", "image/png") for number in range(count)]
        app, calls, statuses = FastAPI(), 0, []
        app.include_router(create_router(kinds, authorize=nobody), prefix="/files")

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: MutableMapping[str, Any]) -> None:
            statuses.append(message.get("status"))

        def count_call(frame: Any, event: str, argument: Any) -> None:
            nonlocal calls
            calls += event in {"call", "c_call"}

        async def ask() -> None:
            path = f"/files/{kinds[-1].name}/upload"
            scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "root_path": ""}
            scope["headers"] = [(b"content-type", b"application/json")]
            await app(scope, receive, send)

        async def ask_twice() -> None:
            # FastAPI builds its routes for the first request.
            await ask()
            sys.setprofile(count_call)
            try:
                await ask()
            finally:
                sys.setprofile(None)

        asyncio.run(ask_twice())
        assert statuses == [200, None, 200, None]
        return calls

    one, many = calls_for_a_ticket(1), calls_for_a_ticket(50)
    # With one router for all kinds, each kind adds 420 calls; with a router for each kind, 48.
    assert (many - one) / 49 < 150


def test_kinds_need_names_of_their_own(s3_reference: Store) -> None:
    kind = _kind(s3_reference, "avatars", "image/png")
    for presigners in ([], [kind, kind]):
        with pytest.raises(ConfigurationError, match="a name of its own"):
            create_router(presigners, authorize=_alice)


# completed_upload


@pytest.fixture(scope="module")
def verdicts() -> list[Any]:
    return []


@pytest.fixture(scope="module")
def calls() -> list[Any]:
    return []


@pytest.fixture(scope="module")
def api(s3_reference: Store, verdicts: list[Any], calls: list[Any]) -> Iterator[httpx.Client]:
    async def inspect(uploaded: InspectedObject) -> Any:
        verdict = verdicts.pop() if verdicts else Accept()
        if isinstance(verdict, Exception):
            raise verdict
        return verdict

    presigner = _kind(s3_reference, "avatars", "image/png", inspect=inspect)
    of_json: Any = Depends(completed_upload(presigner, authorize=_alice, field="avatar"))
    of_a_form: Any = Depends(completed_upload(presigner, authorize=_alice, field="avatar", form=True))
    app = _app(presigner, _alice)

    @app.post("/json")
    async def by_json(title: Annotated[str, Body()], avatar: StoredObject = of_json) -> dict[str, str]:
        calls.append(avatar)
        return {"key": avatar.key, "title": title}

    @app.post("/form")
    def by_form(title: Annotated[str, Form()], avatar: StoredObject = of_a_form) -> dict[str, str]:
        calls.append(avatar)
        return {"key": avatar.key, "title": title}

    # uvicorn closes a connection after a failure inside.
    with serve(app) as url, httpx.Client(base_url=url, headers={**ALICE, "Connection": "close"}) as client:
        yield client


def _post(api: httpx.Client, way: str, avatar: str, **options: Any) -> httpx.Response:
    members = {"avatar": avatar, "title": "Me"}
    if way == "json":
        return api.post("/json", json=members, **options)
    return api.post("/form", data=members, **options)


@pytest.mark.parametrize("way", ["json", "form"])
def test_an_endpoint_gets_the_stored_object_of_a_posted_token(api: httpx.Client, way: str) -> None:
    ticket = api.post("/files/upload", json=REQUEST).json()
    answer = _post(api, way, store_png(ticket))
    assert answer.status_code == 200, answer.text
    assert answer.json() == {"key": ticket["key"], "title": "Me"}


@pytest.mark.parametrize("way", ["json", "form"])
def test_an_endpoint_is_not_called_for_an_upload_that_is_not_complete(
    api: httpx.Client, way: str, verdicts: list[Any], calls: list[Any]
) -> None:
    called = len(calls)
    token = api.post("/files/upload", json=REQUEST).json()["token"]
    for answer, status, code in (
        (_post(api, way, token), 409, "not_uploaded"),
        (_post(api, way, "x"), 403, "invalid_token"),
        (_post(api, way, token, headers={"X-User": "bob"}), 403, "invalid_token"),
    ):
        assert (answer.status_code, answer.json()["detail"]["code"]) == (status, code)
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["content-type"] == "application/json"
    token = store_png(api.post("/files/upload", json=REQUEST).json())
    verdicts.append(NotYet(retry_after=9))
    answer = _post(api, way, token)
    assert (answer.status_code, answer.json()["detail"]["code"]) == (202, "completion_pending")
    assert answer.headers["retry-after"] == "9"
    verdicts.append(RuntimeError("the cause"))
    answer = _post(api, way, token)
    assert answer.status_code == 500
    assert "the cause" not in answer.text
    assert len(calls) == called
    assert _post(api, way, token).status_code == 200


@pytest.mark.parametrize("way", ["json", "form"])
def test_a_stranger_gets_no_endpoint_either(api: httpx.Client, way: str, calls: list[Any]) -> None:
    called = len(calls)
    token = store_png(api.post("/files/upload", json=REQUEST).json())
    members = {"avatar": token, "title": "Me"}
    sent: Any = {"json": members} if way == "json" else {"data": members}
    assert httpx.post(f"{api.base_url}/{way}", **sent).status_code == 401
    assert len(calls) == called


def test_the_document_has_the_token_as_a_member_of_the_endpoints_body(api: httpx.Client) -> None:
    document = api.get("/openapi.json").json()
    for way, media_type in (("json", "application/json"), ("form", "application/x-www-form-urlencoded")):
        content = document["paths"][f"/{way}"]["post"]["requestBody"]["content"]
        schema = document["components"]["schemas"][content[media_type]["schema"]["$ref"].rpartition("/")[2]]
        assert sorted(schema["properties"]) == ["avatar", "title"]
        assert schema["properties"]["avatar"]["type"] == "string"
