"""The demo ends although a request has not."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.conftest import Store
from tests.demo_process import running_demo

STOP_SECONDS = 10.0


@pytest.mark.parametrize("workers", ["1", "2"])
def test_the_demo_ends_although_a_client_never_ends_its_request(tmp_path: Path, seaweedfs: Store, workers: str) -> None:
    settings = {**seaweedfs.environment, "PRESIGN_WORKERS": workers}
    with running_demo(tmp_path, **settings) as demo:
        host, _, port = demo.api.removeprefix("http://").rpartition(":")
        with socket.create_connection((host, int(port))) as client:
            client.sendall(
                b"POST /upload HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
            )
            demo.process.terminate()
            demo.process.wait(STOP_SECONDS)
