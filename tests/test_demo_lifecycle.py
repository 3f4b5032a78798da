"""The demo's processes: however the demo ends, nothing of it goes on, and the next one starts."""

from __future__ import annotations

import json
import os
import pty
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from demo_server.storages.folder import claim_folder
from emulators.ports import free_port
from emulators.processes import StartFailed
from tests.conftest import PNG
from tests.demo_process import (
    ROOT,
    Demo,
    environment,
    processes_of,
    run_demo,
    running_demo,
    wait_until_gone,
)

PID_FILES = {"s3": "s3/weed.pid", "azure": "azure/azurite.pid", "gcs": "gcs/gcs.pid"}


def ports() -> dict[str, str]:
    return {"PRESIGN_PORT": str(free_port()), "PRESIGN_PAGE_PORT": str(free_port())}


def storage_server(demo: Demo, storage: str) -> psutil.Process:
    return psutil.Process(int((demo.data_directory / PID_FILES[storage]).read_text()))


def upload(api: str) -> str:
    """Upload a picture, complete it, and return its URL."""
    ticket = httpx.post(f"{api}/upload", json={"type": "image/png", "size": len(PNG)}).json()
    if ticket["method"] == "POST":
        sent = httpx.post(ticket["url"], data=ticket["fields"], files={"file": ("cat.png", PNG)})
    else:
        sent = httpx.put(ticket["url"], headers=ticket["headers"], content=PNG)
    assert sent.status_code in {200, 201}, sent.text
    completed = httpx.post(f"{api}/complete", json={"token": ticket["token"]})
    assert completed.status_code == 200, completed.text
    return str(completed.json()["object_url"])


@pytest.mark.parametrize("storage", list(PID_FILES))
def test_nothing_goes_on_after_the_demo_was_killed_and_the_next_one_starts_at_once(
    tmp_path: Path, storage: str
) -> None:
    settings = ports()
    with running_demo(tmp_path, "--storage", storage, "--workers", "2", **settings) as demo:
        processes = processes_of(demo)
        commands = " ".join(" ".join(process.cmdline()) for process in processes)
        for started in ("serve_api", "serve_page", "spawn_main"):
            assert started in commands
        assert storage_server(demo, storage) in processes
        demo.process.kill()
        demo.process.wait(5)
        with running_demo(tmp_path, "--storage", storage, **settings) as next_demo:
            upload(next_demo.api)
        assert wait_until_gone(processes, seconds=10) == []


def test_a_second_demo_in_the_same_folder_is_refused_and_leaves_the_first_alone(tmp_path: Path) -> None:
    with running_demo(tmp_path) as demo:
        server = storage_server(demo, "s3")
        refused = run_demo(tmp_path, **ports())
        assert refused.returncode == 1
        assert refused.stderr.count("\n") == 1
        folder = demo.data_directory / "s3"
        assert (
            f"the demo for {demo.page} (process {demo.process.pid}) already uses the folder {folder}" in refused.stderr
        )
        assert "stop that demo, or choose another folder with PRESIGN_DATA_DIR" in refused.stderr
        assert server.is_running()
        assert httpx.get(upload(demo.api)).content == PNG
        # Another storage has another folder.
        with running_demo(tmp_path, "--storage", "gcs", **ports()) as other:
            upload(other.api)


def test_sigterm_ends_the_demo_while_requests_are_open_and_the_storage_hangs(tmp_path: Path) -> None:
    with running_demo(tmp_path, "--workers", "2") as demo:
        processes = processes_of(demo)
        token = httpx.post(f"{demo.api}/upload", json={"type": "image/png", "size": len(PNG)}).json()["token"]
        storage_server(demo, "s3").suspend()

        def complete() -> None:
            with suppress(httpx.HTTPError):
                httpx.post(f"{demo.api}/complete", json={"token": token}, timeout=60)

        waiting = [threading.Thread(target=complete) for _ in range(4)]
        for thread in waiting:
            thread.start()
        api = urlsplit(demo.api)
        with socket.create_connection((api.hostname or "", api.port or 0)) as half_sent:
            half_sent.sendall(b"POST /upload HTTP/1.1\r\nHost: demo\r\nContent-Type: application/json\r\n")
            half_sent.sendall(b'Content-Length: 100\r\n\r\n{"type"')
            demo.process.terminate()
            demo.process.wait(20)
        for thread in waiting:
            thread.join(20)
            assert not thread.is_alive()
        assert wait_until_gone(processes, seconds=5) == []
    assert demo.process.returncode == 0
    assert demo.log.endswith("Stopped\n")
    assert "Traceback" not in demo.log


def test_closing_the_terminal_ends_the_demo_and_all_that_it_started(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    settings = ports()
    try:
        with subprocess.Popen(
            [sys.executable, "-c", IN_A_TERMINAL, "--storage", "gcs"],
            cwd=tmp_path,
            env=environment(tmp_path, **settings),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        ) as started:
            os.close(theirs)
            shown = _read_until(ours, "Ctrl-C stops everything")
            demo = psutil.Process(started.pid)
            processes = [demo, *demo.children(recursive=True)]
            assert len(processes) >= 6, shown
            os.close(ours)
            started.wait(20)
    finally:
        for descriptor in (ours, theirs):
            with suppress(OSError):
                os.close(descriptor)
    assert wait_until_gone(processes, seconds=5) == []


# Makes the pseudo terminal the controlling one, as a login does, and becomes the demo.
IN_A_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, "-m", "demo_server", *sys.argv[1:]])
"""


def _read_until(terminal: int, text: str) -> str:
    shown = ""
    while text not in shown:
        shown += os.read(terminal, 4096).decode(errors="replace")
    return shown


def test_killing_make_ends_the_demo(tmp_path: Path) -> None:
    makefile = tmp_path / "Makefile"
    makefile.write_text(f"demo:\n\t@exec {sys.executable} -m demo_server --storage gcs\n")
    with subprocess.Popen(
        ["make", "--no-print-directory", "demo"],
        cwd=tmp_path,
        env=environment(tmp_path, **ports()),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    ) as make:
        assert make.stdout is not None
        while "Ctrl-C stops everything" not in make.stdout.readline():
            assert make.poll() is None
        processes = psutil.Process(make.pid).children(recursive=True)
        assert len(processes) >= 6
        make.kill()
    assert wait_until_gone(processes, seconds=20) == []


def test_a_storage_that_ends_by_itself_ends_the_demo_with_a_sentence_and_a_failure(tmp_path: Path) -> None:
    # In a folder whose name SeaweedFS would read as two.
    data = tmp_path / "one,two"
    with running_demo(tmp_path, PRESIGN_DATA_DIR=str(data)) as demo:
        upload(demo.api)
        processes = processes_of(demo)
        psutil.Process(int((data / "s3" / "weed.pid").read_text())).kill()
        assert demo.process.wait(20) == 1
        assert wait_until_gone(processes, seconds=5) == []
    sentence = f"The demo has stopped: SeaweedFS ended by itself with status 137; its log is {data / 's3' / 'weed.log'}"
    assert demo.log.splitlines()[-1] == sentence


@pytest.mark.parametrize(
    ("arguments", "variable"),
    [
        (["--types", "text/html"], "PRESIGN_TYPES"),
        (["--secret", "short"], "PRESIGN_SECRET"),
        (["--expires-in", "3601"], "PRESIGN_EXPIRES_IN"),
        (["--min-bytes", "2GiB"], "PRESIGN_MIN_BYTES"),
        (["--host", "192.0.2.1"], "PRESIGN_HOST"),
        (["--host", "no-such-host.invalid"], "PRESIGN_HOST"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_a_setting_is_refused_before_a_storage_starts(tmp_path: Path, arguments: list[str], variable: str) -> None:
    ended = run_demo(tmp_path, *arguments, **ports())
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"The demo cannot run: {variable}: ")
    assert ended.stdout == ""
    assert not (tmp_path / "data").exists()


def _below_a_file(tmp_path: Path) -> Path:
    (tmp_path / "file").touch()
    return tmp_path / "file" / "data"


def _where_nobody_can_write(tmp_path: Path) -> Path:
    return Path("/proc/presign-demo")


def _with_a_damaged_state(tmp_path: Path) -> Path:
    (tmp_path / "data" / "s3").mkdir(parents=True)
    (tmp_path / "data" / "s3" / "state.json").write_text('{"port": ')
    return tmp_path / "data"


def _on_a_full_disk(tmp_path: Path) -> Path:
    # Every write to this device fails as on a full disk.
    (tmp_path / "data" / "s3").mkdir(parents=True)
    (tmp_path / "data" / "s3" / "s3.json").symlink_to("/dev/full")
    return tmp_path / "data"


@pytest.mark.parametrize(
    ("make_folder", "sentence"),
    [
        (_below_a_file, "cannot be written: Not a directory"),
        (_where_nobody_can_write, "/proc/presign-demo cannot be written: "),
        (_with_a_damaged_state, "state.json cannot be read"),
        (_on_a_full_disk, "cannot be written: No space left on device"),
    ],
)
def test_a_folder_that_cannot_be_used_is_a_sentence(
    tmp_path: Path, make_folder: Callable[[Path], Path], sentence: str
) -> None:
    ended = run_demo(tmp_path, PRESIGN_DATA_DIR=str(make_folder(tmp_path)), **ports())
    assert ended.returncode == 1
    assert sentence in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_a_disk_that_is_almost_full_is_a_sentence_with_what_is_left_and_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("demo_server.storages.folder.MIN_FREE_BYTES", 10**18)
    with (
        pytest.raises(StartFailed, match=r"has \d+ MB left, and the storage needs 1000000000000 MB"),
        claim_folder(tmp_path / "data", origins=[]),
    ):
        pass


def test_a_folder_is_free_again_after_its_user_was_killed(tmp_path: Path) -> None:
    user = f"""
import time
from pathlib import Path
from demo_server.storages.folder import claim_folder
with claim_folder(Path({str(tmp_path)!r}), origins=["http://localhost:8080"]):
    print("claimed", flush=True)
    time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", user], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "claimed\n"
        with (
            pytest.raises(StartFailed, match=rf"the demo for http://localhost:8080 \(process {process.pid}\)"),
            claim_folder(tmp_path, origins=[]),
        ):
            pass
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    with claim_folder(tmp_path, origins=["http://localhost:8081"]):
        assert json.loads((tmp_path / "demo.json").read_text())["process"] == os.getpid()
