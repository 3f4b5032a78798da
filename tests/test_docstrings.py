"""The examples in the docstrings are run; those of Django are in tests/django/."""

from __future__ import annotations

import base64
import doctest
import io
import os
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any
from zipfile import ZipFile

import httpx
import pytest
from fastapi import Body, Depends, FastAPI, Request
from flask import Flask
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount

from emulators.gcs_accounts import generate_credentials
from emulators.s3_bucket import S3Bucket
from emulators.s3_reference import S3Reference
from emulators.serving import serve
from emulators.signature_v4 import HmacKey
from presign import (
    Accept,
    Completion,
    InspectedObject,
    Presigner,
    Reject,
    StoredObject,
    Unauthenticated,
    UploadPolicy,
    UploadRequest,
    open_backend,
)
from presign.asgi import create_app
from presign.azure import AzureBackend
from presign.doctor import check_health, examine
from presign.fastapi import completed_upload, create_router
from presign.flask import create_blueprint
from presign.gcs import GCSBackend
from presign.inspection import Verdict
from presign.s3 import S3Backend
from presign.testing import MemoryBackend
from tests.adapters.serving import serve_wsgi
from tests.conftest import PNG, Store, upload
from tests.docstring_examples import PACKAGE, find_examples, run

EXAMPLES = {name: code for name, code in find_examples().items() if not name.startswith("presign.django")}
RUNS: dict[str, str] = {}


def runs(name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Say which example a test runs."""

    def note(test: Callable[..., None]) -> Callable[..., None]:
        RUNS[name] = test.__name__
        return test

    return note


@pytest.fixture(autouse=True)
def _settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAREFERENCE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a secret of the reference")
    monkeypatch.setenv("AZURE_STORAGE_KEY", base64.b64encode(bytes(64)).decode())
    monkeypatch.setenv("PRESIGN_SECRET", "a secret of the examples")


@pytest.fixture
def my_bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A store with the bucket of the examples, in place of Amazon S3."""
    storage = S3Reference(
        buckets={"my-bucket": S3Bucket(public_prefix="public/")},
        access_keys={"AKIAREFERENCE": HmacKey(secret="a secret of the reference")},
        region="eu-central-1",
    )
    with serve(storage) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", url)
        yield


@pytest.fixture
def presigner(s3_reference: Store) -> Presigner:
    return s3_reference.presigner()


def _current_user(request: Any) -> str:
    if "X-User" not in request.headers:
        raise Unauthenticated("sign in to upload")
    user: str = request.headers["X-User"]
    return user


def _user_of_fastapi(request: Request) -> str:
    return _current_user(request)


def _serves_tickets(url: str) -> None:
    assert httpx.post(f"{url}/files/upload", json={"type": "image/png"}).status_code == 401
    assert httpx.post(f"{url}/files/upload", json={"type": "image/png"}, headers={"X-User": "a"}).status_code == 200


def test_every_example_is_run_by_one_test() -> None:
    assert EXAMPLES.keys() == RUNS.keys()


def test_the_examples_with_a_prompt_have_the_results_that_they_show() -> None:
    paths = [path for path in PACKAGE.rglob("*.py") if ">>> " in path.read_text()]
    assert paths
    for path in paths:
        module = import_module(".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts))
        result = doctest.testmod(module)
        assert result.attempted > 0, path
        assert result.failed == 0, path


@runs("presign.presigner.Presigner")
@pytest.mark.usefixtures("my_bucket")
def test_the_example_of_the_presigner_completes_what_a_browser_has_sent() -> None:
    issue, comment, complete = EXAMPLES["presign.presigner.Presigner"].partition("# The browser sends the file")
    assert comment
    names = run(
        issue, os=os, Presigner=Presigner, S3Backend=S3Backend, UploadPolicy=UploadPolicy, UploadRequest=UploadRequest
    )
    assert upload(names["ticket"], PNG.ljust(48213, b"\0")).status == 201
    stored = run(comment + complete, **names)["stored"]
    assert (stored.key, stored.size) == (names["ticket"].key, 48213)


@runs("presign.doctor.examination.examine")
@pytest.mark.usefixtures("my_bucket")
def test_the_example_of_the_doctor_prints_a_report(capsys: pytest.CaptureFixture[str]) -> None:
    run(EXAMPLES["presign.doctor.examination.examine"], open_backend=open_backend, examine=examine)
    printed = capsys.readouterr().out
    assert "cors-preflight: the storage answers 403 to the preflight request of https://app.example.com" in printed


@runs("presign.doctor.examination.check_health")
def test_the_example_of_the_health_check_answers_200_and_503(presigner: Presigner) -> None:
    names = {"Response": Response, "JSONResponse": JSONResponse, "check_health": check_health}
    gone = Presigner(
        backend=S3Backend(bucket="my-bucket", region="eu-central-1", endpoint_url="http://127.0.0.1:9"),
        policy=presigner.policy,
        secret="a secret of the examples",
    )
    for each, status in ((presigner, 200), (gone, 503)):
        app = FastAPI()
        run(EXAMPLES["presign.doctor.examination.check_health"], app=app, presigner=each, **names)
        with serve(app) as url:
            assert httpx.get(f"{url}/health/uploads").status_code == status


@runs("presign.presigner.OnComplete")
def test_the_example_of_on_complete_records_an_upload_once() -> None:
    rows: dict[str, dict[str, str]] = {}
    photos = SimpleNamespace(get_or_create=lambda *, key, defaults: rows.setdefault(key, defaults))
    stored = StoredObject(key="public/a", object_url=None, size=3, content_type="image/png", etag="e")
    record = run(
        EXAMPLES["presign.presigner.OnComplete"], Completion=Completion, Photo=SimpleNamespace(objects=photos)
    )["record"]
    for owner in ("alice", "alice again"):
        record(Completion(kind="photos", stored=stored, owner=owner, name=None, metadata={}))
    assert rows == {"public/a": {"owner_id": "alice"}}


@runs("presign.inspection")
def test_the_example_of_inspect_counts_the_files_of_an_archive() -> None:
    given = {
        "InspectedObject": InspectedObject,
        "Verdict": Verdict,
        "ZipFile": ZipFile,
        "Accept": Accept,
        "Reject": Reject,
    }
    inspect = run(EXAMPLES["presign.inspection"], **given)["inspect"]
    for files, verdict in ((100, Accept), (101, Reject)):
        content = io.BytesIO()
        with ZipFile(content, "w") as archive:
            for number in range(files):
                archive.writestr(str(number), "")
        uploaded = InspectedObject(
            key="public/a",
            content_type="application/zip",
            size=len(content.getvalue()),
            etag="e",
            owner=None,
            name=None,
            metadata={},
            read_range=partial(_read, content.getvalue()),
        )
        assert isinstance(inspect(uploaded), verdict)


def _read(content: bytes, offset: int, length: int) -> bytes:
    return content[offset : offset + length]


@runs("presign.asgi.create_app")
def test_the_example_of_create_app_serves_tickets(presigner: Presigner) -> None:
    given = {"Starlette": Starlette, "Mount": Mount, "create_app": create_app}
    names = run(EXAMPLES["presign.asgi.create_app"], presigner=presigner, current_user=_current_user, **given)
    with serve(names["app"]) as url:
        _serves_tickets(url)


@runs("presign.flask")
def test_the_example_of_the_blueprint_serves_tickets(presigner: Presigner) -> None:
    app = Flask(__name__)
    given = {"app": app, "presigner": presigner, "current_user": _current_user}
    run(EXAMPLES["presign.flask"], create_blueprint=create_blueprint, **given)
    with serve_wsgi(app) as url:
        _serves_tickets(url)


@runs("presign.fastapi")
def test_the_example_of_the_router_serves_tickets_and_takes_an_upload_with_a_form(presigner: Presigner) -> None:
    app = FastAPI()
    given = {"app": app, "presigner": presigner, "current_user": _user_of_fastapi, "StoredObject": StoredObject}
    given |= {"Annotated": Annotated, "Body": Body, "Depends": Depends}
    run(EXAMPLES["presign.fastapi"], create_router=create_router, completed_upload=completed_upload, **given)
    with serve(app) as url, httpx.Client(base_url=url, headers={"X-User": "alice"}) as alice:
        _serves_tickets(url)
        ticket = alice.post("/files/upload", json={"type": "image/png", "size": len(PNG)}).json()
        body = {"name": "Alice", "avatar": ticket["token"]}
        assert alice.post("/profile", json=body).status_code == 409
        assert httpx.post(ticket["url"], data=ticket["fields"], files={"file": PNG}).status_code == 201
        assert alice.post("/profile", json=body).status_code == 200


@runs("presign.s3.backend.S3Backend")
def test_the_examples_of_the_s3_backend_are_a_bucket_of_amazon_and_one_of_another_store() -> None:
    names = run(EXAMPLES["presign.s3.backend.S3Backend"], S3Backend=S3Backend)
    assert names["backend"].object_url("a") == "https://my-bucket.s3.eu-central-1.amazonaws.com/a"
    assert names["other_store"].object_url("a") == "https://minio.example.com/my-bucket/a"


@runs("presign.azure.backend.AzureBackend")
def test_the_example_of_the_azure_backend_has_two_containers() -> None:
    backend = run(EXAMPLES["presign.azure.backend.AzureBackend"], AzureBackend=AzureBackend)["backend"]
    assert backend.object_url("a") == "https://myaccount.blob.core.windows.net/public/a"
    assert backend.pending is not backend


@runs("presign.gcs.backend.GCSBackend")
def test_the_example_of_the_gcs_backend_reads_a_service_account(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    generate_credentials(tmp_path / "service-account.json", token_uri="http://unknown.invalid/token")
    backend = run(EXAMPLES["presign.gcs.backend.GCSBackend"], GCSBackend=GCSBackend)["backend"]
    assert backend.object_url("a") == "https://storage.googleapis.com/my-bucket/a"


@runs("presign.backends.registry.open_backend")
def test_the_example_of_an_address_opens_a_backend() -> None:
    names = run(EXAMPLES["presign.backends.registry.open_backend"], open_backend=open_backend)
    assert (names["backend"].name, names["prefix"]) == ("s3://my-bucket", "public/")


@runs("presign.testing.memory")
def test_the_example_of_the_storage_in_memory_completes_an_upload(presigner: Presigner) -> None:
    given: dict[str, Any] = {"policy": presigner.policy, "secret": "a secret of the examples", "picture": PNG}
    given |= {"MemoryBackend": MemoryBackend, "Presigner": Presigner, "UploadRequest": UploadRequest}
    names = run(EXAMPLES["presign.testing.memory"], **given)
    assert names["stored"].size == len(PNG)


@runs("presign.testing.conformance")
def test_the_example_of_the_checks_checks_a_backend(s3_reference: Store) -> None:
    given = {"MyBackend": lambda _: s3_reference.backend()}
    names = run(EXAMPLES["presign.testing.conformance"], **given)
    (mark,) = names["test_conformance"].pytestmark
    assert mark.args == ("check", names["CHECKS"])
    names["test_conformance"](names["CHECKS"][0])
