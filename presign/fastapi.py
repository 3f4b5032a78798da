"""The HTTP contract as a FastAPI router, and a dependency for the application's own endpoints.

::

    app.include_router(create_router(presigner, authorize=current_user), prefix="/files")

    Avatar = Annotated[StoredObject, Depends(completed_upload(presigner, authorize=current_user, field="avatar"))]

    @app.post("/profile")
    async def save_profile(avatar: Avatar, name: Annotated[str, Body()]) -> None: ...
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import fields
from datetime import datetime
from functools import partial
from typing import Any, Literal

from fastapi import APIRouter, Body, Depends, Form, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.routing import Match
from starlette.types import Receive, Scope, Send

from presign.asgi import ClaimLarger, as_response, read_json, success_headers
from presign.errors import ConfigurationError, InvalidRequest, PresignError, sanitize
from presign.hooks import checked_function
from presign.http import companion as uppy
from presign.http.async_endpoints import MAX_THREADS, TIMEOUT_SECONDS, Answer, AsyncEndpoints
from presign.http.endpoints import presigners_by_path
from presign.http.lists import MAX_FILES, explain_and_log
from presign.http.openapi import (
    ABORT,
    ABORTED_UPLOAD,
    COMPANION,
    COMPANION_OPERATIONS,
    COMPLETE,
    LIST_PARTS,
    OPERATIONS,
    PARTS,
    PROBLEM,
    SIGNED_PARTS,
    STORED_OBJECT,
    TICKET,
    UPLOAD,
    UPLOADED_PARTS,
    UPPY_SCHEMAS,
    Operation,
    companion_parameters,
    listed_answer,
    one_or_list,
    schemas,
)
from presign.http.problems import ProblemResponse, is_server_fault, problem_response, problem_response_for_status
from presign.http.request_body import MAX_BODY_BYTES, LargerBodies
from presign.messages import StoredObject
from presign.presigner import Presigner

__all__ = [
    "AbortedUpload",
    "ListedTicket",
    "ListedUpload",
    "StoredParts",
    "StoredUpload",
    "UploadInParts",
    "UploadPart",
    "UploadParts",
    "UploadPlan",
    "UploadProblem",
    "UploadTicket",
    "completed_upload",
    "create_router",
]

Authorize = Callable[..., Any]
"""A FastAPI dependency, ``async def`` or ``def``, that returns the owner of a request as text, or None for anybody.

It may have dependencies of its own. It refuses a request with Unauthenticated, Forbidden or TooManyRequests, or with
FastAPI's HTTPException.
"""

_Handle = Callable[[Request], Coroutine[Any, Any, Response]]
# What FastAPI notes of a dependency whose only parameter, if any, is the request.
_NEEDS_OF_PLAIN_DEPENDENCY = frozenset({"name", "call", "path", "cache_key", "use_cache", "request_param_name"})
_OTHER_METHODS = ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "PUT"]


class UploadPart(BaseModel):
    """The request that stores one part of a large file."""

    number: int
    size: int
    method: Literal["PUT"]
    url: str
    headers: dict[str, str]


class UploadPlan(BaseModel):
    """How a large file is cut into parts."""

    part_size: int
    count: int
    at_once: int
    needs_sha256: bool
    resumable_until: datetime


class UploadInParts(UploadPlan):
    """What a ticket says about the parts of a large file."""

    requests: list[UploadPart]


class UploadTicket(BaseModel):
    """The answer of ``/upload``."""

    method: Literal["POST", "PUT"]
    url: str
    fields: dict[str, str]
    headers: dict[str, str]
    expires_at: datetime
    now: datetime
    key: str
    object_url: str | None
    enforced: dict[str, Literal["storage", "completion"]]
    token: str
    parts: UploadInParts | None = None

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: Any) -> dict[str, Any]:
        return _titled(cls, TICKET)


class StoredUpload(BaseModel):
    """The answer of ``/complete``."""

    key: str
    object_url: str | None
    etag: str
    version: str | None
    size: int
    type: str

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: Any) -> dict[str, Any]:
        return _titled(cls, STORED_OBJECT)


class UploadProblem(BaseModel):
    """The problem with one file of a list; some problems have more members."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
    code: str

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: Any) -> dict[str, Any]:
        return _titled(cls, PROBLEM)


class _ListedAnswer(BaseModel):
    status: int
    body: Any
    retry_after: int | None = None

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: Any) -> dict[str, Any]:
        generated = handler.resolve_ref_schema(handler(core_schema))
        answer, problem = generated["properties"]["body"]["anyOf"]
        return _titled(cls, listed_answer(answer, problem))


class ListedTicket(_ListedAnswer):
    """One item of the answer of ``/upload`` to a list."""

    body: UploadTicket | UploadProblem


class ListedUpload(_ListedAnswer):
    """One item of the answer of ``/complete`` to a list."""

    body: StoredUpload | UploadProblem


class UploadParts(BaseModel):
    """The answer of ``/parts``."""

    requests: list[UploadPart]
    expires_at: datetime
    now: datetime

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: Any) -> dict[str, Any]:
        return _titled(cls, SIGNED_PARTS)


class StoredParts(UploadPlan):
    """The answer of ``/parts/list``."""

    key: str
    size: int
    numbers: list[int]

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: Any) -> dict[str, Any]:
        return _titled(cls, UPLOADED_PARTS)


class AbortedUpload(BaseModel):
    """The answer of ``/abort``, which has no members."""

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: Any) -> dict[str, Any]:
        return _titled(cls, ABORTED_UPLOAD)


_MODELS: dict[str, Any] = {
    UPLOAD.path: UploadTicket | list[ListedTicket],
    COMPLETE.path: StoredUpload | list[ListedUpload],
    PARTS.path: UploadParts,
    LIST_PARTS.path: StoredParts,
    ABORT.path: AbortedUpload,
}


def create_router(
    presigner: Presigner | Sequence[Presigner],
    *,
    authorize: Authorize,
    companion: bool = False,
    max_threads: int = MAX_THREADS,
    timeout_seconds: float = TIMEOUT_SECONDS,
    max_files: int = MAX_FILES,
) -> APIRouter:
    """Return a router with ``POST /upload`` and ``POST /complete``; ``authorize`` decides before any body is read.

    For large files, it also has ``POST /parts``, ``POST /parts/list`` and ``POST /abort``. Several presigners share one
    router. Each then has addresses of its own, which begin with its name, such as ``/avatars/upload`` and
    ``/avatars/complete``. The application's OpenAPI document describes them, with the content types and size limits of
    each presigner.

    ``companion`` also serves what Uppy 5 and 6 ask for in their Companion mode, under ``/s3/`` (see docs/uppy.md).
    ``max_threads``, ``timeout_seconds`` and ``max_files`` are limits, as in ``presign.asgi.create_app``. For pages of
    other origins, add FastAPI's CORSMiddleware to the application, with ``expose_headers=["Retry-After"]``.

    Raises ConfigurationError if ``authorize`` or one of its dependencies declares a body or a form, because FastAPI
    would read it first; if ``authorize`` has a parameter ``request`` without a type, because FastAPI would look for it
    in the query; for a limit of 0 or less; and for two presigners with the same name.
    """
    _check_authorize(authorize)
    answers = AsyncEndpoints(
        max_threads=max_threads, timeout_seconds=timeout_seconds, max_files=max_files, explain=_explain
    )
    larger_bodies = LargerBodies()
    router = APIRouter(route_class=_ProblemRoute, tags=["uploads"])
    for path, each in presigners_by_path(presigner).items():
        kind = _KindRouter(path) if path else router
        described, answers_by_path = schemas(each), answers.answers(each)
        for operation in OPERATIONS:
            kind.add_api_route(
                operation.path,
                _endpoint(
                    answers_by_path[operation.path],
                    authorize,
                    list_limit=answers.lists.body_limit(operation.path),
                    larger_bodies=larger_bodies,
                ),
                methods=["POST"],
                # Without it, FastAPI derives the name of every operation from the name of the inner function.
                name="_".join(filter(None, [path[1:], operation.name])),
                summary=operation.summary,
                response_model=_MODELS[operation.path],
                response_description=operation.answer,
                responses=_responses(operation),
                openapi_extra={"requestBody": _request_body(operation, described, max_files)},
            )
            kind.add_api_route(operation.path, _refuse_method, methods=_OTHER_METHODS, include_in_schema=False)
        if companion:
            _add_companion(kind, path, each, answers.answers_for_uppy(each), authorize)
        if any(isinstance(route, APIRoute) and route.body_field is not None for route in kind.routes):
            raise ConfigurationError(
                "authorize must not declare a body or a form, because FastAPI would read it before it authorises; use "
                "headers, cookies or the Request",
                field="authorize",
            )
        if kind is not router:
            router.include_router(kind)
    return router


def completed_upload(
    presigner: Presigner,
    *,
    authorize: Authorize,
    field: str = "token",
    form: bool = False,
    max_threads: int = MAX_THREADS,
    timeout_seconds: float = TIMEOUT_SECONDS,
) -> Callable[..., Awaitable[StoredObject]]:
    """Return a dependency that completes the upload whose token the request posts, and gives its StoredObject.

    The token is the member ``field`` of the request's JSON object, or with ``form=True`` the form field of that name.
    It stands beside the endpoint's own ``Body()`` or ``Form()`` parameters. ``authorize`` is the same dependency as the
    router's: the token belongs to its owner. FastAPI reads the body of such an endpoint before it authorises, as it
    does for every endpoint that declares a body.

    An upload that cannot be completed raises HTTPException with the problem document as its ``detail`` and the status
    of the contract, 202 if the upload is not completed *yet*. The endpoint is then not called.
    """
    _check_authorize(authorize)
    answers = AsyncEndpoints(max_threads=max_threads, timeout_seconds=timeout_seconds)
    description = "The token of an upload's ticket, after the file is stored."
    posted: Any = (
        Form(alias=field, description=description) if form else Body(alias=field, embed=True, description=description)
    )
    owner_of_request: Any = Depends(authorize)

    async def complete(token: str = posted, owner: Any = owner_of_request) -> StoredObject:
        try:
            return await answers.complete(presigner, token, owner)
        except PresignError as error:
            if is_server_fault(error):
                raise
            problem = problem_response(error)
            headers = {name: value for name, value in problem.headers.items() if name != "Content-Type"}
            raise HTTPException(problem.status, detail=error.problem(), headers=headers) from None

    return complete


def _check_authorize(authorize: object) -> None:
    function = checked_function(authorize, "authorize")
    try:
        request = inspect.signature(function).parameters.get("request")
    except ValueError:
        return
    if request is not None and request.annotation is request.empty:
        raise ConfigurationError(
            "authorize has a parameter request without a type, which FastAPI takes for a query parameter; write "
            "request: Request",
            field="authorize",
        )


def _endpoint(
    answer: Answer, authorize: Authorize, *, list_limit: int, larger_bodies: LargerBodies
) -> Callable[..., Awaitable[Response]]:
    owner_of_request: Any = Depends(authorize)

    # No parameter declares the body, because FastAPI would read it before it calls `authorize`.
    async def endpoint(request: Request, owner: Any = owner_of_request) -> Response:
        claim = partial(larger_bodies.claim, owner)
        body = await _read_json(request, MAX_BODY_BYTES, list_limit, claim)
        return _Answer(await answer(body, owner))

    return endpoint


async def _read_json(
    request: Request, limit: int, list_limit: int = 0, claim_larger: ClaimLarger = nullcontext
) -> bytes:
    # The server's own list: Starlette's Headers cost as much as reading the body.
    return await read_json(dict(request.scope["headers"]), request.receive, limit, list_limit, claim_larger)


class _Answer(Response):
    def __init__(self, content: bytes) -> None:
        self.status_code = 200
        self.background = None
        self.body = content
        # Starlette would encode them again for every answer.
        self.raw_headers = success_headers(content)


def _add_companion(
    router: APIRouter, path: str, presigner: Presigner, answers: Mapping[str, Answer], authorize: Authorize
) -> None:
    described = {**schemas(presigner), **UPPY_SCHEMAS}

    async def refuse(request: Request) -> Response:
        refusal = uppy.find(request.path_params["name"], request.method)
        assert isinstance(refusal, ProblemResponse)  # noqa: S101  (the routes before this one have all that is served)
        return as_response(refusal)

    for operation in COMPANION_OPERATIONS:
        extra: dict[str, Any] = {"parameters": companion_parameters(operation, presigner)}
        if operation.method == "post":
            extra["requestBody"] = _request_body(operation, described, MAX_FILES)
        responses = _responses(operation)
        if operation is not COMPANION:
            schema = {"title": operation.answer, **described[operation.answer]}
            responses[200] = {"content": {"application/json": {"schema": schema}}}
        router.add_api_route(
            operation.path,
            _companion_endpoint(operation, presigner, answers, authorize),
            methods=[operation.method.upper()],
            name="_".join(filter(None, [path[1:], operation.name])),
            summary=operation.summary,
            response_model=UploadTicket if operation is COMPANION else None,
            response_description=operation.answer,
            responses=responses,
            openapi_extra=extra,
            route_class_override=_CompanionRoute,
        )
    router.add_api_route(
        f"{uppy.PREFIX}{{name:path}}", refuse, methods=["POST", *_OTHER_METHODS], include_in_schema=False
    )


def _companion_endpoint(
    operation: Operation, presigner: Presigner, answers: Mapping[str, Answer], authorize: Authorize
) -> Callable[..., Awaitable[Response]]:
    owner_of_request: Any = Depends(authorize)

    async def endpoint(request: Request, owner: Any = owner_of_request) -> Response:
        call = uppy.find(operation.path.removeprefix(uppy.PREFIX).format(**request.path_params), request.method)
        if isinstance(call, ProblemResponse):
            return as_response(call)
        posted = await _read_json(request, call.max_body_bytes) if call.max_body_bytes else b""
        body = call.body_for(presigner, request.scope["query_string"].decode("latin-1"), posted)
        answer = call.answer_from(presigner, await answers[call.path](body, owner))
        return _Answer(answer)

    return endpoint


async def _refuse_method() -> Response:
    return as_response(problem_response_for_status(405, title="Method Not Allowed", headers={"Allow": "POST"}))


class _KindRouter(APIRouter):
    """The addresses of one kind, under its name; only requests for this kind look through them.

    FastAPI looks through all routes of a router twice for each request. With a hundred kinds in one router, finding the
    last one took forty times as long as making a ticket. Older versions of FastAPI copy the routes into the
    application, and never ask this router.
    """

    def __init__(self, path: str) -> None:
        super().__init__(prefix=path, route_class=_ProblemRoute)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        return super().matches(scope) if f"{self.prefix}/" in scope["path"] else (Match.NONE, {})


class _ProblemRoute(APIRoute):
    """Answer every error of the endpoint and of its dependencies with a problem document."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = _without_dependencies(super().get_route_handler(), self.endpoint)

        async def handle_or_explain(request: Request) -> Response:
            try:
                return await handle(request)
            except StarletteHTTPException as error:
                return as_response(self.explained(_http_problem(error)))
            except RequestValidationError as error:
                return as_response(self.explained(problem_response(_invalid_parameter(error))))
            except Exception as error:
                problem = self.explained(problem_response(error))
                return _ServerFault(error, problem) if is_server_fault(error) else as_response(problem)

        return handle_or_explain

    def explained(self, problem: ProblemResponse) -> ProblemResponse:
        return problem


def _without_dependencies(handle: _Handle, endpoint: Callable[..., Any]) -> _Handle:
    """Return a function that calls ``authorize`` and the endpoint directly, if FastAPI's ``handle`` does no more.

    FastAPI takes longer to resolve dependencies than presign to make a ticket. Nothing public says what FastAPI
    resolves for a route of an included router, but ``handle`` refers to it as ``dependant``. If ``handle`` does not, as
    in another version of FastAPI, it is returned as it is.
    """
    dependant: Any = inspect.getclosurevars(handle).nonlocals.get("dependant") if inspect.isfunction(handle) else None
    if getattr(dependant, "call", None) is not endpoint or len(dependant.dependencies) != 1:
        return handle
    resolved = dependant.dependencies[0]
    authorize: Any = resolved.call
    # FastAPI looks into what a decorator wraps.
    is_plain = inspect.isroutine(authorize) and not hasattr(authorize, "__wrapped__")
    is_generator = inspect.isgeneratorfunction(authorize) or inspect.isasyncgenfunction(authorize)
    needs = {field.name for field in fields(resolved) if getattr(resolved, field.name)}
    if not is_plain or is_generator or needs - _NEEDS_OF_PLAIN_DEPENDENCY:
        return handle
    call: Any = authorize if inspect.iscoroutinefunction(authorize) else partial[Any](run_in_threadpool, authorize)
    name = resolved.request_param_name

    async def handle_directly(request: Request) -> Response:
        # Tests of applications exchange dependencies.
        if getattr(request.scope.get("app"), "dependency_overrides", None):
            return await handle(request)
        owner = await (call(**{name: request}) if name else call())
        response: Response = await endpoint(request, owner)
        return response

    return handle_directly


def _http_problem(error: StarletteHTTPException) -> ProblemResponse:
    title = error.detail if isinstance(error.detail, str) else "The request was refused"
    return problem_response_for_status(error.status_code, title=title, headers=error.headers)


def _explain(error: Exception) -> ProblemResponse:
    """Return the problem of one item of a list; the application's ``on_complete`` may raise FastAPI's HTTPException."""
    return _http_problem(error) if isinstance(error, StarletteHTTPException) else explain_and_log(error)


class _CompanionRoute(_ProblemRoute):
    def explained(self, problem: ProblemResponse) -> ProblemResponse:
        return uppy.with_message(problem)


class _ServerFault(Response):
    """Send the problem, and raise the error again, so that the server and the application's middleware log it."""

    def __init__(self, error: Exception, problem: ProblemResponse) -> None:
        super().__init__(problem.body, status_code=problem.status, headers=problem.headers)
        self._error = error

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await super().__call__(scope, receive, send)
        raise self._error


def _invalid_parameter(error: RequestValidationError) -> InvalidRequest:
    """Return the problem with a header, cookie or other parameter that ``authorize`` declares."""
    first = error.errors()[0]
    name = sanitize(str(first["loc"][-1]))
    return InvalidRequest(f"the {first['loc'][0]} parameter '{name}' is not valid: {first['msg']}", field=name)


def _responses(operation: Operation) -> dict[int | str, dict[str, Any]]:
    # As a `model`, FastAPI would describe the problem a second time, as application/json.
    content = {"application/problem+json": {"schema": {"title": "Problem", **PROBLEM}}}
    described: dict[int | str, str] = {status: ", ".join(codes) for status, codes in operation.codes.items()}
    # Without it, FastAPI describes a 422 of its own for the parameters of `authorize`, which is never answered.
    described["4XX"] = "another refusal of the application's own"
    return {status: {"description": text, "content": content} for status, text in described.items()}


def _request_body(operation: Operation, described: dict[str, dict[str, Any]], max_files: int) -> dict[str, Any]:
    schema = {"title": operation.request, **described[operation.request]}
    if operation.takes_lists:
        schema = one_or_list(schema, max_files=max_files)
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def _titled(model: type[BaseModel], schema: dict[str, Any]) -> dict[str, Any]:
    return {"title": model.__name__, **schema}
