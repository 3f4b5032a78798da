"""The backend for one bucket on Amazon S3 or a compatible store."""

from __future__ import annotations

import base64
from binascii import a2b_hex, b2a_base64
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import cast
from urllib.parse import unquote

import boto3
from botocore.awsrequest import AWSResponse
from botocore.exceptions import BotoCoreError, ClientError, ConnectTimeoutError, ReadTimeoutError

from presign.backends.addresses import read_address, read_endpoint
from presign.backends.backend import ObjectHead, SignedUpload
from presign.backends.expiring_credentials import ExpiringCredentials
from presign.backends.failures import missing_bucket, storage_failed, unreachable, wrong_clock
from presign.backends.object_headers import HeaderNames
from presign.backends.settings import check_texts
from presign.backends.signature_v4_requests import SignatureV4Requests, UploadMethod
from presign.errors import ConfigurationError, CredentialsUnavailable, StorageUnavailable
from presign.keys import check_prefix
from presign.messages import Grant, Rule
from presign.s3.session import AccessKeys, build_client, is_aws_endpoint, load_credentials, new_session, send
from presign.signing import sigv4
from presign.signing.bucket_location import BucketLocation
from presign.signing.per_second_cache import PerSecondCache
from presign.signing.quoting import quote_path
from presign.signing.signers import Signers
from presign.signing.signing_time import signing_time

_SECOND = timedelta(seconds=1)
_POST_RULES = frozenset({Rule.SIZE, Rule.TYPE, Rule.HEADERS, Rule.CHECKSUM})
# Without HEADERS: a client can add Content-Encoding, Cache-Control and similar headers to a PUT with signed headers.
_PUT_RULES = frozenset({Rule.TYPE, Rule.CHECKSUM, Rule.CREATE_ONLY})
# These stores answer 501 to a POST form.
_HOSTS_WITHOUT_POST = (".r2.cloudflarestorage.com",)
_HEADERS = HeaderNames(metadata_prefix="x-amz-meta-")
_UNEXPECTED_HEADERS = ("content-language", "expires", "x-amz-website-redirect-location")
_FORBIDDEN_CODES = frozenset({"AccessDenied", "AllAccessDisabled", "403"})
_BAD_CREDENTIALS_CODES = frozenset({"InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"})
_WRONG_REGION_CODES = frozenset({"PermanentRedirect", "AuthorizationHeaderMalformed", "301"})


class S3Backend:
    """One bucket on S3 or a compatible store, with the credentials that boto3 finds.

    - ``region``: the bucket's region; by default the session's, or ``AWS_REGION``.
    - ``endpoint_url``: a compatible store's URL, as this program reaches it. By default boto3 chooses the endpoint by
      AWS's own settings (``AWS_ENDPOINT_URL_S3``, FIPS and dual-stack endpoints included).
    - ``public_endpoint_url``: the same store's URL as browsers reach it, if it differs (containers).
    - ``upload_method``: ``"post"`` or ``"put"`` for every upload. ``"auto"`` chooses PUT if the grant is create-only
      or the store is known to have no POST, and POST otherwise.
    - ``session``: the boto3 session whose credentials sign; by default a new ``boto3.Session()``.

    Credentials are loaded when the backend is built, and renewed in the background. Raises ConfigurationError.
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
        check_texts({"bucket": bucket, "region": region})
        if not bucket or "/" in bucket:
            raise ConfigurationError("bucket must be a bucket's name", field="bucket", value=bucket)
        if endpoint_url is not None:
            endpoint_url = read_endpoint("endpoint_url", endpoint_url)
        session = session or new_session()
        self._client = build_client(session, region=region, endpoint_url=endpoint_url)
        self._endpoint_url = read_endpoint("endpoint_url", self._client.meta.endpoint_url)
        self._region = self._client.meta.region_name
        self._is_aws = is_aws_endpoint(self._endpoint_url)
        # A dotted bucket has no certificate as a virtual host, and another store need not have virtual hosts at all.
        virtual_hosted = self._is_aws and "." not in bucket
        self._location = BucketLocation.of_bucket(bucket, self._endpoint_url, virtual_hosted=virtual_hosted)
        public_location = (
            self._location
            if public_endpoint_url is None
            else BucketLocation.of_bucket(bucket, read_endpoint("public_endpoint_url", public_endpoint_url))
        )
        self._browser_requests = SignatureV4Requests(
            location=public_location,
            header_names=_HEADERS,
            upload_method=upload_method,
            store_has_post=not public_location.host.endswith(_HOSTS_WITHOUT_POST),
        )
        self._bucket = bucket
        self._credentials = load_credentials(session)
        self._signers = PerSecondCache(self._make_signers)

    def __repr__(self) -> str:
        return f"S3Backend(bucket={self._bucket!r}, region={self._region!r}, endpoint={self._endpoint_url!r})"

    @property
    def name(self) -> str:
        """The storage's name in messages."""
        return f"s3://{self._bucket}"

    @property
    def signing_does_io(self) -> bool:
        """False: the credentials are in memory."""
        return False

    def enforces(self, grant: Grant) -> frozenset[Rule]:
        """Return the rules that S3 enforces.

        POST: all but create-only. PUT: all but a range of sizes and the absence of other headers.
        """
        if self._browser_requests.uses_post(grant):
            return _POST_RULES
        return _PUT_RULES | {Rule.SIZE} if grant.exact_bytes is not None else _PUT_RULES

    def sign_upload(self, grant: Grant, now: datetime) -> SignedUpload:
        """Return a POST form whose policy covers every field, or a PUT with every header signed."""
        signers = self._signers_at(now, grant.expires_in)
        if self._browser_requests.uses_post(grant):
            return self._browser_requests.sign_post(grant, signers, _checksum_fields(grant))
        exact_bytes = grant.exact_bytes
        automatic_headers = {} if exact_bytes is None else {"content-length": str(exact_bytes)}
        return self._browser_requests.sign_put(grant, signers, _put_headers(grant), automatic_headers)

    def sign_download(
        self, key: str, now: datetime, *, expires_in: timedelta, content_disposition: str | None = None
    ) -> str:
        """Return a presigned GET; the storage sends ``content_disposition`` as a header of the response."""
        return self._browser_requests.sign_download(key, self._signers_at(now, expires_in), content_disposition)

    def object_url(self, key: str) -> str:
        """Return the object's own URL, on the endpoint that browsers reach."""
        return self._browser_requests.object_url(key)

    def check(self) -> None:
        """Ask for the bucket; credentials that may not list it pass, because a signer does not need that permission."""
        try:
            response = self._client.list_objects_v2(Bucket=self._bucket, MaxKeys=0)
            headers: Mapping[str, str] = response["ResponseMetadata"]["HTTPHeaders"]
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            headers = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
            failure = self._failure_of(code)
            if failure is not None:
                raise failure from None
        except BotoCoreError as error:
            raise unreachable(self._endpoint_url, error) from None
        region = headers.get("x-amz-bucket-region")
        if self._is_aws and region is not None and region != self._region:
            raise ConfigurationError(
                f"the bucket {self._bucket} is in {region}, not in {self._region}; set region={region}",
                field="region",
                value=self._region,
                limit=region,
            )

    def head(self, key: str, *, first_bytes: int = 0) -> ObjectHead | None:
        """Return what HEAD says, or with ``first_bytes`` what a GET of them says, which has no checksum.

        Returns None for 404, and for 403, which S3 answers for a missing object if the credentials may not list.
        """
        if first_bytes:
            response = self._request("GET", key, {"range": f"bytes=0-{first_bytes - 1}"})
        else:
            response = self._request("HEAD", key, {"x-amz-checksum-mode": "ENABLED"})
        if response is not None:
            if response.status_code == 404:
                return None
            return _object_head(response.headers, response.content[:first_bytes] or None)
        try:
            described = self._client.head_object(Bucket=self._bucket, Key=key, ChecksumMode="ENABLED")
        except ClientError as error:
            if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") in {403, 404}:
                return None
            raise self._failed("HEAD", error) from None
        except BotoCoreError as error:
            raise self._failed("HEAD", error) from None
        return _object_head(described["ResponseMetadata"]["HTTPHeaders"])

    def read(self, key: str, *, offset: int, length: int, etag: str) -> bytes:
        """Return a range of the object's bytes; raises StorageUnavailable if the object was replaced meanwhile."""
        byte_range, quoted_etag = f"bytes={offset}-{offset + length - 1}", f'"{etag}"'
        response = self._request("GET", key, {"range": byte_range, "if-match": quoted_etag})
        if response is not None and response.status_code != 404:
            return response.content
        try:
            with self._client.get_object(Bucket=self._bucket, Key=key, Range=byte_range, IfMatch=quoted_etag)[
                "Body"
            ] as body:
                return body.read()
        except (BotoCoreError, ClientError) as error:
            raise self._failed("GET", error) from None

    def delete(self, key: str) -> None:
        """Delete the object; in a bucket with versions, this adds a delete marker."""
        try:
            self._client.delete_object(Bucket=self._bucket, Key=key)
        except (BotoCoreError, ClientError) as error:
            raise self._failed("DELETE", error) from None

    def _request(self, method: str, key: str, headers: Mapping[str, str]) -> AWSResponse | None:
        """Send one request signed here, which is faster than a call of boto3.

        Return the response, or None if it was not conclusive; the caller then repeats the call through boto3, which
        retries and explains errors. Raises StorageUnavailable if the storage did not answer in time.
        """
        now = datetime.now(timezone.utc)
        quoted_key = quote_path(key)
        try:
            keys = self._credentials.current(now).credentials
            time = signing_time(int(now.timestamp()))
            signed_headers = sigv4.authorized_headers(
                scope=self._scope(keys, time.date),
                timestamp=time.timestamp,
                method=method,
                host=self._location.host,
                path=f"{self._location.path_prefix}{quoted_key}",
                headers=headers,
                session_token=keys.session_token,
            )
            response = send(self._client, method, f"{self._location.base_url}{quoted_key}", signed_headers)
        except (ConnectTimeoutError, ReadTimeoutError) as error:
            # Another attempt would only double the time that the caller waits.
            raise self._failed(method, error) from None
        except (BotoCoreError, CredentialsUnavailable):
            return None
        return response if response is not None and response.status_code in {200, 206, 404} else None

    def _signers_at(self, now: datetime, expires_in: timedelta) -> Signers:
        return self._signers.get(now, (self._credentials.current(now), expires_in))

    def _make_signers(self, unix_second: int, key: tuple[ExpiringCredentials[AccessKeys], timedelta]) -> Signers:
        credentials, expires_in = key
        keys = credentials.credentials
        start, end = signing_time(unix_second), signing_time(_last_second(unix_second, expires_in, credentials))
        return Signers.for_period(
            bucket=self._bucket,
            scope=self._scope(keys, start.date),
            start=start,
            end=end,
            session_token=keys.session_token,
        )

    def _scope(self, keys: AccessKeys, date: str) -> sigv4.Scope:
        return sigv4.hmac_scope(
            access_key=keys.access_key, secret_key=keys.secret_key, date=date, region=self._region, service="s3"
        )

    def _failure_of(self, code: str) -> ConfigurationError | StorageUnavailable | None:
        """Return the error that a response's code stands for, or None if a bucket that works may send that code."""
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

    def _failed(self, call: str, error: Exception) -> StorageUnavailable:
        if not isinstance(error, ClientError):
            return unreachable(self._endpoint_url, error)
        # Only the code: botocore's message may repeat what was signed.
        return storage_failed(self.name, call, error.response.get("Error", {}).get("Code", ""))


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
        # S3Backend checks the value.
        upload_method=cast(UploadMethod, parameters.get("upload_method", "auto")),
    )
    return backend, prefix


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


def _object_head(headers: Mapping[str, str], first_bytes: bytes | None = None) -> ObjectHead:
    # In the response to a range, the object's size follows the slash: bytes 0-1023/48213.
    size = headers["content-range"].rpartition("/")[2] if "content-range" in headers else headers["content-length"]
    return ObjectHead(
        size=int(size),
        content_type=headers.get("content-type", ""),
        etag=headers["etag"].strip('"'),
        version=headers.get("x-amz-version-id"),
        sha256=_hex_of_checksum(headers.get("x-amz-checksum-sha256")),
        content_disposition=headers.get("content-disposition") or None,
        cache_control=headers.get("cache-control") or None,
        content_encoding=headers.get("content-encoding") or None,
        metadata=_HEADERS.metadata(headers),
        unexpected_headers={name: value for name in _UNEXPECTED_HEADERS if (value := headers.get(name))},
        first_bytes=first_bytes,
    )


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


def _hex_of_checksum(checksum: str | None) -> str | None:
    # An object uploaded in parts has a digest of the parts' digests, followed by "-" and their number.
    return None if not checksum or "-" in checksum else base64.b64decode(checksum).hex()
