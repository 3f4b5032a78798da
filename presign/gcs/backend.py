"""The backend for one bucket on Google Cloud Storage."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import TYPE_CHECKING, cast
from urllib.parse import unquote

from presign.backends.addresses import read_address
from presign.backends.backend import ListedObject, ObjectHead, ObjectStore, PublishOption, SignedUpload
from presign.backends.failures import MAX_CLOCK_SKEW
from presign.backends.knowledge import LearnedSource, Mechanism, read_knowledge
from presign.backends.lazy_client import LazyClient
from presign.backends.lazy_store import LazyStore
from presign.backends.object_headers import HeaderNames
from presign.backends.settings import check_texts
from presign.backends.signature_v4_requests import SignatureV4Requests, UploadMethod
from presign.errors import ConfigurationError, CredentialsUnavailable
from presign.gcs.credentials import (
    VERIFIER_CREDENTIALS,
    CredentialsSource,
    ServiceAccount,
    default_credentials,
    hmac_credentials_from_environment,
    read_credentials,
    read_hmac_credentials,
)
from presign.gcs.endpoints import find_endpoint, public_locations
from presign.gcs.parts import GcsParts, PartsBucket
from presign.gcs.signing_keys import SigningIdentity, hmac_identity, service_account_identity
from presign.keys import check_prefix
from presign.messages import Grant, Rule
from presign.progress import ReportBytes, ignore_bytes
from presign.signing.bucket_location import BucketLocation
from presign.signing.per_second_cache import PerSecondCache
from presign.signing.signers import Signers
from presign.signing.signing_time import signing_time
from presign.signing.sigv4 import GOOGLE_CONTENT_SHA256

if TYPE_CHECKING:
    from google.auth.credentials import Credentials

    from presign.backends.diagnosis import Diagnosis
    from presign.gcs.json_api import JsonApi
    from presign.gcs.objects import GcsObjects
    from presign.gcs.rewriting import Rewriter

MAX_UPLOAD_BYTES = 5 * 1024**4
"""The largest object that one PUT or POST stores."""

_SECOND = timedelta(seconds=1)
_CHECK_KEY = "presign-check"
_CHECK_LIFETIME = timedelta(seconds=60)
_BUCKET_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]", re.ASCII)
_PUBLISH_OPTIONS: frozenset[PublishOption] = frozenset({"storage_class"})
_HEADERS = HeaderNames(metadata_prefix="x-goog-meta-")
_POST_RULES = frozenset({Rule.SIZE, Rule.TYPE, Rule.HEADERS})
# Without HEADERS: a client can add Content-Encoding, Cache-Control and similar headers to a PUT with signed headers.
_PUT_RULES = frozenset({Rule.SIZE, Rule.TYPE})


class GCSBackend:
    """One bucket on Google Cloud Storage, with the credentials to sign for it.

    - ``pending_bucket``: the bucket where uploads wait until they are verified; by default ``bucket`` itself. Another
      bucket should have the same location and storage class: publication then moves no bytes.
    - ``credentials``: a service account's JSON (a path, or a mapping of its members), whose RSA key signs; or
      credentials of google-auth. By default, the credentials that ``google.auth.default()`` finds
      (``GOOGLE_APPLICATION_CREDENTIALS``). Credentials without a private key (workload identity, impersonation) sign
      through ``signBlob`` of the IAM Service Account Credentials API. **Only then signing does I/O**: each signature
      takes at most ``SIGN_BLOB_SECONDS``, and is valid for at most ``SIGN_BLOB_LIFETIME``.
    - ``verifier_credentials``: the credentials, in the same forms, that verify, publish and delete; by default
      ``credentials``. With another identity here, the one that signs uploads needs only the right to create objects
      (``storage.objects.create``) in the pending bucket or prefix. But it also signs downloads: for private downloads
      it needs ``storage.objects.get`` too.
    - ``hmac_access_id``, ``hmac_secret``: an HMAC key, which then signs instead of ``credentials``. By default, if no
      ``credentials`` are given, ``GCS_HMAC_ACCESS_ID`` and ``GCS_HMAC_SECRET``. Everything except signing still needs
      ``verifier_credentials`` or ``credentials``, because the JSON API accepts no HMAC key. On an emulator, requests
      are anonymous if there are no credentials.
    - ``service_account_email``: the service account that ``signBlob`` signs as; by default, the credentials' own.
    - ``endpoint_url``: Cloud Storage as this program reaches it; by default ``STORAGE_EMULATOR_HOST``, or Google's.
    - ``public_endpoint_url``: Cloud Storage as browsers reach it, if that differs (containers).
    - ``virtual_hosted_style``: URLs begin with ``https://BUCKET.storage.googleapis.com/``; by default the bucket is in
      their path.
    - ``bucket_bound_hostname``: a custom domain of ``bucket``: ``uploads.example.com``, or with a scheme and a port.
      Uploads to another ``pending_bucket`` go to the host of ``public_endpoint_url``, or Google's.
    - ``upload_method``: ``"post"`` or ``"put"`` for every upload. ``"auto"`` chooses PUT if the grant is create-only,
      because a form cannot enforce that, and POST otherwise, because its policy covers every field.
    - ``allow_http``: accept endpoints without TLS that are not on this machine, such as an emulator in a container.
    - ``learned``: what the bucket has shown, from the file that ``presign doctor --write`` has written. Tickets then
      say "storage" only of rules that it was seen to enforce.

    Raises ConfigurationError. Source: "Signed URLs", "POST Object" and "PUT Object", Cloud Storage documentation.

    ::

        backend = GCSBackend(bucket="my-bucket", credentials="service-account.json")
    """

    def __init__(
        self,
        *,
        bucket: str,
        pending_bucket: str | None = None,
        credentials: CredentialsSource | None = None,
        verifier_credentials: CredentialsSource | None = None,
        hmac_access_id: str | None = None,
        hmac_secret: str | None = None,
        service_account_email: str | None = None,
        endpoint_url: str | None = None,
        public_endpoint_url: str | None = None,
        virtual_hosted_style: bool = False,
        bucket_bound_hostname: str | None = None,
        upload_method: UploadMethod = "auto",
        allow_http: bool = False,
        learned: LearnedSource = None,
    ) -> None:
        check_texts(
            {
                "bucket": bucket,
                "pending_bucket": pending_bucket,
                "hmac_access_id": hmac_access_id,
                "hmac_secret": hmac_secret,
                "service_account_email": service_account_email,
                "bucket_bound_hostname": bucket_bound_hostname,
            }
        )
        _check_bucket_name("bucket", bucket)
        if pending_bucket is None:
            pending_bucket = bucket
        _check_bucket_name("pending_bucket", pending_bucket)
        self._bucket = bucket
        self._pending_bucket = pending_bucket
        self._endpoint_url = find_endpoint(endpoint_url, allow_http=allow_http)
        location, pending_location = public_locations(
            bucket,
            pending_bucket,
            endpoint_url=self._endpoint_url,
            public_endpoint_url=public_endpoint_url,
            virtual_hosted_style=virtual_hosted_style,
            bucket_bound_hostname=bucket_bound_hostname,
            allow_http=allow_http,
        )
        self._host = pending_location.host
        self._learned = read_knowledge(learned, storage=f"gs://{bucket}", host=self._host)
        self._browser_requests = SignatureV4Requests(
            location=location, header_names=_HEADERS, upload_method=upload_method
        )
        self._pending_requests = SignatureV4Requests(
            location=pending_location, header_names=_HEADERS, upload_method=upload_method
        )
        hmac_credentials = read_hmac_credentials(hmac_access_id, hmac_secret)
        if hmac_credentials is None and credentials is None:
            hmac_credentials = hmac_credentials_from_environment()
        google_credentials = None if credentials is None else read_credentials(credentials)
        if hmac_credentials is None:
            google_credentials = google_credentials or default_credentials()
            self._identity = service_account_identity(google_credentials, service_account_email)
        elif service_account_email is not None:
            raise ConfigurationError(
                "service_account_email is for signBlob only, but an HMAC key signs here; leave one of them out",
                field="service_account_email",
                value=service_account_email,
            )
        else:
            self._identity = hmac_identity(hmac_credentials)
        self._signers = PerSecondCache(partial(_make_signers, bucket, self._identity))
        self._pending_signers = (
            self._signers
            if pending_bucket == bucket
            else PerSecondCache(partial(_make_signers, pending_bucket, self._identity))
        )
        verifier, setting = google_credentials, "credentials"
        if verifier_credentials is not None:
            verifier, setting = (
                read_credentials(verifier_credentials, setting=VERIFIER_CREDENTIALS),
                VERIFIER_CREDENTIALS,
            )
        self._has_two_identities = verifier_credentials is not None
        self._calls = LazyClient(
            partial(
                _Calls, bucket, pending_bucket, endpoint_url=self._endpoint_url, credentials=verifier, setting=setting
            )
        )
        self._pending_store = LazyStore(LazyClient(lambda: self._calls.get().pending_objects))
        uploads = PartsBucket(
            name=bucket,
            requests=self._browser_requests,
            signers=self._signers,
            location=BucketLocation.of_bucket(bucket, self._endpoint_url),
        )
        pending_uploads = PartsBucket(
            name=pending_bucket,
            requests=self._pending_requests,
            signers=self._pending_signers,
            location=BucketLocation.of_bucket(pending_bucket, self._endpoint_url),
        )
        shown = None if self._learned is None else self._learned.of("parts")
        self._parts = GcsParts(bucket=uploads, pending=pending_uploads, shown=shown)

    def __repr__(self) -> str:
        return f"GCSBackend(bucket={self._bucket!r}, endpoint={self._endpoint_url!r})"

    @property
    def name(self) -> str:
        """The storage's name: ``gs://BUCKET``."""
        return f"gs://{self._bucket}"

    @property
    def signing_does_io(self) -> bool:
        """Whether Google holds the key, so that each signature is a call to its IAM Service Account Credentials API."""
        return self._identity.signing_does_io

    @property
    def pending(self) -> ObjectStore:
        """The pending bucket, or the backend itself if uploads wait in the same bucket."""
        return self if self._pending_bucket == self._bucket else self._pending_store

    @property
    def has_public_prefixes(self) -> bool:
        """True: a managed folder can let everybody read what is in it (``allUsers``, ``roles/storage.objectViewer``).

        An IAM condition on the bucket cannot: Google accepts none for ``allUsers``.
        """
        return True

    @property
    def max_upload_bytes(self) -> int:
        """The largest object that one PUT or POST stores: 5 TiB."""
        return MAX_UPLOAD_BYTES

    @property
    def parts(self) -> GcsParts:
        """Uploads in parts, with the XML API's multipart uploads."""
        return self._parts

    @property
    def checks_expiry_late(self) -> bool:
        """False: Cloud Storage checks the expiry when a request begins."""
        return False

    @property
    def publish_options(self) -> frozenset[PublishOption]:
        """A storage class; objects in Cloud Storage have no tags."""
        return _PUBLISH_OPTIONS

    def enforces(self, grant: Grant) -> frozenset[Rule]:
        """Return the rules that Cloud Storage enforces.

        Both methods: the size and the type. POST: also the headers. PUT: also create-only.

        A PUT also signs the SHA-256, as ``X-Goog-Content-SHA256``. Google documents that Cloud Storage then refuses
        another body, but this was not tried on Google's servers. So the checksum is not among these rules. Cloud
        Storage stores no SHA-256, so completion reads the whole object to verify it.
        """
        mechanism: Mechanism = "post" if self._browser_requests.uses_post(grant) else "put"
        if mechanism == "post":
            rules = _POST_RULES
        else:
            rules = _PUT_RULES | {Rule.CREATE_ONLY} if grant.create_only else _PUT_RULES
        return rules if self._learned is None else rules & self._learned.of(mechanism)

    def sign_upload(self, grant: Grant, now: datetime) -> SignedUpload:
        """Return a POST form whose policy covers every field, or a PUT with every header signed."""
        if grant.pending_key is None:
            requests, cache = self._browser_requests, self._signers
        else:
            requests, cache = self._pending_requests, self._pending_signers
        signers = cache.get(now, grant.expires_in)
        if requests.uses_post(grant):
            return requests.sign_post(grant, signers)
        return requests.sign_put(grant, signers, _put_headers(grant))

    def sign_download(
        self, key: str, now: datetime, *, expires_in: timedelta, content_disposition: str | None = None
    ) -> str:
        """Return a signed GET; the storage sends ``content_disposition`` as a header of the response.

        The credentials that sign uploads also sign this, so they must permit reading the object.
        """
        return self._browser_requests.sign_download(key, self._signers.get(now, expires_in), content_disposition)

    def object_url(self, key: str) -> str:
        """Return the object's own URL, on the endpoint that browsers reach."""
        return self._browser_requests.object_url(key)

    def diagnosis(self) -> Diagnosis:
        """Return what ``presign doctor`` asks Cloud Storage about these buckets."""
        # Only presign doctor needs it.
        from presign.gcs.diagnosis import GcsDiagnosis

        return GcsDiagnosis(
            bucket=self._bucket,
            pending_bucket=self._pending_bucket,
            has_two_identities=self._has_two_identities,
            requests=self._browser_requests,
            pending_requests=self._pending_requests,
            host=self._host,
            json_api=self._calls.get().json_api,
        )

    def check(self, *, lifetime: timedelta = MAX_CLOCK_SKEW) -> None:
        """Send one request with a signature and one with the credentials to each bucket.

        Credentials that may not read the bucket pass, because signing and verifying do not need that right. The clock
        must not be slow by more than ``lifetime``.
        """
        buckets = {"bucket": self._bucket}
        if self._pending_bucket != self._bucket:
            buckets["pending_bucket"] = self._pending_bucket
        for setting, bucket in buckets.items():
            self._check_bucket(bucket, setting, lifetime)

    def prepare(self) -> None:
        """Load what the first completion needs, and get a token; see Presigner.prepare.

        Raises ConfigurationError without credentials, and StorageUnavailable without a token.
        """
        self._calls.get().json_api.prepare()

    def head(self, key: str, *, first_bytes: int = 0) -> ObjectHead | None:
        """Return the object's description, without first bytes.

        Returns None for 404, and for 403, which is the answer for a missing object if the credentials may not list.
        """
        return self._calls.get().objects.head(key, first_bytes=first_bytes)

    def read(self, key: str, *, offset: int, length: int, etag: str, version: str | None = None) -> bytes:
        """Return a range of the object's bytes; raises ObjectChanged if the object was replaced meanwhile."""
        return self._calls.get().objects.read(key, offset=offset, length=length, etag=etag, version=version)

    def delete(self, key: str, *, head: ObjectHead | ListedObject | None = None) -> None:
        """Delete the object, or only the generation that ``head`` describes; see GcsObjects.delete."""
        self._calls.get().objects.delete(key, head=head)

    def list_objects(self, prefix: str) -> Iterator[ListedObject]:
        """Return the objects under ``prefix``; this needs the right to list them (storage.objects.list)."""
        return self._calls.get().objects.list_objects(prefix)

    def unexpected_attributes(self, grant: Grant) -> Mapping[str, str]:
        """Return nothing, without a request.

        A client could set what ``head`` does not show, such as an access control list, only with an ``x-goog-*`` header
        or a form field. Cloud Storage refuses such a header if it is not signed, and a field that the policy does not
        cover.
        """
        return {}

    def publish(self, grant: Grant, head: ObjectHead, *, report_copied: ReportBytes = ignore_bytes) -> ObjectHead:
        """Copy the pending object to ``grant.key`` with ``rewriteTo``, in as many requests as Google needs."""
        return self._calls.get().rewriter.publish(grant, head, report_copied=report_copied)

    def _check_bucket(self, bucket: str, setting: str, lifetime: timedelta) -> None:
        from presign.gcs.check import check_signature  # here for the reason that _Calls gives

        now = datetime.now(timezone.utc)
        # This program may not reach the endpoint of browsers.
        location = BucketLocation.of_bucket(bucket, self._endpoint_url)
        try:
            url = self._signers.get(now, _CHECK_LIFETIME).urls.sign_url(location, "GET", _CHECK_KEY, {})
        except CredentialsUnavailable as error:
            raise ConfigurationError(error.detail, field=self._identity.setting) from None
        check_signature(
            url,
            now,
            identity=self._identity,
            bucket=bucket,
            kind=setting,
            endpoint_url=self._endpoint_url,
            lifetime=lifetime,
        )
        self._calls.get().json_api.check(bucket, kind=setting)


class _Calls:
    """What calls Cloud Storage through its SDK, made at the first call."""

    json_api: JsonApi
    objects: GcsObjects
    pending_objects: GcsObjects
    rewriter: Rewriter

    def __init__(
        self,
        bucket: str,
        pending_bucket: str,
        *,
        endpoint_url: str,
        credentials: ServiceAccount | Credentials | None,
        setting: str,
    ) -> None:
        # The SDK takes longer to import than everything else that a ticket needs, and a key of one's own signs without.
        from presign.gcs.json_api import JsonApi
        from presign.gcs.objects import GcsObjects
        from presign.gcs.rewriting import Rewriter

        self.json_api = JsonApi(endpoint_url=endpoint_url, credentials=credentials, setting=setting)
        self.objects = GcsObjects(self.json_api, bucket)
        self.pending_objects = GcsObjects(self.json_api, pending_bucket)
        self.rewriter = Rewriter(self.json_api, source=self.pending_objects, destination=self.objects)


def open_gcs(url: str) -> tuple[GCSBackend, str]:
    """Return the backend and the prefix of ``gs://bucket/prefix/?upload_method=put``.

    Parameters are ``pending_bucket``, ``credentials`` and ``verifier_credentials`` (paths), ``service_account_email``,
    ``endpoint_url``, ``public_endpoint_url``, ``virtual_hosted_style`` and ``allow_http`` (``true`` or ``false``),
    ``bucket_bound_hostname``, ``upload_method`` and ``learned``, a path (see GCSBackend); an HMAC key can only come
    from the environment. Raises ConfigurationError for any other parameter.
    """
    address = read_address(
        url,
        example="gs://bucket/prefix/",
        parameters={
            "allow_http",
            "bucket_bound_hostname",
            "credentials",
            "endpoint_url",
            "learned",
            "pending_bucket",
            "public_endpoint_url",
            "service_account_email",
            "upload_method",
            "verifier_credentials",
            "virtual_hosted_style",
        },
    )
    parameters = address.parameters
    prefix = check_prefix(unquote(address.path))
    backend = GCSBackend(
        bucket=address.host,
        pending_bucket=parameters.get("pending_bucket"),
        credentials=parameters.get("credentials"),
        verifier_credentials=parameters.get("verifier_credentials"),
        service_account_email=parameters.get("service_account_email"),
        endpoint_url=parameters.get("endpoint_url"),
        public_endpoint_url=parameters.get("public_endpoint_url"),
        virtual_hosted_style=address.flag("virtual_hosted_style"),
        bucket_bound_hostname=parameters.get("bucket_bound_hostname"),
        # GCSBackend checks the value.
        upload_method=cast(UploadMethod, parameters.get("upload_method", "auto")),
        allow_http=address.flag("allow_http"),
        learned=parameters.get("learned"),
    )
    return backend, prefix


def _check_bucket_name(setting: str, name: str) -> None:
    if not name or not _BUCKET_NAME.fullmatch(name):
        raise ConfigurationError(
            f"{setting} must be a bucket's name: lower-case letters, digits, '-', '_' and '.'",
            field=setting,
            value=name,
        )


def _put_headers(grant: Grant) -> dict[str, str]:
    # The storage obeys this range only as a header: as a query parameter it would be signed and have no effect.
    headers = {"x-goog-content-length-range": f"{grant.min_bytes},{grant.max_bytes}"}
    if grant.create_only:
        headers["x-goog-if-generation-match"] = "0"
    if grant.sha256 is not None:
        headers[GOOGLE_CONTENT_SHA256] = grant.sha256
    return headers


def _make_signers(bucket: str, identity: SigningIdentity, unix_second: int, expires_in: timedelta) -> Signers:
    lifetime = expires_in if identity.max_lifetime is None else min(expires_in, identity.max_lifetime)
    start, end = signing_time(unix_second), signing_time(unix_second + lifetime // _SECOND)
    return Signers.for_period(bucket=bucket, scope=identity.scope(start.date), start=start, end=end)
