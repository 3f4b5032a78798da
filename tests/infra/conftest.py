"""The servers that provisioned state lives on while tests look at it: moto for decisions, SeaweedFS for access."""

from __future__ import annotations

import datetime
import ipaddress
import os
import secrets
import ssl
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from moto.server import ThreadedMotoServer

from emulators.ports import free_port
from emulators.seaweedfs import AccessKey, SeaweedFS
from tests.infra.boto3_cloud import Boto3Cloud

ADMIN = AccessKey(access_key_id="admin", secret_access_key="admin-secret")


@pytest.fixture(scope="session")
def moto_url() -> Iterator[str]:
    """The address of moto's server, for configuration and IAM decisions; it enforces nothing about signatures."""
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
    """The demo's storage with a second, TLS port, so that a policy that refuses plain http can be left as it is."""

    def __init__(self, *, directory: Path) -> None:
        super().__init__(directory=directory, admin=ADMIN)
        self.tls_port = free_port()
        self.ca_file = directory / "tls.crt"
        self._key_file = directory / "tls.key"
        _write_certificate(self.ca_file, self._key_file)

    def _command(self, config: Path) -> list[str]:
        return [
            *super()._command(config),
            f"-s3.port.https={self.tls_port}",
            f"-s3.cert.file={self.ca_file}",
            f"-s3.key.file={self._key_file}",
        ]


@pytest.fixture(scope="session")
def seaweedfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedFSWithTls]:
    server = SeaweedFSWithTls(directory=tmp_path_factory.mktemp("seaweedfs"))
    # The bucket encrypts by default, for which the server needs a key of its own.
    with mock.patch.dict(os.environ, {"WEED_S3_SSE_KEY": secrets.token_hex(32)}):
        server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def http(seaweedfs: SeaweedFSWithTls) -> Iterator[httpx.Client]:
    """A client that trusts the storage's certificate and follows nothing."""
    with httpx.Client(verify=ssl.create_default_context(cafile=str(seaweedfs.ca_file))) as client:
        yield client


def cloud_on(server: SeaweedFSWithTls) -> Boto3Cloud:
    """Answers a cloud on `server`, where a user's policy is enforced word for word only as a managed one."""
    return Boto3Cloud(
        f"https://127.0.0.1:{server.tls_port}",
        region="us-east-1",
        ca_file=str(server.ca_file),
        user_policies="managed",
        stores_access_block=False,
    )


def _write_certificate(certificate_file: Path, key_file: Path) -> None:
    """Writes a certificate for 127.0.0.1 that vouches for itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
