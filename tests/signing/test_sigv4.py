"""SigV4 against AWS's documented examples and, byte for byte, against botocore."""

from __future__ import annotations

import base64
import hmac
import json
import os
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any
from urllib.parse import quote

import boto3
import pytest
from botocore.auth import S3SigV4Auth, S3SigV4PostAuth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from hypothesis import given, settings
from hypothesis import strategies as st

from presign.errors import ConfigurationError
from presign.signing import sigv4
from presign.signing.bucket_location import BucketLocation
from presign.signing.hmac_sha256 import HmacSha256Key
from presign.signing.post_policy import FormSigner
from presign.signing.quoting import quote_path, quote_value
from presign.signing.signing_time import signing_time

PARITY = int(os.environ.get("PARITY", "2000"))
"""How many generated inputs a signature is compared on: `make test-parity` takes more of them."""
EXAMPLE_ACCESS_KEY = "AKIAIOSFODNN7EXAMPLE"
EXAMPLE_SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"

access_keys = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567+/=._-", min_size=1, max_size=24)
secrets = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=80)
session_tokens = st.none() | st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=60)
regions = st.sampled_from(["us-east-1", "eu-central-1", "cn-north-1", "auto", "us-gov-west-1"])
timestamps = st.datetimes(datetime(2013, 5, 24), datetime(2099, 12, 31)).map(lambda t: t.strftime("%Y%m%dT%H%M%SZ"))


@dataclass(frozen=True)
class Signing:
    """Who signs, where and when."""

    access_key: str
    secret: str
    token: str | None
    region: str
    timestamp: str

    @property
    def credentials(self) -> Credentials:
        return Credentials(self.access_key, self.secret, self.token)

    @property
    def scope(self) -> sigv4.Scope:
        return sigv4.hmac_scope(
            access_key=self.access_key,
            secret_key=self.secret,
            date=self.timestamp[:8],
            region=self.region,
            service="s3",
        )

    def sign(self, request: AWSRequest, auth: Any) -> None:
        """Take the steps of botocore's add_auth, but for its reading of the clock."""
        request.context["timestamp"] = self.timestamp
        auth._modify_request_before_signing(request)
        string_to_sign = auth.string_to_sign(request, auth.canonical_request(request))
        auth._inject_signature_to_request(request, auth.signature(string_to_sign, request))


signings = st.builds(Signing, access_keys, secrets, session_tokens, regions, timestamps)
keys = st.text(st.characters(min_codepoint=32, max_codepoint=0x24F, exclude_characters="\x7f"), min_size=1, max_size=40)
header_values = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=30).filter(
    lambda value: value == value.strip()
)
signed_headers = st.dictionaries(
    st.sampled_from(
        [
            "content-type",
            "content-length",
            "if-none-match",
            "x-amz-checksum-sha256",
            "x-amz-meta-a",
            "x-amz-meta-ab",
            "cache-control",
            "content-disposition",
        ]
    ),
    header_values,
    max_size=5,
)
queries = st.dictionaries(
    st.sampled_from(["partNumber", "uploadId", "response-content-disposition", "versionId", "a", "a-b", "A", "x-id"]),
    st.text(st.characters(min_codepoint=32, max_codepoint=0x17F, exclude_characters="\x7f"), max_size=20),
    max_size=3,
)


@given(key=st.binary(max_size=200), message=st.binary(max_size=2000))
@settings(max_examples=1000, deadline=None)
def test_a_kept_hmac_key_signs_as_the_standard_library_does(key: bytes, message: bytes) -> None:
    expected = hmac.digest(key, message, "sha256")
    kept = HmacSha256Key(key)
    assert kept.digest(message) == expected
    assert kept.hexdigest(message) == expected.hex()
    assert kept.hexdigest(message) == expected.hex(), "signing must not use the kept state up"


def test_the_documented_presigned_get_of_aws_comes_out() -> None:
    scope = sigv4.hmac_scope(
        access_key=EXAMPLE_ACCESS_KEY, secret_key=EXAMPLE_SECRET, date="20130524", region="us-east-1", service="s3"
    )
    url_signer = sigv4.UrlSigner(scope=scope, timestamp="20130524T000000Z", expires_seconds=86400)
    signer = sigv4.RequestSeriesSigner(
        url_signer, method="GET", host="examplebucket.s3.amazonaws.com", path="/test.txt", headers={}
    )
    assert signer.sign().endswith("&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404")


def test_the_documented_get_object_of_aws_comes_out() -> None:
    scope = sigv4.hmac_scope(
        access_key=EXAMPLE_ACCESS_KEY, secret_key=EXAMPLE_SECRET, date="20130524", region="us-east-1", service="s3"
    )
    headers = sigv4.authorized_headers(
        scope=scope,
        timestamp="20130524T000000Z",
        method="GET",
        host="examplebucket.s3.amazonaws.com",
        path="/test.txt",
        headers={"range": "bytes=0-9"},
    )
    assert headers["authorization"].endswith(
        "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, "
        "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
    )


@given(
    method=st.sampled_from(["HEAD", "GET", "DELETE"]),
    signing=signings,
    key=keys,
    headers=signed_headers,
)
@settings(max_examples=2_000, deadline=None)
def test_authorized_headers_are_botocores(
    method: str,
    signing: Signing,
    key: str,
    headers: dict[str, str],
) -> None:
    host, path = f"bucket.s3.{signing.region}.amazonaws.com", quote_path(f"/{key}")
    request = AWSRequest(method, f"http://{host}{path}", headers=dict(headers))
    signing.sign(request, S3SigV4Auth(signing.credentials, "s3", signing.region))
    ours = sigv4.authorized_headers(
        scope=signing.scope,
        timestamp=signing.timestamp,
        method=method,
        host=host,
        path=path,
        headers=headers,
        session_token=signing.token,
    )
    assert ours == {name.lower(): value for name, value in request.headers.items()}


def test_the_documented_post_policy_of_aws_comes_out() -> None:
    lines = [
        '{ "expiration": "2015-12-30T12:00:00.000Z",',
        '  "conditions": [',
        '    {"bucket": "sigv4examplebucket"},',
        '    ["starts-with", "$key", "user/user1/"],',
        '    {"acl": "public-read"},',
        '    {"success_action_redirect": "http://sigv4examplebucket.s3.amazonaws.com/successful_upload.html"},',
        '    ["starts-with", "$Content-Type", "image/"],',
        '    {"x-amz-meta-uuid": "14365123651274"},',
        '    {"x-amz-server-side-encryption": "AES256"},',
        '    ["starts-with", "$x-amz-meta-tag", ""],',
        "",
        '    {"x-amz-credential": "AKIAIOSFODNN7EXAMPLE/20151229/us-east-1/s3/aws4_request"},',
        '    {"x-amz-algorithm": "AWS4-HMAC-SHA256"},',
        '    {"x-amz-date": "20151229T000000Z" }',
        "  ]",
        "}",
    ]
    document = "\r\n".join(lines).encode()
    assert len(document) == 648
    scope = sigv4.hmac_scope(
        access_key=EXAMPLE_ACCESS_KEY, secret_key=EXAMPLE_SECRET, date="20151229", region="us-east-1", service="s3"
    )
    assert scope.credential == "AKIAIOSFODNN7EXAMPLE/20151229/us-east-1/s3/aws4_request"
    signature = scope.key.hexdigest(base64.b64encode(document))
    assert signature == "8afdbf4008c03f22c2cd3cdb72e4afbb1f6a588f3255ac628749a66d7f09699e"


@given(
    method=st.sampled_from(["PUT", "GET"]),
    signing=signings,
    key=keys,
    headers=signed_headers,
    query=queries,
    expires=st.integers(1, 604_800),
)
@settings(max_examples=PARITY, deadline=None)
def test_presigned_urls_are_botocores_byte_for_byte(
    method: str,
    signing: Signing,
    key: str,
    headers: dict[str, str],
    query: dict[str, str],
    expires: int,
) -> None:
    host = f"bucket.s3.{signing.region}.amazonaws.com"
    path = quote_path(f"/{key}")
    query_text = "&".join(f"{quote(name, safe='')}={quote(value, safe='~')}" for name, value in query.items())
    request = AWSRequest(method, f"https://{host}{path}{'?' if query else ''}{query_text}", headers=dict(headers))
    signing.sign(request, S3SigV4QueryAuth(signing.credentials, "s3", signing.region, expires=expires))
    url_signer = sigv4.UrlSigner(
        scope=signing.scope, timestamp=signing.timestamp, expires_seconds=expires, session_token=signing.token
    )
    location = BucketLocation.at(f"https://{host}")
    assert url_signer.sign_url(location, method, key, headers, query.items()) == request.url
    signer = sigv4.RequestSeriesSigner(url_signer, method=method, host=host, path=path, headers=headers)
    assert f"https://{host}{path}?{signer.sign(query.items())}" == request.url


@given(signing=signings, key=keys, numbers=st.lists(st.integers(0, 10_000), max_size=5), upload_id=st.text(max_size=50))
@settings(max_examples=500, deadline=None)
def test_requests_that_differ_in_a_number_are_signed_as_each_of_them_alone(
    signing: Signing, key: str, numbers: list[int], upload_id: str
) -> None:
    location = BucketLocation.at(f"https://bucket.s3.{signing.region}.amazonaws.com")
    url_signer = sigv4.UrlSigner(
        scope=signing.scope, timestamp=signing.timestamp, expires_seconds=900, session_token=signing.token
    )
    headers, path = {"content-length": "5"}, quote_path(f"/{key}")
    series = sigv4.RequestSeriesSigner(url_signer, method="PUT", host=location.host, path=path, headers=headers)
    sign = series.numbered(f"{location.base_url}{path[1:]}", "partNumber", f"&uploadId={quote_value(upload_id)}")
    for number in numbers:
        query = [("partNumber", str(number)), ("uploadId", upload_id)]
        assert sign(number) == url_signer.sign_url(location, "PUT", key, headers, query)


@given(
    signing=signings,
    key=keys,
    fields=st.dictionaries(
        st.sampled_from(["Content-Type", "Cache-Control", "x-amz-meta-a", "success_action_status"]), header_values
    ),
    bounds=st.tuples(st.integers(0, 2**40), st.integers(0, 2**40)).map(sorted),
)
@settings(max_examples=PARITY, deadline=None)
def test_post_policies_are_signed_as_by_botocore_and_say_the_same(
    signing: Signing,
    key: str,
    fields: dict[str, str],
    bounds: list[int],
) -> None:
    signer = FormSigner(
        bucket="bucket",
        scope=signing.scope,
        timestamp=signing.timestamp,
        expiration="2030-01-01T00:00:00Z",
        session_token=signing.token,
    )
    form = signer.sign({"key": key, **fields}, min_bytes=bounds[0], max_bytes=bounds[1])
    policy = form["policy"]

    request = AWSRequest("POST", "https://bucket.example/")
    request.context["timestamp"] = signing.timestamp
    auth = S3SigV4PostAuth(signing.credentials, "s3", signing.region)
    assert form["x-amz-signature"] == auth.signature(policy, request)

    auth.add_auth(_with_policy(fields, key, bounds, made := AWSRequest("POST", "https://bucket.example/")))
    theirs = made.context["s3-presign-post-fields"]
    our_document, their_document = json.loads(base64.b64decode(policy)), json.loads(base64.b64decode(theirs["policy"]))
    clock = {"x-amz-date", "x-amz-credential"}
    assert _without(clock, our_document) == _without(clock, their_document)
    assert set(form) == set(theirs) | set(fields) | {"key"}


def _with_policy(fields: dict[str, str], key: str, bounds: list[int], request: AWSRequest) -> AWSRequest:
    conditions: list[object] = [{"bucket": "bucket"}, {"key": key}, *({n: v} for n, v in fields.items())]
    conditions.append(["content-length-range", *bounds])
    request.context["s3-presign-post-policy"] = {"expiration": "2030-01-01T00:00:00Z", "conditions": conditions}
    request.context["s3-presign-post-fields"] = {}
    return request


def _without(names: set[str], document: dict[str, list[object]]) -> tuple[object, list[str]]:
    kept = [c for c in document["conditions"] if not (isinstance(c, dict) and names & c.keys())]
    return document["expiration"], sorted(json.dumps(c) for c in kept)


@pytest.mark.parametrize("seconds", [0, -1, 604_801])
def test_a_lifetime_that_s3_would_not_take_is_refused(seconds: int) -> None:
    scope = sigv4.hmac_scope(access_key="a", secret_key="s", date="20260101", region="r", service="s3")
    with pytest.raises(ConfigurationError, match="604800"):
        sigv4.UrlSigner(scope=scope, timestamp="20260101T000000Z", expires_seconds=seconds)


def test_the_urls_of_an_uploads_parts_are_botocores() -> None:
    client = boto3.client(
        "s3",
        region_name="eu-central-1",
        aws_access_key_id="AKIAPARTS",
        aws_secret_access_key="a secret",
        config=Config(signature_version="s3v4", s3={"addressing_style": "virtual"}),
    )
    for number in (1, 2, 9, 10, 99, 5_000, 10_000):
        url = client.generate_presigned_url(
            "upload_part",
            Params={"Bucket": "my-bucket", "Key": "big file", "UploadId": "2~a/b+c", "PartNumber": number},
            ExpiresIn=600,
        )
        timestamp = url.split("X-Amz-Date=")[1][:16]
        scope = sigv4.hmac_scope(
            access_key="AKIAPARTS",
            secret_key="a secret",
            date=timestamp[:8],
            region="eu-central-1",
            service="s3",
        )
        host, path = "my-bucket.s3.eu-central-1.amazonaws.com", "/big%20file"
        url_signer = sigv4.UrlSigner(scope=scope, timestamp=timestamp, expires_seconds=600)
        signer = sigv4.RequestSeriesSigner(url_signer, method="PUT", host=host, path=path, headers={})
        ours = signer.sign((("uploadId", "2~a/b+c"), ("partNumber", str(number))))
        assert f"https://{host}{path}?{ours}" == url


@given(headers=signed_headers, query=queries, token=session_tokens)
@settings(max_examples=50, deadline=None)
def test_a_signer_of_many_queries_signs_each_as_if_it_were_the_only_one(
    headers: dict[str, str], query: dict[str, str], token: str | None
) -> None:
    scope = sigv4.hmac_scope(access_key="a", secret_key="s", date="20260101", region="r", service="s3")
    shared: dict[str, Any] = {
        "scope": scope,
        "timestamp": "20260101T000000Z",
        "expires_seconds": 600,
        "session_token": token,
    }
    request: dict[str, Any] = {
        "method": "PUT",
        "host": "bucket.s3.eu-central-1.amazonaws.com",
        "path": "/big",
        "headers": headers,
    }
    url_signer = sigv4.UrlSigner(**shared)
    of_one_signer = sigv4.RequestSeriesSigner(url_signer, **request)
    parts = [[*query.items(), ("partNumber", str(number))] for number in range(1, 10_001, 101)]
    together = [of_one_signer.sign(part) for part in parts]
    assert together == [sigv4.RequestSeriesSigner(url_signer, **request).sign(part) for part in parts]
    assert together == [sigv4.RequestSeriesSigner(sigv4.UrlSigner(**shared), **request).sign(part) for part in parts]
    assert len(set(together)) == len(parts)


@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=60) | st.text("aZ09-._~/ %+\n", max_size=12))
@settings(max_examples=3000, deadline=None)
def test_quoting_is_that_of_the_standard_library(text: str) -> None:
    assert quote_path(text) == quote(text, safe="/~")
    assert quote_value(text) == quote(text, safe="~")


@given(st.datetimes(datetime(1970, 1, 1), datetime(2199, 12, 31)))
@settings(max_examples=1000, deadline=None)
def test_a_second_is_written_as_strftime_does(moment: datetime) -> None:
    time = moment.replace(microsecond=0, tzinfo=timezone.utc)
    forms = [time.strftime(form) for form in ("%Y%m%dT%H%M%SZ", "%Y%m%d", "%Y-%m-%dT%H:%M:%SZ")]
    assert list(signing_time(int(time.timestamp()))) == [time, *forms]


def test_a_query_cannot_bring_parameters_of_the_signature() -> None:
    scope = sigv4.hmac_scope(access_key="a", secret_key="s", date="20260101", region="r", service="s3")
    url_signer = sigv4.UrlSigner(scope=scope, timestamp="20260101T000000Z", expires_seconds=1)
    signer = sigv4.RequestSeriesSigner(url_signer, method="GET", host="h", path="/k", headers={})
    with pytest.raises(ConfigurationError, match="X-Amz-"):
        signer.sign((("X-Amz-Expires", "604800"),))


def test_the_signing_key_of_a_day_is_derived_once() -> None:
    def scope(date: str) -> sigv4.Scope:
        return sigv4.hmac_scope(access_key="once", secret_key="s", date=date, region="r", service="s3")

    assert scope("20260101") is scope("20260101")
    assert scope("20260101").key.hexdigest(b"m") != scope("20260102").key.hexdigest(b"m")


def test_the_policy_document_is_json_with_every_field_as_a_condition() -> None:
    scope = sigv4.hmac_scope(access_key="a", secret_key="s", date="20260101", region="r", service="s3")
    signer = FormSigner(
        bucket="b", scope=scope, timestamp="20260101T000000Z", expiration="2030-01-01T00:00:00Z", session_token="t"
    )
    fields = {"key": 'quote " and \\ and \n', "Content-Type": "text/plain"}
    form = signer.sign(fields, min_bytes=1, max_bytes=2)
    assert list(form)[:2] == list(fields), "what is the object's comes first"
    assert json.loads(base64.b64decode(form["policy"])) == {
        "expiration": "2030-01-01T00:00:00Z",
        "conditions": [
            {"bucket": "b"},
            {"x-amz-algorithm": "AWS4-HMAC-SHA256"},
            {"x-amz-credential": "a/20260101/r/s3/aws4_request"},
            {"x-amz-date": "20260101T000000Z"},
            {"x-amz-security-token": "t"},
            {"key": 'quote " and \\ and \n'},
            {"Content-Type": "text/plain"},
            ["content-length-range", 1, 2],
        ],
    }
