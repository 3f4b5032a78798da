"""Amazon S3, and every store that speaks its protocol."""

from __future__ import annotations

import base64
import re
import threading
from binascii import a2b_hex, b2a_base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Literal
from urllib.parse import unquote

import boto3
from botocore.awsrequest import AWSPreparedRequest, AWSResponse, HeadersDict
from botocore.config import Config
from botocore.configprovider import ConfiguredEndpointProvider
from botocore.credentials import Credentials, RefreshableCredentials
from botocore.exceptions import BotoCoreError, ClientError

from presign.addresses import read_address, read_endpoint
from presign.backend import ObjectHead, SignedUpload
from presign.backends.expiring_credentials import CredentialsRenewer, ExpiringCredentials
from presign.errors import ConfigurationError, CredentialsUnavailable, StorageUnavailable, shown
from presign.keys import check_prefix
from presign.signing import sigv4
from presign.signing.per_second import PerSecond
from presign.signing.quoting import quote_path
from presign.signing.terms import Terms
from presign.signing.timestamps import stamp_of
from presign.upload import Grant, Rule

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

UploadMethod = Literal["auto", "post", "put"]

# botocore renews credentials when it is asked for them in their last quarter of an hour, and not before.
_RENEWAL = timedelta(minutes=15) - timedelta(seconds=1)
_SECOND = timedelta(seconds=1)
_POST_RULES = frozenset({Rule.SIZE, Rule.TYPE, Rule.HEADERS, Rule.CHECKSUM})
# Not HEADERS: a PUT may carry Content-Encoding, Cache-Control and the like beside the signed headers.
_PUT_RULES = frozenset({Rule.TYPE, Rule.CHECKSUM, Rule.CREATE_ONLY})
# These answer 501 to a POST policy.
_HOSTS_WITHOUT_POST = (".r2.cloudflarestorage.com",)
_SERVICE = "s3"
_METADATA = "x-amz-meta-"
_FURTHER_HEADERS = ("content-language", "expires", "x-amz-website-redirect-location")


@dataclass(frozen=True, kw_only=True)
class _Keys:
    access_key: str
    secret_key: str = field(repr=False)
    session_token: str | None = field(repr=False)


class S3Backend:
    """One bucket on S3 or a compatible store, with the credentials that boto3 finds.

    - ``region``: of the bucket; by default the session's.
    - ``endpoint_url``: of a compatible store, as this program reaches it; by default what the AWS settings say
      (``AWS_ENDPOINT_URL_S3``), else the region's own.
    - ``public_endpoint_url``: the same store as browsers reach it, where that differs (containers).
    - ``upload_method``: ``"post"`` and ``"put"`` force one; ``"auto"`` chooses PUT where a grant asks for create-only
      or the store is known to have no POST, else POST.
    - ``session``: whose credentials sign; by default a new ``boto3.Session()``.

    Credentials are read when the backend is built, and renewed in the background. Raises ConfigurationError.
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
    ) -> None:
        if not bucket or "/" in bucket:
            raise ConfigurationError("bucket must be a bucket's name", field="bucket", value=bucket)
        if upload_method not in {"auto", "post", "put"}:
            raise ConfigurationError(
                "upload_method must be auto, post or put", field="upload_method", value=upload_method
            )
        self._session = session or _default_session()
        configured_endpoint = endpoint_url or _configured_endpoint(self._session)
        self._region = region or self._session.region_name or ("us-east-1" if configured_endpoint else None)
        if self._region is None:
            raise ConfigurationError("region is not set: pass region, or set AWS_REGION", field="region")
        self._is_aws = configured_endpoint is None
        self._endpoint_url = read_endpoint(
            "endpoint_url", configured_endpoint or _regional_endpoint(self._session, self._region)
        )
        # A dotted bucket's virtual host has no certificate, and a custom endpoint need not have virtual hosts at all.
        self._own = sigv4.Place.of_bucket(bucket, self._endpoint_url, virtual_hosted=self._is_aws and "." not in bucket)
        # As browsers reach it.
        self._public = (
            self._own
            if public_endpoint_url is None
            else sigv4.Place.of_bucket(bucket, read_endpoint("public_endpoint_url", public_endpoint_url))
        )
        self._bucket = bucket
        store_has_post = not self._public.host.endswith(_HOSTS_WITHOUT_POST)
        self._posts = upload_method == "post" or (upload_method == "auto" and store_has_post)
        self._posts_create_only = upload_method == "post"
        self._credentials = _load_credentials(self._session)
        self._kept = PerSecond(self._open_terms)
        self._client_lock = threading.Lock()
        self._client: S3Client | None = None

    def __repr__(self) -> str:
        return f"S3Backend(bucket={self._bucket!r}, region={self._region!r}, endpoint={self._endpoint_url!r})"

    @property
    def name(self) -> str:
        """What to call this storage in messages."""
        return f"s3://{self._bucket}"

    @property
    def signing_does_io(self) -> bool:
        """False: credentials are at hand."""
        return False

    def enforces(self, grant: Grant) -> frozenset[Rule]:
        """Return what S3 enforces: by POST all but create-only, by PUT all but a range of sizes and further headers."""
        if self._uses_post(grant):
            return _POST_RULES
        return _PUT_RULES | {Rule.SIZE} if grant.exact_bytes is not None else _PUT_RULES

    def sign_upload(self, grant: Grant, now: datetime) -> SignedUpload:
        """Return a POST form whose policy covers every field, or a PUT with every header signed."""
        terms = self._terms(now, grant.expires_in)
        return self._sign_post(grant, terms) if self._uses_post(grant) else self._sign_put(grant, terms)

    def sign_download(
        self, key: str, now: datetime, *, expires_in: timedelta, content_disposition: str | None = None
    ) -> str:
        """Return a presigned GET; the storage answers with ``content_disposition`` where one is given."""
        query = () if content_disposition is None else (("response-content-disposition", content_disposition),)
        terms = self._terms(now, expires_in).queries
        return sigv4.presigned_url(self._public, terms, "GET", key, {}, query)

    def object_url(self, key: str) -> str:
        """Return the object's own URL, on the endpoint that browsers reach."""
        return f"{self._public.base_url}{quote_path(key)}"

    def check(self) -> None:
        """Ask for the bucket; credentials that may not list it pass, for a signer need not have that permission."""
        try:
            answer = self._s3().list_objects_v2(Bucket=self._bucket, MaxKeys=0)
            headers: Mapping[str, str] = answer["ResponseMetadata"]["HTTPHeaders"]
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            headers = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
            if code in {"AccessDenied", "AllAccessDisabled", "403"}:
                pass
            elif code == "NoSuchBucket":
                raise ConfigurationError(
                    f"the bucket {self._bucket} does not exist at {self._endpoint_url}; create it, or correct its name",
                    field="bucket",
                    value=self._bucket,
                ) from None
            elif code in {"InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"}:
                raise ConfigurationError(
                    f"{self._endpoint_url} refuses the AWS credentials ({code}); "
                    "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN",
                    field="credentials",
                ) from None
            elif code == "RequestTimeTooSkewed":
                raise ConfigurationError(
                    "this machine's clock is more than 15 minutes off; set it, for no signature will be accepted",
                    field="clock",
                ) from None
            elif code not in {"PermanentRedirect", "AuthorizationHeaderMalformed", "301"}:
                raise StorageUnavailable(f"{self._endpoint_url} answered {shown(code)} for {self.name}") from None
        except BotoCoreError as error:
            raise StorageUnavailable(
                f"{self._endpoint_url} does not answer ({type(error).__name__}); check the endpoint and the network"
            ) from None
        region = headers.get("x-amz-bucket-region")
        if self._is_aws and region is not None and region != self._region:
            raise ConfigurationError(
                f"the bucket {self._bucket} is in {region}, not in {self._region}; set region={region}",
                field="region",
                value=self._region,
                limit=region,
            )

    def head(self, key: str, *, first_bytes: int = 0) -> ObjectHead | None:
        """Return what HEAD says, or a GET of the ``first_bytes``, then without the checksum.

        None for 404, and for 403, which S3 answers where listing is not allowed.
        """
        if first_bytes:
            answer = self._ask("GET", key, {"range": f"bytes=0-{first_bytes - 1}"})
        else:
            answer = self._ask("HEAD", key, {"x-amz-checksum-mode": "ENABLED"})
        if answer is not None:
            return None if answer.status_code == 404 else _head(answer.headers, answer.content[:first_bytes] or None)
        try:
            described = self._s3().head_object(Bucket=self._bucket, Key=key, ChecksumMode="ENABLED")
        except ClientError as error:
            if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") in {403, 404}:
                return None
            raise self._unavailable("HEAD", error) from None
        except BotoCoreError as error:
            raise self._unavailable("HEAD", error) from None
        return _head(described["ResponseMetadata"]["HTTPHeaders"])

    def read(self, key: str, *, offset: int, length: int, etag: str) -> bytes:
        """Return a range of the object's bytes; raises StorageUnavailable if it has been replaced meanwhile."""
        span, unchanged = f"bytes={offset}-{offset + length - 1}", f'"{etag}"'
        answer = self._ask("GET", key, {"range": span, "if-match": unchanged})
        if answer is not None and answer.status_code != 404:
            return answer.content
        try:
            with self._s3().get_object(Bucket=self._bucket, Key=key, Range=span, IfMatch=unchanged)["Body"] as body:
                return body.read()
        except (BotoCoreError, ClientError) as error:
            raise self._unavailable("GET", error) from None

    def delete(self, key: str) -> None:
        """Delete the object; with versioning, put a delete marker over it."""
        try:
            self._s3().delete_object(Bucket=self._bucket, Key=key)
        except (BotoCoreError, ClientError) as error:
            raise self._unavailable("DELETE", error) from None

    def _ask(self, method: str, key: str, headers: Mapping[str, str]) -> AWSResponse | None:
        """Send one request in a third of the time that boto3 takes for it, through the same connections.

        Return None unless there was an answer that says all: then boto3 asks, which tries again, and explains.
        """
        now = datetime.now(timezone.utc)
        quoted_key = quote_path(key)
        try:
            keys = self._credentials.current(now).credentials
            stamp = stamp_of(int(now.timestamp()))
            signed = sigv4.authorized_headers(
                scope=self._scope(keys, stamp.date),
                timestamp=stamp.timestamp,
                method=method,
                host=self._own.host,
                path=f"{self._own.path_prefix}{quoted_key}",
                headers=headers,
                session_token=keys.session_token,
            )
            # The stubs name another class, whose objects the session cannot copy.
            request = AWSPreparedRequest(method, f"{self._own.base_url}{quoted_key}", HeadersDict(signed), b"", False)  # type: ignore[arg-type]
            session = self._s3()._endpoint.http_session  # type: ignore[attr-defined]  # noqa: SLF001  (not public)
            answer: AWSResponse = session.send(request)
        except (BotoCoreError, CredentialsUnavailable):
            return None
        return answer if answer.status_code in {200, 206, 404} else None

    def _uses_post(self, grant: Grant) -> bool:
        return self._posts_create_only if grant.create_only else self._posts

    def _sign_post(self, grant: Grant, terms: Terms) -> SignedUpload:
        fields = {"key": grant.key, "Content-Type": grant.content_type}
        if grant.content_disposition is not None:
            fields["Content-Disposition"] = grant.content_disposition
        if grant.cache_control is not None:
            fields["Cache-Control"] = grant.cache_control
        for name, value in grant.metadata.items():
            fields[f"x-amz-meta-{name}"] = value
        if grant.sha256 is not None:
            fields["x-amz-checksum-algorithm"] = "SHA256"
            fields["x-amz-checksum-sha256"] = _base64_of_hex(grant.sha256)
        # 201 answers with a body that has the location, also where 204 would come without CORS headers (Ceph).
        fields["success_action_status"] = "201"
        signed = terms.forms.sign(fields, min_bytes=grant.min_bytes, max_bytes=grant.max_bytes)
        return SignedUpload("POST", self._public.base_url, {}, signed, terms.expires_at)

    def _sign_put(self, grant: Grant, terms: Terms) -> SignedUpload:
        headers = {"Content-Type": grant.content_type}
        if grant.content_disposition is not None:
            headers["Content-Disposition"] = grant.content_disposition
        if grant.cache_control is not None:
            headers["Cache-Control"] = grant.cache_control
        for name, value in grant.metadata.items():
            headers[f"x-amz-meta-{name}"] = value
        if grant.sha256 is not None:
            headers["x-amz-checksum-sha256"] = _base64_of_hex(grant.sha256)
        if grant.create_only:
            headers["If-None-Match"] = "*"
        signed = {name.lower(): value for name, value in headers.items()}
        if grant.exact_bytes is not None:
            # Signed, and not in the ticket: every HTTP client sends it by itself, and browsers let no script set it.
            signed["content-length"] = str(grant.exact_bytes)
        url = sigv4.presigned_url(self._public, terms.queries, "PUT", grant.key, signed)
        return SignedUpload("PUT", url, headers, {}, terms.expires_at)

    def _terms(self, now: datetime, expires_in: timedelta) -> Terms:
        return self._kept.get(now, (self._credentials.current(now), expires_in))

    def _open_terms(self, second: int, key: tuple[ExpiringCredentials[_Keys], timedelta]) -> Terms:
        held, expires_in = key
        keys, start, end = held.credentials, stamp_of(second), stamp_of(_last_second(second, expires_in, held))
        scope = self._scope(keys, start.date)
        return Terms.of(bucket=self._bucket, scope=scope, start=start, end=end, session_token=keys.session_token)

    def _scope(self, keys: _Keys, date: str) -> sigv4.Scope:
        return sigv4.open_scope(
            access_key=keys.access_key, secret_key=keys.secret_key, date=date, region=self._region, service=_SERVICE
        )

    def _s3(self) -> S3Client:
        with self._client_lock:
            if self._client is None:
                self._client = self._session.client(
                    "s3",
                    region_name=self._region,
                    endpoint_url=self._endpoint_url,
                    config=Config(
                        signature_version="s3v4",
                        s3={"addressing_style": "virtual" if self._own.path_prefix == "/" else "path"},
                        connect_timeout=5,
                        read_timeout=30,
                        retries={"mode": "standard", "total_max_attempts": 3},
                    ),
                )
            return self._client

    def _unavailable(self, call: str, error: Exception) -> StorageUnavailable:
        # Only the code: a botocore message may repeat what was signed.
        code = (
            error.response.get("Error", {}).get("Code", "") if isinstance(error, ClientError) else type(error).__name__
        )
        return StorageUnavailable(f"{self.name} answered {call} with {shown(code)}")


def open_s3(url: str) -> tuple[S3Backend, str]:
    """Return the backend and the prefix of ``s3://bucket/prefix/?region=...``.

    Parameters are ``region``, ``endpoint_url``, ``public_endpoint_url`` and ``upload_method`` (see S3Backend). Raises
    ConfigurationError for any other.
    """
    address = read_address(
        url,
        example="s3://bucket/prefix/?region=eu-central-1",
        parameters={"region", "endpoint_url", "public_endpoint_url", "upload_method"},
    )
    parameters = address.parameters
    prefix = check_prefix(unquote(address.path))
    backend = S3Backend(
        bucket=address.host,
        region=parameters.get("region"),
        endpoint_url=parameters.get("endpoint_url"),
        public_endpoint_url=parameters.get("public_endpoint_url"),
        upload_method=parameters.get("upload_method", "auto"),  # type: ignore[arg-type]  # checked there
    )
    return backend, prefix


def _default_session() -> boto3.Session:
    try:
        return boto3.Session()
    except BotoCoreError as error:
        raise _unusable_settings(error) from None


def _unusable_settings(error: Exception) -> ConfigurationError:
    return ConfigurationError(
        f"the AWS settings cannot be used ({type(error).__name__}); check AWS_PROFILE and the files that it names",
        field="credentials",
    )


def _load_credentials(session: boto3.Session) -> CredentialsRenewer[_Keys]:
    try:
        credentials = session.get_credentials()
        if credentials is None:
            raise ConfigurationError(
                "no AWS credentials found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
                field="credentials",
            )
        return CredentialsRenewer(lambda: _read(credentials), what="the AWS credentials")
    except (BotoCoreError, ClientError) as error:
        raise _unusable_settings(error) from None


def _read(credentials: Credentials) -> ExpiringCredentials[_Keys]:
    frozen = credentials.get_frozen_credentials()
    if frozen.access_key is None or frozen.secret_key is None:
        raise ConfigurationError(
            "the AWS credentials are incomplete: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY", field="credentials"
        )
    keys = _Keys(access_key=frozen.access_key, secret_key=frozen.secret_key, session_token=frozen.token)
    if not isinstance(credentials, RefreshableCredentials):
        return ExpiringCredentials(credentials=keys, renew_at=None, expires_at=None)
    # botocore tells nobody when its credentials expire, and a ticket must not outlive them.
    # Signatures count in seconds: the last one, begun, is no longer whole.
    expires_at: datetime = credentials._expiry_time.replace(microsecond=0)  # type: ignore[attr-defined]  # noqa: SLF001
    return ExpiringCredentials(credentials=keys, renew_at=expires_at - _RENEWAL, expires_at=expires_at)


def _configured_endpoint(session: boto3.Session) -> str | None:
    core = session._session  # noqa: SLF001  (boto3 has no public way to the settings that its clients read)
    endpoint_url: str | None = ConfiguredEndpointProvider(
        full_config=core.full_config, scoped_config=core.get_scoped_config(), client_name="s3"
    ).provide()
    return endpoint_url


def _regional_endpoint(session: boto3.Session, region: str) -> str:
    loader = session._session.get_component("data_loader")  # noqa: SLF001  (as above)
    for partition in loader.load_data("partitions")["partitions"]:
        if region in partition["regions"] or re.fullmatch(partition["regionRegex"], region):
            return f"https://s3.{region}.{partition['outputs']['dnsSuffix']}"
    raise ConfigurationError(f"region {region!a} is not one of AWS's", field="region", value=region)


def _head(headers: Mapping[str, str], first_bytes: bytes | None = None) -> ObjectHead:
    # Of a part, the whole object's size stands behind the slash: bytes 0-1023/48213.
    size = headers["content-range"].rpartition("/")[2] if "content-range" in headers else headers["content-length"]
    return ObjectHead(
        size=int(size),
        content_type=headers.get("content-type", ""),
        etag=headers["etag"].strip('"'),
        version=headers.get("x-amz-version-id"),
        sha256=_hex_sha256(headers.get("x-amz-checksum-sha256")),
        content_disposition=headers.get("content-disposition") or None,
        cache_control=headers.get("cache-control") or None,
        content_encoding=headers.get("content-encoding") or None,
        metadata={
            name.lower().removeprefix(_METADATA): value
            for name, value in headers.items()
            if name.lower().startswith(_METADATA)
        },
        further_headers={name: value for name in _FURTHER_HEADERS if (value := headers.get(name))},
        first_bytes=first_bytes,
    )


def _last_second(second: int, expires_in: timedelta, held: ExpiringCredentials[_Keys]) -> int:
    last = second + expires_in // _SECOND
    if held.expires_at is None:
        return last
    last = min(last, int(held.expires_at.timestamp()))
    if last <= second:
        raise CredentialsUnavailable("the AWS credentials are about to expire")
    return last


def _base64_of_hex(digest: str) -> str:
    return b2a_base64(a2b_hex(digest), newline=False).decode("ascii")


def _hex_sha256(checksum: str | None) -> str | None:
    # The checksum of an object in parts is a digest of digests with "-" and their number behind.
    return None if not checksum or "-" in checksum else base64.b64decode(checksum).hex()
