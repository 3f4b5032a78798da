"""The component for the service accounts that sign, verify and publish uploads in one bucket."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Literal

import pulumi
from pulumi_gcp import projects, serviceaccount, storage

from presign_infra.gcp import rights

SignWith = Literal["signBlob", "hmacKey", "privateKey"]
SIGN_WITH: tuple[SignWith, ...] = ("signBlob", "hmacKey", "privateKey")
"""What signs tickets: a call to Google, without any key; an HMAC key; or the private key of the service account."""

_TOKEN_CREATOR = "roles/iam.serviceAccountTokenCreator"  # noqa: S105  (the name of a role)


class UploadIdentities(pulumi.ComponentResource):
    """A service account that may sign uploads to one managed folder, and publish what it verified in another one.

    - ``bucket``, ``public_folder``, ``pending_folder``: of an UploadBucket. With None for the last one, uploads go
      straight to the public folder.
    - ``allow_verification``: the account may also read and delete what is pending, and publish it. Completing an upload
      needs it.
    - ``separate_verifier``: a second account has these rights. The first one may then only create objects.
    - ``allow_listing``: the one that verifies may also list what is pending. ``presign sweep`` needs it.
    - ``sign_downloads``: the one that signs may also read what is published, because it signs downloads, too.
    - ``sign_with``: ``signBlob`` needs no key, and one call to Google for each signature; ``hmacKey`` and
      ``privateKey`` create a key, with which the application signs by itself.
    - ``key_generation``: the number of the keys in use. A higher number replaces them with new keys.
    - ``keep_previous_key``: the keys of the previous number stay valid, too.
    - ``impersonators``: who may act as these accounts, such as ``user:me@example.com``, to try the application on their
      own machine. The application itself is given the account and needs no entry.
    - ``protect``: the engine refuses to delete the accounts and their rights, which can still be changed. Keys and
      impersonators are not protected, because they must be replaced.

    Raises ValueError for settings that exclude each other.
    """

    signer_email: pulumi.Output[str]
    """The e-mail address of the service account that signs."""
    verifier_email: pulumi.Output[str]
    """The e-mail address of the service account that verifies; without ``separate_verifier``, of the same account."""
    hmac_access_id: pulumi.Output[str] | None
    """The access ID of the HMAC key that signs, or None without one."""
    hmac_secret: pulumi.Output[str] | None
    """The secret of the HMAC key that signs, as a secret output, or None without one."""
    signer_credentials: pulumi.Output[str] | None
    """The JSON of the private key that signs, as a secret output; only with ``sign_with="privateKey"``."""
    verifier_credentials: pulumi.Output[str] | None
    """The JSON of the separate verifier's private key, as a secret output; only with ``sign_with="privateKey"``."""

    def __init__(
        self,
        name: str,
        *,
        bucket: pulumi.Input[str],
        public_folder: pulumi.Input[str],
        pending_folder: pulumi.Input[str] | None,
        allow_verification: bool = True,
        separate_verifier: bool = False,
        allow_listing: bool = True,
        sign_downloads: bool = False,
        sign_with: SignWith = "signBlob",
        key_generation: int = 1,
        keep_previous_key: bool = False,
        impersonators: Sequence[str] = (),
        protect: bool = False,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        if separate_verifier and not allow_verification:
            raise ValueError("separate_verifier needs allow_verification=True, or the verifier would have no rights")
        if sign_with not in SIGN_WITH:
            raise ValueError(f'sign_with must be one of {", ".join(SIGN_WITH)}; it is "{sign_with}"')
        if keep_previous_key and key_generation < 2:
            raise ValueError("keep_previous_key needs a key_generation of at least 2")
        super().__init__("presign:gcp:UploadIdentities", name, {}, opts)
        self._options = pulumi.ResourceOptions(parent=self, protect=protect)
        self._bucket = pulumi.Output.from_input(bucket)
        self._folders = {"public": pulumi.Output.from_input(public_folder)}
        if pending_folder is not None:
            self._folders["pending"] = pulumi.Output.from_input(pending_folder)
        signs, verifies = _roles(
            pending=pending_folder is not None, allow_listing=allow_listing, sign_downloads=sign_downloads
        )
        generations = [key_generation - 1] if keep_previous_key else []
        generations.append(key_generation)

        signer = self._account(name, "signer", "Signs uploads")
        self._let_act_as(name, signer, impersonators)
        if separate_verifier:
            verifier = self._account(f"{name}-verifier", "verifier", "Verifies and publishes uploads")
            self._let_act_as(f"{name}-verifier", verifier, impersonators)
            self._grant(name, signer, signs)
            self._grant(f"{name}-verifier", verifier, verifies)
        else:
            verifier = signer
            self._grant(name, signer, _union(signs, verifies) if allow_verification else signs)

        self.signer_email = signer.email
        self.verifier_email = verifier.email
        self.hmac_access_id = self.hmac_secret = None
        self.signer_credentials = self.verifier_credentials = None
        if sign_with == "signBlob":
            # The program runs as the verifier, and lets Google sign as the signer.
            self._let_sign(name, signer, verifier)
        elif sign_with == "hmacKey":
            keys = [
                storage.HmacKey(
                    f"{name}-hmac-key-{generation}",
                    service_account_email=signer.email,
                    opts=pulumi.ResourceOptions(parent=self),
                )
                for generation in generations
            ]
            self.hmac_access_id = keys[-1].access_id
            self.hmac_secret = pulumi.Output.secret(keys[-1].secret)
        else:
            self.signer_credentials = self._private_key(name, signer, generations)
            if separate_verifier:
                self.verifier_credentials = self._private_key(f"{name}-verifier", verifier, generations)
        self.register_outputs({"signerEmail": self.signer_email, "verifierEmail": self.verifier_email})

    def _account(self, name: str, kind: str, description: str) -> serviceaccount.Account:
        return serviceaccount.Account(
            f"{name}-account",
            account_id=self._bucket.apply(lambda bucket: rights.account_id(bucket, kind)),
            display_name=self._bucket.apply(lambda bucket: f"presign {kind} of {bucket}"[:100]),
            description=f"{description} of one bucket.",
            opts=self._options,
        )

    def _role(self, name: str, role: rights.Role) -> projects.IAMCustomRole:
        return projects.IAMCustomRole(
            f"{name}-role",
            role_id=self._bucket.apply(lambda bucket: rights.role_id(bucket, name)),
            title=f"presign: {role.kind}"[:100],
            permissions=list(role.permissions),
            opts=self._options,
        )

    def _grant(self, name: str, account: serviceaccount.Account, roles: Mapping[str, rights.Role]) -> None:
        for folder, role in roles.items():
            storage.ManagedFolderIamMember(
                f"{name}-{folder}",
                bucket=self._bucket,
                managed_folder=self._folders[folder],
                role=self._role(f"{name}-{folder}", role).name,
                member=account.member,
                opts=self._options,
            )

    def _let_sign(self, name: str, signer: serviceaccount.Account, caller: serviceaccount.Account) -> None:
        serviceaccount.IAMMember(
            f"{name}-sign-blob",
            service_account_id=signer.name,
            role=self._role(f"{name}-sign-blob", rights.sign_blob_role()).name,
            member=caller.member,
            opts=self._options,
        )

    def _let_act_as(self, name: str, account: serviceaccount.Account, members: Sequence[str]) -> None:
        for member in members:
            serviceaccount.IAMMember(
                f"{name}-impersonation-by-{member}",
                service_account_id=account.name,
                role=_TOKEN_CREATOR,
                member=member,
                opts=pulumi.ResourceOptions(parent=self),
            )

    def _private_key(
        self, name: str, account: serviceaccount.Account, generations: Sequence[int]
    ) -> pulumi.Output[str]:
        keys = [
            serviceaccount.Key(
                f"{name}-key-{generation}",
                service_account_id=account.name,
                opts=pulumi.ResourceOptions(parent=self),
            )
            for generation in generations
        ]
        return pulumi.Output.secret(keys[-1].private_key.apply(lambda key: base64.b64decode(key).decode()))


def _roles(
    *, pending: bool, allow_listing: bool, sign_downloads: bool
) -> tuple[dict[str, rights.Role], dict[str, rights.Role]]:
    """Return the roles of the one that signs and of the one that verifies, by folder."""
    verifier = rights.verifier_role(allow_listing=allow_listing)
    if pending:
        signs = {"pending": rights.signer_role()}
        verifies = {"pending": verifier, "public": rights.publisher_role()}
    else:
        signs = {"public": rights.signer_role()}
        verifies = {"public": verifier}
    return (_union(signs, {"public": rights.reader_role()}) if sign_downloads else signs), verifies


def _union(*all_roles: Mapping[str, rights.Role]) -> dict[str, rights.Role]:
    folders = dict.fromkeys(folder for roles in all_roles for folder in roles)
    return {
        folder: rights.merge_roles(*(roles[folder] for roles in all_roles if folder in roles)) for folder in folders
    }
