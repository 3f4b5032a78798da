"""A signed upload with one thing changed, sent to the reference server, which refuses it."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import replace

import pytest

from emulators.wire import Attempt, Form, send
from tests.gcs.reference import BUCKET, EVERYTHING, GRANT, Reference, as_sent, now


def changed(text: str) -> str:
    return ("0" if text[0] != "0" else "1") + text[1:]


FORM_TAMPERINGS: dict[str, Callable[[Form], Form]] = {
    "another type": lambda form: form.with_field("Content-Type", "text/html"),
    "another key": lambda form: form.with_field("key", "public/other.png"),
    "another signature": lambda form: form.with_field("x-goog-signature", changed(form.field("x-goog-signature"))),
    "no signature": lambda form: form.without_field("x-goog-signature"),
    "another date": lambda form: form.with_field("x-goog-date", "20200101T000000Z"),
    "another algorithm": lambda form: form.with_field("x-goog-algorithm", "AWS4-HMAC-SHA256"),
    "another signer": lambda form: form.with_field("x-goog-credential", "x" + form.field("x-goog-credential")),
    "another policy": lambda form: form.with_field(
        "policy", base64.b64encode(base64.b64decode(form.field("policy")).replace(b"image/png", b"text/html")).decode()
    ),
    "a wider policy": lambda form: form.with_field(
        "policy", base64.b64encode(base64.b64decode(form.field("policy")).replace(b"10,100", b"10,999")).decode()
    ),
    "more metadata": lambda form: form.with_first_field("x-goog-meta-extra", "1"),
    "other metadata": lambda form: form.with_field("x-goog-meta-owner", "bob"),
    "no metadata": lambda form: form.without_field("x-goog-meta-owner"),
    "an encoding": lambda form: form.with_first_field("Content-Encoding", "gzip"),
    "another disposition": lambda form: form.with_field("Content-Disposition", "inline"),
    "another cache control": lambda form: form.with_field("Cache-Control", "no-store"),
    "an access control list": lambda form: form.with_first_field("acl", "public-read"),
    "a redirect": lambda form: form.with_first_field("success_action_redirect", "http://example.com/"),
    "the key after the file": lambda form: form.with_field_after_file("key"),
    "another bucket": lambda form: replace(form, url=form.url.replace(f"/{BUCKET}/", "/other/")),
}
PUT_TAMPERINGS: dict[str, Callable[[Attempt], Attempt]] = {
    "another type": lambda put: put.with_header("Content-Type", "text/html"),
    "no type": lambda put: put.without_header("Content-Type"),
    "a wider range": lambda put: put.with_header("x-goog-content-length-range", "0,999"),
    "no range": lambda put: put.without_header("x-goog-content-length-range"),
    "no create-only": lambda put: put.without_header("x-goog-if-generation-match"),
    "another generation": lambda put: put.with_header("x-goog-if-generation-match", "1"),
    "more metadata": lambda put: put.with_header("x-goog-meta-extra", "1"),
    "other metadata": lambda put: put.with_header("x-goog-meta-owner", "bob"),
    "an access control list": lambda put: put.with_header("x-goog-acl", "public-read"),
    "another disposition": lambda put: put.with_header("Content-Disposition", "inline"),
    "another cache control": lambda put: put.with_header("Cache-Control", "no-store"),
    "another key": lambda put: put.with_path(f"/{BUCKET}/public/other.png"),
    "another bucket": lambda put: put.with_path(f"/other/{GRANT.key}"),
    "another signature": lambda put: put.with_parameter("X-Goog-Signature", changed(put.parameter("X-Goog-Signature"))),
    "no signature": lambda put: put.without_parameter("X-Goog-Signature"),
    "a longer life": lambda put: put.with_parameter("X-Goog-Expires", "600"),
    "another date": lambda put: put.with_parameter("X-Goog-Date", "20200101T000000Z"),
    "another signer": lambda put: put.with_parameter("X-Goog-Credential", "x" + put.parameter("X-Goog-Credential")),
    "fewer signed headers": lambda put: put.with_parameter("X-Goog-SignedHeaders", "host"),
    "a further parameter": lambda put: put.with_another_parameter("x-goog-acl", "public-read"),
    "another method": lambda put: put.with_method("DELETE"),
}


@pytest.mark.parametrize("tampering", FORM_TAMPERINGS)
def test_a_form_with_one_thing_changed_is_refused_by_the_storage(gcs: Reference, kind: str, tampering: str) -> None:
    form = as_sent(gcs.backend(kind).sign_upload(EVERYTHING, now()))
    assert isinstance(form, Form)
    assert send(form).status == 201
    gcs.objects.clear()
    assert 400 <= send(FORM_TAMPERINGS[tampering](form)).status < 500
    assert gcs.objects == {}
    assert gcs.app.buckets["other"].objects == {}


@pytest.mark.parametrize("tampering", PUT_TAMPERINGS)
def test_a_put_with_one_thing_changed_is_refused_by_the_storage(gcs: Reference, kind: str, tampering: str) -> None:
    put = as_sent(gcs.backend(kind).sign_upload(replace(EVERYTHING, create_only=True), now()))
    assert isinstance(put, Attempt)
    assert send(put).status == 200
    gcs.objects.clear()
    assert 400 <= send(PUT_TAMPERINGS[tampering](put)).status < 500
    assert gcs.objects == {}
    assert gcs.app.buckets["other"].objects == {}
