"""Azurite, the Azure Blob Storage emulator, on the loopback interface: installed, started, awaited and stopped.

It comes from npm, pinned by `azurite_package/package-lock.json`. `python -m emulators.azurite` installs it, and so
does the first start.
"""

from __future__ import annotations

import os
from pathlib import Path

from emulators.certificates import write_certificate
from emulators.npm_packages import install, node
from emulators.ports import HOST, free_port
from emulators.processes import ServerProcess, stop_server_of_earlier_run, writing_files

ACCOUNT_NAME = "devstoreaccount1"
ACCOUNT_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""Every emulator of Azure has this key, so it is no secret."""

START_SECONDS = 60.0
# It waits for connections that clients keep open.
_GRACE_SECONDS = 5.0

_PACKAGE = Path(__file__).with_name("azurite_package")
_MODULES = _PACKAGE / "node_modules"
_MAIN = Path("azurite", "dist", "src", "blob", "main.js")
_READY = "successfully listens on"


class Azurite:
    """An `azurite-blob` whose data lives in `directory`; a context manager that starts and stops it.

    With `https` it has a self-signed certificate (`certificate`), and gives user delegation keys to any bearer token
    that looks like one of Microsoft Entra ID. Without a `blob_port` it takes a free one. A server that an earlier run
    left in the same directory is stopped first. Raises StartFailed.
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
        self._directory = directory.absolute()
        self._port = blob_port or free_port()
        self._https = https
        self._account_name = account_name
        self._account_key = account_key
        self._process: ServerProcess | None = None

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
        """The port that the server listens on."""
        return self._port

    @property
    def process(self) -> ServerProcess:
        """The running server's process."""
        assert self._process is not None, "the server was not started"
        return self._process

    @property
    def certificate(self) -> Path:
        """The self-signed certificate that a client has to trust."""
        return self._directory / "certificate.pem"

    def __enter__(self) -> Azurite:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start the server and return once it answers; install it before, if need be."""
        install(_PACKAGE)
        with writing_files():
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            stop_server_of_earlier_run(self._directory / "azurite.pid")
            command = self._command()
        process = ServerProcess(
            command,
            name="Azurite",
            directory=self._directory,
            environment={**os.environ, "AZURITE_ACCOUNTS": f"{self._account_name}:{self._account_key}"},
            log_name="azurite.log",
            pid_name="azurite.pid",
            grace_seconds=_GRACE_SECONDS,
        )
        # A request would not tell this server from another that has taken its port.
        process.wait_until(lambda: _READY in process.log, seconds=START_SECONDS, error_pattern="Error|error")
        self._process = process

    def stop(self) -> None:
        """Stop the server; nothing happens if it does not run."""
        if self._process is not None:
            self._process.stop()
            self._process = None

    def _command(self) -> list[str]:
        data = self._directory / "data"
        data.mkdir(exist_ok=True)
        command = [
            str(node()),
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


if __name__ == "__main__":
    install(_PACKAGE)
