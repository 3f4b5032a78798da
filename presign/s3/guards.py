"""The guards: signed headers with which a PUT ticket can only upload, even if the store obeys unsigned headers.

Some stores obey ``x-amz-*`` headers that the signature of a URL does not cover (MinIO, Ceph). There, whoever has a PUT
ticket could add ``x-amz-copy-source`` and store a copy of another object, or add ``x-amz-acl`` and make a pending
upload public. A client can neither change a signed header nor send it twice. So these are signed:

- the condition of a copy, under the names of Amazon S3 and of Ceph, with an ETag that no object has, so every copy
  fails. The store ignores this condition in a request that copies nothing.
- a private access control list. The store refuses another one, or a list of grants beside it.

Measured in November 2026 on MinIO, Ceph RGW 16, versitygw and SeaweedFS: see docs/stores.md.
"""

from __future__ import annotations

from collections.abc import Mapping

COPY_CONDITIONS = ("x-amz-copy-source-if-match", "x-amz-copy-if-match")
"""The condition on the ETag of a copy's source, as Amazon S3 and as Ceph call it."""

_PART_GUARDS = dict.fromkeys(COPY_CONDITIONS, '"no-object-has-this-etag"')
_PUT_GUARDS = {**_PART_GUARDS, "x-amz-acl": "private"}

# Clouds that answer some of these headers with an error, or on which nobody has tried them.
_HOSTS_WITHOUT_GUARDS = (".r2.cloudflarestorage.com", ".backblazeb2.com", "storage.googleapis.com")


def needs_guards(host: str, *, is_aws: bool) -> bool:
    """Say whether PUT tickets for ``host`` carry guards by default: on every store but Amazon S3, R2, B2 and Google."""
    return not is_aws and not host.partition(":")[0].endswith(_HOSTS_WITHOUT_GUARDS)


def copy_conditions(host: str, *, is_aws: bool) -> tuple[str, ...]:
    """Return the names under which a copy on ``host`` says the condition on its source; Ceph's only where it may be."""
    return COPY_CONDITIONS if needs_guards(host, is_aws=is_aws) else COPY_CONDITIONS[:1]


def put_guards(*, wanted: bool) -> Mapping[str, str]:
    """Return the guards of a PUT, with names in lower case."""
    return _PUT_GUARDS if wanted else {}


def part_guards(*, wanted: bool) -> Mapping[str, str]:
    """Return the guards of a part, which has no access control list of its own."""
    return _PART_GUARDS if wanted else {}
