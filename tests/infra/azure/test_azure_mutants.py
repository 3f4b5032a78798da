"""Deliberate mistakes in copies of the Azure program. Each of them must fail the test that guards against it."""

from __future__ import annotations

import inspect
from pathlib import Path

import httpx
import pytest

from emulators.azurite import Azurite
from tests.infra.azure import test_access as access
from tests.infra.azure import test_program as resources
from tests.infra.azure.azurite_cloud import AzuriteCloud
from tests.infra.azure.program import deploy
from tests.infra.azure.test_access import http as http
from tests.infra.engine.provider import NotApplied
from tests.infra.mutated_programs import Mutant
from tests.infra.page import RefusedByCors

ACCOUNT, RIGHTS, IDENTITIES = (f"presign_infra/azure/{name}.py" for name in ("account", "rights", "identities"))
TWO_IDENTITIES = {"separateVerifier": True}

MUTANTS = [
    Mutant(
        name="the pending container is public",
        file=ACCOUNT,
        old="container_name=pending_container,\n                public_access=storage.PublicAccess.NONE",
        new="container_name=pending_container,\n                public_access=storage.PublicAccess.BLOB",
        caught_by=access.test_nobody_reads_a_pending_upload_without_a_signature,
    ),
    Mutant(
        name="everybody may list the published blobs",
        file=ACCOUNT,
        old="public_access=storage.PublicAccess.BLOB if public_read",
        new="public_access=storage.PublicAccess.CONTAINER if public_read",
        caught_by=lambda stack, http: access.test_nobody_lists_a_container_without_a_signature(
            stack, http, "container"
        ),
    ),
    Mutant(
        name="nobody may read the published blobs",
        file=ACCOUNT,
        old="public_access=storage.PublicAccess.BLOB if public_read",
        new="public_access=storage.PublicAccess.NONE if public_read",
        caught_by=access.test_a_page_uploads_with_a_ticket_and_everybody_reads_what_is_published,
    ),
    Mutant(
        name="the account forbids public containers although one is public",
        file=ACCOUNT,
        old="allow_blob_public_access=public_read",
        new="allow_blob_public_access=False",
        caught_by="409 PublicAccessNotPermitted",
    ),
    Mutant(
        name="account keys work",
        file=ACCOUNT,
        old="allow_shared_key_access=False",
        new="allow_shared_key_access=True",
        caught_by=resources.test_the_account_takes_no_account_key_no_plain_http_and_no_old_tls,
    ),
    Mutant(
        name="the account takes plain http",
        file=ACCOUNT,
        old="enable_https_traffic_only=True",
        new="enable_https_traffic_only=False",
        caught_by=resources.test_the_account_takes_no_account_key_no_plain_http_and_no_old_tls,
    ),
    Mutant(
        name="the name of the account has a hyphen",
        file=ACCOUNT,
        old="[:9]}account",
        new="[:9]}-account",
        caught_by="Azure takes no account with the name",
    ),
    Mutant(
        name="Pulumi makes the account's name too long",
        file=ACCOUNT,
        old="[:9]}account",
        new="[:9]}storageaccount",
        caught_by="Azure takes no account with the name",
    ),
    Mutant(
        name="the account is not protected",
        file=ACCOUNT,
        old="protect=protect",
        new="protect=False",
        caught_by=resources.test_everything_is_protected_but_an_empty_resource_group,
    ),
    Mutant(
        name="pages of every origin may upload",
        file=RIGHTS,
        old='"allowed_origins": list(allowed_origins)',
        new='"allowed_origins": ["*"]',
        caught_by=access.test_the_page_of_another_origin_may_not_upload,
    ),
    Mutant(
        name="a page may send any header",
        file=RIGHTS,
        old='"allowed_headers": [*_TICKET_HEADERS,',
        new='"allowed_headers": ["*", *_TICKET_HEADERS,',
        caught_by=lambda stack, http: access.test_a_page_may_send_no_header_that_no_ticket_has(
            stack, http, "x-ms-copy-source"
        ),
    ),
    Mutant(
        name="a page may send any metadata",
        file=RIGHTS,
        old='*(f"x-ms-meta-{name}" for name in metadata_names)',
        new='"x-ms-meta-*"',
        caught_by=lambda stack, http: access.test_a_page_may_send_no_header_that_no_ticket_has(
            stack, http, "x-ms-meta-else"
        ),
    ),
    *(
        Mutant(
            name=f"a page may not send {header}",
            file=RIGHTS,
            old=f'    "{header}",\n',
            new="",
            caught_by=access.test_cors_allows_exactly_the_headers_that_tickets_have,
        )
        for header in ("content-type", "if-none-match", "x-ms-blob-content-disposition")
    ),
    Mutant(
        name="a page may not send a ticket's header, shown over HTTP",
        file=RIGHTS,
        old='    "x-ms-blob-type",\n',
        new="",
        caught_by=access.test_a_page_uploads_with_a_ticket_and_everybody_reads_what_is_published,
    ),
    Mutant(
        name="a page may not use PUT",
        file=RIGHTS,
        old='["GET", "HEAD", "PUT"]',
        new='["GET", "HEAD"]',
        caught_by=access.test_a_page_uploads_with_a_ticket_and_everybody_reads_what_is_published,
    ),
    Mutant(
        name="a page does not see the ETag",
        file=RIGHTS,
        old='"exposed_headers": ["ETag", "x-ms-error-code"]',
        new='"exposed_headers": ["x-ms-error-code"]',
        caught_by=access.test_a_page_uploads_with_a_ticket_and_everybody_reads_what_is_published,
    ),
    Mutant(
        name="Azure expires what is published",
        file=ACCOUNT,
        old="pending_container, pending_prefix, expire_after_days",
        new="container, pending_prefix, expire_after_days",
        caught_by=lambda stack: _require(stack.cloud.state.rules[0]["prefixMatch"] == ["uploads-pending/pending/"]),
    ),
    Mutant(
        name="the signer may delete pending blobs",
        file=RIGHTS,
        old='data_actions=(f"{_BLOBS}/add/action", *',
        new='data_actions=(f"{_BLOBS}/add/action", f"{_BLOBS}/delete", *',
        caught_by=resources.test_of_two_identities_the_one_that_signs_only_writes_what_is_pending,
        config=TWO_IDENTITIES,
    ),
    Mutant(
        name="the signer may write in the whole account",
        file=IDENTITIES,
        old="scope=places[place], role_id=definition.id",
        new="scope=self._account_id, role_id=definition.id",
        caught_by=resources.test_of_two_identities_the_one_that_signs_only_writes_what_is_pending,
        config=TWO_IDENTITIES,
    ),
    Mutant(
        name="the signer keeps the rights of the separate verifier",
        file=IDENTITIES,
        old="            grant(name, signing, signs)\n            verifying",
        new="            grant(name, signing, _union(signs, verifies))\n            verifying",
        caught_by=resources.test_of_two_identities_the_one_that_signs_only_writes_what_is_pending,
        config=TWO_IDENTITIES,
    ),
    Mutant(
        name="who publishes may delete what is published",
        file=RIGHTS,
        old='            f"{_BLOBS}/add/action",\n            *((f"{_BLOBS}/write",) if publish_in_parts',
        new=(
            '            f"{_BLOBS}/add/action",\n            f"{_BLOBS}/delete",\n'
            '            *((f"{_BLOBS}/write",) if publish_in_parts'
        ),
        caught_by=resources.test_one_identity_signs_verifies_and_publishes_and_may_do_nothing_else,
    ),
    Mutant(
        name="the role that fetches signing keys is on a container",
        file=IDENTITIES,
        old="scope=self._account_id,\n                role_id=self._account_id.apply(_delegator_id)",
        new="scope=published,\n                role_id=self._account_id.apply(_delegator_id)",
        caught_by="a delegation key is an account's",
    ),
    Mutant(
        name="an action is misspelt",
        file=RIGHTS,
        old='f"{_BLOBS}/add/action", *',
        new='f"{_BLOBS}/create/action", *',
        caught_by="these actions are not known here",
    ),
    Mutant(
        name="a role is defined for a container",
        file=IDENTITIES,
        old="scope = self._account_id.apply(_resource_group_id)",
        new="scope = self._account_id",
        caught_by="Azure defines custom roles for a resource group",
    ),
    Mutant(
        name="the name of an assignment is no GUID",
        file=IDENTITIES,
        old='return str(uuid.uuid5(_NAMES, "\\n".join(parts)))',
        new='return "-".join(parts)',
        caught_by="badly formed hexadecimal UUID",
    ),
    Mutant(
        name="the names of roles are the same in each account",
        file=IDENTITIES,
        old="role_definition_id=self._account_id.apply(lambda account: _guid(account, name))",
        new="role_definition_id=_guid(name)",
        caught_by=resources.require_stable_names,
    ),
    Mutant(
        name="an input that Azure does not know",
        file=ACCOUNT,
        old="allow_cross_tenant_replication=False",
        new="allow_cross_tenant_replication=False,\n            is_hns_enabled=True",
        caught_by="has inputs that no call uses: ['isHnsEnabled']",
    ),
]


def _require(condition: bool) -> None:
    assert condition


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mistake_in_the_azure_program_is_found(
    mutant: Mutant, tmp_path: Path, azurite: Azurite, http: httpx.Client
) -> None:
    program = mutant.program(tmp_path, "azure")
    config = {**access.CONFIG, **mutant.config}
    if isinstance(mutant.caught_by, str):
        with pytest.raises((NotApplied, ValueError), match=mutant.caught_by.replace("[", r"\[")):
            deploy(AzuriteCloud(azurite), config, program=program)
        return
    stack = deploy(AzuriteCloud(azurite), config, program=program)
    # The test and its fixtures have the same names.
    wanted = inspect.signature(mutant.caught_by).parameters
    arguments = {"stack": stack, "two_identities": stack, "http": http, "azurite": azurite, "program": program}
    with pytest.raises((AssertionError, RefusedByCors, pytest.fail.Exception)):
        mutant.caught_by(**{name: arguments[name] for name in wanted})
