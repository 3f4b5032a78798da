"""Where the programs of large stores are, and what is said about those that are missing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from emulators import stores
from emulators.stores import MINIO, VERSITYGW, NotInstalled


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without any of the programs: an empty cache, and a folder alone on PATH."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    (tmp_path / "bin").mkdir()
    return tmp_path


def _program(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.mark.usefixtures("folder")
def test_a_missing_store_is_named_with_the_command_that_installs_it() -> None:
    for program in (MINIO, VERSITYGW):
        with pytest.raises(NotInstalled, match=rf"{program.version} .* emulators.stores install {program.name}"):
            stores.go_program(program)
    with pytest.raises(NotInstalled, match="ceph-mon is not on PATH"):
        stores.ceph_programs()
    assert stores.found() == []


def test_a_built_program_is_found_and_not_built_again(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    VERSITYGW.path.parent.mkdir(parents=True)
    _program(VERSITYGW.path, "exit 0")
    assert stores.found() == ["versitygw"]
    assert stores.main(["install", "versitygw"]) == 0
    assert "is built" in capsys.readouterr().out


def test_a_build_that_fails_is_explained_and_the_other_stores_are_tried(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _program(folder / "bin" / "nice", 'shift 2; exec "$@"')
    _program(folder / "bin" / "go", 'echo "no route to the proxy" >&2; exit 3')
    VERSITYGW.path.parent.mkdir(parents=True)
    _program(VERSITYGW.path, "exit 0")
    assert stores.main(["install", "minio", "versitygw"]) == 1
    printed = capsys.readouterr()
    assert "status 3: no route to the proxy" in printed.err
    assert "versitygw" not in printed.err
    assert stores.found() == ["versitygw"]


def test_a_build_leaves_the_program_alone(folder: Path) -> None:
    _program(folder / "bin" / "nice", 'shift 2; exec "$@"')
    _program(folder / "bin" / "go", '/bin/mkdir -p "$GOPATH"; echo built > "$GOBIN/versitygw"')
    (stores.cache_folder() / "build").mkdir(parents=True)
    assert stores.install(["versitygw"], print) == {}
    assert VERSITYGW.path.read_text() == "built\n"
    assert list(stores.cache_folder().iterdir()) == [VERSITYGW.path]


def test_only_root_installs_ceph(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "no apt-get" in stores.install(["ceph"], print)["ceph"]
    _program(folder / "bin" / "apt-get", "exit 0")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert "sudo apt-get install ceph-mon ceph-osd radosgw" in stores.install(["ceph"], print)["ceph"]


def test_an_unknown_store_is_not_installed(capsys: pytest.CaptureFixture[str]) -> None:
    assert stores.main(["install", "garage"]) == 2
    assert "minio" in capsys.readouterr().err
