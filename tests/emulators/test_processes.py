from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from emulators.processes import ServerProcess, StartFailed, stop_server_of_earlier_run
from tests.demo_process import ROOT, wait_until_gone

# A server that has a child of its own, and that writes both process ids into its log.
PARENT_AND_CHILD = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print("ready", os.getpid(), child.pid, flush=True)
time.sleep(60)
"""
IGNORES_SIGTERM = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + PARENT_AND_CHILD
ENDS_AND_LEAVES_ITS_CHILD = PARENT_AND_CHILD.replace("time.sleep(60)\n", "sys.exit(7)\n")
# What starts a server, and is killed then.
STARTER = """
import os, sys, time
from pathlib import Path
from emulators.processes import ServerProcess
server = ServerProcess(
    [sys.executable, "-c", sys.argv[1]],
    name="the server", directory=Path(sys.argv[2]), environment=os.environ,
    log_name="server.log", pid_name="server.pid", grace_seconds=1,
)
server.wait_until(lambda: "ready" in server.log, seconds=30)
print("started", flush=True)
time.sleep(60)
"""


def start(script: str, directory: Path, *, grace_seconds: float = 5) -> ServerProcess:
    return ServerProcess(
        [sys.executable, "-c", script],
        name="the server",
        directory=directory,
        environment=os.environ,
        log_name="server.log",
        pid_name="server.pid",
        grace_seconds=grace_seconds,
    )


def processes_in(log: str) -> list[psutil.Process]:
    line = next(line for line in log.splitlines() if line.startswith("ready"))
    return [psutil.Process(int(number)) for number in line.split()[1:]]


@pytest.mark.parametrize("script", [PARENT_AND_CHILD, IGNORES_SIGTERM], ids=["obedient", "ignores SIGTERM"])
def test_stopping_a_server_stops_all_that_it_started(tmp_path: Path, script: str) -> None:
    server = start(script, tmp_path, grace_seconds=1)
    pid_path = tmp_path / "server.pid"
    # The supervisor writes the file after it has started the server, which may be ready before.
    server.wait_until(lambda: "ready" in server.log and pid_path.exists() and pid_path.read_text() != "", seconds=30)
    processes = processes_in(server.log)
    assert int(pid_path.read_text()) == processes[0].pid
    assert server.poll() is None
    server.stop()
    assert wait_until_gone(processes, seconds=5) == []
    assert server.poll() is not None
    assert not pid_path.exists()


@pytest.mark.parametrize("script", [PARENT_AND_CHILD, IGNORES_SIGTERM], ids=["obedient", "ignores SIGTERM"])
def test_a_server_does_not_outlive_the_process_that_started_it_and_was_killed(tmp_path: Path, script: str) -> None:
    command = [sys.executable, "-c", STARTER, script, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        assert starter.stdout.readline() == "started\n"
        processes = processes_in((tmp_path / "server.log").read_text())
        supervisors = psutil.Process(starter.pid).children()
        starter.kill()
    assert wait_until_gone([*processes, *supervisors], seconds=10) == []


def test_a_server_that_ends_takes_along_what_it_started(tmp_path: Path) -> None:
    server = start(ENDS_AND_LEAVES_ITS_CHILD, tmp_path)
    deadline = time.monotonic() + 30
    while server.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert server.poll() == 7
    numbers = server.log.split()[1:]
    assert not [number for number in numbers if psutil.pid_exists(int(number)) and not _is_zombie(int(number))]
    server.stop()


def test_a_supervisor_that_is_told_to_end_stops_its_server_first(tmp_path: Path) -> None:
    server = start(PARENT_AND_CHILD, tmp_path)
    server.wait_until(lambda: "ready" in server.log, seconds=30)
    processes = processes_in(server.log)
    supervisor = processes[0].parent()
    assert supervisor is not None
    supervisor.send_signal(signal.SIGTERM)
    assert wait_until_gone(processes, seconds=10) == []
    server.stop()


def test_a_server_that_does_not_start_is_a_sentence_with_the_last_error_of_its_log(tmp_path: Path) -> None:
    script = "print('E the disk is gone'); print('goodbye'); raise SystemExit(3)"
    server = start(script, tmp_path)
    with pytest.raises(StartFailed) as caught:
        server.wait_until(lambda: False, seconds=30, error_pattern="^E ")
    log = tmp_path / "server.log"
    assert str(caught.value) == f"the server ended with status 3: E the disk is gone (its log is {log})"


def test_a_server_that_answers_too_late_is_stopped(tmp_path: Path) -> None:
    server = start(PARENT_AND_CHILD, tmp_path)
    with pytest.raises(StartFailed, match="did not answer in 1 s"):
        server.wait_until(lambda: False, seconds=1)
    assert server.poll() is not None


def test_a_log_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "server.log").mkdir()
    with pytest.raises(StartFailed, match=r"server\.log cannot be written: Is a directory"):
        start(PARENT_AND_CHILD, tmp_path)


def test_a_command_that_does_not_exist_is_a_sentence(tmp_path: Path) -> None:
    server = ServerProcess(
        ["no-such-command"],
        name="the server",
        directory=tmp_path,
        environment=os.environ,
        log_name="log",
        grace_seconds=1,
    )
    with pytest.raises(StartFailed, match="no-such-command cannot be started: No such file"):
        server.wait_until(lambda: False, seconds=30)


def test_the_server_of_an_earlier_run_is_stopped_and_no_other_process_of_the_same_number(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    with subprocess.Popen(command, cwd=tmp_path) as leftover, subprocess.Popen(command, cwd=elsewhere) as other:
        try:
            pid_path = tmp_path / "server.pid"
            pid_path.write_text(str(other.pid))
            stop_server_of_earlier_run(pid_path)
            assert other.poll() is None
            pid_path.write_text(str(leftover.pid))
            stop_server_of_earlier_run(pid_path)
            leftover.wait(10)
            pid_path.write_text("no number")
            stop_server_of_earlier_run(pid_path)
            pid_path.unlink()
            stop_server_of_earlier_run(pid_path)
        finally:
            leftover.kill()
            other.kill()


def _is_zombie(number: int) -> bool:
    try:
        return psutil.Process(number).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
