"""The examples, tables and figures of the README and of docs/ are true."""

from __future__ import annotations

import base64
import io
import json
import re
import socket
from pathlib import Path
from types import ModuleType
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import boto3
import httpx
import pytest
from click.testing import CliRunner
from google.auth.credentials import AnonymousCredentials

from bench import cold, complete
from bench.results import Report
from bench.summary import servers, summary
from emulators.azurite import Azurite
from emulators.gcs_accounts import generate_credentials
from emulators.serving import serve
from examples.clamav import Clamd
from infra.presign_infra.s3_policies import cors_rules, signer_policy, verifier_policy
from presign import (
    Backend,
    CompletionPending,
    ConfigurationError,
    InvalidRequest,
    Presigner,
    Rejected,
    Rule,
    StoredObject,
    TooLarge,
    Unauthenticated,
    UploadPolicy,
    UploadRequest,
)
from presign.asgi import create_app
from presign.azure import AzureBackend
from presign.backends.knowledge import StoreKnowledge
from presign.cli import main as command
from presign.doctor import CATALOGUE
from presign.fastapi import completed_upload, create_router
from presign.flask import create_blueprint
from presign.gcs import GCSBackend
from presign.http.lists import ListAnswer
from presign.http.openapi import OPERATIONS
from presign.s3 import S3Backend
from presign.testing import CHECKS, Subject
from tests.azure.accounts import Identity
from tests.conftest import PNG, Store

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
DOCS = ROOT / "docs"
PAGES = {"README.md": README} | {
    path.relative_to(DOCS).as_posix(): path.read_text()
    for path in sorted(DOCS.rglob("*.md"))
    if "_build" not in path.parts
}


def _example(name: str, language: str = "python") -> str:
    pattern = rf"<!-- example: {name} -->\n```{language}\n(.*?)```"
    found = [match for page in PAGES.values() for match in re.findall(pattern, page, re.DOTALL)]
    assert len(found) == 1, f"{len(found)} examples have the name {name}"
    example: str = found[0]
    return example


def _run(name: str, **given: Any) -> Any:
    module = ModuleType(f"readme_{name}")
    module.__dict__.update(given)
    exec(compile(_example(name), f"the example {name}", "exec"), module.__dict__)
    return module


def _current_user(request: Any) -> str:
    if "X-User" not in request.headers:
        raise Unauthenticated("sign in to upload")
    user: str = request.headers["X-User"]
    return user


@pytest.fixture
def presigner(s3_reference: Store) -> Presigner:
    return s3_reference.presigner()


@pytest.fixture
def _bucket_of_the_example(s3_reference: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = s3_reference.session.get_credentials()
    assert keys is not None
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", keys.access_key or "")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", keys.secret_key or "")
    monkeypatch.setenv("PRESIGN_SECRET", "a secret of the example")
    monkeypatch.setenv("SESSION_SECRET", "another secret of the example")


@pytest.mark.usefixtures("_bucket_of_the_example")
def test_the_fastapi_example_serves_the_contract() -> None:
    app = _run("fastapi").app
    with serve(app) as url, httpx.Client(base_url=url) as client:
        assert client.post("/files/upload", json={"type": "image/png"}).status_code == 401
        assert client.post("/login", json={"user": "alice"}).status_code == 200
        answer = client.post("/files/upload", json={"type": "image/png"})
        assert answer.status_code == 200, answer.text
        assert answer.json()["url"] == "https://my-bucket.s3.eu-central-1.amazonaws.com/"
        names = ("upload", "complete", "parts", "parts/list", "abort")
        paths = client.get("/openapi.json").json()["paths"].keys()
        assert paths == {"/login", *(f"/files/{name}" for name in names)}


@pytest.mark.parametrize("page", PAGES)
def test_what_the_docs_show_of_an_example_is_in_its_file(page: str) -> None:
    for path, shown in re.findall(r"<!-- from: (\S+) -->\n```\w+\n(.*?)```", PAGES[page], re.DOTALL):
        assert shown in (ROOT / path).read_text(), path


def test_the_policies_and_cors_rules_of_the_page_about_s3_are_those_of_the_pulumi_program() -> None:
    place = ("arn:aws:s3:::my-bucket", "public/")
    program = {
        "cors": cors_rules(["https://app.example.com"]),
        "signer": signer_policy(*place, pending_prefix="pending/", allow_verification=False),
        "verifier": verifier_policy(*place, pending_prefix="pending/"),
    }
    shown = re.findall(r"<!-- json: (\w+) -->\n```json\n(.*?)```", PAGES["s3.md"], re.DOTALL)
    assert {name: json.loads(text) for name, text in shown} == program


def test_the_table_of_codes_is_what_the_endpoints_answer() -> None:
    table = re.search(r"<!-- table: codes -->\n(.*?)<!-- end of table -->", PAGES["http.md"], re.DOTALL)
    assert table
    shown = re.findall(r"^\| (\d+) \| `(\w+)` \| ([\w/, ]+) \|", table[1], re.MULTILINE)
    answered: dict[tuple[str, str], list[str]] = {}
    for operation in OPERATIONS:
        for status, codes in operation.codes.items():
            for code in codes:
                answered.setdefault((str(status), code), []).append(operation.path[1:])
    endpoints = {row: "all" if len(paths) == len(OPERATIONS) else ", ".join(paths) for row, paths in answered.items()}
    assert shown == sorted((*row, paths) for row, paths in endpoints.items())


def test_the_options_and_codes_of_the_client_that_the_docs_name_exist() -> None:
    client = "".join((ROOT / "client" / name).read_text() for name in ("api.js", "types.js", "upload.js"))
    for name in ("options", "client codes"):
        table = re.search(rf"<!-- table: {name} -->\n(.*?)<!-- end of table -->", PAGES["client.md"], re.DOTALL)
        assert table
        cells = re.findall(r"^\| (`.*?) \|", table[1], re.MULTILINE)
        named = [word for cell in cells for word in re.findall(r"`(\w+)`", cell) if word != "code"]
        assert named
        for word in named:
            assert re.search(rf"@property .* \[?{word}\]? |^ \* @typedef {{.*\"{word}\"", client, re.MULTILINE), word


def test_the_policy_of_the_page_about_large_files_lets_them_come_in_parts(s3_reference: Store) -> None:
    policy = _run("large files").policy
    presigner = Presigner(backend=s3_reference.backend(), policy=policy, secret="a secret of the example")
    count = {}
    for size in (50 * 1024**2 - 1, 50 * 1024**2):
        ticket = presigner.issue(UploadRequest(content_type="video/mp4", size=size))
        count[size] = ticket.parts.plan.count if ticket.parts else None
        if ticket.parts:
            presigner.abort(ticket.token)
    assert list(count.values()) == [None, 4]
    with pytest.raises(InvalidRequest, match="'size' is required"):
        presigner.issue(UploadRequest(content_type="video/mp4"))


@pytest.mark.parametrize("name", command.commands)
def test_the_page_about_the_command_shows_its_help(name: str) -> None:
    (shown,) = re.findall(rf"<!-- output: presign {name} --help -->\n```text\n(.*?)```", PAGES["cli.md"], re.DOTALL)
    assert shown == CliRunner().invoke(command, [name, "--help"], prog_name="presign", terminal_width=80).output


def test_each_test_that_the_page_about_threats_names_exists() -> None:
    tests = {
        name for path in (ROOT / "tests").rglob("*.py") for name in re.findall(r"def (test_\w+)", path.read_text())
    }
    rows = re.findall(r"^\| [^|]+ \| [^|]+ \| (\*.*\*) \|$", PAGES["threats.md"], re.MULTILINE)
    named = {sentence for row in rows for sentence in row.strip("*").split("*; *")}
    assert len(rows) == len(re.findall(r"^\| [A-Z]", PAGES["threats.md"], re.MULTILINE))
    missing = {sentence for sentence in named if f"test_{sentence.replace(' ', '_')}" not in tests}
    assert missing == set()


def test_the_readiness_example_says_whether_the_storage_accepts_the_settings(s3_reference: Store) -> None:
    is_ready = _run("ready").is_ready
    assert is_ready(s3_reference.presigner())
    policy = UploadPolicy(content_types={"image/png"}, max_bytes=100, prefix="public/")
    wrong = s3_reference.backend(bucket="a-bucket-that-does-not-exist")
    assert not is_ready(Presigner(backend=wrong, policy=policy, secret="a secret of docs"))


@pytest.mark.parametrize(
    ("page", "method", "address"),
    [
        ("s3", "POST", "https://my-bucket.s3.eu-central-1.amazonaws.com/"),
        ("minio", "POST", "https://minio.example.com/my-bucket"),
        ("r2", "PUT", "https://ACCOUNT.r2.cloudflarestorage.com/my-bucket/pending/"),
        ("azure", "PUT", "https://myaccount.blob.core.windows.net/pending/pending/"),
        ("google", "POST", "https://storage.googleapis.com/my-bucket/"),
    ],
)
@pytest.mark.usefixtures("_bucket_of_the_example")
def test_the_backend_of_each_page_about_a_storage_signs_uploads(
    page: str, method: str, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generate_credentials(tmp_path / "account.json", token_uri="http://unknown.invalid/token")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "account.json"))
    monkeypatch.setenv("AZURE_STORAGE_KEY", base64.b64encode(bytes(64)).decode())
    policy = UploadPolicy(content_types={"image/png"}, max_bytes=100, prefix="public/")
    presigner = Presigner(backend=_run(f"{page} backend").backend, policy=policy, secret="a secret of docs")
    ticket = presigner.issue(UploadRequest(content_type="image/png", size=20))
    assert ticket.method == method
    assert ticket.url.lower().startswith(address.lower())


def test_the_example_of_an_error_is_the_one_that_a_file_above_the_maximum_gets() -> None:
    policy = UploadPolicy(content_types={"image/png"}, max_bytes=10_000_000, prefix="public/")
    with pytest.raises(TooLarge) as refused:
        policy.decide(UploadRequest(content_type="image/png", size=20_000_000), object_id="0" * 32)
    assert refused.value.problem() == json.loads(_example("problem", "json"))


def test_the_answer_to_a_list_is_as_it_is_shown() -> None:
    shown = json.loads(_example("list", "json"))
    stored = StoredObject(
        key="public/4bd2c1f0.png",
        object_url=None,
        size=48213,
        content_type="image/png",
        etag='"5d41402abc4b2a76"',
        version=None,
    )
    answer = ListAnswer(2, timeout_seconds=1)
    answer.put([0], stored.to_json())
    answer.put([1], CompletionPending("the upload is being completed", retry_after=1))
    assert json.loads(answer.to_json()) == shown


def test_the_examples_of_a_sweep_and_of_a_scanner_run(s3_reference: Store) -> None:
    presigner = s3_reference.presigner(pending_prefix="pending/")
    assert _run("sweep", presigner=presigner).result.failed == ()
    given = {"Presigner": Presigner, "backend": presigner.backend, "policy": presigner.policy}
    scanned = _run("malware", Clamd=Clamd, secret="a secret of docs", **given)
    assert scanned.scanner.max_bytes == 25_000_000


@pytest.mark.usefixtures("_bucket_of_the_example")
def test_the_example_that_tests_a_server_runs_every_check() -> None:
    check_server = _run("conformance").test_my_server_does_what_tickets_say
    subjects: list[Subject] = []
    check_server(subjects.append)
    (subject,) = subjects
    assert (subject.prefix, subject.pending_prefix) == ("presign-test/", "presign-test-pending/")
    (mark,) = check_server.pytestmark
    assert mark.args == ("check", CHECKS)


@pytest.mark.usefixtures("_bucket_of_the_example")
def test_the_address_example_opens_a_backend() -> None:
    module = _run("address")
    assert (module.backend.name, module.prefix) == ("s3://my-bucket", "public/")


def _is_stored_and_completed(post: Any) -> None:
    """Use ``post(path, body, user) -> (status, json)`` as a browser would."""
    assert post("/upload", {"type": "image/png"}, None)[0] == 401
    status, problem = post("/upload", {"type": "text/html"}, "alice")
    assert (status, problem["code"]) == (415, "type_not_allowed")
    status, ticket = post("/upload", {"type": "image/png", "size": len(PNG)}, "alice")
    assert status == 200
    assert post("/complete", {"token": ticket["token"]}, "alice")[0] == 409
    stored = httpx.post(ticket["url"], data=ticket["fields"], files={"file": ("cat.png", PNG)})
    assert stored.status_code == 201
    assert post("/complete", {"tokens": "x"}, "alice")[0] == 400
    status, completed = post("/complete", {"token": ticket["token"]}, "alice")
    assert (status, completed["size"]) == (200, len(PNG))
    assert post("/complete", {"token": ticket["token"]}, "mallory")[0] == 403


# The test client of FastAPI prefers a newer version of httpx.
@pytest.mark.filterwarnings("ignore:Using .httpx. with .starlette.testclient. is deprecated")
def test_the_examples_of_an_applications_tests_pass_without_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    module = _run("testing")
    module.test_a_picture_is_stored()
    _run("testing large files")


@pytest.mark.usefixtures("_bucket_of_the_example")
def test_the_json_examples_have_the_members_of_the_contract(s3_reference: Store) -> None:
    presigner = _run("fastapi").presigner
    request = json.loads(_example("request", "json"))
    ticket = presigner.issue(UploadRequest.from_json(request)).to_dict()
    shown = json.loads(_example("ticket", "json"))
    assert shown.keys() == ticket.keys()
    assert (shown["method"], shown["url"], shown["enforced"]) == (ticket["method"], ticket["url"], ticket["enforced"])
    assert shown["fields"].items() - ticket["fields"].items() == {
        (name, value) for name, value in shown["fields"].items() if value.endswith("...")
    }
    presigner = s3_reference.presigner()
    answer = presigner.issue(UploadRequest(content_type="image/png", size=len(PNG))).to_dict()
    assert httpx.post(answer["url"], data=answer["fields"], files={"file": PNG}).status_code == 201
    stored = presigner.complete(answer["token"]).to_dict()
    assert json.loads(_example("stored", "json")).keys() == stored.keys()


def test_the_inspection_example_rejects_an_archive_that_unpacks_to_too_much(s3_reference: Store) -> None:
    def archive(size: int) -> bytes:
        content = io.BytesIO()
        with ZipFile(content, "w", ZIP_DEFLATED) as zip_file, zip_file.open("x", "w") as member:
            for _ in range(size // 2**20):
                member.write(bytes(2**20))
        return content.getvalue()

    policy = UploadPolicy(content_types={"application/zip"}, max_bytes=2_000_000, prefix="public/")
    inspect = _run("inspect").inspect
    presigner = Presigner(backend=s3_reference.backend(), policy=policy, secret="a secret of docs", inspect=inspect)
    for size, accepted in ((2**20, True), (110 * 2**20, False)):
        ticket = presigner.issue(UploadRequest(content_type="application/zip"))
        assert httpx.post(ticket.url, data=dict(ticket.fields), files={"file": archive(size)}).status_code == 201
        if accepted:
            assert presigner.complete(ticket.token).key == ticket.key
        else:
            with pytest.raises(Rejected, match="100 MB"):
                presigner.complete(ticket.token)


@pytest.mark.parametrize("page", PAGES)
def test_every_link_to_a_file_leads_somewhere(page: str) -> None:
    folder = ROOT if page == "README.md" else (DOCS / page).parent
    targets = [target for target in re.findall(r"\]\(([^)#]+)[^)]*\)", PAGES[page]) if "://" not in target]
    for target in targets:
        assert (folder / target).exists(), target


def test_every_option_that_the_docs_name_exists() -> None:
    named = {name for page in PAGES.values() for name in re.findall(r"`(?:UploadPolicy\()?([a-z][a-z_]+)=", page)}
    backends = (S3Backend, AzureBackend, GCSBackend)
    options = {name for backend in backends for name in backend.__init__.__annotations__}
    adapters = (create_app, create_blueprint, create_router, completed_upload)
    options |= {name for function in adapters for name in function.__annotations__}
    known = {*UploadPolicy.__dataclass_fields__, *options, *Presigner.__init__.__annotations__}
    assert named
    assert named <= known, named - known


def test_the_table_of_enforcement_is_what_the_code_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = re.search(r"<!-- table: enforcement -->\n(.*?)<!-- end of table -->", PAGES["enforcement.md"], re.DOTALL)
    assert table
    with Azurite(directory=tmp_path, https=True) as azurite:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(azurite.certificate))
        assert table[1] == _enforcement_table(azurite.account_url)


def _enforcement_table(azurite_url: str) -> str:
    session = boto3.Session("AKIAEXAMPLE", "a secret", region_name="eu-central-1")
    account_key = base64.b64encode(bytes(64)).decode()
    account: dict[str, Any] = {"container": "uploads", "account_name": "account"}
    bucket: dict[str, Any] = {
        "bucket": "uploads",
        "credentials": AnonymousCredentials(),  # type: ignore[no-untyped-call]
        "hmac_access_id": "GOOG1EREADME0000000001",
    }
    by_identity = AzureBackend(container="uploads", account_url=azurite_url, credential=Identity(), bind_headers=True)
    rows: dict[str, tuple[Backend, dict[str, Any]]] = {
        "S3 POST (`auto`)": (S3Backend(bucket="uploads", session=session, upload_method="post"), {}),
        "S3 PUT": (S3Backend(bucket="uploads", session=session, upload_method="put"), {"size": 20}),
        "GCS POST (`auto`)": (GCSBackend(**bucket, hmac_secret="a" * 40, upload_method="post"), {}),
        "GCS PUT": (GCSBackend(**bucket, hmac_secret="a" * 40, upload_method="put"), {}),
        "Azure, account key or identity": (AzureBackend(**account, account_key=account_key), {"size": 20}),
        "Azure, identity and `bind_headers`, size declared": (by_identity, {"size": 20}),
    }
    lines = [f"| | {' | '.join(f'`{rule.value}`' for rule in Rule)} |", "|---" * (len(Rule) + 1) + "|"]
    for name, (backend, declared) in rows.items():
        cells = _enforcers(backend, declared)
        lines.append(f"| {name} | {' | '.join(cells[rule] for rule in Rule)} |")
    return "\n".join(lines) + "\n"


def _enforcers(backend: Backend, declared: dict[str, Any]) -> dict[Rule, str]:
    """Return who enforces each rule in the straight way, in which a backend must enforce create-only or is refused."""
    request = UploadRequest(content_type="image/png", sha256="0" * 64, **declared)

    def enforced(**policy: Any) -> dict[Rule, str]:
        rules = UploadPolicy(
            content_types={"image/png"}, max_bytes=100, prefix="public/", pending_prefix=None, **policy
        )
        presigner = Presigner(backend=backend, policy=rules, secret="a secret of the table")
        return dict(presigner.issue(request).enforced)

    try:
        return enforced() | enforced(create_only=True)
    except ConfigurationError:
        return enforced() | {Rule.CREATE_ONLY: "refused at start"}


def test_the_example_of_what_was_learned_gives_it_to_the_backend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a secret")
    put = frozenset({Rule.SIZE, Rule.TYPE})
    StoreKnowledge(storage="s3://my-bucket", host="s3.example.com", shown={"put": put}).write("learned.json")
    backend = _run("learned").backend
    grant = UploadPolicy(
        content_types={"image/png"}, max_bytes=9, prefix="public/", require_size=True
    ).possible_grants()
    assert backend.enforces(grant[0]) == put


def test_the_example_of_a_health_check_with_uploads_says_whether_they_work(s3_reference: Store) -> None:
    uploads_work = _run("health").uploads_work
    presigner = s3_reference.presigner()
    assert uploads_work(presigner)
    stranger = boto3.Session("AKIASTRANGER", "a secret")
    other = Presigner(
        backend=s3_reference.backend(session=stranger), policy=presigner.policy, secret="a secret of docs"
    )
    assert not uploads_work(other)


def test_the_table_of_the_doctors_findings_is_what_the_code_says() -> None:
    table = re.search(r"<!-- table: findings -->\n(.*?)<!-- end of table -->", PAGES["doctor.md"], re.DOTALL)
    assert table
    lines = ["| code | severity | what it means | what to do |", "|---|---|---|---|"]
    for code, explanation in CATALOGUE.items():
        severity = str(explanation.severity).replace("unknown", "could not check")
        lines.append(f"| `{code}` | {severity} | {explanation.meaning} | {explanation.remedy} |")
    assert table[1] == "\n".join(lines) + "\n"


def test_the_table_of_figures_shows_the_committed_results() -> None:
    assert summary() in README


def test_the_table_of_cold_starts_shows_the_committed_results() -> None:
    assert f"<!-- table: cold start -->\n{cold.summary(Report.read('cold'))}\n<!-- end" in PAGES["performance.md"]


def test_the_table_of_ticket_servers_shows_the_committed_results() -> None:
    assert f"<!-- table: servers -->\n{servers(Report.read('serve'))}\n<!-- end" in PAGES["performance.md"]


def test_the_tables_of_completions_show_the_committed_results() -> None:
    report, page = Report.read("complete"), PAGES["performance.md"]
    assert f"<!-- table: completions -->\n{complete.summary(report)}\n<!-- end" in page
    assert f"<!-- table: slow storage -->\n{complete.summary_of_slow_storage(report)}\n<!-- end" in page


def test_the_make_targets_that_the_docs_name_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in {target for page in PAGES.values() for target in re.findall(r"`make ([a-z-]+)", page)}:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
