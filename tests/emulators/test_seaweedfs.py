from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
import psutil
import pytest
from botocore.config import Config

from emulators.bucket_readiness import wait_until_bucket_takes_objects
from emulators.processes import StartFailed
from emulators.seaweedfs import AccessKey, SeaweedFS

ADMIN = AccessKey(access_key_id="admin", secret_access_key="admin-secret")
MEGABYTE = 2**20


def client(server: SeaweedFS) -> Any:
    session = boto3.Session(ADMIN.access_key_id, ADMIN.secret_access_key, region_name="us-east-1")
    return session.client("s3", endpoint_url=server.endpoint_url, config=Config(s3={"addressing_style": "path"}))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedFS]:
    """A server with volumes of 8 MB, in a folder whose name the server would read as two."""
    directory = tmp_path_factory.mktemp("seaweedfs") / "one,two and three"
    running = SeaweedFS(directory=directory, admin=ADMIN, options=["-master.volumeSizeLimitMB=8"])
    with running:
        yield running


def test_the_number_of_volumes_does_not_depend_on_the_free_disk(tmp_path: Path) -> None:
    command = SeaweedFS(directory=tmp_path, admin=ADMIN).command({"s3": 12_345})
    options = dict(option.removeprefix("-").split("=", 1) for option in command if "=" in option)
    # 0 divides the free disk by the volume's size, and the default for the free space is a percentage of the disk.
    assert int(options["volume.max"]) >= 1_000
    assert options["volume.minFreeSpace"].endswith("MiB")


def test_forty_buckets_take_objects(server: SeaweedFS) -> None:
    s3 = client(server)

    def fill(number: int) -> None:
        bucket = f"bucket-{number}"
        s3.create_bucket(Bucket=bucket)
        wait_until_bucket_takes_objects(s3, bucket)
        s3.put_object(Bucket=bucket, Key="key", Body=bucket.encode())

    # A new bucket takes its first object after a fifth of a second.
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(fill, range(40)))
    for number in range(40):
        assert s3.get_object(Bucket=f"bucket-{number}", Key="key")["Body"].read() == f"bucket-{number}".encode()


def test_a_file_larger_than_several_volumes_is_stored(server: SeaweedFS) -> None:
    s3 = client(server)
    s3.create_bucket(Bucket="large")
    wait_until_bucket_takes_objects(s3, "large")
    block = bytes(range(256)) * (MEGABYTE // 256)
    s3.put_object(Bucket="large", Key="file", Body=block * 50)
    stored = hashlib.sha256(s3.get_object(Bucket="large", Key="file")["Body"].read())
    assert stored.hexdigest() == hashlib.sha256(block * 50).hexdigest()


def test_no_socket_and_no_log_stays_in_the_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "temporary"
    own.mkdir()
    monkeypatch.setenv("TMPDIR", str(own))
    monkeypatch.setattr(tempfile, "tempdir", str(own))
    directory = tmp_path / "data"
    running = SeaweedFS(directory=directory, admin=ADMIN)
    with running:
        process = psutil.Process(int((directory / "weed.pid").read_text()))
        ports = [option.rpartition("=")[2] for option in process.cmdline() if ".port.grpc=" in option]
        sockets = [path for port in ports for path in Path("/tmp").glob(f"seaweedfs-*-grpc-{port}.sock")]
        assert sockets, "the server makes its sockets elsewhere: see emulators/seaweedfs.py"
    assert not [path for path in sockets if path.exists()]
    assert list(own.iterdir()) == []
    assert not process.is_running()


def test_a_server_that_cannot_start_is_a_sentence_without_a_stack_trace(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    # The server keeps its table of volumes in a folder of this name.
    (tmp_path / "data" / "filerldb2").write_text("not a folder")
    with pytest.raises(StartFailed) as caught:
        SeaweedFS(directory=tmp_path, admin=ADMIN).start()
    message = str(caught.value)
    assert message.startswith("SeaweedFS ended with status")
    assert str(tmp_path / "weed.log") in message
    assert "goroutine" not in message
    assert "\n" not in message


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StartFailed, match=r"file.* cannot be written: Not a directory"):
        SeaweedFS(directory=tmp_path / "file" / "data", admin=ADMIN).start()
