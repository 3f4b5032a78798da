"""What ``presign doctor`` asks Cloud Storage: the life of parts, and what to paste into gcloud's files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from google.api_core.exceptions import GoogleAPICallError

from presign.backends.backend import SignedUpload
from presign.backends.diagnosis import EXPIRES_EARLY, MIN_DAYS_OF_PENDING, Observation, Wanted, expires_early
from presign.backends.signature_v4_requests import SignatureV4Requests
from presign.gcs.json_api import FAILURES, TIMEOUTS, JsonApi, failed
from presign.messages import Grant
from presign.signing.quoting import quote_value

# The action and the days of the rule that a finding needs. Large files can be resumed for a week.
_LIFECYCLE: Mapping[str, tuple[str, int]] = {
    "parts-expiry": ("AbortIncompleteMultipartUpload", 8),
    "pending-expiry": ("Delete", 9),
}
_MAX_AGE_SECONDS = 600


class GcsDiagnosis:
    """The Diagnosis of one bucket and its pending bucket; see presign.backends.diagnosis."""

    exposed_headers: tuple[str, ...] = ("etag",)
    can_limit_signer = True
    versions_need_a_right = False
    guard_names: frozenset[str] = frozenset()
    can_limit_signature_age = False
    hides_missing_objects = True

    def __init__(
        self,
        *,
        bucket: str,
        pending_bucket: str,
        has_two_identities: bool,
        requests: SignatureV4Requests,
        pending_requests: SignatureV4Requests,
        host: str,
        json_api: JsonApi,
    ) -> None:
        self._bucket = bucket
        self._pending_bucket = pending_bucket
        self.has_two_identities = has_two_identities
        self._requests = requests
        self._pending_requests = pending_requests
        self.host = host
        self._json_api = json_api

    def list_url(self, prefix: str, *, is_pending: bool) -> str:
        """Return the URL that lists the bucket with the XML API."""
        requests = self._pending_requests if is_pending else self._requests
        return f"{requests.object_url('')}?list-type=2&max-keys=1&prefix={quote_value(prefix)}"

    def sign_unguarded(self, grant: Grant, now: datetime) -> SignedUpload | None:
        """Return None: no guard is needed here."""
        return None

    def rights_of_signer(
        self, *, stored_key: str, missing_key: str, elsewhere_key: str | None
    ) -> Iterator[Observation]:
        """Return nothing: the signer signs downloads, so that it may have the right to read."""
        return iter(())

    def parts_expiry(self, key: str) -> Observation:
        """Look for a lifecycle rule of the bucket, if the verifier may read the bucket's settings."""
        return self._expiry("parts-expiry", key, "the parts of unfinished uploads")

    def pending_expiry(self, key: str) -> Observation:
        """Look for a lifecycle rule of the bucket, if the verifier may read the bucket's settings."""
        return self._expiry("pending-expiry", key, "pending uploads that nobody completes")

    def _expiry(self, code: str, key: str, what: str) -> Observation:
        def rules(client: Any) -> list[dict[str, Any]]:
            bucket = client.get_bucket(self._pending_bucket, timeout=TIMEOUTS, retry=None)
            return list(bucket.lifecycle_rules)

        try:
            found = self._json_api.call(rules)
        except FAILURES as error:
            if isinstance(error, GoogleAPICallError) and error.code == 403:
                return Observation(
                    code=code,
                    outcome="unknown",
                    detail="the verifier may not read the bucket's lifecycle rules (storage.buckets.get)",
                )
            raise failed(self._pending_bucket, "GET BUCKET", error) from None
        action, _ = _LIFECYCLE[code]
        days = [
            rule["condition"]["age"]
            for rule in found
            if rule["action"].get("type") == action and _is_for(rule["condition"], key)
        ]
        if not days:
            return Observation(code=code, outcome="bad", detail=f"no rule deletes {what}")
        if code == "pending-expiry" and min(days) < MIN_DAYS_OF_PENDING:
            return expires_early(min(days))
        return Observation(code=code, outcome="good", detail=f"the storage deletes {what} after {min(days)} days")

    def remedy(self, code: str, wanted: Wanted) -> str | None:
        """Return a file for ``gcloud storage buckets update``, or a command."""
        uploads = wanted.prefix if wanted.pending_prefix is None else wanted.pending_prefix
        if code.startswith("cors-"):
            rule = {
                "origin": [wanted.origin or "https://app.example.com"],
                "method": list(wanted.methods),
                # The list is the same for the preflight request and for what the page may read.
                "responseHeader": sorted({*wanted.headers, "content-type", "etag", "location"}),
                "maxAgeSeconds": _MAX_AGE_SECONDS,
            }
            return json.dumps([rule], indent=2)
        if code in {*_LIFECYCLE, EXPIRES_EARLY}:
            # The rules of a bucket are replaced together, so what is pasted for one finding serves the other one, too.
            codes = _LIFECYCLE if wanted.pending_prefix is not None else ("parts-expiry",)
            rules = [
                {"action": {"type": action}, "condition": {"age": days, "matchesPrefix": [uploads]}}
                for action, days in (_LIFECYCLE[each] for each in codes)
            ]
            return json.dumps({"rule": rules}, indent=2)
        if code in {"pending-private", "pending-unlisted", "public-unlisted"}:
            bucket = self._bucket if code.startswith("public") else self._pending_bucket
            return f"gcloud storage buckets remove-iam-policy-binding gs://{bucket} --member=allUsers --role=ROLE"
        if code in {"upload", "parts"}:
            return (
                f"gcloud storage buckets add-iam-policy-binding gs://{self._pending_bucket} "
                "--member=serviceAccount:SIGNER --role=roles/storage.objectCreator"
            )
        if code in {"read", "delete", "publish"}:
            bucket = self._bucket if code == "publish" else self._pending_bucket
            return (
                f"gcloud storage buckets add-iam-policy-binding gs://{bucket} "
                "--member=serviceAccount:VERIFIER --role=roles/storage.objectUser"
            )
        return None


def _is_for(condition: Mapping[str, Any], key: str) -> bool:
    """Say whether a rule is for every object with such a key from some age on."""
    prefixes = condition.get("matchesPrefix")
    is_simple = "age" in condition and set(condition) <= {"age", "matchesPrefix"}
    return is_simple and (not prefixes or any(key.startswith(prefix) for prefix in prefixes))
