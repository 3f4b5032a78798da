"""Apply the resources of the Google program to the reference server: buckets, CORS, public folders, rights and keys.

An unknown resource type and an input that nothing uses raise NotApplied, so no test can pass without the real effect.
What Google refuses when it creates a resource is refused here, too: managed folders without uniform access, public
roles in a bucket that prevents them, IDs of the wrong form, permissions that do not exist. The reference server then
checks each signature, and each request against the rights of its signer. It has no soft delete and no lifecycle.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from emulators.cors import CorsRule
from emulators.gcs_bucket import GcsBucket, GcsRight
from emulators.gcs_reference import GcsReference
from emulators.serving import serve
from tests.infra.applied_cloud import AppliedMocks, AppliedType, if_there, with_values
from tests.infra.engine.provider import NotApplied
from tests.infra.inputs import Inputs

PROJECT = "my-project"
TOKEN_CREATOR = "roles/iam.serviceAccountTokenCreator"
SIGN_BLOB = "iam.serviceAccounts.signBlob"

# The permissions that the program can need, and what the reference server calls them. None: it knows no such right.
_PERMISSIONS: Mapping[str, str | None] = {
    "storage.objects.create": "create",
    "storage.objects.delete": "delete",
    "storage.objects.get": "get",
    "storage.objects.list": "list",
    "storage.multipartUploads.abort": "abort",
    "storage.multipartUploads.create": None,
    "storage.multipartUploads.listParts": "listParts",
    SIGN_BLOB: None,
}
_BUCKET_NAME = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]", re.ASCII)
_ACCOUNT_ID = re.compile(r"[a-z][a-z0-9-]{4,28}[a-z0-9]", re.ASCII)
_ROLE_ID = re.compile(r"[A-Za-z0-9_.]{3,64}", re.ASCII)


@dataclass(kw_only=True)
class GoogleState:
    """What Google Cloud would hold after one run of the program. ``grants`` has (member, role) by resource."""

    buckets: dict[str, dict[str, Any]] = field(default_factory=dict)
    buckets_with_objects: set[str] = field(default_factory=set)
    folders: list[tuple[str, str]] = field(default_factory=list)
    roles: dict[str, tuple[str, ...]] = field(default_factory=dict)
    accounts: dict[str, rsa.RSAPrivateKey] = field(default_factory=dict)
    keys: list[str] = field(default_factory=list)
    hmac_keys: dict[str, tuple[str, str]] = field(default_factory=dict)
    folder_grants: dict[tuple[str, str], list[tuple[str, str]]] = field(default_factory=dict)
    account_grants: dict[str, list[tuple[str, str]]] = field(default_factory=dict)


class ReferenceCloud(AppliedMocks):
    """The parts of Google Cloud that the program needs; ``serve`` runs what the program made.

    ``port`` is where it will be served; the keys of service accounts name it, and with None they name Google.
    """

    def __init__(self, *, port: int | None = None) -> None:
        self.state = GoogleState()
        self._port = port
        self._suffix = secrets.token_hex(4)[:7]
        super().__init__("gcp", self._applied_types())

    def _applied_types(self) -> Iterator[AppliedType]:
        state = self.state
        yield AppliedType(
            token="gcp:storage/bucket:Bucket",
            apply=self._bucket,
            look_up=self._read_bucket,
            remove=self._remove_bucket,
            named_by="name",
            separator="-",
            change=self._bucket,
            replaced_by=frozenset({"location", "name"}),
        )
        yield AppliedType(
            token="gcp:storage/managedFolder:ManagedFolder",
            apply=self._folder,
            look_up=lambda _, inputs: if_there((inputs["bucket"], inputs["name"]) in state.folders, inputs),
            remove=lambda inputs: state.folders.remove((inputs["bucket"], inputs["name"])),
            replaced_by=frozenset({"bucket", "name"}),
        )
        yield AppliedType(
            token="gcp:storage/managedFolderIamMember:ManagedFolderIamMember",
            apply=self._folder_member,
            look_up=lambda _, inputs: if_there(
                (inputs["member"], inputs["role"])
                in state.folder_grants.get((inputs["bucket"], inputs["managedFolder"]), []),
                inputs,
            ),
            remove=lambda inputs: state.folder_grants[(inputs["bucket"], inputs["managedFolder"])].remove(
                (inputs["member"], inputs["role"])
            ),
            replaced_by=frozenset({"bucket", "managedFolder", "member", "role"}),
        )
        yield AppliedType(
            token="gcp:storage/hmacKey:HmacKey",
            apply=self._hmac_key,
            look_up=lambda identifier, inputs: if_there(identifier in state.hmac_keys, inputs),
            remove=lambda inputs: state.hmac_keys.clear(),
            computed=frozenset({"accessId", "secret"}),
        )
        yield AppliedType(
            token="gcp:projects/iAMCustomRole:IAMCustomRole",
            apply=self._role,
            look_up=self._read_role,
            change=self._change_role,
            remove=lambda inputs: _drop(state.roles, f"projects/{PROJECT}/roles/{inputs['roleId']}"),
            computed=frozenset({"name"}),
        )
        yield AppliedType(
            token="gcp:serviceaccount/account:Account",
            apply=self._account,
            look_up=lambda _, inputs: if_there(_email(inputs["accountId"]) in state.accounts, inputs),
            remove=lambda inputs: _drop(state.accounts, _email(inputs["accountId"])),
            computed=frozenset({"email", "member", "name"}),
        )
        yield AppliedType(
            token="gcp:serviceaccount/iAMMember:IAMMember",
            apply=self._account_member,
            look_up=lambda _, inputs: if_there(
                (inputs["member"], inputs["role"])
                in state.account_grants.get(inputs["serviceAccountId"].rpartition("/")[2], []),
                inputs,
            ),
            remove=lambda inputs: state.account_grants[inputs["serviceAccountId"].rpartition("/")[2]].remove(
                (inputs["member"], inputs["role"])
            ),
        )
        yield AppliedType(
            token="gcp:serviceaccount/key:Key",
            apply=self._key,
            look_up=lambda _, inputs: if_there(inputs["serviceAccountId"].rpartition("/")[2] in state.keys, inputs),
            remove=lambda inputs: state.keys.remove(inputs["serviceAccountId"].rpartition("/")[2]),
            computed=frozenset({"privateKey"}),
        )

    def _bucket(self, name: str, inputs: Inputs) -> tuple[str, dict[str, Any]]:
        bucket = inputs.take("name", default=f"{name}-{self._suffix}")
        if not _BUCKET_NAME.fullmatch(bucket):
            raise NotApplied(f"Google takes no bucket with the name {bucket}")
        rules = []
        for rule in inputs.nested_list("lifecycleRules"):
            condition = rule.nested("condition")
            rules.append(
                {
                    "action": rule.nested("action").take("type"),
                    "age": condition.take("age"),
                    "prefixes": condition.take("matchesPrefixes", default=None),
                }
            )
        self.state.buckets[bucket] = {
            "location": inputs.take("location"),
            "uniform": inputs.take("uniformBucketLevelAccess", default=False),
            "prevention": inputs.take("publicAccessPrevention", default="inherited"),
            "cors": tuple(
                CorsRule(
                    allowed_origins=tuple(rule.take("origins")),
                    allowed_methods=tuple(rule.take("methods")),
                    # Google has one list for what a page may send and for what it may read.
                    allowed_headers=tuple(headers := rule.take("responseHeaders")),
                    expose_headers=tuple(headers),
                    max_age_seconds=int(rule.take("maxAgeSeconds")),
                )
                for rule in inputs.nested_list("cors")
            ),
            "lifecycle": rules,
            "softDelete": inputs.nested("softDeletePolicy").take("retentionDurationSeconds"),
            "forceDestroy": inputs.take("forceDestroy"),
            "labels": inputs.take("labels", default={}),
        }
        return bucket, {"name": bucket}

    def _remove_bucket(self, inputs: Mapping[str, Any]) -> None:
        if inputs["name"] in self.state.buckets_with_objects and not inputs["forceDestroy"]:
            raise NotApplied("Google answers 409: the bucket you tried to delete is not empty")
        _drop(self.state.buckets, inputs["name"])

    def _read_bucket(self, identifier: str, inputs: Mapping[str, Any]) -> Mapping[str, Any] | None:
        if identifier not in self.state.buckets:
            return None
        bucket = self.state.buckets[identifier]
        return with_values(
            inputs,
            location=bucket["location"],
            uniformBucketLevelAccess=bucket["uniform"],
            publicAccessPrevention=bucket["prevention"],
            cors=[
                {
                    "origins": list(rule.allowed_origins),
                    "methods": list(rule.allowed_methods),
                    "responseHeaders": list(rule.allowed_headers),
                    "maxAgeSeconds": rule.max_age_seconds,
                }
                for rule in bucket["cors"]
            ],
            lifecycleRules=[
                {
                    "action": {"type": rule["action"]},
                    "condition": {"age": rule["age"]}
                    | ({} if rule["prefixes"] is None else {"matchesPrefixes": rule["prefixes"]}),
                }
                for rule in bucket["lifecycle"]
            ],
            softDeletePolicy={"retentionDurationSeconds": bucket["softDelete"]},
            labels=bucket["labels"],
        )

    def _read_role(self, identifier: str, inputs: Mapping[str, Any]) -> Mapping[str, Any] | None:
        if identifier not in self.state.roles:
            return None
        return with_values(inputs, permissions=list(self.state.roles[identifier]))

    def _folder(self, name: str, inputs: Inputs) -> tuple[str, dict[str, Any]]:
        bucket, folder = inputs.take("bucket"), inputs.take("name")
        if not self.state.buckets[bucket]["uniform"]:
            raise NotApplied("Google creates managed folders only in buckets with uniform bucket-level access")
        if not folder.endswith("/"):
            raise NotApplied("the name of a managed folder ends with a slash")
        if inputs.take("forceDestroy") is not True:
            raise NotApplied("a folder with objects could not be replaced")
        self.state.folders.append((bucket, folder))
        return f"{bucket}/{folder}", {"name": folder}

    def _folder_member(self, name: str, inputs: Inputs) -> tuple[str, dict[str, Any]]:
        place = (inputs.take("bucket"), inputs.take("managedFolder"))
        if place not in self.state.folders:
            raise NotApplied(f"there is no managed folder {place}")
        member, role = inputs.take("member"), inputs.take("role")
        self._check_role(role)
        if member == "allUsers":
            if self.state.buckets[place[0]]["prevention"] == "enforced":
                raise NotApplied("Google answers 412: public access prevention is enforced")
        else:
            self._check_member(member)
        self.state.folder_grants.setdefault(place, []).append((member, role))
        return f"{place}/{role}/{member}", {}

    def _role(self, name: str, inputs: Inputs) -> tuple[str, dict[str, Any]]:
        role_id, permissions = inputs.take("roleId"), tuple(inputs.take("permissions"))
        if not _ROLE_ID.fullmatch(role_id) or not inputs.take("title"):
            raise NotApplied(f"Google takes no role with the ID {role_id}")
        if unknown := set(permissions) - set(_PERMISSIONS):
            raise NotApplied(f"these permissions are not known here: {sorted(unknown)}")
        role = f"projects/{PROJECT}/roles/{role_id}"
        if role in self.state.roles:
            raise NotApplied(f"there are two roles with the ID {role_id}")
        self.state.roles[role] = permissions
        return role, {"name": role}

    def _change_role(self, name: str, inputs: Inputs) -> tuple[str, dict[str, Any]]:
        changed = dict(self.state.roles)
        self.state.roles.clear()
        identifier, outputs = self._role(name, inputs)
        self.state.roles.update({**changed, **self.state.roles})
        return identifier, outputs

    def _account(self, name: str, inputs: Inputs) -> tuple[str, dict[str, Any]]:
        account_id = inputs.take("accountId")
        if not _ACCOUNT_ID.fullmatch(account_id):
            raise NotApplied(f"Google takes no service account with the ID {account_id}")
        if not inputs.take("displayName") or not inputs.take("description"):
            raise NotApplied("a service account has a name and a description")
        email = _email(account_id)
        if email in self.state.accounts:
            raise NotApplied(f"there are two service accounts {email}")
        self.state.accounts[email] = _rsa_key(len(self.state.accounts))
        full_name = f"projects/{PROJECT}/serviceAccounts/{email}"
        return full_name, {"email": email, "name": full_name, "member": f"serviceAccount:{email}"}

    def _account_member(self, name: str, inputs: Inputs) -> tuple[str, dict[str, Any]]:
        account = str(inputs.take("serviceAccountId")).rpartition("/")[2]
        if account not in self.state.accounts:
            raise NotApplied(f"there is no service account {account}")
        member, role = inputs.take("member"), inputs.take("role")
        if role != TOKEN_CREATOR:
            self._check_role(role)
        self.state.account_grants.setdefault(account, []).append((member, role))
        return f"{account}/{role}/{member}", {}

    def _key(self, name: str, inputs: Inputs) -> tuple[str, dict[str, Any]]:
        email = str(inputs.take("serviceAccountId")).rpartition("/")[2]
        self.state.keys.append(email)
        key = base64.b64encode(json.dumps(self.credentials(email)).encode()).decode()
        return f"projects/{PROJECT}/serviceAccounts/{email}/keys/{name}", {"privateKey": key}

    def _hmac_key(self, name: str, inputs: Inputs) -> tuple[str, dict[str, Any]]:
        email = inputs.take("serviceAccountEmail")
        if email not in self.state.accounts:
            raise NotApplied(f"there is no service account {email}")
        access_id, secret = f"GOOG1E{secrets.token_hex(10).upper()}", secrets.token_urlsafe(30)
        self.state.hmac_keys[access_id] = (email, secret)
        return access_id, {"accessId": access_id, "secret": secret, "state": "ACTIVE"}

    def credentials(self, email: str) -> dict[str, str]:
        """Return a service account's JSON, as Google hands it out."""
        host = "https://oauth2.googleapis.com" if self._port is None else f"http://127.0.0.1:{self._port}"
        pem = self.state.accounts[email].private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return {
            "type": "service_account",
            "project_id": PROJECT,
            "private_key_id": secrets.token_hex(20),
            "private_key": pem.decode(),
            "client_email": email,
            "client_id": "100000000000000000001",
            "token_uri": f"{host}/token",
        }

    def rights(self, member: str) -> dict[str, set[str]]:
        """Return the permissions of a member, by managed folder."""
        return {
            folder: {permission for each, role in grants if each == member for permission in self.state.roles[role]}
            for (_, folder), grants in self.state.folder_grants.items()
            if any(each == member for each, _ in grants)
        }

    def may_sign_as(self, email: str) -> set[str]:
        """Return who may sign as a service account without a key, or act as it."""
        return {
            member
            for member, role in self.state.account_grants.get(email, [])
            if role == TOKEN_CREATOR or SIGN_BLOB in self.state.roles[role]
        }

    @contextmanager
    def serve(self, *, tokens: Mapping[str, str] | None = None) -> Iterator[tuple[str, GcsReference]]:
        """Run the reference server with what the program made, and yield its URL and the server.

        ``tokens`` are bearer tokens, with the e-mail address of the account that each of them is for.
        """
        rights = {email: self._rights_of(email) for email in self.state.accounts}
        hmac_rights = {access_id: rights[email] for access_id, (email, _) in self.state.hmac_keys.items()}
        token_rights = {token: rights[email] for token, email in (tokens or {}).items()}
        reference = GcsReference(
            buckets={
                name: GcsBucket(
                    cors=bucket["cors"],
                    public_prefix=self._public_prefix(name),
                    lifecycle=tuple(_lifecycle_rule(**rule) for rule in bucket["lifecycle"]),
                )
                for name, bucket in self.state.buckets.items()
            },
            service_accounts={email: key.public_key() for email, key in self.state.accounts.items()},
            hmac_keys={access_id: secret for access_id, (_, secret) in self.state.hmac_keys.items()},
            bearer_tokens=frozenset(tokens or ()),
            rights={**rights, **hmac_rights, **token_rights},
        )
        with serve(reference, port=self._port or 0) as url:
            yield url, reference

    def _rights_of(self, email: str) -> list[GcsRight]:
        return [
            GcsRight(
                permissions=frozenset(
                    known for each in self.state.roles[role] if (known := _PERMISSIONS[each]) is not None
                ),
                bucket=bucket,
                prefix=folder,
            )
            for (bucket, folder), grants in self.state.folder_grants.items()
            for member, role in grants
            if member == f"serviceAccount:{email}"
        ]

    def _public_prefix(self, bucket: str) -> str | None:
        """Return the folder whose objects everybody may read; the reference server knows one for each bucket."""
        public = [
            folder
            for (name, folder), grants in self.state.folder_grants.items()
            if name == bucket
            and any(member == "allUsers" and "storage.objects.get" in self.state.roles[role] for member, role in grants)
        ]
        if len(public) > 1:
            raise NotApplied(f"more than one folder is public: {public}")
        return public[0] if public else None

    def _check_role(self, role: str) -> None:
        if role not in self.state.roles:
            raise NotApplied(f"nobody has defined the role {role}")

    def _check_member(self, member: str) -> None:
        if member.removeprefix("serviceAccount:") not in self.state.accounts:
            raise NotApplied(f"there is no member {member}")


def _drop(resources: dict[str, Any], name: str) -> None:
    del resources[name]


def _lifecycle_rule(*, action: str, age: int, prefixes: list[str] | None) -> dict[str, Any]:
    """Return a rule as the JSON API shows it."""
    condition = {"age": age} | ({"matchesPrefix": prefixes} if prefixes else {})
    return {"action": {"type": action}, "condition": condition}


def _email(account_id: str) -> str:
    return f"{account_id}@{PROJECT}.iam.gserviceaccount.com"


@cache
def _rsa_key(number: int) -> rsa.RSAPrivateKey:
    """Return the key of the account with this number; clouds share it, because making a key takes long."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)
