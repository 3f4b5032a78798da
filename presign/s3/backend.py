"""The backend for one bucket on Amazon S3 or a compatible store."""

from __future__ import annotations

import os
import re
from binascii import a2b_hex, b2a_base64
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta, timezone
from functools import lru_cache, partial
from typing import TYPE_CHECKING, cast
from urllib.parse import unquote

from presign.backends.addresses import check_tls, read_address, read_endpoint
from presign.backends.backend import ListedObject, ObjectHead, ObjectStore, PublishOption, SignedUpload
from presign.backends.expiring_credentials import ExpiringCredentials
from presign.backends.failures import (
    MAX_CLOCK_SKEW,
    check_clock,
    missing_bucket,
    storage_failed,
    unreachable,
    wrong_clock,
)
from presign.backends.knowledge import LearnedSource, Mechanism, read_knowledge
from presign.backends.settings import check_texts
from presign.backends.signature_v4_requests import SignatureV4Requests, UploadMethod
from presign.errors import ConfigurationError, CredentialsUnavailable, StorageUnavailable
from presign.keys import check_prefix
from presign.messages import Grant, Rule
from presign.progress import ReportBytes, ignore_bytes
from presign.s3.copying import Copier
from presign.s3.failures import answer_of, call_errors, error_code, status_of
from presign.s3.guards import copy_conditions, needs_guards, part_guards, put_guards
from presign.s3.identity import Identity
from presign.s3.objects import HEADERS, S3Objects
from presign.s3.partitions import is_aws_endpoint
from presign.s3.parts import S3Parts
from presign.s3.requests import scope_of
from presign.s3.session import AccessKeys, new_session
from presign.signing.bucket_location import BucketLocation
from presign.signing.per_second_cache import PerSecondCache
from presign.signing.signers import Signers
from presign.signing.signing_time import signing_time

if TYPE_CHECKING:
    import boto3

    from presign.backends.diagnosis import Diagnosis

MAX_UPLOAD_BYTES = 5 * 1024**3
"""The largest object that one PUT or POST stores."""

_SECOND = timedelta(seconds=1)
_PUBLISH_OPTIONS: frozenset[PublishOption] = frozenset({"tags", "storage_class"})
_POST_RULES = frozenset({Rule.SIZE, Rule.TYPE, Rule.HEADERS, Rule.CHECKSUM})
# Without HEADERS: a client can add Content-Encoding, Cache-Control and similar headers to a PUT with signed headers.
_PUT_RULES = frozenset({Rule.TYPE, Rule.CHECKSUM, Rule.CREATE_ONLY})
# These stores answer 501 to a POST form.
_HOSTS_WITHOUT_POST = (".r2.cloudflarestorage.com", ".backblazeb2.com")
_REDIRECTS = 300
_EVERY_STATUS = frozenset(range(200, 500))
_ERROR_CODE = re.compile(r"<Code>(\w{1,64})</Code>", re.ASCII)
_ERROR_REGION = re.compile(r"<Region>([a-z0-9-]{1,64})</Region>", re.ASCII)
_FORBIDDEN_CODES = frozenset({"AccessDenied", "AllAccessDisabled", "403"})
_BAD_CREDENTIALS_CODES = frozenset({"InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"})
_WRONG_REGION_CODES = frozenset(
    {"PermanentRedirect", "AuthorizationHeaderMalformed", "TemporaryRedirect", "301", "307"}
)


class S3Backend:
    """One bucket on S3 or a compatible store, with the credentials that boto3 finds.

    - ``region``: the bucket's region; by default the session's, or ``AWS_REGION``.
    - ``endpoint_url``: a compatible store's URL, as this program reaches it. By default boto3 chooses the endpoint by
      AWS's own settings (``AWS_ENDPOINT_URL_S3``, FIPS and dual-stack endpoints included).
    - ``public_endpoint_url``: the same store's URL as browsers reach it, if it differs (containers).
    - ``upload_method``: ``"post"`` or ``"put"`` for every upload. ``"auto"`` chooses PUT if the grant is create-only
      or the store is known to have no POST, and POST otherwise.
    - ``session``: the boto3 session whose credentials sign; by default a new ``boto3.Session()``.
    - ``verifier_session``: the session whose credentials verify, publish, delete and sign downloads; by default
      ``session``. With another session here, the identity that signs uploads needs only the right to put objects under
      the pending prefix and, for files in parts, to list and abort parts there. Then no ticket can copy, read or
      overwrite anything else, even on a store that obeys headers which nobody signed.
    - ``allow_http``: accept endpoints without TLS that are not on this machine.
    - ``learned``: what the store has shown, from the file that ``presign doctor --write`` has written. Tickets then say
      "storage" only of rules that this store was seen to enforce. Completion verifies the others.
    - ``sign_guards``: give every PUT ticket signed headers that make copies and public access control lists impossible,
      for stores that obey headers which nobody signed. By default, on every store but Amazon S3, Cloudflare R2,
      Backblaze B2 and Google. The CORS rules must allow these headers. Parts that are signed for Uppy's Companion mode
      have guards only with True, because Uppy 6 sends no headers with a part.

    Credentials are loaded when the backend is built, and renewed in the background. Raises ConfigurationError.

    ::

        backend = S3Backend(bucket="my-bucket", region="eu-central-1")
        other_store = S3Backend(bucket="my-bucket", endpoint_url="https://minio.example.com")
    """

    def __init__(
        self,
        *,
        bucket: str,
        region: str | None = None,
        endpoint_url: str | None = None,
        public_endpoint_url: str | None = None,
        upload_method: UploadMethod = "auto",
        session: boto3.Session | None = None,
        verifier_session: boto3.Session | None = None,
        allow_http: bool = False,
        learned: LearnedSource = None,
        sign_guards: bool | None = None,
    ) -> None:
        check_texts({"bucket": bucket, "region": region})
        if not bucket or "/" in bucket:
            raise ConfigurationError("bucket must be a bucket's name", field="bucket", value=bucket)
        if endpoint_url is not None:
            endpoint_url = check_tls("endpoint_url", read_endpoint("endpoint_url", endpoint_url), allow_http=allow_http)
        signer = (
            Identity.find(region=region, endpoint_url=endpoint_url)
            if session is None
            else Identity.of_session(session, region=region, endpoint_url=endpoint_url)
        )
        self._endpoint_url = check_tls(
            "endpoint_url", read_endpoint("endpoint_url", signer.endpoint_url), allow_http=allow_http
        )
        self._region = signer.region
        self._is_aws = is_aws_endpoint(self._endpoint_url)
        # A dotted bucket has no certificate as a virtual host, and another store need not have virtual hosts at all.
        virtual_hosted = self._is_aws and "." not in bucket
        self._location = BucketLocation.of_bucket(bucket, self._endpoint_url, virtual_hosted=virtual_hosted)
        public_location = (
            self._location
            if public_endpoint_url is None
            else BucketLocation.of_bucket(
                bucket,
                check_tls(
                    "public_endpoint_url",
                    read_endpoint("public_endpoint_url", public_endpoint_url),
                    allow_http=allow_http,
                ),
            )
        )
        self._learned = read_knowledge(learned, storage=f"s3://{bucket}", host=public_location.host)
        self._store_has_post = not public_location.host.endswith(_HOSTS_WITHOUT_POST) and (
            self._learned is None or self._learned.has("post")
        )
        self._browser_requests = SignatureV4Requests(
            location=public_location,
            header_names=HEADERS,
            upload_method=upload_method,
            store_has_post=self._store_has_post,
        )
        self._public_host = public_location.host
        guards = sign_guards if sign_guards is not None else needs_guards(public_location.host, is_aws=self._is_aws)
        self._guards = put_guards(wanted=guards)
        self._bucket = bucket
        self._credentials = signer.credentials
        # Its own, so that many backends with different keys do not drive each other's scopes out of a shared cache.
        self._scope_of = lru_cache(maxsize=2)(scope_of)
        self._signers = PerSecondCache(self._make_signers)
        verifier = (
            signer
            if verifier_session is None or verifier_session is session
            else Identity.of_session(verifier_session, region=self._region, endpoint_url=self._endpoint_url)
        )
        self._verifier_credentials = verifier.credentials
        requests = verifier.requests(bucket, self._location, self._endpoint_url)
        self._requests = requests
        self._objects = S3Objects(requests)
        self._copier = Copier(
            requests,
            self._objects,
            large_requests=verifier.with_long_timeouts(requests, self._endpoint_url),
            is_aws=self._is_aws,
            conditions=copy_conditions(self._location.host, is_aws=self._is_aws),
        )
        signer_requests = (
            requests if verifier is signer else signer.requests(bucket, self._location, self._endpoint_url)
        )
        self._signer_requests = signer_requests
        self._parts = S3Parts(
            signer_requests,
            committer=signer.with_long_timeouts(signer_requests, self._endpoint_url),
            sweeper=requests,
            browser_requests=self._browser_requests,
            signers_at=self._signers_at,
            is_aws=self._is_aws,
            shown=None if self._learned is None else self._learned.of("parts"),
            guards=part_guards(wanted=guards),
            guards_of_urls=part_guards(wanted=bool(sign_guards)),
        )

    def __repr__(self) -> str:
        return f"S3Backend(bucket={self._bucket!r}, region={self._region!r}, endpoint={self._endpoint_url!r})"

    @property
    def name(self) -> str:
        """The storage's name: ``s3://BUCKET``."""
        return f"s3://{self._bucket}"

    @property
    def signing_does_io(self) -> bool:
        """False: the credentials are in memory."""
        return False

    @property
    def pending(self) -> ObjectStore:
        """The backend itself: pending uploads have a prefix of the same bucket."""
        return self

    @property
    def has_public_prefixes(self) -> bool:
        """True: a bucket policy can make one prefix public."""
        return True

    @property
    def max_upload_bytes(self) -> int:
        """The largest object that one PUT or POST stores: 5 GiB."""
        return MAX_UPLOAD_BYTES

    @property
    def parts(self) -> S3Parts:
        """Uploads in parts, on every S3 store."""
        return self._parts

    @property
    def checks_expiry_late(self) -> bool:
        """True except on Amazon S3: some stores, such as SeaweedFS, check a form's expiry after the whole body."""
        return not self._is_aws

    @property
    def publish_options(self) -> frozenset[PublishOption]:
        """Tags and a storage class."""
        return _PUBLISH_OPTIONS

    def enforces(self, grant: Grant) -> frozenset[Rule]:
        """Return the rules that S3 enforces.

        POST: all but create-only. PUT: all but a range of sizes and the absence of other headers. With ``learned``,
        only those of them that the store has shown.
        """
        mechanism: Mechanism = "post" if self._browser_requests.uses_post(grant) else "put"
        if mechanism == "post":
            rules = _POST_RULES
        else:
            rules = _PUT_RULES | {Rule.SIZE} if grant.exact_bytes is not None else _PUT_RULES
        return rules if self._learned is None else rules & self._learned.of(mechanism)

    def sign_upload(self, grant: Grant, now: datetime) -> SignedUpload:
        """Return a POST form whose policy covers every field, or a PUT with every header signed."""
        return self._sign_upload(grant, now, guards=self._guards)

    def _sign_upload(self, grant: Grant, now: datetime, *, guards: Mapping[str, str]) -> SignedUpload:
        signers = self._signers_at(now, grant.expires_in)
        if self._browser_requests.uses_post(grant):
            return self._browser_requests.sign_post(grant, signers, _checksum_fields(grant))
        exact_bytes = grant.exact_bytes
        automatic_headers = {} if exact_bytes is None else {"content-length": str(exact_bytes)}
        return self._browser_requests.sign_put(grant, signers, {**_put_headers(grant), **guards}, automatic_headers)

    def sign_download(
        self, key: str, now: datetime, *, expires_in: timedelta, content_disposition: str | None = None
    ) -> str:
        """Return a presigned GET; the storage sends ``content_disposition`` as a header of the response.

        The verifier's credentials sign it, because those that sign uploads need not permit reading.
        """
        signers = self._signers.get(now, (self._verifier_credentials.current(now), expires_in))
        return self._browser_requests.sign_download(key, signers, content_disposition)

    def object_url(self, key: str) -> str:
        """Return the object's own URL, on the endpoint that browsers reach."""
        return self._browser_requests.object_url(key)

    def diagnosis(self) -> Diagnosis:
        """Return what ``presign doctor`` asks S3 about this bucket, with the credentials of both identities."""
        # Only presign doctor needs it.
        from presign.s3.diagnosis import S3Diagnosis

        return S3Diagnosis(
            bucket=self._bucket,
            region=self._region,
            is_aws=self._is_aws,
            has_two_identities=self._verifier_credentials is not self._credentials,
            signer=self._signer_requests.client,
            verifier=self._requests.client,
            parts=self._parts,
            browser_requests=self._browser_requests,
            host=self._public_host,
            guard_names=frozenset(self._guards),
            sign_unguarded=partial(self._sign_upload, guards={}),
        )

    def check(self, *, lifetime: timedelta = MAX_CLOCK_SKEW) -> None:
        """Request the bucket with the signer's credentials; those that may not list it pass, because a signer need not.

        The region must be the one that the store names in its answer. The clock must not be slow by more than
        ``lifetime``. A store that is known to have no forms must not be used with ``upload_method="post"``.
        """
        if self._browser_requests.posts_always and not self._store_has_post:
            reason = (
                f"{self._endpoint_url} has no POST forms"
                if self._learned is None
                else "learned shows no POST form that worked (presign doctor --write learns it again)"
            )
            raise ConfigurationError(
                f"{reason}; set upload_method=put",
                field="upload_method",
                value="post",
                limit="put",
            )
        status, headers, code, named_region = self._ask_for_bucket()
        check_clock(headers.get("date"), datetime.now(timezone.utc), lifetime=lifetime)
        region = headers.get("x-amz-bucket-region") or named_region
        # Some stores accept every region, and name one of their own in each answer, also if they only forbid the list.
        is_refused = status >= _REDIRECTS and code not in {*_FORBIDDEN_CODES, "NoSuchBucket"}
        if region is not None and region != self._region and (self._is_aws or is_refused):
            raise ConfigurationError(
                f"the bucket {self._bucket} is in {region}, not in {self._region}; set region={region}",
                field="region",
                value=self._region,
                limit=region,
            )
        if code in _WRONG_REGION_CODES and region is None and not self._is_aws:
            raise ConfigurationError(
                f"{self._endpoint_url} refuses the region {self._region} ({code}); set region to the store's own",
                field="region",
                value=self._region,
            )
        failure = None if status < _REDIRECTS else self._failure_of(code)
        if failure is not None:
            raise failure

    def _ask_for_bucket(self) -> tuple[int, Mapping[str, str], str, str | None]:
        """List one object; return the status, the headers, the error's code, and the region that the error names.

        boto3 would follow a redirect to another region, and so hide that the region is wrong. It is asked only if the
        request cannot be sent without it, or the store fails. One object is asked for, because some stores list none of
        a bucket that does not exist.
        """
        answer = self._signer_requests.send("GET", "", {}, query="list-type=2&max-keys=1", conclusive=_EVERY_STATUS)
        if answer is not None:
            text = answer.text if answer.status >= _REDIRECTS else ""
            code, region = _ERROR_CODE.search(text), _ERROR_REGION.search(text)
            return (
                answer.status,
                {name.lower(): value for name, value in answer.headers.items()},
                code[1] if code else str(answer.status),
                region[1] if region else None,
            )
        try:
            listed = self._signer_requests.client.list_objects_v2(Bucket=self._bucket, MaxKeys=1)
        except call_errors() as error:
            refusal = answer_of(error)
            if refusal is None:
                raise unreachable(self._endpoint_url, error) from None
            headers: Mapping[str, str] = refusal.get("ResponseMetadata", {}).get("HTTPHeaders", {})
            return status_of(error) or 500, headers, error_code(error), refusal.get("Error", {}).get("Region")
        return 200, listed["ResponseMetadata"]["HTTPHeaders"], "", None

    def prepare(self) -> None:
        """Load what the first completion needs; see Presigner.prepare."""
        # The description of a published copy needs it.
        import html  # noqa: F401

        self._requests.prepare()

    def head(self, key: str, *, first_bytes: int = 0) -> ObjectHead | None:
        """Return the description of the object, or None if it is missing or may not be read; see S3Objects.head."""
        return self._objects.head(key, first_bytes=first_bytes)

    def read(self, key: str, *, offset: int, length: int, etag: str, version: str | None = None) -> bytes:
        """Return a range of the object's bytes; raises ObjectChanged if it was replaced; see S3Objects.read."""
        return self._objects.read(key, offset=offset, length=length, etag=etag, version=version)

    def delete(self, key: str, *, head: ObjectHead | ListedObject | None = None) -> None:
        """Delete the object, or only the one that ``head`` describes; see S3Objects.delete."""
        self._objects.delete(key, head=head)

    def list_objects(self, prefix: str) -> Iterator[ListedObject]:
        """Return the objects under ``prefix``; this needs the right to list the bucket (s3:ListBucket)."""
        return self._objects.list_objects(prefix)

    def unexpected_attributes(self, grant: Grant) -> Mapping[str, str]:
        """Return the rights that a client gave to others with an access control list on its upload.

        This happens only with a PUT, on stores that obey an unsigned ``x-amz-acl``. Amazon S3 refuses it. A POST policy
        refuses the form field on every store.
        """
        if self._is_aws or self._browser_requests.uses_post(grant):
            return {}
        return self._objects.foreign_grants(grant.upload_key)

    def publish(self, grant: Grant, head: ObjectHead, *, report_copied: ReportBytes = ignore_bytes) -> ObjectHead:
        """Copy the pending object to ``grant.key``: CopyObject, or UploadPartCopy above 5 GiB."""
        return self._copier.publish(grant, head, report_copied=report_copied)

    def _signers_at(self, now: datetime, expires_in: timedelta) -> Signers:
        return self._signers.get(now, (self._credentials.current(now), expires_in))

    def _make_signers(self, unix_second: int, key: tuple[ExpiringCredentials[AccessKeys], timedelta]) -> Signers:
        credentials, expires_in = key
        keys = credentials.credentials
        start, end = signing_time(unix_second), signing_time(_last_second(unix_second, expires_in, credentials))
        return Signers.for_period(
            bucket=self._bucket,
            scope=self._scope_of(keys, start.date, self._region),
            start=start,
            end=end,
            session_token=keys.session_token,
        )

    def _failure_of(self, code: str) -> ConfigurationError | StorageUnavailable | None:
        """Return the error for a response's code, or None for a code that a correctly configured bucket may send."""
        if code in _FORBIDDEN_CODES or code in _WRONG_REGION_CODES:
            return None
        if code == "NoSuchBucket":
            return missing_bucket(self._bucket, self._endpoint_url)
        if code in _BAD_CREDENTIALS_CODES:
            return ConfigurationError(
                f"{self._endpoint_url} refuses the AWS credentials ({code}); "
                "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN",
                field="credentials",
            )
        if code == "RequestTimeTooSkewed":
            return wrong_clock()
        return storage_failed(self.name, "LIST", code)


def open_s3(url: str, *, verifier_session: boto3.Session | None = None) -> tuple[S3Backend, str]:
    """Return the backend and the prefix of ``s3://bucket/prefix/?region=...``.

    Parameters are ``region``, ``endpoint_url``, ``public_endpoint_url``, ``upload_method``, ``sign_guards``,
    ``learned`` (a path) and ``allow_http`` (``true`` or ``false``); see S3Backend, also for ``verifier_session``. By
    default, the verifier's access key is in ``PRESIGN_VERIFIER_ACCESS_KEY_ID`` and
    ``PRESIGN_VERIFIER_SECRET_ACCESS_KEY``, if they are set. Raises ConfigurationError for any other parameter.
    """
    address = read_address(
        url,
        example="s3://bucket/prefix/?region=eu-central-1",
        parameters={
            "region",
            "endpoint_url",
            "public_endpoint_url",
            "upload_method",
            "allow_http",
            "learned",
            "sign_guards",
        },
    )
    parameters = address.parameters
    prefix = check_prefix(unquote(address.path))
    backend = S3Backend(
        bucket=address.host,
        region=parameters.get("region"),
        endpoint_url=parameters.get("endpoint_url"),
        public_endpoint_url=parameters.get("public_endpoint_url"),
        # S3Backend checks the value.
        upload_method=cast(UploadMethod, parameters.get("upload_method", "auto")),
        verifier_session=verifier_session or _verifier_of_environment(),
        allow_http=address.flag("allow_http"),
        learned=parameters.get("learned"),
        sign_guards=address.flag("sign_guards") if "sign_guards" in parameters else None,
    )
    return backend, prefix


def _verifier_of_environment() -> boto3.Session | None:
    names = ("PRESIGN_VERIFIER_ACCESS_KEY_ID", "PRESIGN_VERIFIER_SECRET_ACCESS_KEY")
    access_key, secret_key = (os.environ.get(name) or None for name in names)
    if (access_key is None) != (secret_key is None):
        raise ConfigurationError(f"{' and '.join(names)} must both be set, or neither", field="verifier_session")
    return None if access_key is None else new_session(access_key=access_key, secret_key=secret_key)


def _checksum_fields(grant: Grant) -> dict[str, str]:
    if grant.sha256 is None:
        return {}
    return {"x-amz-checksum-algorithm": "SHA256", "x-amz-checksum-sha256": _base64_of_hex(grant.sha256)}


def _put_headers(grant: Grant) -> dict[str, str]:
    headers: dict[str, str] = {}
    if grant.sha256 is not None:
        headers["x-amz-checksum-sha256"] = _base64_of_hex(grant.sha256)
    if grant.create_only:
        headers["If-None-Match"] = "*"
    return headers


def _last_second(unix_second: int, expires_in: timedelta, credentials: ExpiringCredentials[AccessKeys]) -> int:
    last = unix_second + expires_in // _SECOND
    if credentials.expires_at is None:
        return last
    last = min(last, int(credentials.expires_at.timestamp()))
    if last <= unix_second:
        raise CredentialsUnavailable("the AWS credentials are about to expire")
    return last


def _base64_of_hex(digest: str) -> str:
    return b2a_base64(a2b_hex(digest), newline=False).decode("ascii")
