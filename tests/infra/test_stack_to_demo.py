"""The demo on a stack: it needs only the stack's `env` output as its `.env` file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from dotenv import dotenv_values
from playwright.sync_api import sync_playwright

from demo_server.settings import Settings, read_settings
from emulators.chromium import launch_chromium
from emulators.ports import free_port
from tests.browser.conftest import expect_state, open_page, pick
from tests.demo_process import Demo, running_demo
from tests.infra.boto3_cloud import Boto3Cloud
from tests.infra.conftest import SeaweedFSWithTls, cloud_on
from tests.infra.test_provisioning import DeployedStack, deploy

PNG = b"\x89PNG\r\n\x1a\n" + bytes(64)


@dataclass(frozen=True, kw_only=True)
class DemoOnStack:
    """A running demo, and the stack whose bucket it uses."""

    demo: Demo
    stack: DeployedStack


@contextmanager
def demo_on_a_new_stack(
    directory: Path, server: SeaweedFSWithTls, *, public_read: bool = True
) -> Iterator[DemoOnStack]:
    """Deploy a stack for the demo's page, and run the demo with the stack's ``env`` output.

    Two settings differ from the output. The demo signs PUT requests, because SeaweedFS refuses form POSTs of this
    signer. And the demo trusts the certificate of the tests.
    """
    cloud, page_port = cloud_on(server), free_port()
    page = f"http://localhost:{page_port}"
    stack = deploy(
        cloud,
        {
            "allowedOrigins": [f"http://127.0.0.1:{page_port}", page],
            "aws:endpoints": [{"s3": cloud.endpoint_url}],
            "publicRead": public_read,
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


def settings_of(stack: DeployedStack, directory: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Return the demo's settings with the stack's ``env`` output as its `.env` file, and nothing else."""
    for name in os.environ:
        if name.startswith(("AWS_", "PRESIGN_")):
            monkeypatch.delenv(name)
    (directory / ".env").write_text(stack.run.outputs["env"], encoding="utf-8")
    for name, value in dotenv_values(directory / ".env").items():
        monkeypatch.setenv(name, value or "")
    return read_settings()


@pytest.mark.parametrize(("pending_prefix", "setting"), [("pending/", "pending/"), ("new/", "new/"), ("", None)])
def test_the_demo_reads_the_pending_prefix_from_the_env_output(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    moto_cloud: Boto3Cloud,
    pending_prefix: str,
    setting: str | None,
) -> None:
    settings = settings_of(deploy(moto_cloud, {"pendingPrefix": pending_prefix}), tmp_path, monkeypatch)
    assert settings.pending_prefix == setting
    assert settings.verifier_access_key_id is None
    assert settings.verifier_secret_access_key is None


def test_the_demo_reads_both_access_keys_from_the_env_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moto_cloud: Boto3Cloud
) -> None:
    stack = deploy(moto_cloud, {"separateVerifier": True})
    settings, outputs = settings_of(stack, tmp_path, monkeypatch), stack.run.outputs
    assert settings.verifier_access_key_id == outputs["verifierAccessKeyId"]
    assert settings.verifier_secret_access_key is not None
    assert settings.verifier_secret_access_key.get_secret_value() == outputs["verifierSecretAccessKey"]
    assert os.environ["AWS_ACCESS_KEY_ID"] == outputs["accessKeyId"]


def upload_over_http(demo: Demo, http: httpx.Client) -> dict[str, Any]:
    """Upload a picture as a client of the API does, and return the ticket."""
    issued = httpx.post(f"{demo.api}/upload", json={"type": "image/png", "size": len(PNG), "name": "cat.png"})
    assert issued.status_code == 200, issued.text
    ticket: dict[str, Any] = issued.json()
    assert http.request(ticket["method"], ticket["url"], headers=ticket["headers"], content=PNG).status_code == 200
    completed = httpx.post(f"{demo.api}/complete", json={"token": ticket["token"]})
    assert completed.status_code == 200, completed.text
    return ticket


def test_the_demo_runs_with_the_env_output_and_uploads_a_file_into_the_bucket(
    tmp_path: Path, seaweedfs: SeaweedFSWithTls, http: httpx.Client
) -> None:
    with demo_on_a_new_stack(tmp_path, seaweedfs) as running:
        ticket = upload_over_http(running.demo, http)
    assert ticket["object_url"].startswith(f"{running.stack.cloud.endpoint_url}/{running.stack.bucket}/public/")
    assert http.get(ticket["object_url"]).content == PNG


def test_the_demo_on_a_private_stack_gives_out_no_link_to_the_object(
    tmp_path: Path, seaweedfs: SeaweedFSWithTls, http: httpx.Client
) -> None:
    with demo_on_a_new_stack(tmp_path, seaweedfs, public_read=False) as running:
        ticket = upload_over_http(running.demo, http)
    assert ticket["object_url"] is None
    object_url = ticket["url"].partition("?")[0]
    assert http.get(object_url).status_code == 403


def upload_in_browser(demo: Demo, picture: Path) -> str:
    """Upload ``picture`` through the page as a user does, and return the link that the page then shows."""
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
def test_a_browser_uploads_through_the_page_with_the_access_key(
    tmp_path: Path, seaweedfs: SeaweedFSWithTls, http: httpx.Client
) -> None:
    picture = tmp_path / "cat.png"
    picture.write_bytes(PNG)
    # Playwright runs once per thread, and other tests may keep it open in this thread. So this test uses another one.
    with demo_on_a_new_stack(tmp_path, seaweedfs) as running, ThreadPoolExecutor(1) as thread:
        url = thread.submit(upload_in_browser, running.demo, picture).result()
    assert urlsplit(url).path.startswith(f"/{running.stack.bucket}/public/")
    assert http.get(url).content == PNG
