"""What `.ci/system_packages.sh` says and installs on a machine that lacks a program."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / ".ci" / "system_packages.sh"
SHELL = shutil.which("sh")
PYTHON = "[ \"$1\" = -c ] && case $2 in *'%d.%d'*) echo 3.13 ;; esac"
PYTHON_WITHOUT_VENV = f"case $2 in *ensurepip*) exit 1 ;; esac\n{PYTHON}"


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A directory that is all of PATH, with the user's number and the interpreter as small shell scripts."""

    programs: Path

    def add(self, name: str, script: str = "exit 0") -> None:
        path = self.programs / name
        path.write_text(f"#!{SHELL}\n{script}\n")
        path.chmod(0o755)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": str(self.programs), "TMPDIR": str(self.programs)}
        return subprocess.run(
            [str(SHELL), str(SCRIPT), *arguments],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine with Python that can create virtual environments, used by somebody who is not root."""
    machine = Machine(programs=tmp_path)
    for name in ("cat", "mktemp", "rm"):
        os.symlink(str(shutil.which(name)), tmp_path / name)
    machine.add("id", "echo 1000")
    machine.add("python3", PYTHON)
    return machine


@pytest.mark.parametrize("browser", ["chromium", "google-chrome"])
def test_nothing_is_said_where_nothing_is_missing(machine: Machine, browser: str) -> None:
    machine.add(browser)
    for action in ("check", "install"):
        result = machine.run(action, "venv", "chromium")
        assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_everything_that_is_missing_is_named_at_once_with_the_command_that_installs_it(machine: Machine) -> None:
    machine.add("python3", PYTHON_WITHOUT_VENV)
    machine.add("apt-get", "exit 99")
    result = machine.run("check", "venv", "chromium")
    assert result.returncode == 1
    assert "'python3' cannot create virtual environments" in result.stderr
    assert "the browser tests need Chromium or Chrome on PATH" in result.stderr
    assert "sudo apt-get install python3.13-venv chromium libatomic1\n" in result.stderr


def test_without_a_browser_the_command_that_runs_the_other_tests_is_named(machine: Machine) -> None:
    result = machine.run("check", "venv", "chromium")
    assert result.returncode == 1
    assert "make test-without-browser\n" in result.stderr
    assert "apt-get" not in result.stderr
    makefile = SCRIPT.parents[1] / "Makefile"
    assert "\ntest-without-browser:" in makefile.read_text()


def test_each_browser_engine_has_its_package_and_webkit_a_display_too(machine: Machine) -> None:
    machine.add("apt-get", "exit 99")
    result = machine.run("check", "firefox", "webkit")
    assert result.returncode == 1
    assert "the tests in Firefox need firefox-esr on PATH" in result.stderr
    assert "sudo apt-get install firefox-esr webkit2gtk-driver xvfb\n" in result.stderr
    for program in ("firefox-esr", "WebKitWebDriver", "Xvfb"):
        machine.add(program)
    assert machine.run("check", "firefox", "webkit").returncode == 0


def test_an_interpreter_that_is_too_old_is_refused(machine: Machine) -> None:
    machine.add("python3", 'case $2 in *version_info*"(3, 10)"*) exit 1 ;; esac')
    result = machine.run("check", "venv", "chromium")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith("presign needs Python 3.10 or later")


def test_root_on_debian_installs_what_is_missing_and_a_check_installs_nothing(machine: Machine) -> None:
    calls = machine.programs / "calls"
    machine.add("id", "echo 0")
    machine.add("apt-get", f'echo "$*" >> {calls}; echo noise')
    checked = machine.run("check", "chromium")
    assert (checked.returncode, checked.stdout, calls.exists()) == (0, "", False)
    installed = machine.run("install", "chromium", "wrk")
    assert (installed.returncode, installed.stdout) == (0, "Installing chromium libatomic1 wrk\n")
    update, install = calls.read_text().splitlines()
    assert update.startswith("update")
    assert install.startswith("install -y")
    assert install.endswith(" chromium libatomic1 wrk")


def test_a_failed_installation_ends_with_what_apt_get_said(machine: Machine) -> None:
    machine.add("id", "echo 0")
    machine.add("apt-get", 'case $1 in install) echo "E: Unable to locate package chromium"; exit 100 ;; esac')
    result = machine.run("install", "chromium")
    assert result.returncode == 1
    assert "E: Unable to locate package chromium\n" in result.stderr
    assert "apt-get could not install chromium libatomic1\n" in result.stderr
