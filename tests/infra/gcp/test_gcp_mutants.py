"""Deliberate mistakes in copies of the Google program. Each of them must fail the test that guards against it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from presign import PresignError
from tests.infra.engine.provider import NotApplied
from tests.infra.gcp import test_gcp_access as access
from tests.infra.gcp import test_gcp_program as resources
from tests.infra.gcp.program import deploy, running
from tests.infra.gcp.reference_cloud import ReferenceCloud
from tests.infra.mutated_programs import Mutant
from tests.infra.page import RefusedByCors

BUCKET, RIGHTS, IDENTITIES = (f"presign_infra/gcp/{name}.py" for name in ("bucket", "rights", "identities"))
TWO_IDENTITIES = {"separateVerifier": True}


def may_not(who: str, method: str, key: str) -> Callable[..., None]:
    """Return the test that ``who`` may not do something."""
    return lambda two_identities: access.test_each_of_two_identities_may_do_its_own_task_and_nothing_else(
        two_identities, who, method, key, False
    )


MUTANTS_IN_ACCESS = [
    Mutant(
        name="everybody may read pending uploads",
        file=BUCKET,
        old="managed_folder=public_folder.name",
        new="managed_folder=(pending_folder or public_folder).name",
        caught_by=access.test_nobody_reads_a_pending_upload_without_a_signature,
    ),
    Mutant(
        name="nobody may read what is published",
        file=BUCKET,
        old="        if public_read:\n",
        new="        if not public_read:\n",
        caught_by=lambda stack: access.test_a_page_uploads_with_a_ticket_and_everybody_reads_what_is_published(
            stack, "put"
        ),
    ),
    Mutant(
        name="pages of every origin may upload",
        file=RIGHTS,
        old='"origins": list(allowed_origins)',
        new='"origins": ["*"]',
        caught_by=access.test_the_page_of_another_origin_may_not_upload,
    ),
    Mutant(
        name="a page may send any header",
        file=RIGHTS,
        old="                *_TICKET_HEADERS,\n",
        new='                *_TICKET_HEADERS,\n                "*",\n',
        caught_by=lambda stack: access.test_a_page_may_send_no_header_that_no_ticket_has(stack, "x-else"),
    ),
    Mutant(
        name="a page may send any metadata",
        file=RIGHTS,
        old='*(f"x-goog-meta-{name}" for name in metadata_names)',
        new='"x-goog-meta-*"',
        caught_by=lambda stack: access.test_a_page_may_send_no_header_that_no_ticket_has(stack, "x-goog-meta-else"),
    ),
    *(
        Mutant(
            name=f"a page may not send {header}",
            file=RIGHTS,
            old=f'    "{header}",\n',
            new="",
            caught_by=access.test_cors_allows_exactly_the_headers_that_tickets_have,
        )
        for header in ("Cache-Control", "Content-Type", "x-goog-if-generation-match", "x-goog-content-sha256")
    ),
    Mutant(
        name="a page may not send a ticket's header, shown over HTTP",
        file=RIGHTS,
        old='    "x-goog-content-length-range",\n',
        new="",
        caught_by=lambda stack: access.test_a_page_uploads_with_a_ticket_and_everybody_reads_what_is_published(
            stack, "put"
        ),
    ),
    Mutant(
        name="a page may not use POST",
        file=RIGHTS,
        old='["GET", "HEAD", "POST", "PUT"]',
        new='["GET", "HEAD", "PUT"]',
        caught_by=lambda stack: access.test_a_page_uploads_with_a_ticket_and_everybody_reads_what_is_published(
            stack, "post"
        ),
    ),
    Mutant(
        name="a page may use DELETE",
        file=RIGHTS,
        old='["GET", "HEAD", "POST", "PUT"]',
        new='["DELETE", "GET", "HEAD", "POST", "PUT"]',
        caught_by=lambda stack: access.test_a_page_may_use_no_method_that_no_ticket_has(stack, "DELETE"),
    ),
    Mutant(
        name="a page does not see the ETag",
        file=RIGHTS,
        old='                "ETag",\n',
        new="",
        caught_by=lambda stack: access.test_a_page_uploads_with_a_ticket_and_everybody_reads_what_is_published(
            stack, "put"
        ),
    ),
    Mutant(
        name="the signer may read",
        file=RIGHTS,
        old='            "storage.multipartUploads.abort",\n',
        new='            "storage.multipartUploads.abort",\n            "storage.objects.get",\n',
        caught_by=may_not("signer", "GET", "pending/old"),
        config=TWO_IDENTITIES,
    ),
    Mutant(
        name="the signer may replace",
        file=RIGHTS,
        old='            "storage.multipartUploads.abort",\n',
        new='            "storage.multipartUploads.abort",\n            "storage.objects.delete",\n',
        caught_by=may_not("signer", "PUT", "pending/old"),
        config=TWO_IDENTITIES,
    ),
    Mutant(
        name="the signer may write what is published",
        file=IDENTITIES,
        old='signs = {"pending": rights.signer_role()}',
        new='signs = {"public": rights.signer_role()}',
        caught_by=may_not("signer", "PUT", "public/new"),
        config=TWO_IDENTITIES,
    ),
    Mutant(
        name="who publishes may delete what is published",
        file=RIGHTS,
        old='permissions=("storage.objects.create", "storage.objects.get")',
        new='permissions=("storage.objects.create", "storage.objects.get", "storage.objects.delete")',
        caught_by=may_not("verifier", "DELETE", "public/old"),
        config=TWO_IDENTITIES,
    ),
    Mutant(
        name="the verifier may upload",
        file=IDENTITIES,
        old='self._grant(f"{name}-verifier", verifier, verifies)',
        new='self._grant(f"{name}-verifier", verifier, _union(signs, verifies))',
        caught_by=may_not("verifier", "PUT", "pending/new"),
        config=TWO_IDENTITIES,
    ),
    Mutant(
        name="nobody may publish",
        file=IDENTITIES,
        old='"public": rights.publisher_role()',
        new='"public": rights.reader_role()',
        caught_by=lambda stack: access.test_a_page_uploads_with_a_ticket_and_everybody_reads_what_is_published(
            stack, "put"
        ),
    ),
]

MUTANTS_IN_RESOURCES = [
    Mutant(
        name="everybody may list what is published",
        file=RIGHTS,
        old='kind="reads what is published", permissions=("storage.objects.get",)',
        new='kind="reads what is published", permissions=("storage.objects.get", "storage.objects.list")',
        caught_by=resources.test_everybody_may_read_what_is_published_and_may_not_list_it,
    ),
    Mutant(
        name="Google expires what is published",
        file=RIGHTS,
        old='"matches_prefixes": [pending_prefix]',
        new='"matches_prefixes": None',
        caught_by=lambda stack: _require(stack.settings["lifecycle"][1]["prefixes"] == ["pending/"]),
    ),
    Mutant(
        name="the bucket is not protected",
        file=BUCKET,
        old="protect=protect",
        new="protect=False",
        caught_by=resources.test_everything_is_protected_but_keys_and_impersonators,
    ),
    Mutant(
        name="everybody may act as the signer",
        file=IDENTITIES,
        old="            member=caller.member,",
        new='            member="allUsers",',
        caught_by=resources.test_one_account_signs_verifies_and_publishes_and_may_do_nothing_else,
    ),
    Mutant(
        name="the verifier may act as the signer",
        file=IDENTITIES,
        old="self._let_act_as(name, signer, impersonators)",
        new='self._let_act_as(name, signer, ["allUsers"])',
        caught_by=resources.test_one_account_signs_verifies_and_publishes_and_may_do_nothing_else,
    ),
    Mutant(
        name="the HMAC secret is no secret",
        file=IDENTITIES,
        old="pulumi.Output.secret(keys[-1].secret)",
        new="pulumi.Output.unsecret(pulumi.Output.from_input(keys[-1].secret))",
        caught_by=lambda stack: _require("hmacSecret" in stack.run.secret_outputs),
        config={"signWith": "hmacKey"},
    ),
    Mutant(
        name="the private key is no secret",
        file=IDENTITIES,
        old="return pulumi.Output.secret(keys[-1].private_key.apply(",
        new="return pulumi.Output.unsecret(keys[-1].private_key.apply(",
        caught_by=lambda stack: _require("signerCredentials" in stack.run.secret_outputs),
        config={"signWith": "privateKey"},
    ),
    Mutant(
        name="a public folder in a bucket that prevents public access",
        file=BUCKET,
        old='"inherited" if public_read else "enforced"',
        new='"enforced"',
        caught_by="public access prevention is enforced",
    ),
    Mutant(
        name="access control lists are in use",
        file=BUCKET,
        old="uniform_bucket_level_access=True",
        new="uniform_bucket_level_access=False",
        caught_by="Google creates managed folders only in buckets with uniform",
    ),
    Mutant(
        name="a permission is misspelt",
        file=RIGHTS,
        old='"storage.objects.delete"',
        new='"storage.object.delete"',
        caught_by="these permissions are not known here",
    ),
    Mutant(
        name="the ID of a role has a hyphen",
        file=RIGHTS,
        old='return f"presign_{',
        new='return f"presign-{',
        caught_by="Google takes no role with the ID",
    ),
    Mutant(
        name="the ID of a service account is too long",
        file=RIGHTS,
        old="hexdigest()[:10]",
        new="hexdigest()[:20]",
        caught_by="Google takes no service account with the ID",
    ),
    Mutant(
        name="an input that Google does not know",
        file=BUCKET,
        old="force_destroy=force_destroy,",
        new="force_destroy=force_destroy,\n            requester_pays=True,",
        caught_by=r"has inputs that no call uses: \['requesterPays'\]",
    ),
]


def _require(condition: bool) -> None:
    assert condition


def must_fail(test: Callable[..., None], **arguments: Any) -> None:
    """Check that ``test`` fails; its parameters and those that it needs of ``arguments`` have the same names."""
    wanted = inspect.signature(test).parameters
    with pytest.raises((AssertionError, PresignError, RefusedByCors, pytest.fail.Exception)):
        test(**{name: arguments[name] for name in wanted})


@pytest.mark.parametrize("mutant", MUTANTS_IN_ACCESS, ids=lambda mutant: mutant.name)
def test_a_mistake_in_the_google_program_shows_on_the_server(mutant: Mutant, tmp_path: Path) -> None:
    assert not isinstance(mutant.caught_by, str)
    program = mutant.program(tmp_path, "gcp")
    with running(deploy(ReferenceCloud(), {**access.CONFIG, **mutant.config}, program=program)) as stack:
        must_fail(mutant.caught_by, stack=stack, two_identities=stack)


@pytest.mark.parametrize("mutant", MUTANTS_IN_RESOURCES, ids=lambda mutant: mutant.name)
def test_a_mistake_in_the_google_program_shows_in_its_resources(mutant: Mutant, tmp_path: Path) -> None:
    program = mutant.program(tmp_path, "gcp")
    if isinstance(mutant.caught_by, str):
        with pytest.raises(NotApplied, match=mutant.caught_by):
            deploy(ReferenceCloud(), mutant.config, program=program)
        return
    stack = deploy(ReferenceCloud(), mutant.config, program=program)
    must_fail(mutant.caught_by, stack=stack, two_identities=stack)
