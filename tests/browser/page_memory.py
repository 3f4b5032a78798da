"""How much memory the processes of a page take, sampled from /proc while something happens."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

_MIB = 1024**2
_SAMPLE_SECONDS = 0.1
_PAGE_PROCESSES = {"chromium": "--type=renderer", "firefox": "-contentproc", "webkit": "WebKitWebProcess"}
"""What marks, on the command line, the processes in which an engine runs the scripts of pages."""
_BROWSER_PROCESSES = {"chromium": "chrom", "firefox": "firefox", "webkit": "webkit"}


@dataclass(kw_only=True)
class Memory:
    """Peaks in bytes, of all samples.

    `page` is the RSS of the largest process that runs scripts of pages. The RSS counts also what the process shares
    with others, such as the browser's program. `browser` is the PSS of all processes of the browser together, in which
    every shared byte counts once. `page_at_first` and `browser_at_first` are of the first sample.
    """

    page: int = 0
    page_at_first: int = 0
    browser: int = 0
    browser_at_first: int = 0
    samples: int = 0
    _ended: threading.Event = field(default_factory=threading.Event, repr=False)

    def __str__(self) -> str:
        figures = (self.page_at_first, self.page, self.browser_at_first, self.browser)
        page_before, page, browser_before, browser = (round(figure / _MIB) for figure in figures)
        return (
            f"the page's process {page_before} MiB before, and {page} MiB at most; the browser {browser_before} MiB "
            f"before, and {browser} MiB at most ({self.samples} samples)"
        )

    def sample(self, engine: str) -> None:
        page, browser = 0, 0
        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.Error, OSError):
                command = " ".join(process.cmdline())
                if _BROWSER_PROCESSES[engine] not in command.lower():
                    continue
                rollup = _rollup(process.pid)
                browser += rollup["Pss"]
                if _PAGE_PROCESSES[engine] in command:
                    page = max(page, rollup["Rss"])
        if not self.samples:
            self.page_at_first, self.browser_at_first = page, browser
        self.page, self.browser = max(self.page, page), max(self.browser, browser)
        self.samples += 1

    def watch(self, engine: str) -> None:
        while not self._ended.wait(_SAMPLE_SECONDS):
            self.sample(engine)

    def end(self) -> None:
        self._ended.set()


@contextmanager
def watched_memory(engine: str) -> Iterator[Memory]:
    """Sample the memory of the browser that this process has started while the block lasts; `engine` is its name."""
    memory = Memory()
    memory.sample(engine)
    assert memory.page, f"no process of {engine} was found that runs pages"
    thread = threading.Thread(target=memory.watch, args=(engine,), daemon=True)
    thread.start()
    try:
        yield memory
    finally:
        memory.end()
        thread.join()


def _rollup(pid: int) -> dict[str, int]:
    """Return what the kernel counts for a process, in bytes."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    return {name.rstrip(":"): int(value) * 1024 for name, value, *_ in map(str.split, lines)}
