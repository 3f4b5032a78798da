"""What the Azure program makes possible on Azurite, and what it prevents: uploads, CORS and anonymous reads.

test_mutants.py runs some of these tests against programs with mistakes.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import httpx
import pytest

from emulators.azurite import Azurite
from presign import Grant, NotUploaded, Presigner, UploadPolicy, UploadRequest
from tests.infra.azure.azurite_cloud import AzuriteCloud
from tests.infra.azure.program import FOREIGN_PAGE, PAGE, AzureStack, deploy
from tests.infra.page import Page, RefusedByCors
from tests.infra.pulumi_program import ROOT

MINUTE = timedelta(minutes=1)
PNG = b"\x89PNG\r\n\x1a\n" + bytes(64)
METADATA = {"owner": "alice", "file_number": "7"}
CONFIG = {"metadataNames": sorted(METADATA)}


@pytest.fixture(scope="session")
def http(azurite: Azurite) -> Iterator[httpx.Client]:
    with httpx.Client(verify=ssl.create_default_context(cafile=str(azurite.certificate))) as client:
        yield client


@pytest.fixture(scope="module")
def stack(azurite: Azurite) -> AzureStack:
    return deploy(AzuriteCloud(azurite), CONFIG)


def presigner(stack: AzureStack, **policy: Any) -> Presigner:
    """A presigner with everything that can put a header into a ticket."""
    rules: dict[str, Any] = {
        "content_types": {"image/png"},
        "max_bytes": 10_000,
        "prefix": stack.run.outputs["prefix"],
        "pending_prefix": stack.run.outputs["pendingPrefix"] or None,
        "public_read": True,
        "cache_control": "max-age=60",
        "metadata": METADATA,
    }
    return Presigner(
        backend=stack.backend(), policy=UploadPolicy(**rules | policy), secret="a secret of the tests, long"
    )


def ticket_of(presigner: Presigner) -> Any:
    return presigner.issue(UploadRequest(content_type="image/png", size=len(PNG), name="cat.png"))


def test_a_page_uploads_with_a_ticket_and_everybody_reads_what_is_published(
    stack: AzureStack, http: httpx.Client
) -> None:
    application = presigner(stack)
    ticket = ticket_of(application)
    answer = Page(origin=PAGE, http=http).upload(ticket, PNG)
    assert answer.status_code == 201
    assert f"/{stack.pending_container}/pending/" in ticket.url
    stored = application.complete(ticket.token)
    assert stored.object_url is not None
    assert stored.object_url.startswith(f"{stack.account_url}/{stack.container}/public/")
    assert http.get(stored.object_url).content == PNG


def test_nobody_reads_a_pending_upload_without_a_signature(stack: AzureStack, http: httpx.Client) -> None:
    ticket = ticket_of(presigner(stack))
    assert Page(origin=PAGE, http=http).upload(ticket, PNG).status_code == 201
    assert http.get(ticket.url.partition("?")[0]).status_code in {401, 403, 404}
    blob = ticket.url.partition("?")[0].rpartition(f"/{stack.pending_container}/")[2]
    assert stack.admin.get_blob_client(stack.pending_container, blob).exists()


@pytest.mark.parametrize("which", ["container", "pending_container"])
def test_nobody_lists_a_container_without_a_signature(stack: AzureStack, http: httpx.Client, which: str) -> None:
    listing = f"{stack.account_url}/{getattr(stack, which)}?restype=container&comp=list"
    assert http.get(listing).status_code in {401, 403, 404}


def test_the_page_of_another_origin_may_not_upload(stack: AzureStack, http: httpx.Client) -> None:
    with pytest.raises(RefusedByCors, match="does not allow PUT"):
        Page(origin=FOREIGN_PAGE, http=http).upload(ticket_of(presigner(stack)), PNG)


@pytest.mark.parametrize("header", ["x-ms-tags", "x-ms-access-tier", "x-ms-meta-else", "x-ms-copy-source", "x-else"])
def test_a_page_may_send_no_header_that_no_ticket_has(stack: AzureStack, http: httpx.Client, header: str) -> None:
    ticket = ticket_of(presigner(stack))
    page = Page(origin=PAGE, http=http)
    page.preflight("PUT", ticket.url, ticket.headers)
    with pytest.raises(RefusedByCors):
        page.preflight("PUT", ticket.url, {**ticket.headers, header: "1"})


@pytest.mark.parametrize("method", ["DELETE", "POST", "PATCH"])
def test_a_page_may_use_no_method_that_no_ticket_has(stack: AzureStack, http: httpx.Client, method: str) -> None:
    with pytest.raises(RefusedByCors):
        Page(origin=PAGE, http=http).preflight(method, ticket_of(presigner(stack)).url, {})


def test_a_browser_remembers_the_answer_to_a_preflight_request(stack: AzureStack, http: httpx.Client) -> None:
    ticket = ticket_of(presigner(stack))
    answer = Page(origin=PAGE, http=http).preflight("PUT", ticket.url, ticket.headers)
    assert answer.headers["access-control-max-age"] == "3600"


def test_in_a_private_stack_only_a_signed_link_reads(azurite: Azurite, http: httpx.Client) -> None:
    stack = deploy(
        AzuriteCloud(azurite),
        {**CONFIG, "publicRead": False, "container": "private", "pendingContainer": "private-pending"},
    )
    application = presigner(stack, public_read=False)
    ticket = ticket_of(application)
    assert Page(origin=PAGE, http=http).upload(ticket, PNG).status_code == 201
    stored = application.complete(ticket.token)
    assert stored.object_url is None
    assert http.get(f"{stack.account_url}/{stack.container}/{stored.key}").status_code in {401, 403, 404}
    assert http.get(application.sign_download(stored.key, expires_in=MINUTE)).content == PNG
    with pytest.raises(NotUploaded):
        application.complete(ticket_of(application).token)


def test_without_a_pending_container_uploads_go_straight_to_the_private_one(
    azurite: Azurite, http: httpx.Client
) -> None:
    straight = {"pendingPrefix": "", "publicRead": False, "uploadInParts": False, "container": "straight"}
    stack = deploy(AzuriteCloud(azurite), {**CONFIG, **straight})
    application = presigner(stack, public_read=False)
    ticket = ticket_of(application)
    assert Page(origin=PAGE, http=http).upload(ticket, PNG).status_code == 201
    assert stack.admin.get_blob_client("straight", application.complete(ticket.token).key).exists()


def grants() -> Iterator[Grant]:
    """Grants that differ in all that decides about a ticket's headers."""
    headers = {"content_disposition": "inline", "cache_control": "no-store", "metadata": METADATA}
    for pending_key in (None, "pending/0123"):
        for create_only in (False, True):
            for min_bytes in (1, 100):
                for sha256 in (None, "0" * 64):
                    for extra in ({}, headers):
                        yield Grant(
                            key="public/ab/cat.png",
                            content_type="image/png",
                            min_bytes=min_bytes,
                            max_bytes=100,
                            expires_in=MINUTE,
                            pending_key=pending_key,
                            create_only=create_only,
                            sha256=sha256,
                            **extra,  # type: ignore[arg-type]
                        )


def test_cors_allows_exactly_the_headers_that_tickets_have(stack: AzureStack) -> None:
    backend = stack.backend()
    now = datetime.now(timezone.utc)
    sent = {name.lower() for grant in grants() for name in backend.sign_upload(grant, now).headers}
    [rule] = stack.inputs("uploads-blob-service")["cors"]["corsRules"]
    assert sorted(rule["allowedHeaders"]) == sorted(sent)
    assert "*" not in "".join(rule["allowedHeaders"])


def test_the_page_about_azure_names_the_headers_and_methods_of_the_program(azurite: Azurite) -> None:
    [rule] = deploy(AzuriteCloud(azurite)).inputs("uploads-blob-service")["cors"]["corsRules"]
    section = (ROOT / "docs" / "azure.md").read_text(encoding="utf-8").partition("## CORS")[2].partition("## ")[0]
    named = {key: re.findall(r"`([^`]+)`", line) for key, line in re.findall(r"- (.*?): (.*)", section)}
    assert named["allowed headers"] == [",".join(rule["allowedHeaders"])]
    assert named["allowed methods"] == rule["allowedMethods"]
    assert named["exposed headers"] == [",".join(rule["exposedHeaders"])]
