"""Scan uploads for malware with ClamAV's daemon, before anybody can read them.

::

    scanner = Clamd(address="/run/clamav/clamd.ctl", max_bytes=25_000_000)
    presigner = Presigner(backend=backend, policy=policy, secret=secret, inspect=scanner.inspect)
"""

from __future__ import annotations

import logging
import socket
from dataclasses import dataclass

from presign import Accept, InspectedObject, NotYet, Reject

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Clamd:
    """ClamAV's daemon at ``address``: the path of a Unix socket, or a host and a port (TCP without encryption).

    A file of more than ``max_bytes`` is rejected without a scan. This must be the smallest of clamd's settings
    StreamMaxLength, MaxFileSize and MaxScanSize: otherwise clamd may call a file clean that it did not scan.
    """

    address: str | tuple[str, int]
    max_bytes: int
    connect_seconds: float = 5
    answer_seconds: float = 130  # clamd itself ends a scan after 120 seconds (MaxScanTime).
    retry_after: int = 10

    def inspect(self, uploaded: InspectedObject) -> Accept | Reject | NotYet:
        """Accept a file that clamd calls clean, and reject what it names; return NotYet for every other answer."""
        if uploaded.size > self.max_bytes:
            return Reject(f"a file of more than {self.max_bytes} bytes cannot be scanned for malware")
        try:
            with self._connect() as connection:
                connection.settimeout(self.answer_seconds)
                was_sent = _send(connection, uploaded)
                answer = _receive(connection)
        except OSError as error:
            log.warning("clamd did not scan %s: %s", uploaded.key, type(error).__name__)
            return NotYet(retry_after=self.retry_after)
        log.info("clamd says about %s: %a", uploaded.key, answer)
        if answer == b"stream: OK\0" and was_sent:
            return Accept()
        if answer == b"INSTREAM size limit exceeded. ERROR\0":
            return Reject("the file is too large to be scanned for malware")
        if answer.startswith(b"stream: Heuristics.Limits.Exceeded") and answer.endswith(b" FOUND\0"):
            return Reject("the file is too large or too deeply nested to be scanned for malware")
        if answer.startswith(b"stream: ") and answer.endswith(b" FOUND\0"):
            return Reject("the malware scanner does not allow this file")
        return NotYet(retry_after=self.retry_after)

    def _connect(self) -> socket.socket:
        if isinstance(self.address, tuple):
            return socket.create_connection(self.address, timeout=self.connect_seconds)
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(self.connect_seconds)
        try:
            connection.connect(self.address)
        except OSError:
            connection.close()
            raise
        return connection


def _send(connection: socket.socket, uploaded: InspectedObject) -> bool:
    """Send INSTREAM, each chunk after its length, and a length of 0; return whether the whole object was sent."""
    sent = 0
    try:
        connection.sendall(b"zINSTREAM\0")
        with uploaded.open() as file:
            while chunk := file.read(256 * 1024):
                connection.sendall(len(chunk).to_bytes(4, "big") + chunk)
                sent += len(chunk)
        connection.sendall(bytes(4))
    except (BrokenPipeError, ConnectionResetError):
        # clamd answers and closes the connection as soon as a stream is longer than StreamMaxLength.
        return False
    return sent == uploaded.size


def _receive(connection: socket.socket) -> bytes:
    """Return the answer, which ends with a zero byte unless the connection ended before."""
    answer = b""
    while not answer.endswith(b"\0") and len(answer) < 4096 and (received := connection.recv(4096)):
        answer += received
    return answer
