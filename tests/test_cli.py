"""The command line, as a process of its own, against SeaweedFS."""

from __future__ import annotations

import http.client
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlencode, urlsplit
from uuid import uuid4

import pytest

from demo_server.storages.local_storage import REGION
from presign.policy import DEFAULT_MAX_EXPIRES_IN
from presign.presigner import COMPLETION_WINDOW
from tests.conftest import Store, read_state

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def admin_keys(seaweedfs: Store, seaweedfs_directory: Path) -> dict[str, str]:
    """The keys that may do everything: the signer of the tests need not have the right to list."""
    admin = read_state(seaweedfs_directory)["admin"]
    return {"AWS_ACCESS_KEY_ID": admin["access_key_id"], "AWS_SECRET_ACCESS_KEY": admin["secret_access_key"]}


@pytest.fixture
def prefix(seaweedfs: Store) -> str:
    return f"pending/{uuid4().hex}/"


def _run(
    *arguments: str, keys: Mapping[str, str], command: tuple[str, ...] = (sys.executable, "-m", "presign")
) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    answer = subprocess.run(
        [*command, *arguments],
        cwd=ROOT,
        env={**environment, "AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": os.devnull, **keys},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert "Traceback" not in answer.stderr, answer.stderr
    for secret in keys.values():
        assert secret not in answer.stdout + answer.stderr
    return answer


def _url(store: Store, prefix: str, *, endpoint_url: str | None = None, bucket: str | None = None) -> str:
    query = urlencode({"region": REGION, "endpoint_url": endpoint_url or store.endpoint_url})
    return f"s3://{bucket or store.bucket}/{prefix}?{query}"


def _put(store: Store, *keys: str, body: bytes = b"pending") -> None:
    for key in keys:
        store.admin.put_object(Bucket=store.bucket, Key=key, Body=body)


Interfere = Callable[[str, str], int | None]
"""Gets the method and the path of a request, and returns the status with which to refuse it, or None."""


@contextmanager
def _relay(store: Store, *, ages: Mapping[str, timedelta], interfere: Interfere = lambda *_: None) -> Iterator[str]:
    """Stand before the store, and let the objects whose keys end with these texts look as old as ``ages`` says."""

    def with_ages(listing: bytes) -> bytes:
        for ending, age in ages.items():
            stored_at = (datetime.now(timezone.utc) - age).strftime("%Y-%m-%dT%H:%M:%S.000Z")
            pattern = rb"(<Key>[^<]*" + re.escape(ending).encode() + rb"</Key>.*?<LastModified>)[^<]*"
            listing = re.sub(pattern, rb"\g<1>" + stored_at.encode(), listing, flags=re.DOTALL)
        return listing

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def relay(self) -> None:
            status = interfere(self.command, self.path)
            body = b""
            headers: list[tuple[str, str]] = []
            if status is None:
                connection = http.client.HTTPConnection(urlsplit(store.endpoint_url).netloc, timeout=20)
                connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
                for name, value in self.headers.items():
                    connection.putheader(name, value)
                connection.endheaders()
                answer = connection.getresponse()
                status, body = answer.status, answer.read()
                headers = [pair for pair in answer.getheaders() if pair[0].lower() in {"etag", "content-type"}]
                connection.close()
                if self.command == "GET":
                    body = with_ages(body)
            self.send_response(status)
            for name, value in headers:
                self.send_header(name, value)
            if status != 204:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_DELETE = relay  # noqa: N815  (the names that http.server calls)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


AGES = {"late": timedelta(hours=27), "recent": timedelta(hours=25)}


def test_a_sweep_deletes_what_is_old_enough_and_keeps_the_rest(
    seaweedfs: Store, admin_keys: dict[str, str], prefix: str
) -> None:
    published = f"public/{prefix}late"
    _put(seaweedfs, f"{prefix}late", f"{prefix}recent", f"{prefix}new", published)
    with _relay(seaweedfs, ages=AGES) as endpoint_url:
        answer = _run("sweep", _url(seaweedfs, prefix, endpoint_url=endpoint_url), keys=admin_keys)
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "Deleted 1 object, kept 2\n", "")
    assert not seaweedfs.holds(f"{prefix}late")
    assert all(seaweedfs.holds(key) for key in (f"{prefix}recent", f"{prefix}new", published))


def test_a_sweep_goes_by_the_age_that_the_storage_itself_reports(
    seaweedfs: Store, admin_keys: dict[str, str], prefix: str
) -> None:
    _put(seaweedfs, f"{prefix}one", f"{prefix}two", f"public/{prefix}one")
    kept = _run("sweep", _url(seaweedfs, prefix), "--older-than", "10m", keys=admin_keys)
    assert (kept.returncode, kept.stdout) == (0, "Deleted 0 objects, kept 2\n")
    time.sleep(2.5)
    swept = _run("sweep", _url(seaweedfs, prefix), "--older-than", "1s", keys=admin_keys)
    assert (swept.returncode, swept.stdout) == (0, "Deleted 2 objects, kept 0\n")
    assert not seaweedfs.holds(f"{prefix}one")
    assert seaweedfs.holds(f"public/{prefix}one")


def test_a_sweep_ends_the_uploads_in_parts_that_are_old_enough(
    seaweedfs: Store, admin_keys: dict[str, str], prefix: str
) -> None:
    for key in (f"{prefix}film", f"public/{prefix}film"):
        seaweedfs.admin.create_multipart_upload(Bucket=seaweedfs.bucket, Key=key)
    kept = _run("sweep", _url(seaweedfs, prefix), keys=admin_keys)
    assert (kept.returncode, kept.stdout) == (0, "Deleted 0 objects, kept 0\n")
    time.sleep(2.5)
    swept = _run("sweep", _url(seaweedfs, prefix), "--parts-older-than", "1s", keys=admin_keys)
    assert (swept.returncode, swept.stdout) == (0, "Deleted 0 objects, kept 0, ended 1 unfinished\n")
    listed = seaweedfs.admin.list_multipart_uploads(Bucket=seaweedfs.bucket).get("Uploads", [])
    keys = {upload["Key"] for upload in listed}
    assert f"{prefix}film" not in keys
    assert f"public/{prefix}film" in keys


def test_a_sweep_that_may_not_list_unfinished_uploads_says_so_and_deletes_objects(
    seaweedfs: Store, admin_keys: dict[str, str], prefix: str
) -> None:
    _put(seaweedfs, f"{prefix}late")

    def refuse(method: str, path: str) -> int | None:
        return 403 if "uploads" in path.partition("?")[2] else None

    with _relay(seaweedfs, ages=AGES, interfere=refuse) as endpoint_url:
        answer = _run("sweep", _url(seaweedfs, prefix, endpoint_url=endpoint_url), keys=admin_keys)
    assert (answer.returncode, answer.stdout) == (0, "Deleted 1 object, kept 0\n")
    assert "Warning: unfinished uploads in parts were not ended" in answer.stderr
    assert not seaweedfs.holds(f"{prefix}late")


def test_a_dry_run_counts_and_deletes_nothing(seaweedfs: Store, admin_keys: dict[str, str], prefix: str) -> None:
    _put(seaweedfs, f"{prefix}late", f"{prefix}new")
    with _relay(seaweedfs, ages=AGES) as endpoint_url:
        url = _url(seaweedfs, prefix, endpoint_url=endpoint_url)
        answer = _run("sweep", url, "--dry-run", keys=admin_keys)
        as_json = _run("sweep", url, "--dry-run", "--json", keys=admin_keys)
    assert (answer.returncode, answer.stdout) == (0, "Would delete 1 object, kept 1\n")
    assert json.loads(as_json.stdout) == {
        "deleted": 1,
        "kept": 1,
        "aborted": 0,
        "failed": [],
        "dry_run": True,
        "parts_failure": None,
    }
    assert seaweedfs.holds(f"{prefix}late")


def test_an_object_that_is_replaced_after_the_listing_stays(
    seaweedfs: Store, admin_keys: dict[str, str], prefix: str
) -> None:
    replaced = []

    def replace_before_the_delete(method: str, path: str) -> int | None:
        if method == "DELETE":
            replaced.append(path)
            _put(seaweedfs, f"{prefix}late", body=b"another upload")
        return None

    _put(seaweedfs, f"{prefix}late")
    with _relay(seaweedfs, ages=AGES, interfere=replace_before_the_delete) as endpoint_url:
        answer = _run("sweep", _url(seaweedfs, prefix, endpoint_url=endpoint_url), keys=admin_keys)
    assert answer.returncode == 0, answer.stderr
    assert replaced
    assert seaweedfs.holds(f"{prefix}late")


def test_an_object_that_the_storage_does_not_delete_is_named_and_the_others_go(
    seaweedfs: Store, admin_keys: dict[str, str], prefix: str
) -> None:
    def refuse_one(method: str, path: str) -> int | None:
        return 403 if method == "DELETE" and "a-late" in path else None

    _put(seaweedfs, f"{prefix}a-late", f"{prefix}b-late", f"{prefix}new")
    with _relay(seaweedfs, ages=AGES, interfere=refuse_one) as endpoint_url:
        url = _url(seaweedfs, prefix, endpoint_url=endpoint_url)
        answer = _run("sweep", url, keys=admin_keys)
        as_json = _run("sweep", url, "--json", keys=admin_keys)
    assert (answer.returncode, answer.stdout) == (1, "Deleted 1 object, kept 1, could not delete 1\n")
    assert answer.stderr == f"Could not delete '{prefix}a-late'\n"
    assert as_json.returncode == 1
    assert json.loads(as_json.stdout)["failed"] == [f"{prefix}a-late"]
    assert not seaweedfs.holds(f"{prefix}b-late")


def test_the_default_age_is_longer_than_an_upload_can_be_completed(
    seaweedfs: Store, admin_keys: dict[str, str], prefix: str
) -> None:
    completable = DEFAULT_MAX_EXPIRES_IN + COMPLETION_WINDOW
    _put(seaweedfs, f"{prefix}upload")
    with _relay(seaweedfs, ages={"upload": completable + timedelta(minutes=30)}) as endpoint_url:
        answer = _run("sweep", _url(seaweedfs, prefix, endpoint_url=endpoint_url), keys=admin_keys)
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "Deleted 0 objects, kept 1\n", "")


@pytest.mark.parametrize(("duration", "warns"), [("24h", True), ("1499m", True), ("25h", False), ("2d", False)])
def test_an_age_at_which_uploads_can_still_be_completed_brings_a_warning(
    seaweedfs: Store, admin_keys: dict[str, str], prefix: str, duration: str, warns: bool
) -> None:
    answer = _run("sweep", _url(seaweedfs, prefix), "--older-than", duration, keys=admin_keys)
    assert (answer.returncode, answer.stdout) == (0, "Deleted 0 objects, kept 0\n")
    assert ("an upload can be completed for up to 25h" in answer.stderr) is warns


@pytest.mark.parametrize("duration", ["", "26", "h", "0h", "-1h", "1.5h", "1w", "1h 30m", "9999999d"])
def test_a_duration_that_is_not_one_is_refused(
    seaweedfs: Store, admin_keys: dict[str, str], prefix: str, duration: str
) -> None:
    answer = _run("sweep", _url(seaweedfs, prefix), "--older-than", duration, keys=admin_keys)
    assert answer.returncode == 2
    assert "such as 90m, 26h or 2d" in answer.stderr


def test_an_empty_prefix_is_refused(seaweedfs: Store, admin_keys: dict[str, str]) -> None:
    _put(seaweedfs, "public/kept")
    answer = _run("sweep", _url(seaweedfs, ""), "--older-than", "1s", keys=admin_keys)
    assert answer.returncode == 2
    assert "prefix must not be empty" in answer.stderr
    assert seaweedfs.holds("public/kept")


def test_a_missing_bucket_is_named(seaweedfs: Store, admin_keys: dict[str, str]) -> None:
    answer = _run("sweep", _url(seaweedfs, "pending/", bucket="no-such-bucket"), keys=admin_keys)
    assert (answer.returncode, answer.stdout) == (2, "")
    assert "the bucket no-such-bucket does not exist" in answer.stderr


def test_a_storage_that_does_not_answer_ends_the_command(admin_keys: dict[str, str], seaweedfs: Store) -> None:
    answer = _run("sweep", _url(seaweedfs, "pending/", endpoint_url="http://127.0.0.1:9"), keys=admin_keys)
    assert (answer.returncode, answer.stdout) == (2, "")
    assert "http://127.0.0.1:9 does not answer" in answer.stderr


def test_wrong_and_missing_keys_end_the_command(seaweedfs: Store, admin_keys: dict[str, str]) -> None:
    wrong = {**admin_keys, "AWS_SECRET_ACCESS_KEY": "a wrong secret"}
    answer = _run("sweep", _url(seaweedfs, "pending/"), keys=wrong)
    assert answer.returncode == 2
    assert "refuses the AWS credentials" in answer.stderr
    answer = _run("sweep", _url(seaweedfs, "pending/"), keys={})
    assert answer.returncode == 2
    assert "set AWS_ACCESS_KEY_ID" in answer.stderr


@pytest.mark.parametrize(
    "url",
    [
        "ftp://my-bucket/pending/",
        "s3://AKIAKEY:hunter2@my-bucket/pending/",
        "s3://my-bucket/pending/?secret_key=hunter2",
        "s3://my-bucket/pending?region=eu-central-1#hunter2",
        "azblob://account/container/pending/?sig=hunter2",
        "gs://my-bucket/pending/?key=hunter2",
    ],
)
def test_an_address_that_is_not_one_is_refused_and_not_repeated(url: str) -> None:
    answer = _run("sweep", url, keys={"AWS_ACCESS_KEY_ID": "a-key", "AWS_SECRET_ACCESS_KEY": "a-secret"})
    assert (answer.returncode, answer.stdout) == (2, "")
    assert "Error: the address" in answer.stderr
    assert "hunter2" not in answer.stderr


def test_help_and_unknown_options() -> None:
    answer = _run("sweep", "--help", keys={})
    assert answer.returncode == 0
    assert "26h" in answer.stdout
    answer = _run("sweep", "s3://my-bucket/pending/", "--account-key=hunter2", keys={})
    assert answer.returncode == 2
    assert "hunter2" not in answer.stderr


def test_the_command_and_the_module_are_the_same() -> None:
    script = "import sys; from presign.__main__ import main; sys.argv[0] = 'presign'; main()"
    as_script = _run("sweep", "--help", keys={}, command=(sys.executable, "-c", script))
    as_module = _run("sweep", "--help", keys={})
    assert as_script.returncode == 0
    assert as_script.stdout == as_module.stdout.replace("python -m presign", "presign")
    assert 'presign = "presign.__main__:main"' in (ROOT / "pyproject.toml").read_text()


@pytest.mark.parametrize(
    ("url", "package", "extra"),
    [
        ("s3://bucket/pending/", "boto3", "s3"),
        ("azblob://account/container/pending/", "azure", "azure"),
        ("gs://bucket/pending/", "cryptography", "gcs"),
    ],
)
def test_without_the_sdk_of_a_storage_a_sentence_names_it_and_the_extra(url: str, package: str, extra: str) -> None:
    script = f"import sys; sys.modules['{package}'] = None; from presign.__main__ import main; main()"
    answer = _run("sweep", url, keys={}, command=(sys.executable, "-c", script))
    assert (answer.returncode, answer.stdout) == (2, "")
    reason = f'needs {package}, which is not installed: pip install "presign-uploads[{extra}]"'
    assert answer.stderr == f"Error: {url.partition(':')[0]}:// {reason}\n"


@pytest.mark.parametrize("package", ["click", "urllib3"])
def test_without_its_packages_a_sentence_names_the_extra(package: str) -> None:
    script = f"import sys; sys.modules['{package}'] = None; from presign.__main__ import main; main()"
    answer = _run("sweep", "--help", keys={}, command=(sys.executable, "-c", script))
    assert (answer.returncode, answer.stdout) == (2, "")
    assert answer.stderr == f'The command line of presign needs {package}: pip install "presign-uploads[cli]"\n'
