"""``presign ticket``, as a process of its own: SeaweedFS stores exactly what the printed ticket allows."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlencode

import httpx
import pytest

from demo_server.storages.local_storage import REGION
from tests.conftest import PNG, Store, read_state

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def keys(seaweedfs: Store, seaweedfs_directory: Path) -> dict[str, str]:
    admin = read_state(seaweedfs_directory)["admin"]
    return {"AWS_ACCESS_KEY_ID": admin["access_key_id"], "AWS_SECRET_ACCESS_KEY": admin["secret_access_key"]}


def _url(store: Store, **parameters: str) -> str:
    query = urlencode({"region": REGION, "endpoint_url": store.endpoint_url, **parameters})
    return f"s3://{store.bucket}/public/?{query}"


def _ticket(
    *arguments: str, keys: Mapping[str, str], directory: Path = ROOT, status: int = 0
) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    answer = subprocess.run(
        [sys.executable, "-m", "presign", "ticket", *arguments],
        cwd=directory,
        env={
            **environment,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "PYTHONPATH": str(ROOT),
            **keys,
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert answer.returncode == status, answer.stderr
    assert "Traceback" not in answer.stderr
    assert keys.get("AWS_SECRET_ACCESS_KEY", "no secret") not in answer.stdout + answer.stderr
    return answer


def _stored(store: Store, key: str) -> tuple[bytes, str]:
    answer = store.admin.get_object(Bucket=store.bucket, Key=key)
    store.admin.delete_object(Bucket=store.bucket, Key=key)
    return answer["Body"].read(), answer["ContentType"]


def test_the_printed_ticket_stores_a_file_of_its_size_and_no_other(seaweedfs: Store, keys: dict[str, str]) -> None:
    arguments = ["--type", "image/png", "--size", str(len(PNG)), "--name", "cat.png"]
    ticket = json.loads(_ticket(_url(seaweedfs), *arguments, keys=keys).stdout)
    assert "token" not in ticket
    assert ticket["fields"]["Content-Disposition"] == 'attachment; filename="cat.png"'
    assert ticket["key"].removeprefix("public/") == ticket["fields"]["key"].removeprefix("pending/")
    larger = httpx.post(ticket["url"], data=ticket["fields"], files={"file": PNG + b"\0"})
    assert larger.status_code == 400
    assert httpx.post(ticket["url"], data=ticket["fields"], files={"file": PNG}).status_code == 201
    assert _stored(seaweedfs, ticket["fields"]["key"]) == (PNG, "image/png")


def test_the_ticket_of_a_large_file_comes_in_one_request(seaweedfs: Store, keys: dict[str, str]) -> None:
    arguments = ["--type", "video/mp4", "--size", str(5 * 1024**3), "--no-pending"]
    ticket = json.loads(_ticket(_url(seaweedfs), *arguments, keys=keys).stdout)
    assert ticket["fields"]["key"] == ticket["key"]
    assert "parts" not in ticket


def _send_as_curl(arguments: Sequence[str], directory: Path) -> None:
    """Send what curl would send with these arguments, on a machine without curl."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    for flag in ("--fail-with-body", "--globoff"):
        parser.add_argument(flag, action="store_true", required=True)
    for option in ("--form-string", "--form", "--header"):
        parser.add_argument(option, action="append", default=[])
    parser.add_argument("--upload-file")
    parser.add_argument("url")
    given = parser.parse_args(arguments)
    if given.upload_file is not None:
        headers = dict(header.split(": ", 1) for header in given.header)
        content = (directory / given.upload_file).read_bytes()
        httpx.put(given.url, headers=headers, content=content).raise_for_status()
        return
    [form] = given.form
    name = form.removeprefix('file=@"').removesuffix('"').replace('\\"', '"').replace("\\\\", "\\")
    fields = dict(field.split("=", 1) for field in given.form_string)
    httpx.post(given.url, data=fields, files={"file": (directory / name).read_bytes()}).raise_for_status()


def _run_curl(arguments: Sequence[str], directory: Path) -> None:
    subprocess.run(["curl", *arguments], cwd=directory, check=True, capture_output=True, timeout=60)


SENDERS = [_send_as_curl, *([_run_curl] if shutil.which("curl") else [])]


@pytest.mark.parametrize("send", SENDERS)
@pytest.mark.parametrize("method", ["post", "put"])
@pytest.mark.parametrize("name", ["cat.png", 'my "best" {1,2} [3] \\ cat.png', "cat;type=text"])
def test_the_command_for_curl_uploads_the_file(
    seaweedfs: Store,
    keys: dict[str, str],
    tmp_path: Path,
    send: Callable[[Sequence[str], Path], None],
    method: str,
    name: str,
) -> None:
    (tmp_path / name).write_bytes(PNG)
    before = set(_pending(seaweedfs))
    url = _url(seaweedfs, upload_method=method)
    printed = _ticket(url, "--type", "image/png", "--curl", name, keys=keys, directory=tmp_path).stdout
    curl, *arguments = shlex.split(printed)
    assert curl == "curl"
    assert ("--upload-file" in arguments) is (method == "put")
    send(arguments, tmp_path)
    [key] = set(_pending(seaweedfs)) - before
    assert _stored(seaweedfs, key) == (PNG, "image/png")


def _pending(store: Store) -> list[str]:
    listed = store.admin.list_objects_v2(Bucket=store.bucket, Prefix="pending/").get("Contents", [])
    return [each["Key"] for each in listed]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--type", "image"], "content_types must be exact media types such as image/png"),
        (["--type", "image/png", "--size", str(5 * 1024**3 + 1)], "'size' is 5368709121 bytes"),
        (["--type", "image/png", "--expires-in", "8d"], "604800 seconds"),
        (["--type", "image/png", "--pending-prefix", "public/"], "overlap"),
        (["--type", "image/png", "--curl", "no-such-file"], "does not exist"),
        ([], "Missing option '--type'"),
    ],
)
def test_a_wrong_option_ends_the_command_with_a_sentence(
    seaweedfs: Store, keys: dict[str, str], arguments: list[str], sentence: str
) -> None:
    answer = _ticket(_url(seaweedfs), *arguments, keys=keys, status=2)
    assert sentence in " ".join(answer.stderr.split())
    assert answer.stdout == ""


def test_missing_credentials_end_the_command_with_a_sentence(seaweedfs: Store) -> None:
    answer = _ticket(_url(seaweedfs), "--type", "image/png", keys={}, status=2)
    assert "no AWS credentials found" in answer.stderr
