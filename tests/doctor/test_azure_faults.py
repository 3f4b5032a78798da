"""One planted fault at a time, on Azurite: the doctor names it, says what to do, and leaves nothing."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from azure.storage.blob import CorsRule, PublicAccess
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from emulators.azurite import ACCOUNT_KEY, Azurite
from emulators.serving import serve
from presign.azure import AzureBackend
from presign.doctor import Report, Severity, examine
from tests.azure.accounts import OTHER_ACCOUNT_KEY, Identity, RunningAccount, prepare_account
from tests.doctor.faults import Changed, Fault, bad, require_found
from tests.doctor.s3_store import ORIGIN
from tests.doctor.sas_policy import sas_policy

_FAILURE, _WARNING = Severity.FAILURE, Severity.WARNING
_RULE: dict[str, Any] = {
    "allowed_origins": [ORIGIN],
    "allowed_methods": ["PUT", "GET"],
    "allowed_headers": ["*"],
    "exposed_headers": ["ETag"],
    "max_age_in_seconds": 600,
}

FAULTS: tuple[Fault[Changed], ...] = (
    Fault(
        name="no CORS rules",
        setting=Changed(store={"cors": []}),
        code="cors-preflight",
        severity=_FAILURE,
        sentence=f"to the preflight request of {ORIGIN} for a PUT, and does not allow it",
        paste=f"--origins '{ORIGIN}' --methods PUT --allowed-headers 'content-type,if-none-match,x-ms-blob-",
        causes=frozenset({"cors-answer"}),
    ),
    Fault(
        name="CORS without the headers of blobs",
        setting=Changed(store={"cors": [CorsRule(**_RULE | {"allowed_headers": ["content-type"]})]}),
        code="cors-headers",
        severity=_FAILURE,
        sentence=f"{ORIGIN} may not send .*x-ms-blob-type with a PUT",
        paste="x-ms-blob-type",
    ),
    Fault(
        name="CORS without the headers of create-only tickets",
        setting=Changed(
            store={
                "cors": [
                    CorsRule(**_RULE | {"allowed_headers": ["content-type", "x-ms-blob-content-*", "x-ms-blob-type"]})
                ]
            }
        ),
        code="cors-headers",
        severity=_FAILURE,
        sentence=f"{ORIGIN} may not send if-none-match, x-ms-blob-cache-control with a PUT that is create-only",
        paste="if-none-match",
    ),
    Fault(
        name="a pending container that everybody can read",
        setting=Changed(store={"pending": PublicAccess.BLOB}),
        code="pending-private",
        severity=_FAILURE,
        sentence="everybody may read the container pending, where uploads wait",
        paste="container-rm update --storage-account devstoreaccount1 --name pending --public-access off",
    ),
    Fault(
        name="a public container that everybody can list",
        setting=Changed(store={"public": PublicAccess.CONTAINER}),
        code="public-unlisted",
        severity=_WARNING,
        sentence="everybody can list what is under public/",
        paste="--name public --public-access blob",
    ),
    Fault(
        name="a container for published blobs that nobody can read",
        setting=Changed(store={"public": None}),
        code="public-read",
        severity=_FAILURE,
        sentence="to strangers who read a published object",
    ),
    Fault(
        name="another account's key",
        setting=Changed(backend={"account_key": OTHER_ACCOUNT_KEY}),
        code="credentials",
        severity=_FAILURE,
        sentence="refuses the account key .*AZURE_STORAGE_KEY",
    ),
    Fault(
        name="a missing container",
        setting=Changed(backend={"container": "missing"}),
        code="missing-bucket",
        severity=_FAILURE,
        sentence="the container missing does not exist",
    ),
    Fault(
        name="a SAS expiration policy that is too short for every ticket",
        # A ticket of 60 seconds has a signature that begins 15 minutes earlier.
        setting=Changed(store={"sas_limit": timedelta(minutes=10)}),
        code="signature-lifetime",
        severity=_FAILURE,
        sentence=r"answers 403 \(AuthenticationFailed\) to a PUT .* its signature is valid for longer than it allows",
    ),
    Fault(
        name="a SAS expiration policy that is too short for the longest tickets",
        setting=Changed(store={"sas_limit": timedelta(hours=1)}),
        code="signature-lifetime",
        severity=_FAILURE,
        sentence=r"to a PUT with a ticket that is valid for 3600 seconds, and accepts one for 60 seconds",
    ),
    Fault(
        name="a SAS expiration policy that is too short for publication",
        setting=Changed(
            store={"sas_limit": timedelta(minutes=20)}, examination={"max_expires_in": timedelta(seconds=60)}
        ),
        code="publish",
        severity=_FAILURE,
        sentence="answered Put Blob From URL with CannotVerifyCopySource",
        paste="/blobServices/default/containers/public",
    ),
)


@dataclass(frozen=True, kw_only=True)
class Account:
    """The account on Azurite, which each test changes and finds in good order."""

    running: RunningAccount = field(repr=False)

    def change(self, changed: Changed) -> None:
        store = {"cors": [CorsRule(**_RULE)], "pending": None, "public": PublicAccess.BLOB, **changed.store}
        admin = self.running.admin
        admin.set_service_properties(cors=store["cors"])
        for container in ("pending", "public"):
            admin.get_container_client(container).set_container_access_policy({}, public_access=store[container])

    def examine(self, changed: Changed) -> Report:
        self.change(changed)
        values: dict[str, Any] = {"prefix": "public/", "origin": ORIGIN, "public_read": True, **changed.examination}
        limit = changed.store.get("sas_limit")
        if limit is None:
            return examine(self.running.publishing_backend(**changed.backend), **values)
        with sas_policy(self.running.azurite.account_url, limit=limit) as account_url:
            return examine(self.running.publishing_backend(account_url=account_url, **changed.backend), **values)

    def left(self) -> list[str]:
        return [*self.running.blobs("public"), *self.running.blobs("pending")]


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    with Azurite(directory=tmp_path_factory.mktemp("azurite")) as azurite:
        yield Account(running=prepare_account(azurite, {"account_key": ACCOUNT_KEY}))


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.name for fault in FAULTS])
def test_a_planted_fault_is_found_with_its_sentence_and_nothing_is_left(
    account: Account, fault: Fault[Changed]
) -> None:
    require_found(fault, account.examine(fault.setting))
    assert account.left() == []


def test_an_account_in_good_order_has_no_finding_and_nothing_is_left(account: Account) -> None:
    report = account.examine(Changed())
    assert bad(report) == [], report.to_text()
    assert {finding.code for finding in report.of(Severity.UNKNOWN)} == {
        "pending-expiry",
        "signer-writes-elsewhere",
        "tls",
    }
    assert report.exit_code == 0
    assert account.left() == []


@pytest.mark.parametrize(
    "changed",
    [
        Changed(store={"sas_limit": timedelta(minutes=75)}),
        Changed(store={"sas_limit": timedelta(minutes=30)}, examination={"max_expires_in": timedelta(seconds=60)}),
    ],
)
def test_a_sas_expiration_policy_that_allows_the_longest_ticket_and_15_minutes_more_is_no_finding(
    account: Account, changed: Changed
) -> None:
    report = account.examine(changed)
    assert bad(report) == [], report.to_text()
    assert account.left() == []


def test_an_account_whose_keys_are_disabled_is_found() -> None:
    """As Azure answers with ``allowSharedKeyAccess`` false, to the key itself and to a SAS that it has signed."""
    code = "KeyBasedAuthenticationNotPermitted"
    seen: list[str] = []

    async def without_keys(scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        is_by_key = request.headers.get("authorization", "").startswith("SharedKey ")
        assert is_by_key or "sig" in request.query_params
        seen.append(request.method)
        body = f"<Error><Code>{code}</Code><Message>Keys are disabled.</Message></Error>"
        answer = Response(body, status_code=403, media_type="application/xml", headers={"x-ms-error-code": code})
        await answer(scope, receive, send)

    with serve(without_keys) as url:
        backend = AzureBackend(
            container="public",
            pending_container="pending",
            account_name="account",
            account_url=f"{url}/account",
            account_key=ACCOUNT_KEY,
        )
        report = examine(backend, prefix="public/", origin=ORIGIN)
    assert [finding.code for finding in bad(report)] == ["credentials"], report.to_text()
    assert re.search(rf"refuses the account key \({code}\); .*pass an identity", bad(report)[0].detail)
    assert seen
    assert "PUT" not in seen, "nothing is sent after that"


def test_an_identity_over_tls_has_no_finding_either(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Azurite(directory=tmp_path_factory.mktemp("azurite-https"), https=True) as azurite:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(azurite.certificate))
        running = prepare_account(azurite, {"credential": Identity()})
        report = examine(
            running.publishing_backend(),
            prefix="public/",
            origin=ORIGIN,
            ssl_context=ssl.create_default_context(cafile=str(azurite.certificate)),
        )
        # Azurite gives every identity all rights.
        assert {finding.code for finding in bad(report)} == {"signer-writes-elsewhere"}, report.to_text()
        assert [finding.detail for finding in report.findings if finding.code == "tls"] == [
            "the storage does not answer requests without TLS"
        ]
        assert [*running.blobs("public"), *running.blobs("pending")] == []
