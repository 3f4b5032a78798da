"""Google Cloud Storage."""

from __future__ import annotations

import json
import os
import re
import threading
import weakref
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any, Literal, Protocol
from urllib.parse import quote, unquote

import google.auth
import requests
from google.api_core.exceptions import GoogleAPICallError, GoogleAPIError, NotFound
from google.auth import iam
from google.auth.credentials import AnonymousCredentials, Credentials, Signing, with_scopes_if_required
from google.auth.exceptions import GoogleAuthError, RefreshError
from google.auth.transport.requests import AuthorizedSession, Request
from google.cloud import storage  # type: ignore[import-untyped]
from google.cloud.storage.retry import DEFAULT_RETRY  # type: ignore[import-untyped]
from google.oauth2 import service_account

from presign.backends.addresses import read_address, read_endpoint
from presign.backends.backend import ObjectHead, SignedUpload
from presign.errors import ConfigurationError, CredentialsUnavailable, StorageUnavailable, sanitize
from presign.keys import check_prefix
from presign.messages import Grant, Rule
from presign.signing import sigv4
from presign.signing.bucket_location import BucketLocation
from presign.signing.per_second_cache import PerSecondCache
from presign.signing.quoting import quote_path
from presign.signing.signers import Signers
from presign.signing.signing_time import signing_time

UploadMethod = Literal["auto", "post", "put"]
ServiceAccount = str | os.PathLike[str] | Mapping[str, str] | Credentials
"""A service account's JSON, as a path or as its members, or credentials of google-auth."""

SIGN_BLOB_SECONDS = 10.0
"""How long one signature by the IAM Service Account Credentials API may take."""

SIGN_BLOB_LIFETIME = timedelta(hours=12)
"""How long Google guarantees that a key which signs for signBlob stays valid."""

# When a call ends that nobody waits for any longer.
_ABANDONED_CALL_SECONDS = 3 * SIGN_BLOB_SECONDS
_GOOGLE_ENDPOINT = "https://storage.googleapis.com"
_REGION = "auto"
_SERVICE = "storage"
_READ_WRITE_SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"
_CLOUD_PLATFORM_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_CHECK_KEY = "presign-check"
_CHECK_LIFETIME = timedelta(seconds=60)
_GREATEST_SKEW = timedelta(minutes=15)
_TIMEOUT_SECONDS = (5.0, 30.0)
_SECOND = timedelta(seconds=1)
_RETRY = DEFAULT_RETRY.with_timeout(15.0)
_BUCKET_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]", re.ASCII)
_ERROR_CODE = re.compile(rb"<Code>(\w{1,64})</Code>")
_REFUSED_KEY_CODES = frozenset(
    {
        "AccountProblem",
        "ExpiredToken",
        "InvalidAccessKeyId",
        "InvalidSecurity",
        "InvalidToken",
        "SignatureDoesNotMatch",
        "UserProjectAccountProblem",
    }
)
_POST_RULES = frozenset({Rule.SIZE, Rule.TYPE, Rule.HEADERS})
# Not HEADERS: a PUT may carry Content-Encoding, Cache-Control and the like beside the signed headers.
_PUT_RULES = frozenset({Rule.SIZE, Rule.TYPE})
# Among the OSErrors are those of requests, and the SDK's own ConnectionError for a download cut short.
_FAILURES = (GoogleAPIError, GoogleAuthError, OSError)


class _Signer(Protocol):
    """Who signs; ``longest`` bounds the lifetime of what it signs, and ``settings`` name it in messages."""

    @property
    def longest(self) -> timedelta | None: ...

    @property
    def settings(self) -> str: ...

    def scope(self, date: str) -> sigv4.Scope: ...


@dataclass(frozen=True, kw_only=True)
class _HmacSigner:
    access_id: str
    secret: str = field(repr=False)
    longest: None = None
    settings: str = "GCS_HMAC_ACCESS_ID and GCS_HMAC_SECRET"

    def scope(self, date: str) -> sigv4.Scope:
        return sigv4.hmac_scope(
            access_key=self.access_id,
            secret_key=self.secret,
            date=date,
            region=_REGION,
            service=_SERVICE,
            dialect=sigv4.GOOG4_HMAC,
        )


@dataclass(frozen=True, kw_only=True)
class _RsaSigner:
    email: str
    key: sigv4.SigningKey = field(repr=False)
    longest: timedelta | None = None
    settings: str = "credentials or GOOGLE_APPLICATION_CREDENTIALS"

    def scope(self, date: str) -> sigv4.Scope:
        return sigv4.key_scope(
            dialect=sigv4.GOOG4_RSA,
            access_key=self.email,
            key=self.key,
            date=date,
            region=_REGION,
            service=_SERVICE,
        )


class _RsaKey:
    """A service account's own key, which google-auth has parsed with ``cryptography`` and keeps."""

    def __init__(self, credentials: service_account.Credentials) -> None:
        self._sign: Callable[[bytes], bytes] = credentials.signer.sign

    def hexdigest(self, message: bytes, /) -> str:
        return self._sign(message).hex()


class _SignBlobKey:
    """A key that Google holds; the only one whose signatures are I/O."""

    def __init__(self, sign: Callable[[bytes], bytes], *, email: str) -> None:
        self._sign = sign
        self._email = email

    def hexdigest(self, message: bytes, /) -> str:
        outcome: Future[bytes] = Future()

        def run() -> None:
            try:
                outcome.set_result(self._sign(message))
            except BaseException as error:
                outcome.set_exception(error)

        # A thread of its own: the time-outs of google-auth bound each of its calls, and not their sum.
        threading.Thread(target=run, name="sign with signBlob", daemon=True).start()
        try:
            return outcome.result(SIGN_BLOB_SECONDS).hex()
        except FutureTimeoutError:
            raise CredentialsUnavailable(
                f"the IAM Service Account Credentials API did not sign within {SIGN_BLOB_SECONDS:g} seconds"
            ) from None
        except Exception as error:
            raise CredentialsUnavailable(
                f"the IAM Service Account Credentials API does not sign as {self._email} ({type(error).__name__}); "
                "enable that API, and grant roles/iam.serviceAccountTokenCreator on this service account to the "
                "identity that the program runs as"
            ) from None


class GCSBackend:
    """One bucket on Google Cloud Storage, with the credentials to sign for it.

    - ``credentials``: a service account's JSON (a path or its members), whose RSA key signs; or credentials of
      google-auth. By default what ``google.auth.default()`` finds (``GOOGLE_APPLICATION_CREDENTIALS``). Credentials
      without a private key (workload identity, impersonation) sign through ``signBlob`` of the IAM Service Account
      Credentials API: **the only signer that does I/O when it signs**, for ``SIGN_BLOB_SECONDS`` at most, and whose
      signatures are good for ``SIGN_BLOB_LIFETIME`` at most.
    - ``hmac_access_id``, ``hmac_secret``: an HMAC key, which signs instead; by default, where no ``credentials`` are
      given, ``GCS_HMAC_ACCESS_ID`` and ``GCS_HMAC_SECRET``. ``check``, ``head``, ``read`` and ``delete`` still need
      ``credentials``, for the JSON API takes no HMAC key; without any, they are anonymous on an emulator.
    - ``service_account_email``: in whose name ``signBlob`` signs; by default the credentials' own service account.
    - ``endpoint_url``: of Cloud Storage as this program reaches it; by default ``STORAGE_EMULATOR_HOST`` or Google's.
    - ``public_endpoint_url``: the same as browsers reach it, where that differs (containers).
    - ``virtual_hosted_style``: address the bucket as ``https://BUCKET.storage.googleapis.com/``, not by path.
    - ``bucket_bound_hostname``: a custom domain of the bucket, ``uploads.example.com`` or with a scheme and a port.
    - ``upload_method``: ``"post"`` and ``"put"`` force one; ``"auto"`` chooses PUT where a grant asks for create-only,
      which no form can promise, else POST, whose policy covers every field.

    Raises ConfigurationError. Source: "Signed URLs", "POST Object" and "PUT Object", Cloud Storage documentation.
    """

    def __init__(
        self,
        *,
        bucket: str,
        credentials: ServiceAccount | None = None,
        hmac_access_id: str | None = None,
        hmac_secret: str | None = None,
        service_account_email: str | None = None,
        endpoint_url: str | None = None,
        public_endpoint_url: str | None = None,
        virtual_hosted_style: bool = False,
        bucket_bound_hostname: str | None = None,
        upload_method: UploadMethod = "auto",
    ) -> None:
        if not _BUCKET_NAME.fullmatch(bucket):
            raise ConfigurationError(
                "bucket must be a bucket's name: lower-case letters, digits, '-', '_' and '.'",
                field="bucket",
                value=bucket,
            )
        if upload_method not in {"auto", "post", "put"}:
            raise ConfigurationError(
                "upload_method must be auto, post or put", field="upload_method", value=upload_method
            )
        self._bucket = bucket
        self._endpoint_url = _endpoint(endpoint_url)
        self._public = _place(
            bucket,
            endpoint_url=self._endpoint_url,
            public_endpoint_url=public_endpoint_url,
            virtual_hosted_style=virtual_hosted_style,
            bucket_bound_hostname=bucket_bound_hostname,
        )
        self._posts = upload_method != "put"
        self._posts_create_only = upload_method == "post"
        hmac_key = _hmac_key(hmac_access_id, hmac_secret, use_environment=credentials is None)
        self._credentials = None if credentials is None else _read_credentials(credentials)
        self._signer: _Signer
        if hmac_key is None:
            self._credentials = self._credentials or _default_credentials()
            self._signer = _signer(self._credentials, service_account_email)
        elif service_account_email is not None:
            raise ConfigurationError(
                "service_account_email is for signBlob, and an HMAC key signs here; leave one of them out",
                field="service_account_email",
                value=service_account_email,
            )
        else:
            self._signer = hmac_key
        self._kept = PerSecondCache(self._open_terms)
        self._client_lock = threading.Lock()
        self._client: Any = None

    def __repr__(self) -> str:
        return f"GCSBackend(bucket={self._bucket!r}, endpoint={self._endpoint_url!r})"

    @property
    def name(self) -> str:
        """What to call this storage in messages."""
        return f"gs://{self._bucket}"

    @property
    def signing_does_io(self) -> bool:
        """Whether Google holds the key, so that each signature is a call to its IAM Service Account Credentials API."""
        return isinstance(self._signer, _RsaSigner) and isinstance(self._signer.key, _SignBlobKey)

    def enforces(self, grant: Grant) -> frozenset[Rule]:
        """Return what Cloud Storage enforces, whatever the key: size and type; by POST headers, by PUT create-only.

        Never the SHA-256, which it neither takes nor keeps; completion reads the object to verify that.
        """
        if self._uses_post(grant):
            return _POST_RULES
        return _PUT_RULES | {Rule.CREATE_ONLY} if grant.create_only else _PUT_RULES

    def sign_upload(self, grant: Grant, now: datetime) -> SignedUpload:
        """Return a POST form whose policy covers every field, or a PUT with every header signed."""
        terms = self._kept.get(now, grant.expires_in)
        return self._sign_post(grant, terms) if self._uses_post(grant) else self._sign_put(grant, terms)

    def sign_download(
        self, key: str, now: datetime, *, expires_in: timedelta, content_disposition: str | None = None
    ) -> str:
        """Return a signed GET; the storage answers with ``content_disposition`` where one is given."""
        query = () if content_disposition is None else (("response-content-disposition", content_disposition),)
        terms = self._kept.get(now, expires_in).urls
        return terms.sign_url(self._public, "GET", key, {}, query)

    def object_url(self, key: str) -> str:
        """Return the object's own URL, on the endpoint that browsers reach."""
        return f"{self._public.base_url}{quote_path(key)}"

    def check(self) -> None:
        """Ask once with a signature, once with the credentials; not being allowed to read passes: a signer need not."""
        self._check_signature()
        self._check_credentials()

    def head(self, key: str, *, first_bytes: int = 0) -> ObjectHead | None:
        """Return the object's metadata; None for 404, and for 403, which is answered where listing is not allowed."""
        try:
            blob = self._gcs_bucket().get_blob(key, timeout=_TIMEOUT_SECONDS, retry=_RETRY)
        except _FAILURES as error:
            if isinstance(error, GoogleAPICallError) and error.code == 403:
                return None
            raise self._unavailable("GET", error) from None
        if blob is None:
            return None
        return ObjectHead(
            size=blob.size,
            content_type=blob.content_type or "",
            etag=blob.etag,
            version=str(blob.generation),
            content_disposition=blob.content_disposition or None,
            cache_control=blob.cache_control or None,
            content_encoding=blob.content_encoding or None,
            metadata={name.lower(): value for name, value in (blob.metadata or {}).items()},
            unexpected_headers={"content-language": blob.content_language} if blob.content_language else {},
        )

    def read(self, key: str, *, offset: int, length: int, etag: str) -> bytes:
        """Return a range of the object's bytes; raises StorageUnavailable if it has been replaced meanwhile."""
        last = offset + length - 1
        try:
            content: bytes = _RETRY(lambda: _downloaded(self._gcs_bucket().blob(key), offset, last, etag))()
        except _FAILURES as error:
            raise self._unavailable("GET", error) from None
        return content

    def delete(self, key: str) -> None:
        """Delete the object; with versioning, its live version becomes a noncurrent one."""
        try:
            self._gcs_bucket().blob(key).delete(timeout=_TIMEOUT_SECONDS, retry=_RETRY)
        except NotFound:
            return
        except _FAILURES as error:
            raise self._unavailable("DELETE", error) from None

    def _uses_post(self, grant: Grant) -> bool:
        return self._posts_create_only if grant.create_only else self._posts

    def _sign_post(self, grant: Grant, terms: Signers) -> SignedUpload:
        fields = {"key": grant.key, "Content-Type": grant.content_type}
        if grant.content_disposition is not None:
            fields["Content-Disposition"] = grant.content_disposition
        if grant.cache_control is not None:
            fields["Cache-Control"] = grant.cache_control
        for name, value in grant.metadata.items():
            fields[f"x-goog-meta-{name}"] = value
        fields["success_action_status"] = "201"
        signed = terms.forms.sign(fields, min_bytes=grant.min_bytes, max_bytes=grant.max_bytes)
        return SignedUpload("POST", self._public.base_url, {}, signed, terms.expires_at)

    def _sign_put(self, grant: Grant, terms: Signers) -> SignedUpload:
        headers = {"Content-Type": grant.content_type}
        if grant.content_disposition is not None:
            headers["Content-Disposition"] = grant.content_disposition
        if grant.cache_control is not None:
            headers["Cache-Control"] = grant.cache_control
        for name, value in grant.metadata.items():
            headers[f"x-goog-meta-{name}"] = value
        # In the query this parameter would be signed and without effect.
        headers["x-goog-content-length-range"] = f"{grant.min_bytes},{grant.max_bytes}"
        if grant.create_only:
            headers["x-goog-if-generation-match"] = "0"
        signed = {name.lower(): value for name, value in headers.items()}
        url = terms.urls.sign_url(self._public, "PUT", grant.key, signed)
        return SignedUpload("PUT", url, headers, {}, terms.expires_at)

    def _open_terms(self, second: int, expires_in: timedelta) -> Signers:
        longest = self._signer.longest
        lifetime = expires_in if longest is None else min(expires_in, longest)
        start, end = signing_time(second), signing_time(second + lifetime // _SECOND)
        return Signers.for_period(bucket=self._bucket, scope=self._signer.scope(start.date), start=start, end=end)

    def _check_signature(self) -> None:
        now = datetime.now(timezone.utc)
        # By path on the endpoint that this program reaches: a browser's own may be out of reach from here.
        place = BucketLocation.of_bucket(self._bucket, self._endpoint_url)
        terms = self._kept.get(now, _CHECK_LIFETIME).urls
        try:
            url = terms.sign_url(place, "GET", _CHECK_KEY, {})
        except CredentialsUnavailable as error:
            raise ConfigurationError(error.detail, field="credentials") from None
        try:
            with requests.get(url, timeout=_TIMEOUT_SECONDS, stream=True, allow_redirects=False) as answer:
                status, date = answer.status_code, answer.headers.get("date")
                content = b"" if status < 400 else next(answer.iter_content(10_000), b"")
        except requests.RequestException as error:
            raise self._silent(error) from None
        found = _ERROR_CODE.search(content)
        code = found[1].decode() if found else ""
        if code == "RequestTimeTooSkewed" or _is_skewed(date, now):
            raise ConfigurationError(
                "this machine's clock is more than 15 minutes off; set it, for no signature will be accepted",
                field="clock",
            )
        if code in _REFUSED_KEY_CODES:
            raise ConfigurationError(
                f"{self._endpoint_url} refuses the signing key ({code}): it may be wrong, disabled or deleted; "
                f"check {self._signer.settings}",
                field="hmac_access_id" if isinstance(self._signer, _HmacSigner) else "credentials",
            )
        self._check_answer(status, code or str(status), is_missing_bucket=code == "NoSuchBucket")

    def _check_credentials(self) -> None:
        try:
            # No refresh on 401: the token is new, and anonymous credentials have none.
            with AuthorizedSession(  # type: ignore[no-untyped-call]
                self._data_plane_credentials(), refresh_timeout=10, max_refresh_attempts=0
            ) as session:
                answer = session.request(  # type: ignore[no-untyped-call]
                    "GET",
                    f"{self._endpoint_url}/storage/v1/b/{quote(self._bucket, safe='')}?fields=name",
                    timeout=_TIMEOUT_SECONDS[1],
                    max_allowed_time=60,
                )
        except RefreshError:
            raise ConfigurationError(
                "Google refuses the credentials: the service account or its key may be expired, disabled or deleted; "
                "create another key, and check credentials or GOOGLE_APPLICATION_CREDENTIALS",
                field="credentials",
            ) from None
        except (GoogleAuthError, requests.RequestException) as error:
            raise self._silent(error) from None
        if answer.status_code == 401:
            raise ConfigurationError(
                f"{self._endpoint_url} refuses the credentials (401); check credentials or "
                "GOOGLE_APPLICATION_CREDENTIALS, with which uploads are verified",
                field="credentials",
            )
        self._check_answer(answer.status_code, str(answer.status_code), is_missing_bucket=answer.status_code == 404)

    def _check_answer(self, status: int, code: str, *, is_missing_bucket: bool) -> None:
        if is_missing_bucket:
            raise ConfigurationError(
                f"the bucket {self._bucket} does not exist at {self._endpoint_url}; create it, or correct its name",
                field="bucket",
                value=self._bucket,
            )
        if status >= 400 and status not in {403, 404}:
            raise StorageUnavailable(f"{self._endpoint_url} answered {sanitize(code)} for {self.name}")

    def _data_plane_credentials(self) -> Credentials:
        if self._credentials is None:
            is_google = self._endpoint_url == _GOOGLE_ENDPOINT
            self._credentials = _default_credentials() if is_google else _anonymous()
        return self._credentials

    def _gcs_bucket(self) -> Any:
        with self._client_lock:
            if self._client is None:
                self._client = storage.Client(
                    project=None,
                    credentials=self._data_plane_credentials(),
                    client_options={"api_endpoint": self._endpoint_url},
                )
                # The client refers to itself: without this its connections would stay open until a full collection.
                weakref.finalize(self, self._client.close)
            return self._client.bucket(self._bucket)

    def _unavailable(self, call: str, error: Exception) -> StorageUnavailable:
        # Only the code: an SDK's message may repeat what it authenticated with.
        code = type(error).__name__
        if isinstance(error, GoogleAPICallError) and error.code is not None:
            # An HTTPStatus, which Python 3.10 would write by its name.
            code = f"{error.code:d}"
        return StorageUnavailable(f"{self.name} answered {call} with {sanitize(code)}")

    def _silent(self, error: Exception) -> StorageUnavailable:
        return StorageUnavailable(
            f"{self._endpoint_url} does not answer ({type(error).__name__}); check the endpoint and the network"
        )


def open_gcs(url: str) -> tuple[GCSBackend, str]:
    """Return the backend and the prefix of ``gs://bucket/prefix/?upload_method=put``.

    Parameters are ``credentials`` (a path), ``service_account_email``, ``endpoint_url``, ``public_endpoint_url``,
    ``virtual_hosted_style`` (``true`` or ``false``), ``bucket_bound_hostname`` and ``upload_method`` (see GCSBackend);
    an HMAC key is taken from the environment alone. Raises ConfigurationError for any other.
    """
    address = read_address(
        url,
        example="gs://bucket/prefix/",
        parameters={
            "bucket_bound_hostname",
            "credentials",
            "endpoint_url",
            "public_endpoint_url",
            "service_account_email",
            "upload_method",
            "virtual_hosted_style",
        },
    )
    parameters = address.parameters
    virtual_hosted_style = address.flag("virtual_hosted_style")
    prefix = check_prefix(unquote(address.path))
    backend = GCSBackend(
        bucket=address.host,
        credentials=parameters.get("credentials"),
        service_account_email=parameters.get("service_account_email"),
        endpoint_url=parameters.get("endpoint_url"),
        public_endpoint_url=parameters.get("public_endpoint_url"),
        virtual_hosted_style=virtual_hosted_style,
        bucket_bound_hostname=parameters.get("bucket_bound_hostname"),
        upload_method=parameters.get("upload_method", "auto"),  # type: ignore[arg-type]  # checked there
    )
    return backend, prefix


def _downloaded(blob: Any, first: int, last: int, etag: str) -> bytes:
    try:
        content: bytes = blob.download_as_bytes(
            start=first,
            end=last,
            raw_download=True,
            if_etag_match=etag,
            checksum=None,
            timeout=_TIMEOUT_SECONDS,
            retry=None,
        )
    except GoogleAPICallError as error:
        # The SDK leaves the connection of a refused download open.
        if error.response is not None:
            error.response.close()
        raise
    return content


def _hmac_key(access_id: str | None, secret: str | None, *, use_environment: bool) -> _HmacSigner | None:
    names = "hmac_access_id and hmac_secret"
    if access_id is None and secret is None and use_environment:
        names = "GCS_HMAC_ACCESS_ID and GCS_HMAC_SECRET"
        access_id = os.environ.get("GCS_HMAC_ACCESS_ID") or None
        secret = os.environ.get("GCS_HMAC_SECRET") or None
    if access_id is None and secret is None:
        return None
    if not access_id or not secret:
        raise ConfigurationError(f"{names} must both be set, or neither", field="hmac_access_id")
    if not (access_id + secret).isascii() or "/" in access_id or (access_id + secret).split() != [access_id + secret]:
        raise ConfigurationError(
            f"{names} must be an HMAC key's access id and secret, as the console shows them", field="hmac_access_id"
        )
    return _HmacSigner(access_id=access_id, secret=secret, settings=names)


def _read_credentials(given: ServiceAccount) -> Credentials:
    if isinstance(given, Credentials):
        return _scoped(given)
    if not isinstance(given, Mapping):
        try:
            with open(given, encoding="utf-8") as file:
                given = json.load(file)
        except OSError as error:
            raise ConfigurationError(
                f"credentials must be the path of a service account's JSON ({type(error).__name__}); "
                "check credentials or GOOGLE_APPLICATION_CREDENTIALS",
                field="credentials",
            ) from None
        except ValueError:
            raise _not_a_service_account("is not JSON") from None
    if not isinstance(given, Mapping):
        raise _not_a_service_account("is not a JSON object")
    if given.get("type") != "service_account":
        raise _not_a_service_account("is of another type; any other goes into GOOGLE_APPLICATION_CREDENTIALS")
    for member in ("client_email", "private_key", "token_uri"):
        if not isinstance(given.get(member), str):
            raise _not_a_service_account(f"has no {member}")
    try:
        return _scoped(
            service_account.Credentials.from_service_account_info(dict(given))  # type: ignore[no-untyped-call]
        )
    except (ValueError, TypeError, GoogleAuthError):
        raise _not_a_service_account("has a private_key that is no RSA key in PEM form") from None


def _not_a_service_account(complaint: str) -> ConfigurationError:
    return ConfigurationError(
        f"credentials must be a service account's JSON, and this {complaint}; "
        "download a key of the service account, as JSON, and check credentials or GOOGLE_APPLICATION_CREDENTIALS",
        field="credentials",
    )


def _default_credentials() -> Credentials:
    try:
        credentials, _ = google.auth.default(scopes=[_CLOUD_PLATFORM_SCOPE])
    # A malformed file makes google-auth stumble in many ways, not all of them its own errors.
    except Exception as error:
        raise ConfigurationError(
            f"no usable Google credentials found ({type(error).__name__}): set GOOGLE_APPLICATION_CREDENTIALS to the "
            "path of a service account's JSON, or GCS_HMAC_ACCESS_ID and GCS_HMAC_SECRET to sign with an HMAC key",
            field="credentials",
        ) from None
    return credentials


def _anonymous() -> Credentials:
    return AnonymousCredentials()  # type: ignore[no-untyped-call]


def _scoped(credentials: Credentials) -> Credentials:
    scope = _READ_WRITE_SCOPE if isinstance(credentials, service_account.Credentials) else _CLOUD_PLATFORM_SCOPE
    scoped: Credentials = with_scopes_if_required(credentials, [scope])  # type: ignore[no-untyped-call]
    return scoped


def _signer(credentials: Credentials, service_account_email: str | None) -> _RsaSigner:
    if isinstance(credentials, service_account.Credentials):
        if service_account_email not in {None, credentials.service_account_email}:
            raise ConfigurationError(
                "service_account_email is not the service account whose key was given; leave it out",
                field="service_account_email",
                value=service_account_email,
            )
        key = _RsaKey(credentials)
        try:
            key.hexdigest(b"")
        except (TypeError, ValueError):
            raise _not_a_service_account("has a private_key that is no RSA key") from None
        return _RsaSigner(email=credentials.service_account_email, key=key)
    if isinstance(credentials, AnonymousCredentials):
        raise ConfigurationError(
            "anonymous credentials cannot sign: set hmac_access_id and hmac_secret, or other credentials",
            field="credentials",
        )
    request = partial(Request(), timeout=_ABANDONED_CALL_SECONDS)
    email = service_account_email or _own_email(credentials, request)
    sign: Callable[[bytes], bytes]
    if isinstance(credentials, Signing) and credentials.signer_email == email:
        sign = credentials.sign_bytes
    else:
        sign = iam.Signer(request, credentials, email).sign  # type: ignore[no-untyped-call]
    return _RsaSigner(email=email, key=_SignBlobKey(sign, email=email), longest=SIGN_BLOB_LIFETIME)


def _own_email(credentials: Credentials, request: Callable[..., Any]) -> str:
    # A workload on Compute Engine, Cloud Run or GKE learns from the metadata server who it is.
    if getattr(credentials, "service_account_email", None) == "default":
        try:
            credentials.refresh(request)  # type: ignore[no-untyped-call]
        except GoogleAuthError as error:
            raise ConfigurationError(
                f"the metadata server does not say which service account this is ({type(error).__name__}); "
                "attach one to the workload, or set service_account_email",
                field="service_account_email",
            ) from None
    email = getattr(credentials, "signer_email", None) or getattr(credentials, "service_account_email", None)
    if not isinstance(email, str) or "@" not in email:
        raise ConfigurationError(
            "these Google credentials have no private key and name no service account; set service_account_email to "
            "the one in whose name to sign, or use a service account's JSON or an HMAC key",
            field="service_account_email",
        )
    return email


def _endpoint(endpoint_url: str | None) -> str:
    if endpoint_url is not None:
        return read_endpoint("endpoint_url", endpoint_url)
    emulator = os.environ.get("STORAGE_EMULATOR_HOST")
    if emulator:
        # Google's own clients differ in whether the scheme belongs to it.
        return read_endpoint("STORAGE_EMULATOR_HOST", emulator if "://" in emulator else f"http://{emulator}")
    return _GOOGLE_ENDPOINT


def _place(
    bucket: str,
    *,
    endpoint_url: str,
    public_endpoint_url: str | None,
    virtual_hosted_style: bool,
    bucket_bound_hostname: str | None,
) -> BucketLocation:
    if bucket_bound_hostname is not None:
        if virtual_hosted_style or public_endpoint_url is not None:
            raise ConfigurationError(
                "bucket_bound_hostname goes with neither virtual_hosted_style nor public_endpoint_url",
                field="bucket_bound_hostname",
            )
        has_scheme = "://" in bucket_bound_hostname
        url = bucket_bound_hostname if has_scheme else f"https://{bucket_bound_hostname}"
        return BucketLocation.at(read_endpoint("bucket_bound_hostname", url))
    public = endpoint_url
    if public_endpoint_url is not None:
        public = read_endpoint("public_endpoint_url", public_endpoint_url)
    if virtual_hosted_style and public.startswith("https:") and "." in bucket:
        raise ConfigurationError(
            "a bucket with a dot has no certificate as a virtual host; leave virtual_hosted_style out",
            field="virtual_hosted_style",
            value=bucket,
        )
    return BucketLocation.of_bucket(bucket, public, virtual_hosted=virtual_hosted_style)


def _is_skewed(date: str | None, now: datetime) -> bool:
    try:
        return date is not None and abs(parsedate_to_datetime(date) - now) > _GREATEST_SKEW
    except (ValueError, TypeError):
        return False
