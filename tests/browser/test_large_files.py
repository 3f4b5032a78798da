"""Large files from the page in Chromium to each storage: what arrives is what was picked, and the page never holds it.

`make test` tries this with files of a few parts, and `make test-large` with one of 5.5 GiB on S3, and of 120 MiB on
Azure and Google.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import TYPES, open_page, pick
from tests.browser.large_file import LARGE_BYTES, MIB, sha256_at, sha256_of, space_for_uploads, write_large_zip
from tests.browser.page_memory import watched_memory
from tests.demo_process import running_demo

pytestmark = pytest.mark.browser

RENDERER_BYTES = 300 * MIB
GROWTH_BYTES = 80 * MIB
"""How much the renderer may grow: a part is read and hashed in a few copies. All parts of the file on S3 are more."""
ENDED = re.compile("done|failed")
SENT = re.compile("verifying|done|failed")
BYTES_PER_SECOND = 4 * MIB
"""The slowest that an upload and its completion may be: they share this machine with others."""


@dataclass(frozen=True, kw_only=True)
class Case:
    storage: str
    size: int
    part_bytes: int


CASES = [
    Case(storage="s3", size=96 * MIB + 1, part_bytes=16 * MIB),
    Case(storage="azure", size=24 * MIB + 1, part_bytes=5 * MIB),
    Case(storage="gcs", size=24 * MIB + 1, part_bytes=5 * MIB),
    pytest.param(Case(storage="s3", size=LARGE_BYTES, part_bytes=16 * MIB), marks=pytest.mark.large),
    pytest.param(Case(storage="azure", size=120 * MIB, part_bytes=16 * MIB), marks=pytest.mark.large),
    pytest.param(Case(storage="gcs", size=120 * MIB, part_bytes=16 * MIB), marks=pytest.mark.large),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.storage}-{case.size // MIB}-MiB")
def test_a_large_file_arrives_unchanged_and_the_page_holds_little_of_it(page: Page, case: Case, tmp_path: Path) -> None:
    with space_for_uploads(case.size) as directory:
        archive = write_large_zip(directory / "large.zip", case.size)
        settings = {
            "PRESIGN_DATA_DIR": str(directory / "data"),
            "PRESIGN_MAX_BYTES": str(case.size),
            "PRESIGN_PART_BYTES": str(case.part_bytes),
            "PRESIGN_PARTS_FROM_BYTES": str(case.part_bytes),
            "PRESIGN_TYPES": TYPES,
        }
        with running_demo(tmp_path, "--storage", case.storage, **settings) as demo:
            open_page(page, demo)
            started = time.monotonic()
            with watched_memory("chromium") as memory:
                row = pick(page, archive)
                timeout_ms = 60_000 + case.size / BYTES_PER_SECOND * 1000
                expect(row).to_have_attribute("data-state", SENT, timeout=timeout_ms)
                sent = time.monotonic()
                expect(row).to_have_attribute("data-state", ENDED, timeout=timeout_ms)
            ended = time.monotonic()
            assert row.get_attribute("data-state") == "done", f"{row.inner_text()}\n{demo.log[-5000:]}"
            count = -(-case.size // case.part_bytes)
            expect(row.get_by_test_id("parts")).to_contain_text(f"{count} of {count} stored")
            url = row.get_by_test_id("result-link").get_attribute("href")
            assert url
            assert sha256_at(url) == sha256_of(archive)
    print(
        f"{case.storage}, {case.size / MIB:.0f} MiB in {count} parts: sent in {sent - started:.1f} s, completed in "
        f"{ended - sent:.1f} s; {memory}"
    )
    assert memory.page < RENDERER_BYTES
    assert memory.page - memory.page_at_first < GROWTH_BYTES
