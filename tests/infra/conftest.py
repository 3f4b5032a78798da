"""The servers that the tests provision: moto, which shows decisions, and SeaweedFS, which shows access."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from moto.server import ThreadedMotoServer

from emulators.bucket_readiness import wait_until_bucket_takes_objects
from emulators.certificates import write_certificate
from emulators.ports import free_port
from emulators.seaweedfs import AccessKey, SeaweedFS
from tests.infra.boto3_cloud import Boto3Cloud

ADMIN = AccessKey(access_key_id="admin", secret_access_key="admin-secret")


@pytest.fixture(scope="session")
def moto_url() -> Iterator[str]:
    """The URL of moto's server, for configuration and IAM decisions; it enforces nothing about signatures."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    # moto loads a service on its first request, and two first requests at once can lock each other out.
    first = Boto3Cloud(url)
    first.s3.list_buckets()
    first.iam.list_users()
    yield url
    server.stop()


@pytest.fixture
def moto_cloud(moto_url: str) -> Boto3Cloud:
    return Boto3Cloud(moto_url)


class SeaweedFSWithTls(SeaweedFS):
    """The demo's storage with a second, TLS port, so that a policy that refuses plain http stays as it is."""

    def __init__(self, *, directory: Path) -> None:
        self.tls_port = free_port()
        self.ca_file = directory / "tls.crt"
        key_file = directory / "tls.key"
        write_certificate(certificate=self.ca_file, key=key_file)
        super().__init__(
            directory=directory,
            admin=ADMIN,
            options=[
                f"-s3.port.https={self.tls_port}",
                f"-s3.cert.file={self.ca_file}",
                f"-s3.key.file={key_file}",
            ],
        )


class SeaweedFSCloud(Boto3Cloud):
    """A cloud on SeaweedFS, where a new bucket takes objects only after a while."""

    def bucket_is_ready(self, bucket: str) -> None:
        wait_until_bucket_takes_objects(self.s3, bucket)


@pytest.fixture(scope="session")
def seaweedfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedFSWithTls]:
    server = SeaweedFSWithTls(directory=tmp_path_factory.mktemp("seaweedfs"))
    with server:
        yield server


@pytest.fixture(scope="session")
def http(seaweedfs: SeaweedFSWithTls) -> Iterator[httpx.Client]:
    """A client that trusts the storage's certificate and follows nothing."""
    with httpx.Client(verify=ssl.create_default_context(cafile=str(seaweedfs.ca_file))) as client:
        yield client


def cloud_on(server: SeaweedFSWithTls) -> Boto3Cloud:
    """Return a cloud on `server`, which enforces a user's policy word for word only if it is a managed one."""
    return SeaweedFSCloud(
        f"https://127.0.0.1:{server.tls_port}",
        region="us-east-1",
        ca_file=str(server.ca_file),
        user_policies="managed",
        stores_access_block=False,
        # The server encrypts only with a key in WEED_S3_SSE_KEY. With that variable, version 4.48 evaluates users'
        # policies without the header x-amz-copy-source, so it takes every copy for an upload.
        stores_encryption=False,
    )
