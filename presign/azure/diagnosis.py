"""What ``presign doctor`` asks Azure: who signs, what strangers can list, and what to paste into the Azure CLI."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from presign.azure.account import Account
from presign.backends.backend import SignedUpload
from presign.backends.diagnosis import Observation, Wanted
from presign.messages import Grant
from presign.signing.quoting import quote_value

_MAX_AGE_SECONDS = 600
_CODES_OF_PUBLIC_ACCESS = frozenset({"pending-private", "pending-unlisted", "public-unlisted", "public-read"})


class AzureDiagnosis:
    """The Diagnosis of one container and its pending container; see presign.backends.diagnosis."""

    exposed_headers: tuple[str, ...] = ()
    versions_need_a_right = True
    guard_names: frozenset[str] = frozenset()
    can_limit_signature_age = False
    hides_missing_objects = False

    def __init__(self, *, signer: Account, verifier: Account, container: str, pending_container: str) -> None:
        self._signer = signer
        self._container = container
        self._pending_container = pending_container
        self.host: str = signer.public_host
        self.has_two_identities: bool = verifier is not signer
        self.can_limit_signer: bool = signer.key is None

    def list_url(self, prefix: str, *, is_pending: bool) -> str:
        """Return the URL of List Blobs."""
        container = self._pending_container if is_pending else self._container
        parameters = f"restype=container&comp=list&maxresults=1&prefix={quote_value(prefix)}"
        return f"{self._signer.public_url}/{container}?{parameters}"

    def sign_unguarded(self, grant: Grant, now: datetime) -> SignedUpload | None:
        """Return None: no guard is needed here."""
        return None

    def rights_of_signer(
        self, *, stored_key: str, missing_key: str, elsewhere_key: str | None
    ) -> Iterator[Observation]:
        """Return nothing: the SAS of a ticket has no right but to create, whatever its identity may do."""
        return iter(())

    def parts_expiry(self, key: str) -> Observation:
        """Return that Azure deletes blocks by itself, which its documentation says; nothing is asked."""
        return Observation(
            code="parts-expiry", outcome="good", detail="Azure deletes blocks that nobody commits after a week"
        )

    def pending_expiry(self, key: str) -> Observation:
        """Return that it is unknown: only Azure's Resource Manager shows the rules of an account."""
        return Observation(
            code="pending-expiry",
            outcome="unknown",
            detail="only Azure's Resource Manager shows the lifecycle rules of an account",
        )

    def remedy(self, code: str, wanted: Wanted) -> str | None:
        """Return a command of the Azure CLI."""
        account = f"--account-name {self._signer.name}"
        if code.startswith("cors-"):
            return (
                f"az storage cors add {account} --services b --origins '{wanted.origin or 'https://app.example.com'}' "
                f"--methods {' '.join(wanted.methods)} --allowed-headers '{','.join(wanted.headers)}' "
                f"--exposed-headers 'ETag,x-ms-error-code' --max-age {_MAX_AGE_SECONDS}"
            )
        if code in _CODES_OF_PUBLIC_ACCESS:
            is_pending = code.startswith("pending")
            container = self._pending_container if is_pending else self._container
            access = "off" if is_pending or code == "public-read" else "blob"
            # Unlike `az storage container set-permission`, this needs no account key, which can be switched off.
            return (
                f"az storage container-rm update --storage-account {self._signer.name} --name {container} "
                f"--public-access {access}"
            )
        if code == "tls":
            return f"az storage account update --name {self._signer.name} --https-only true"
        if code in {"upload", "delete", "read", "publish", "parts"}:
            container = self._container if code == "publish" else self._pending_container
            return (
                'az role assignment create --role "Storage Blob Data Contributor" --assignee IDENTITY --scope '
                "/subscriptions/SUBSCRIPTION/resourceGroups/GROUP/providers/Microsoft.Storage/storageAccounts/"
                f"{self._signer.name}/blobServices/default/containers/{container}"
            )
        return None
