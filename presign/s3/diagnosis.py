"""What ``presign doctor`` asks S3: rights by action, the life of parts, and what to paste into AWS's settings."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from presign.backends.backend import SignedUpload
from presign.backends.diagnosis import EXPIRES_EARLY, MIN_DAYS_OF_PENDING, Observation, Wanted, expires_early
from presign.backends.signature_v4_requests import SignatureV4Requests
from presign.messages import Grant
from presign.s3.failures import call_errors, error_code, status_of
from presign.s3.parts import S3Parts
from presign.signing.quoting import quote_value

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_POLICY_VERSION = "2012-10-17"
_NOT_A_COPY = {"Null": {"s3:x-amz-copy-source": "true"}}
# What the findings about the lifecycle need. Large files can be resumed for a week.
_LIFECYCLE_ACTIONS: Mapping[str, dict[str, Any]] = {
    "parts-expiry": {"AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 8}},
    "pending-expiry": {"Expiration": {"Days": 9}, "NoncurrentVersionExpiration": {"NoncurrentDays": 9}},
}
_EXPIRY_DATE = re.compile('expiry-date="([^"]+)"')
_MAX_AGE_SECONDS = 600
_DAY = timedelta(days=1)
# For the policy of the key, where "*" is the key itself.
_ALLOW_KEY = {
    "Effect": "Allow",
    "Principal": {"AWS": "THE ARN OF THE IDENTITY"},
    "Action": ["kms:GenerateDataKey", "kms:Decrypt"],
    "Resource": "*",
}
_UPLOAD_ACTIONS = ("s3:PutObject", "s3:ListMultipartUploadParts", "s3:AbortMultipartUpload")


class _Expiry(NamedTuple):
    """What a lifecycle rule deletes.

    ``code`` is the finding's code, ``what`` and ``short`` its name in two lengths. A rule has the days under ``action``
    and ``days``.
    """

    code: str
    what: str
    short: str
    action: str
    days: str


_PARTS_EXPIRY = _Expiry(
    code="parts-expiry",
    what="the parts of unfinished uploads",
    short="unfinished parts",
    action="AbortIncompleteMultipartUpload",
    days="DaysAfterInitiation",
)
_PENDING_EXPIRY = _Expiry(
    code="pending-expiry",
    what="pending uploads that nobody completes",
    short="pending uploads",
    action="Expiration",
    days="Days",
)


class S3Diagnosis:
    """The Diagnosis of one bucket; see presign.backends.diagnosis."""

    exposed_headers: tuple[str, ...] = ("etag",)
    can_limit_signer = True
    versions_need_a_right = True
    can_limit_signature_age = True
    hides_missing_objects = False

    def __init__(
        self,
        *,
        bucket: str,
        region: str,
        is_aws: bool,
        has_two_identities: bool,
        signer: S3Client,
        verifier: S3Client,
        parts: S3Parts,
        browser_requests: SignatureV4Requests,
        host: str,
        guard_names: frozenset[str],
        sign_unguarded: Callable[[Grant, datetime], SignedUpload],
    ) -> None:
        self._bucket = bucket
        self._is_aws = is_aws
        self.has_two_identities = has_two_identities
        self._signer = signer
        self._verifier = verifier
        self._parts = parts
        self._browser_requests = browser_requests
        self.host = host
        self.guard_names = guard_names
        self._sign_unguarded = sign_unguarded
        partition = "aws-cn" if region.startswith("cn-") else "aws-us-gov" if region.startswith("us-gov-") else "aws"
        self._arn = f"arn:{partition}:s3:::{bucket}"

    def list_url(self, prefix: str, *, is_pending: bool) -> str:
        """Return the URL of ListObjectsV2."""
        return f"{self._browser_requests.object_url('')}?list-type=2&max-keys=1&prefix={quote_value(prefix)}"

    def sign_unguarded(self, grant: Grant, now: datetime) -> SignedUpload | None:
        """Return the upload without the guards of presign.s3.guards, if the backend signs them."""
        return self._sign_unguarded(grant, now) if self.guard_names else None

    def rights_of_signer(
        self, *, stored_key: str, missing_key: str, elsewhere_key: str | None
    ) -> Iterator[Observation]:
        """Try to read and to delete with the signer's credentials; deleting a missing object changes nothing.

        In a bucket with versions, the deletion of a missing object would add a delete marker. There it is not tried.
        """
        signer = self._signer
        if self.has_two_identities:
            may_read = _is_permitted(lambda: signer.head_object(Bucket=self._bucket, Key=stored_key))
            yield _observed("signer-reads", may_read, "read pending uploads")
        if self._keeps_versions(stored_key):
            yield Observation(
                code="signer-deletes-elsewhere",
                outcome="unknown",
                detail="the bucket keeps versions, and a deletion would leave a delete marker",
            )
            return
        if self.has_two_identities:
            may_delete = _is_permitted(lambda: signer.delete_object(Bucket=self._bucket, Key=missing_key))
            yield _observed("signer-deletes", may_delete, "delete pending uploads")
        if elsewhere_key is not None:
            may_delete = _is_permitted(lambda: signer.delete_object(Bucket=self._bucket, Key=elsewhere_key))
            yield _observed(
                "signer-deletes-elsewhere", may_delete, "delete objects outside of the prefixes for uploads"
            )

    def parts_expiry(self, key: str) -> Observation:
        """Read the abort date that S3 gives to a new upload, and abort the upload; or read the bucket's lifecycle.

        Only Amazon S3 is known to give this date. On another store, its absence shows nothing.
        """
        return self._expiry(_PARTS_EXPIRY, key, self._parts.abort_date(key))

    def pending_expiry(self, key: str) -> Observation:
        """Read when S3 will delete the object, which its answer to HEAD says; or read the bucket's lifecycle.

        Only Amazon S3 is known to say so there. On another store, the absence of this date shows nothing.
        """
        try:
            headed: Any = self._verifier.head_object(Bucket=self._bucket, Key=key)
        except call_errors() as error:
            return Observation(
                code="pending-expiry", outcome="unknown", detail=f"the verifier cannot read it ({_named(error)})"
            )
        date = _EXPIRY_DATE.search(headed.get("Expiration", ""))
        return self._expiry(_PENDING_EXPIRY, key, None if date is None else parsedate_to_datetime(date[1]))

    def remedy(self, code: str, wanted: Wanted) -> str | None:
        """Return a CORS rule, a lifecycle rule or a policy, as the S3 console takes it."""
        uploads = wanted.prefix if wanted.pending_prefix is None else wanted.pending_prefix
        if code.startswith("cors-"):
            return _json([_cors_rule(wanted)])
        if code in {*_LIFECYCLE_ACTIONS, EXPIRES_EARLY}:
            # The rules of a bucket are replaced together, so what is pasted for one finding serves the other one, too.
            codes = _LIFECYCLE_ACTIONS if wanted.pending_prefix is not None else ("parts-expiry",)
            return _json({"Rules": [_lifecycle_rule(each, uploads) for each in codes]})
        if code in {"upload", "parts", "unsigned-copy"}:
            return self._policy(self._allow_uploads(uploads))
        if code in {"signer-writes-elsewhere", "signer-writes-final"}:
            # It takes the place of a policy that allows too much. One identity also verifies with it.
            rest = () if self.has_two_identities else self._allow_verification(wanted, uploads)
            return self._policy(self._allow_uploads(uploads), *rest)
        if code in {"read", "delete", "publish", "versions"}:
            return self._policy(*self._allow_verification(wanted, uploads))
        if code == "tls":
            return self._policy(self._deny_plain_http())
        if code == "kms":
            return _json(_ALLOW_KEY)
        return None

    def _keeps_versions(self, key: str) -> bool:
        try:
            headed: Any = self._verifier.head_object(Bucket=self._bucket, Key=key)
        except call_errors():
            return False
        # With suspended versions, it is "null", and a deletion leaves a delete marker as well.
        return headed.get("VersionId") is not None

    def _lifecycle_rules(self) -> tuple[list[Any], str | None]:
        """Return the bucket's lifecycle rules, and why they cannot be read, or None."""
        try:
            found: Any = self._verifier.get_bucket_lifecycle_configuration(Bucket=self._bucket)
        except call_errors() as error:
            reason = _named(error)
            return [], None if reason == "NoSuchLifecycleConfiguration" else reason
        return found.get("Rules", []), None

    def _expiry(self, kind: _Expiry, key: str, date: datetime | None) -> Observation:
        """Say when the storage deletes something under ``key``: at ``date``, or else as the lifecycle rules say."""
        if date is not None:
            left = date - datetime.now(timezone.utc)
            days = [round(left / _DAY)]
            # The date is a midnight, so it is one to two days away if the rule has one day.
            is_early = left <= 2 * _DAY
        else:
            rules, reason = self._lifecycle_rules()
            if reason is not None and not self._is_aws:
                return Observation(
                    code=kind.code,
                    outcome="unknown",
                    detail=f"the storage does not say when it deletes {kind.short} ({reason})",
                )
            days = [
                rule[kind.action][kind.days]
                for rule in rules
                if _is_for(rule, key) and kind.days in rule.get(kind.action, {})
            ]
            is_early = bool(days) and min(days) < MIN_DAYS_OF_PENDING
        if not days:
            return Observation(code=kind.code, outcome="bad", detail=f"no rule deletes {kind.what}")
        if is_early and kind is _PENDING_EXPIRY:
            return expires_early(min(days))
        return Observation(
            code=kind.code, outcome="good", detail=f"the storage deletes {kind.what} after {min(days)} days"
        )

    def _policy(self, *statements: dict[str, Any]) -> str:
        return _json({"Version": _POLICY_VERSION, "Statement": list(statements)})

    def _allow_uploads(self, prefix: str) -> dict[str, Any]:
        return {
            "Effect": "Allow",
            "Action": list(_UPLOAD_ACTIONS),
            "Resource": f"{self._arn}/{prefix}*",
            "Condition": _NOT_A_COPY,
        }

    def _allow_verification(self, wanted: Wanted, uploads: str) -> Iterator[dict[str, Any]]:
        yield {
            "Effect": "Allow",
            "Action": ["s3:GetObject", "s3:GetObjectVersion", "s3:DeleteObject", "s3:DeleteObjectVersion"],
            "Resource": f"{self._arn}/{uploads}*",
        }
        if wanted.pending_prefix is not None:
            yield {"Effect": "Allow", "Action": "s3:GetObject", "Resource": f"{self._arn}/{wanted.prefix}*"}
            source = f"{self._bucket}/{wanted.pending_prefix}*"
            yield {
                "Effect": "Allow",
                "Action": "s3:PutObject",
                "Resource": f"{self._arn}/{wanted.prefix}*",
                "Condition": {"StringLike": {"s3:x-amz-copy-source": [source, f"/{source}"]}},
            }

    def _deny_plain_http(self) -> dict[str, Any]:
        return {
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:*",
            "Resource": [self._arn, f"{self._arn}/*"],
            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
        }


def _is_permitted(call: Callable[[], object]) -> bool | None:
    """Say whether the storage permits a call; None if it answers something else than yes or no."""
    try:
        call()
    except call_errors() as error:
        return False if status_of(error) in {401, 403} else None
    return True


def _observed(code: str, is_permitted: bool | None, doing: str) -> Observation:
    if is_permitted is None:
        return Observation(code=code, outcome="unknown", detail=f"whether the credentials may {doing}")
    if is_permitted:
        return Observation(code=code, outcome="bad", detail=f"the credentials that sign may {doing}")
    return Observation(code=code, outcome="good", detail=f"the credentials that sign may not {doing}")


def _cors_rule(wanted: Wanted) -> dict[str, Any]:
    return {
        "AllowedOrigins": [wanted.origin or "https://app.example.com"],
        "AllowedMethods": list(wanted.methods),
        "AllowedHeaders": list(wanted.headers) or ["content-type"],
        "ExposeHeaders": ["ETag", "Location"],
        "MaxAgeSeconds": _MAX_AGE_SECONDS,
    }


def _lifecycle_rule(code: str, prefix: str) -> dict[str, Any]:
    return {"ID": f"presign-{code}", "Status": "Enabled", "Filter": {"Prefix": prefix}, **_LIFECYCLE_ACTIONS[code]}


def _is_for(rule: Mapping[str, Any], key: str) -> bool:
    """Say whether a rule is for every object with such a key, whatever its size and its tags are."""
    chosen = rule.get("Filter", {})
    prefix = rule.get("Prefix") or chosen.get("Prefix") or ""
    return rule.get("Status") == "Enabled" and set(chosen) <= {"Prefix"} and key.startswith(prefix)


def _named(error: Exception) -> str:
    return error_code(error) or type(error).__name__


def _json(value: object) -> str:
    return json.dumps(value, indent=2)
