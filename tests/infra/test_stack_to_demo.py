"""From the program's outputs to an uploaded file: the `env` output, as `.env`, is what the demo server needs."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import sync_playwright

from demo_server.seaweedfs import free_port
from tests.browser.conftest import expect_state, launch_chromium, open_page, pick
from tests.demo_process import Demo, running_demo
from tests.infra.conftest import SeaweedFSWithTls, cloud_on
from tests.infra.test_provisioning import Deployed, deploy

PNG = b"\x89PNG\r\n\x1a\n" + bytes(64)


@dataclass(frozen=True, kw_only=True)
class DemoOnStack:
    demo: Demo
    stack: Deployed


@contextmanager
def demo_on_a_new_stack(directory: Path, server: SeaweedFSWithTls) -> Iterator[DemoOnStack]:
    """Deploys the program for the demo's page and runs the demo with what it exported.

    Tickets are PUTs, which SeaweedFS takes from the issued key as it is, unlike POSTs. The certificate is the tests'
    own, so the demo is told to trust it. Everything else is as the program exported it.
    """
    cloud, page_port = cloud_on(server), free_port()
    page = f"http://localhost:{page_port}"
    stack = deploy(
        cloud,
        {
            "allowedOrigins": [f"http://127.0.0.1:{page_port}", page],
            "aws:endpoints": [{"s3": cloud.endpoint_url}],
        },
    )
    (directory / ".env").write_text(stack.run.outputs["env"], encoding="utf-8")
    settings = {
        "PRESIGN_BUCKET": f"{stack.run.outputs['presignBucket']}&upload_method=put",
        "AWS_CA_BUNDLE": str(server.ca_file),
    }
    with running_demo(directory, "--page-port", str(page_port), **settings) as demo:
        yield DemoOnStack(demo=replace(demo, page=page), stack=stack)
    assert stack.run.outputs["secretAccessKey"] not in demo.log


def test_the_env_output_runs_the_demo_and_a_file_goes_through_it_into_the_bucket(
    tmp_path: Path, seaweedfs: SeaweedFSWithTls, http: httpx.Client
) -> None:
    with demo_on_a_new_stack(tmp_path, seaweedfs) as running:
        api = running.demo.api
        asked = httpx.post(f"{api}/upload", json={"type": "image/png", "size": len(PNG), "name": "cat.png"})
        assert asked.status_code == 200, asked.text
        ticket = asked.json()
        assert http.request(ticket["method"], ticket["url"], headers=ticket["headers"], content=PNG).status_code == 200
        completed = httpx.post(f"{api}/complete", json={"token": ticket["token"]})
        assert completed.status_code == 200, completed.text
    assert ticket["object_url"].startswith(f"{running.stack.cloud.endpoint_url}/{running.stack.bucket}/public/")
    assert http.get(ticket["object_url"]).content == PNG


def upload_in_browser(demo: Demo, picture: Path) -> str:
    """Uploads `picture` through the page as a person would, and answers the link that the page then shows."""
    with sync_playwright() as playwright:
        browser = launch_chromium(playwright)
        page = browser.new_context(ignore_https_errors=True).new_page()
        open_page(page, demo)
        row = pick(page, picture)
        expect_state(row, "done")
        url = row.get_by_test_id("result-link").get_attribute("href")
        browser.close()
    assert url
    return url


@pytest.mark.browser
def test_a_browser_uploads_through_the_page_with_the_issued_key(
    tmp_path: Path, seaweedfs: SeaweedFSWithTls, http: httpx.Client
) -> None:
    picture = tmp_path / "cat.png"
    picture.write_bytes(PNG)
    # A thread has a Playwright of its own, beside the one that the tests of the page may keep open.
    with demo_on_a_new_stack(tmp_path, seaweedfs) as running, ThreadPoolExecutor(1) as thread:
        url = thread.submit(upload_in_browser, running.demo, picture).result()
    assert urlsplit(url).path.startswith(f"/{running.stack.bucket}/public/")
    assert http.get(url).content == PNG
