"""The requests that S3 and Cloud Storage share: the choice of the method, and what a form and a PUT contain."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from presign import ConfigurationError, Grant
from presign.backends.object_headers import HeaderNames
from presign.backends.signature_v4_requests import SignatureV4Requests
from presign.signing import sigv4
from presign.signing.bucket_location import BucketLocation
from presign.signing.signers import Signers
from presign.signing.signing_time import signing_time

GRANT = Grant(
    key="public/a b.png",
    content_type="image/png",
    min_bytes=1,
    max_bytes=9,
    expires_in=timedelta(seconds=60),
    content_disposition="inline",
    cache_control="max-age=60",
    metadata={"owner": "alice"},
)
START = 1_793_880_000
HOST = "storage.example.com"


def requests(**options: Any) -> SignatureV4Requests:
    values: dict[str, Any] = {
        "location": BucketLocation.of_bucket("uploads", f"https://{HOST}"),
        "header_names": HeaderNames(metadata_prefix="x-example-meta-"),
        "upload_method": "auto",
    }
    return SignatureV4Requests(**values | options)


@pytest.fixture
def signers() -> Signers:
    start = signing_time(START)
    scope = sigv4.hmac_scope(access_key="AKIA", secret_key="secret", date=start.date, region="auto", service="s3")
    return Signers.for_period(bucket="uploads", scope=scope, start=start, end=signing_time(START + 60))


@pytest.mark.parametrize(
    ("upload_method", "store_has_post", "create_only", "uses_post"),
    [
        ("auto", True, False, True),
        ("auto", True, True, False),
        ("auto", False, False, False),
        ("auto", False, True, False),
        ("post", True, False, True),
        ("post", True, True, True),
        ("post", False, False, True),
        ("put", True, False, False),
        ("put", True, True, False),
    ],
)
def test_the_method_depends_on_the_setting_the_store_and_the_grant(
    upload_method: str, store_has_post: bool, create_only: bool, uses_post: bool
) -> None:
    chosen = requests(upload_method=upload_method, store_has_post=store_has_post)
    assert chosen.uses_post(replace(GRANT, create_only=create_only)) == uses_post


@pytest.mark.parametrize("upload_method", ["", "POST", "patch", None, 5, ["post"]])
def test_another_upload_method_is_refused(upload_method: Any) -> None:
    with pytest.raises(ConfigurationError, match="upload_method must be") as caught:
        requests(upload_method=upload_method)
    assert caught.value.field == "upload_method"


def test_a_form_has_the_granted_headers_and_the_extra_fields_and_its_policy_names_each(signers: Signers) -> None:
    form = requests().sign_post(GRANT, signers, {"x-example-checksum": "c"})
    assert (form.method, form.url, form.headers) == ("POST", f"https://{HOST}/uploads/", {})
    own = {
        "key": "public/a b.png",
        "Content-Type": "image/png",
        "Content-Disposition": "inline",
        "Cache-Control": "max-age=60",
        "x-example-meta-owner": "alice",
        "x-example-checksum": "c",
        "success_action_status": "201",
    }
    assert dict(list(form.fields.items())[: len(own)]) == own
    conditions = json.loads(base64.b64decode(form.fields["policy"]))["conditions"]
    assert [{name: value} for name, value in own.items()] == [
        condition for condition in conditions if isinstance(condition, dict) and condition.keys() <= own.keys()
    ]
    assert ["content-length-range", 1, 9] in conditions


def test_a_put_signs_every_header_and_its_ticket_lacks_only_the_automatic_ones(signers: Signers) -> None:
    put = requests().sign_put(GRANT, signers, {"X-Example-Size": "1,9"}, {"content-length": "9"})
    assert (put.method, put.fields) == ("PUT", {})
    assert put.headers == {
        "Content-Type": "image/png",
        "Content-Disposition": "inline",
        "Cache-Control": "max-age=60",
        "x-example-meta-owner": "alice",
        "X-Example-Size": "1,9",
    }
    url = urlsplit(put.url)
    assert (url.netloc, url.path) == (HOST, "/uploads/public/a%20b.png")
    signed = parse_qs(url.query)["X-Amz-SignedHeaders"][0].split(";")
    assert signed == sorted({"host", "content-length", *(name.lower() for name in put.headers)})


def test_a_download_has_the_content_disposition_only_if_one_is_given(signers: Signers) -> None:
    plain = parse_qs(urlsplit(requests().sign_download("k", signers, None)).query)
    assert "response-content-disposition" not in plain
    named = parse_qs(urlsplit(requests().sign_download("k", signers, 'inline; filename="a b"')).query)
    assert named["response-content-disposition"] == ['inline; filename="a b"']


def test_an_objects_url_is_percent_encoded() -> None:
    assert requests().object_url("public/a b.png") == f"https://{HOST}/uploads/public/a%20b.png"
