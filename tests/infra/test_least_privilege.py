"""Each right in the policies is needed, and all together are enough: presign itself works with exactly these rights.

The S3 reference asks the policies' own documents for each request. So if a right is taken away, an operation of presign
must fail, and if none is, all operations must succeed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from typing import Any, TypeAlias

import boto3
import pytest

from emulators.s3_bucket import S3Bucket
from emulators.s3_parts import PartLimits
from emulators.s3_reference import S3Reference
from emulators.serving import serve
from emulators.signature_v4 import HmacKey
from infra.presign_infra.s3_policies import identity_policies, signer_policy
from presign import ObjectChanged, Presigner, PresignError, RuleViolated, Ticket, UploadRequest
from presign.s3 import S3Backend, copying
from presign.testing.requests import UploadAttempt
from presign.testing.subject import BODY, CONTENT_TYPE, Subject, download, make_presigner, require_accepted
from tests.infra.iam_evaluation import RightsOf, is_allowed, telling_the_request

_BUCKET = "media"
_ARN = f"arn:aws:s3:::{_BUCKET}"
_KMS_ARN = "arn:aws:kms:us-east-1:123456789012:key/1234abcd"
_SECRETS = {"AKIASIGNER": "the-signers-secret-key", "AKIAVERIFIER": "the-verifiers-secret-key"}
_LONG_AGO = timedelta(days=-30)

Document = Mapping[str, Any]
Operation: TypeAlias = "Callable[[World], None]"


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Which identities there are, and what the bucket is like."""

    pending_prefix: str | None = "pending/"
    separate_verifier: bool = False
    publish_in_parts: bool = False
    kms: bool = False
    versioned: bool = False

    @property
    def documents(self) -> list[dict[str, Any]]:
        return identity_policies(
            _ARN,
            "public/",
            pending_prefix=self.pending_prefix,
            allow_verification=True,
            separate_verifier=self.separate_verifier,
            allow_listing=True,
            publish_in_parts=self.publish_in_parts,
            signature_max_age_minutes=None,
            kms_key_arn=_KMS_ARN if self.kms else None,
        )


@dataclass(kw_only=True)
class World:
    """A running store, and a backend with the identities of a setting."""

    setting: Setting
    bucket: S3Bucket = field(repr=False)
    app: S3Reference = field(repr=False)
    backend: S3Backend = field(repr=False)

    @property
    def subject(self) -> Subject:
        return Subject(backend=self.backend, pending_prefix=self.setting.pending_prefix)

    def presigner(self, **options: Any) -> Presigner:
        return make_presigner(self.subject, **options)

    def has_only(self, documents: Sequence[Document]) -> None:
        """Give the identities the rights of these documents, in an empty bucket."""
        for stored in (self.bucket.objects, self.bucket.versions, self.bucket.uploads):
            stored.clear()
        by_name = dict(zip(_SECRETS, documents, strict=False))
        self.app.rights.update({name: [RightsOf(document=document)] for name, document in by_name.items()})
        self.bucket.kms_denied_to, self.bucket.kms_decrypt_denied_to = (
            frozenset(
                name for name, document in by_name.items() if self.setting.kms and not _may_use_key(document, action)
            )
            for action in ("kms:GenerateDataKey", "kms:Decrypt")
        )

    def fails(self, operation: Operation, documents: Sequence[Document]) -> bool:
        """Say whether presign cannot do this with the rights of these documents."""
        self.has_only(documents)
        try:
            operation(self)
        except (PresignError, AssertionError, pytest.fail.Exception):
            return True
        return False


@lru_cache
def _session(access_key: str) -> boto3.Session:
    # A session reads the descriptions of AWS's services anew, which takes long.
    return boto3.Session(access_key, _SECRETS[access_key], region_name="us-east-1")


@contextmanager
def _world(setting: Setting) -> Iterator[World]:
    names = list(_SECRETS)[: len(setting.documents)]
    bucket = S3Bucket(versioned=setting.versioned)
    app = S3Reference(
        buckets={_BUCKET: bucket},
        access_keys={name: HmacKey(secret=_SECRETS[name]) for name in names},
        rights={name: [] for name in names},
        part_limits=PartLimits(smallest_part_bytes=1),
    )
    with serve(telling_the_request(app)) as url:
        sessions: dict[str, Any] = dict(zip(("session", "verifier_session"), map(_session, names), strict=False))
        # As on Amazon S3, whose answers the reference gives.
        backend = S3Backend(bucket=_BUCKET, region="us-east-1", endpoint_url=url, sign_guards=False, **sessions)
        yield World(setting=setting, bucket=bucket, app=app, backend=backend)


def _may_use_key(document: Document, action: str) -> bool:
    context = {"kms:ViaService": "s3.us-east-1.amazonaws.com", "kms:EncryptionContext:aws:s3:arn": _ARN}
    return is_allowed(document, action, _KMS_ARN, context)


def _uploaded(world: World, presigner: Presigner) -> Ticket:
    ticket = presigner.issue(UploadRequest(content_type=CONTENT_TYPE, size=len(BODY)))
    require_accepted(world.subject, UploadAttempt.of(ticket, BODY))
    return ticket


def uploads_and_publishes(world: World) -> None:
    for create_only in (False, True):
        presigner = world.presigner(create_only=create_only)
        ticket = _uploaded(world, presigner)
        stored = presigner.complete(ticket.token)
        assert bytes(world.bucket.objects[ticket.key].body) == BODY
        if world.setting.pending_prefix is not None:
            assert list(world.bucket.objects) == [ticket.key]
        assert presigner.complete(ticket.token) == stored
        del world.bucket.objects[ticket.key]


def reads_what_it_verifies(world: World) -> None:
    ticket = _uploaded(world, world.presigner())
    store, key = world.subject.store, world.subject.upload_key(ticket)
    head = store.head(key)
    assert head is not None
    assert (head.version is not None) == world.setting.versioned
    # As completion reads, to compute a SHA-256 and to inspect.
    assert store.read(key, offset=0, length=99, etag=head.etag, version=head.version) == BODY


def refuses_and_deletes(world: World) -> None:
    presigner = world.presigner(content_types={"image/png"})
    ticket = presigner.issue(UploadRequest(content_type="image/png", size=len(BODY)))
    require_accepted(world.subject, UploadAttempt.of(ticket, BODY))
    with pytest.raises(RuleViolated):
        presigner.complete(ticket.token)
    assert world.bucket.objects == {}
    if world.setting.pending_prefix is not None:
        kept = [version for of_key in world.bucket.versions.values() for version in of_key.values()]
        assert not any(kept), "the bytes of a refused upload are kept as a version"


def takes_files_in_parts(world: World) -> None:
    presigner = world.presigner(parts_from_bytes=1, max_bytes=10 * 5 * 1024**2)
    ticket = presigner.issue(UploadRequest(content_type=CONTENT_TYPE, size=len(BODY)))
    assert ticket.parts is not None
    (request,) = ticket.parts.requests
    assert presigner.list_parts(ticket.token).numbers == ()
    part = UploadAttempt(method="PUT", url=request.url, headers=request.headers, fields={}, body=BODY)
    require_accepted(world.subject, part)
    assert presigner.list_parts(ticket.token).numbers == (1,)
    presigner.complete(ticket.token)
    assert bytes(world.bucket.objects[ticket.key].body) == BODY


def ends_files_in_parts(world: World) -> None:
    presigner = world.presigner(parts_from_bytes=1, max_bytes=10 * 5 * 1024**2)
    ticket = presigner.issue(UploadRequest(content_type=CONTENT_TYPE, size=len(BODY)))
    presigner.abort(ticket.token)
    assert world.bucket.uploads == {}


def sweeps(world: World) -> None:
    _uploaded(world, world.presigner())
    swept = world.presigner(clock_offset=-_LONG_AGO).sweep()
    assert (swept.deleted, swept.failed) == (1, ())


def publishes_in_parts(world: World) -> None:
    presigner = world.presigner()
    ticket = _uploaded(world, presigner)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(copying, "MAX_COPY_BYTES", 1)
        presigner.complete(ticket.token)
    assert bytes(world.bucket.objects[ticket.key].body) == BODY


def ends_a_copy_in_parts_that_fails(world: World) -> None:
    presigner = world.presigner()
    grant = presigner.policy.decide(
        UploadRequest(content_type=CONTENT_TYPE, size=len(BODY)), object_id=os.urandom(16).hex()
    )
    signed = world.backend.sign_upload(grant, datetime.now(timezone.utc))
    require_accepted(world.subject, UploadAttempt.of(signed, BODY))
    head = world.backend.pending.head(grant.upload_key)
    assert head is not None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(copying, "MAX_COPY_BYTES", 1)
        with pytest.raises(ObjectChanged):
            world.backend.publish(grant, replace(head, etag="0" * 32))
    assert world.bucket.uploads == {}, "the parts of a copy that failed stay"


def signs_downloads(world: World) -> None:
    presigner = world.presigner()
    ticket = _uploaded(world, presigner)
    presigner.complete(ticket.token)
    url = presigner.sign_download(ticket.key, expires_in=timedelta(minutes=1))
    require_accepted(world.subject, download(url))


_PENDING: dict[str, Operation] = {
    "UploadToPending s3:PutObject": uploads_and_publishes,
    "UploadToPending s3:AbortMultipartUpload": ends_files_in_parts,
    "UploadToPending s3:ListMultipartUploadParts": takes_files_in_parts,
    "VerifyPending s3:GetObject": uploads_and_publishes,
    "VerifyPending s3:DeleteObject": sweeps,
    "ReadPublished s3:GetObject": signs_downloads,
    "ListPending s3:ListBucket": sweeps,
}
_OF_VERSIONS: dict[str, Operation] = {
    "VerifyPending s3:GetObjectVersion": reads_what_it_verifies,
    "VerifyPending s3:DeleteObjectVersion": refuses_and_deletes,
}
_PUBLISHES: dict[str, Operation] = {"PublishFromPending s3:PutObject": uploads_and_publishes}
_STRAIGHT: dict[str, Operation] = {
    "UploadUnderPrefix s3:PutObject": uploads_and_publishes,
    "UploadUnderPrefix s3:AbortMultipartUpload": ends_files_in_parts,
    "UploadUnderPrefix s3:ListMultipartUploadParts": takes_files_in_parts,
    "VerifyUnderPrefix s3:GetObject": uploads_and_publishes,
    "VerifyUnderPrefix s3:DeleteObject": refuses_and_deletes,
}
_STRAIGHT_OF_VERSIONS: dict[str, Operation] = {"VerifyUnderPrefix s3:GetObjectVersion": reads_what_it_verifies}

# For each setting, what presign cannot do any more if one right is taken away.
NEEDED_FOR: dict[str, tuple[Setting, dict[str, Operation]]] = {
    "one identity": (Setting(), _PENDING | _PUBLISHES),
    "two identities": (Setting(separate_verifier=True), _PENDING | _PUBLISHES),
    "a bucket with versions": (Setting(separate_verifier=True, versioned=True), _PENDING | _OF_VERSIONS | _PUBLISHES),
    "publication in parts": (
        Setting(separate_verifier=True, publish_in_parts=True),
        _PENDING
        | {
            "PublishInParts s3:PutObject": publishes_in_parts,
            "PublishInParts s3:AbortMultipartUpload": ends_a_copy_in_parts_that_fails,
        },
    ),
    "the straight way": (Setting(pending_prefix=None), _STRAIGHT),
    "the straight way with versions": (
        Setting(separate_verifier=True, pending_prefix=None, versioned=True),
        _STRAIGHT | _STRAIGHT_OF_VERSIONS,
    ),
    "a KMS key": (
        Setting(separate_verifier=True, kms=True),
        _PENDING
        | _PUBLISHES
        | {
            "UseKey kms:GenerateDataKey": uploads_and_publishes,
            "UseKey kms:Decrypt": takes_files_in_parts,
            "verifier UseKey kms:GenerateDataKey": uploads_and_publishes,
            "verifier UseKey kms:Decrypt": uploads_and_publishes,
        },
    ),
    "a KMS key and the straight way": (
        Setting(separate_verifier=True, pending_prefix=None, kms=True),
        _STRAIGHT
        | {
            "UseKey kms:GenerateDataKey": uploads_and_publishes,
            "UseKey kms:Decrypt": takes_files_in_parts,
            "verifier UseKey kms:Decrypt": uploads_and_publishes,
        },
    ),
}


@pytest.mark.parametrize("name", NEEDED_FOR)
def test_presign_needs_each_right_of_the_policies_and_no_other(name: str) -> None:
    setting, needed_for = NEEDED_FOR[name]
    with _world(setting) as world:
        for operation in {*needed_for.values(), reads_what_it_verifies, refuses_and_deletes}:
            world.has_only(setting.documents)
            operation(world)
        for number, sid, action in _rights_of(setting):
            if "Version" in action and not setting.versioned:
                # Without versions, they are not used.
                continue
            right = f"{sid} {action}"
            operation = needed_for[f"verifier {right}" if number == 1 and sid == "UseKey" else right]
            rest: list[Document] = list(setting.documents)
            rest[number] = _without(rest[number], sid, action)
            assert world.fails(operation, rest), f"{operation.__name__} does not need {right}"


def _rights_of(setting: Setting) -> list[tuple[int, str, str]]:
    return [
        (number, statement["Sid"], action)
        for number, document in enumerate(setting.documents)
        for statement in document["Statement"]
        for action in statement["Action"]
    ]


def _without(document: Document, sid: str, action: str) -> Document:
    def kept(statement: Mapping[str, Any]) -> dict[str, Any]:
        taken = [each for each in statement["Action"] if (statement["Sid"], each) != (sid, action)]
        return {**statement, "Action": taken}

    return {**document, "Statement": [kept(statement) for statement in document["Statement"]]}


_AGES: dict[str, Any] = {"signature_max_age_minutes": 10, "server_signature_max_age_minutes": 5}


@pytest.mark.parametrize(
    ("action", "key", "minutes", "allowed"),
    [
        ("PutObject", "pending/x", 9, True),
        ("PutObject", "pending/x", 11, False),
        ("GetObject", "public/x", 9, True),
        ("GetObject", "public/x", 11, False),
        ("GetObject", "pending/x", 4, True),
        ("GetObject", "pending/x", 6, False),
        ("DeleteObject", "pending/x", 6, False),
        ("DeleteObjectVersion", "pending/x", 6, False),
    ],
)
def test_an_old_signature_is_refused_as_late_as_the_settings_say(
    action: str, key: str, minutes: int, allowed: bool
) -> None:
    document = signer_policy(_ARN, "public/", pending_prefix="pending/", allow_verification=True, **_AGES)
    context = {"s3:signatureAge": str(minutes * 60_000)}
    assert is_allowed(document, f"s3:{action}", f"{_ARN}/{key}", context) is allowed
    # A form says nothing of its age: its policy document has an expiry of its own.
    assert is_allowed(document, f"s3:{action}", f"{_ARN}/{key}", {})


@pytest.mark.parametrize("source", ["media/private/x", "media/pending", "other/pending/x", "media/public/x"])
def test_only_a_copy_of_a_pending_object_is_published(source: str) -> None:
    document = signer_policy(_ARN, "public/", pending_prefix="pending/", allow_verification=True)

    def may_copy(of: str) -> bool:
        return is_allowed(document, "s3:PutObject", f"{_ARN}/public/x", {"s3:x-amz-copy-source": of})

    assert may_copy("media/pending/x")
    assert may_copy("/media/pending/x?versionId=1")
    assert not may_copy(source)
    assert not is_allowed(document, "s3:PutObject", f"{_ARN}/public/x", {})
    assert not is_allowed(document, "s3:PutObject", f"{_ARN}/pending/x", {"s3:x-amz-copy-source": "media/pending/x"})


@pytest.mark.parametrize(
    "context",
    [
        {"kms:ViaService": "ec2.us-east-1.amazonaws.com", "kms:EncryptionContext:aws:s3:arn": _ARN},
        {"kms:ViaService": "s3.eu-west-1.amazonaws.com", "kms:EncryptionContext:aws:s3:arn": _ARN},
        {"kms:ViaService": "s3.us-east-1.amazonaws.com", "kms:EncryptionContext:aws:s3:arn": f"{_ARN}-other/x"},
        {"kms:ViaService": "s3.us-east-1.amazonaws.com"},
        {"kms:EncryptionContext:aws:s3:arn": _ARN},
        {},
    ],
)
def test_the_key_is_used_only_through_s3_and_only_for_the_bucket(context: Mapping[str, str]) -> None:
    (document,) = Setting(kms=True).documents
    assert _may_use_key(document, "kms:Decrypt")
    assert not is_allowed(document, "kms:Decrypt", _KMS_ARN, context)
    assert not is_allowed(document, "kms:Decrypt", f"{_KMS_ARN}x", {"kms:ViaService": "s3.us-east-1.amazonaws.com"})
