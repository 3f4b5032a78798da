"""A fresh process with a key: its first ticket imports no SDK, and everything else still finds its SDK."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import cold
from emulators.gcs_accounts import generate_credentials
from emulators.s3_bucket import S3Bucket
from emulators.s3_reference import S3Reference
from emulators.serving import serve
from emulators.signature_v4 import HmacKey
from tests.fresh_process import run_fresh

ACCESS_KEY, SECRET_KEY = "AKIAEXAMPLE", "a secret"
AWS = {
    "AWS_ACCESS_KEY_ID": ACCESS_KEY,
    "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
    "AWS_REGION": "eu-central-1",
}
AZURE = {"AZURE_STORAGE_CONNECTION_STRING": "AccountName=example;AccountKey=a2V5"}
HMAC = {"GCS_HMAC_ACCESS_ID": "GOOG1EEXAMPLE000000001", "GCS_HMAC_SECRET": "a" * 40}
BACKENDS = {
    "s3": ("presign.s3", "S3Backend(bucket='example-bucket')", AWS),
    "azure": ("presign.azure", "AzureBackend(container='uploads')", AZURE),
    "azure with a pending container": (
        "presign.azure",
        "AzureBackend(container='uploads', pending_container='pending')",
        AZURE,
    ),
    "gcs with an hmac key": ("presign.gcs", "GCSBackend(bucket='example-bucket')", HMAC),
    "gcs with a pending bucket": (
        "presign.gcs",
        "GCSBackend(bucket='example-bucket', pending_bucket='pending')",
        HMAC,
    ),
    "gcs with an rsa key": ("presign.gcs", "GCSBackend(bucket='example-bucket', credentials=KEY_FILE)", {}),
}
# The SDKs, and the parts of the standard library that take longest: asyncio, HTTP, TLS, email and logging.
NOT_NEEDED = {
    "boto3",
    "botocore",
    "s3transfer",
    "urllib3",
    "requests",
    "azure.core",
    "azure.storage.blob",
    "azure.identity",
    "google.auth",
    "google.api_core",
    "google.cloud.storage",
    "starlette",
    "asyncio",
    "concurrent.futures",
    "http",
    "ssl",
    "socket",
    "email",
    "logging",
    "xml",
}
# Python 3.11 has 171 modules after a ticket for S3; boto3 alone has 600. Another Python has some more or fewer.
MAX_MODULES = 250


def _first_ticket(name: str, home: Path, arguments: str = "") -> str:
    """Return a script that makes one ticket, and writes which modules it has then."""
    module, backend, _ = BACKENDS[name]
    return (
        "import sys\n"
        f"KEY_FILE = {str(home / 'key.json')!r}\n"
        "from presign import Presigner, UploadPolicy, UploadRequest\n"
        f"from {module} import *\n"
        f"backend = {backend.removesuffix(')')}, {arguments})\n"
        "policy = UploadPolicy(content_types={'image/png'}, max_bytes=1000, prefix='public/')\n"
        "presigner = Presigner(backend=backend, policy=policy, secret='the secret of the tests of cold starts')\n"
        "ticket = presigner.issue(UploadRequest(content_type='image/png', size=100))\n"
        "assert 'ignature' in str(ticket.fields) or 'sig=' in ticket.url or 'ignature=' in ticket.url\n"
        "print(*sorted(sys.modules))\n"
    )


def _not_needed(modules: str) -> set[str]:
    return {
        name for name in NOT_NEEDED for module in modules.split() if module == name or module.startswith(f"{name}.")
    }


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder without settings, with the JSON of a service account."""
    folder = tmp_path_factory.mktemp("home")
    generate_credentials(folder / "key.json", token_uri="https://token.invalid/")
    return folder


@pytest.mark.parametrize("name", BACKENDS)
def test_the_first_ticket_imports_no_sdk_and_nothing_else_that_takes_long(name: str, home: Path) -> None:
    [modules] = run_fresh("-c", _first_ticket(name, home), settings=BACKENDS[name][2], home=home)
    assert not _not_needed(modules)
    assert len(modules.split()) < MAX_MODULES


def test_what_the_first_ticket_does_not_need_is_noticed_when_it_is_imported(home: Path) -> None:
    for name in ("boto3", "azure.storage.blob", "google.cloud.storage", "asyncio"):
        [modules] = run_fresh("-c", f"import {name}\n{_first_ticket('s3', home)}", settings=AWS, home=home)
        assert name in _not_needed(modules)


CLOSED = "http://127.0.0.1:1"


@pytest.mark.parametrize(
    ("name", "arguments", "sdk"),
    [
        ("s3", f"endpoint_url='{CLOSED}'", "botocore"),
        ("azure", f"account_url='{CLOSED}/example'", "azure.core"),
        ("azure with a pending container", f"account_url='{CLOSED}/example'", "azure.core"),
        ("gcs with an hmac key", f"endpoint_url='{CLOSED}'", "requests"),
        ("gcs with an rsa key", f"endpoint_url='{CLOSED}'", "requests"),
    ],
)
def test_a_call_after_the_first_ticket_finds_its_sdk(name: str, arguments: str, sdk: str, home: Path) -> None:
    script = _first_ticket(name, home, arguments) + (
        "from presign import StorageUnavailable\n"
        "calls = (backend.check, lambda: backend.head('a key'), lambda: backend.pending.head('a key'),\n"
        "         lambda: list(backend.list_objects('')), lambda: list(backend.parts.list_uploads('')))\n"
        "for call in calls:\n"
        "    try:\n"
        "        call()\n"
        "    except StorageUnavailable as error:\n"
        "        print(type(error).__name__)\n"
        "print(*sorted(sys.modules))\n"
    )
    before, *failures, after = run_fresh("-c", script, settings=BACKENDS[name][2], home=home)
    assert not _not_needed(before)
    assert failures == ["StorageUnavailable"] * 5
    assert sdk in after.split()


def test_a_process_that_began_without_boto3_completes_its_upload_with_the_keys_that_it_began_with(home: Path) -> None:
    reference = S3Reference(
        buckets={"example-bucket": S3Bucket()},
        access_keys={ACCESS_KEY: HmacKey(secret=SECRET_KEY)},
        region="eu-central-1",
    )
    with serve(reference) as url:
        script = _first_ticket("s3", home, f"endpoint_url='{url}'") + (
            "import os\n"
            "os.environ['AWS_ACCESS_KEY_ID'] = 'AKIAANOTHER'\n"
            "backend.check()\n"
            "from emulators.wire import Form, send\n"
            "content = b'\\x89PNG\\r\\n\\x1a\\n'.ljust(100)\n"
            "assert send(Form.of(ticket.url, dict(ticket.fields), content)).status in (201, 204)\n"
            "print(presigner.complete(ticket.token).size)\n"
            # This one goes through boto3's client, and not through presign's own requests.
            "print(*(found.key == ticket.key for found in backend.list_objects('')))\n"
        )
        modules, *answers = run_fresh("-c", script, settings=AWS, home=home)
    assert not _not_needed(modules)
    assert answers == ["100", "True"]


def test_every_program_of_the_benchmark_ends_well(tmp_path: Path) -> None:
    for start in cold.starts(tmp_path):
        assert cold.measure(start, tmp_path)[cold.CPU] > 0, start
