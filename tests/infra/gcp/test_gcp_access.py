"""What the Google program makes possible on the reference server, and what it prevents: uploads, CORS, reads, rights.

test_gcp_mutants.py runs some of these tests against programs with mistakes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from google.cloud import storage  # type: ignore[import-untyped]
from google.oauth2 import service_account

from presign import Grant, NotUploaded, Presigner, PresignError, UploadPolicy, UploadRequest
from presign.gcs import GCSBackend
from tests.infra.gcp.program import FOREIGN_PAGE, PAGE, RunningStack, deploy, running
from tests.infra.gcp.reference_cloud import ReferenceCloud
from tests.infra.page import Page, RefusedByCors
from tests.infra.pulumi_program import ROOT

MINUTE = timedelta(minutes=1)
PNG = b"\x89PNG\r\n\x1a\n" + bytes(64)
METADATA = {"owner": "alice", "file_number": "7"}
CONFIG = {"metadataNames": sorted(METADATA)}
TWO_IDENTITIES = {**CONFIG, "separateVerifier": True}


@pytest.fixture(scope="module")
def stack() -> Iterator[RunningStack]:
    with running(deploy(ReferenceCloud(), CONFIG)) as each:
        yield each


@pytest.fixture(scope="module")
def two_identities() -> Iterator[RunningStack]:
    with running(deploy(ReferenceCloud(), TWO_IDENTITIES)) as each:
        yield each


def presigner(stack: RunningStack, *, backend: GCSBackend | None = None, **policy: Any) -> Presigner:
    """A presigner with everything that can put a header into a ticket."""
    outputs = stack.stack.run.outputs
    rules: dict[str, Any] = {
        "content_types": {"image/png"},
        "max_bytes": 10_000,
        "prefix": outputs["prefix"],
        "pending_prefix": outputs["pendingPrefix"] or None,
        "public_read": True,
        "cache_control": "max-age=60",
        "metadata": METADATA,
    }
    return Presigner(
        backend=backend or stack.backend(), policy=UploadPolicy(**rules | policy), secret="a secret of the tests, long"
    )


def ticket_of(presigner: Presigner) -> Any:
    return presigner.issue(UploadRequest(content_type="image/png", size=len(PNG), name="cat.png"))


def page(stack: RunningStack, origin: str = PAGE) -> Page:
    return Page(origin=origin, http=stack.http)


@pytest.mark.parametrize("method", ["put", "post"])
def test_a_page_uploads_with_a_ticket_and_everybody_reads_what_is_published(stack: RunningStack, method: str) -> None:
    application = presigner(stack, backend=stack.backend(upload_method=method))
    ticket = ticket_of(application)
    assert ticket.method == method.upper()
    assert page(stack).upload(ticket, PNG).is_success
    stored = application.complete(ticket.token)
    assert stored.object_url == f"{stack.url}/{stack.stack.bucket}/{stored.key}"
    assert stored.key.startswith("public/")
    assert stack.http.get(stored.object_url).content == PNG
    assert not [name for name in stack.bucket.objects if name.startswith("pending/")]


def test_nobody_reads_a_pending_upload_without_a_signature(stack: RunningStack) -> None:
    before = set(stack.bucket.objects)
    assert page(stack).upload(ticket_of(presigner(stack)), PNG).is_success
    [pending] = set(stack.bucket.objects) - before
    assert pending.startswith("pending/")
    assert stack.http.get(f"{stack.url}/{stack.stack.bucket}/{pending}").status_code == 403
    del stack.bucket.objects[pending]


def test_the_page_of_another_origin_may_not_upload(stack: RunningStack) -> None:
    with pytest.raises(RefusedByCors, match="does not allow P"):
        page(stack, FOREIGN_PAGE).upload(ticket_of(presigner(stack)), PNG)


@pytest.mark.parametrize(
    "header", ["x-goog-acl", "x-goog-storage-class", "x-goog-meta-else", "content-encoding", "x-else"]
)
def test_a_page_may_send_no_header_that_no_ticket_has(stack: RunningStack, header: str) -> None:
    ticket = ticket_of(presigner(stack, backend=stack.backend(upload_method="put")))
    page(stack).preflight("PUT", ticket.url, ticket.headers)
    with pytest.raises(RefusedByCors):
        page(stack).preflight("PUT", ticket.url, {**ticket.headers, header: "1"})


@pytest.mark.parametrize("method", ["DELETE", "PATCH"])
def test_a_page_may_use_no_method_that_no_ticket_has(stack: RunningStack, method: str) -> None:
    with pytest.raises(RefusedByCors):
        page(stack).preflight(method, ticket_of(presigner(stack)).url, {})


def test_in_a_private_stack_only_a_signed_link_reads() -> None:
    with running(deploy(ReferenceCloud(), {**CONFIG, "publicRead": False})) as stack:
        application = presigner(stack, public_read=False)
        ticket = ticket_of(application)
        assert page(stack).upload(ticket, PNG).is_success
        stored = application.complete(ticket.token)
        assert stack.http.get(f"{stack.url}/{stack.stack.bucket}/{stored.key}").status_code == 403
        link = application.sign_download(stored.key, expires_in=MINUTE)
        assert stack.http.get(link).content == PNG
        with pytest.raises(NotUploaded):
            application.complete(ticket_of(application).token)


def test_without_a_pending_prefix_uploads_go_straight_to_the_public_one() -> None:
    with running(deploy(ReferenceCloud(), {**CONFIG, "pendingPrefix": ""})) as stack:
        application = presigner(stack)
        ticket = ticket_of(application)
        assert page(stack).upload(ticket, PNG).is_success
        assert stack.bucket.objects[application.complete(ticket.token).key].body == PNG


def test_of_two_identities_one_signs_and_the_other_one_verifies_and_publishes(two_identities: RunningStack) -> None:
    stack = two_identities
    assert stack.stack.signer != stack.stack.verifier
    application = presigner(stack)
    ticket = ticket_of(application)
    assert page(stack).upload(ticket, PNG).is_success
    stored = application.complete(ticket.token)
    assert stored.object_url is not None
    assert stack.http.get(stored.object_url).content == PNG


def signed_url(stack: RunningStack, email: str, method: str, key: str) -> str:
    """Return a URL that the service account ``email`` signs for any request, beyond what tickets are for."""
    info = stack.stack.cloud.credentials(email)
    credentials = service_account.Credentials.from_service_account_info(info)  # type: ignore[no-untyped-call]
    client = storage.Client(project="my-project", credentials=credentials, client_options={"api_endpoint": stack.url})
    url: str = (
        client.bucket(stack.stack.bucket)
        .blob(key)
        .generate_signed_url(version="v4", method=method, expiration=MINUTE, api_access_endpoint=stack.url)
    )
    return url


@pytest.mark.parametrize(
    ("who", "method", "key", "may"),
    [
        ("signer", "PUT", "pending/new", True),
        ("signer", "PUT", "pending/old", False),
        ("signer", "GET", "pending/old", False),
        ("signer", "DELETE", "pending/old", False),
        ("signer", "PUT", "public/new", False),
        ("signer", "PUT", "public/old", False),
        ("signer", "DELETE", "public/old", False),
        ("signer", "PUT", "elsewhere", False),
        ("verifier", "GET", "pending/old", True),
        ("verifier", "DELETE", "pending/old", True),
        ("verifier", "PUT", "pending/new", False),
        ("verifier", "GET", "public/old", True),
        ("verifier", "PUT", "public/old", False),
        ("verifier", "DELETE", "public/old", False),
        ("verifier", "GET", "elsewhere", False),
    ],
)
def test_each_of_two_identities_may_do_its_own_task_and_nothing_else(
    two_identities: RunningStack, who: str, method: str, key: str, may: bool
) -> None:
    stack = two_identities
    target = stack.server._xml._store
    stack.bucket.objects.clear()
    for name in ("pending/old", "public/old", "elsewhere"):
        target.store(target.target(stack.stack.bucket, name), PNG, content_type="image/png", metadata={})
    stack.bucket.objects.pop("elsewhere") if method == "PUT" else None
    url = signed_url(stack, getattr(stack.stack, who), method, key)
    answer = stack.http.request(method, url, content=PNG if method == "PUT" else None)
    assert answer.is_success if may else answer.status_code == 403, answer.text
    stack.bucket.objects.clear()


def test_a_file_in_parts_needs_no_other_rights(two_identities: RunningStack) -> None:
    parts = two_identities.backend().parts
    grant = next(grant for grant in grants() if grant.pending_key is not None)
    upload_id = parts.begin(grant, needs_sha256=False)
    assert upload_id
    assert upload_id in two_identities.bucket.uploads
    two_identities.bucket.uploads.clear()


@pytest.mark.parametrize(("listing", "listed"), [(True, True), (False, False)])
def test_the_verifier_lists_what_is_pending_only_if_the_setting_says_so(listing: bool, listed: bool) -> None:
    with running(deploy(ReferenceCloud(), {**TWO_IDENTITIES, "allowListing": listing})) as stack:
        assert page(stack).upload(ticket_of(presigner(stack)), PNG).is_success
        backend = stack.backend()
        if listed:
            assert [each.key.partition("/")[0] for each in backend.list_objects("pending/")] == ["pending"]
        else:
            with pytest.raises(PresignError):
                list(backend.list_objects("pending/"))
        with pytest.raises(PresignError):
            list(backend.list_objects("public/"))


def grants() -> Iterator[Grant]:
    """Grants that differ in all that decides about a ticket's headers."""
    for pending_key in (None, "pending/0123"):
        for create_only in (False, True):
            for sha256 in (None, "0" * 64):
                for extra in ({}, {"content_disposition": "inline", "cache_control": "no-store", "metadata": METADATA}):
                    yield Grant(
                        key="public/ab/cat.png",
                        content_type="image/png",
                        min_bytes=1,
                        max_bytes=100,
                        expires_in=MINUTE,
                        pending_key=pending_key,
                        create_only=create_only,
                        sha256=sha256,
                        **extra,  # type: ignore[arg-type]
                    )


def test_cors_allows_exactly_the_headers_that_tickets_have(stack: RunningStack) -> None:
    now = datetime.now(timezone.utc)
    backends = [stack.backend(upload_method=method) for method in ("put", "post", "auto")]
    sent = {
        name.lower() for backend in backends for grant in grants() for name in backend.sign_upload(grant, now).headers
    }
    [rule] = stack.stack.settings["cors"]
    # Google has no other list for what a page may read.
    assert sorted(name.lower() for name in rule.allowed_headers) == sorted({*sent, "etag", "location"})
    assert rule.max_age_seconds == 3600


def test_the_page_about_google_has_the_cors_rule_of_the_program() -> None:
    [rule] = deploy(ReferenceCloud()).settings["cors"]
    page = (ROOT / "docs" / "google.md").read_text(encoding="utf-8")
    found = re.search(r"## CORS.*?```json\n(.*?)```", page, re.DOTALL)
    assert found
    [shown] = json.loads(found[1])
    assert shown["origin"] == list(rule.allowed_origins)
    assert shown["method"] == list(rule.allowed_methods)
    assert sorted(shown["responseHeader"]) == sorted(rule.allowed_headers)
