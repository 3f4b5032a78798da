"""Secrets planted in credentials, tokens and policies appear in no log line, ``repr`` or exception."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import boto3
import pytest

from demo_server.settings import BadSettings, read_settings
from emulators.seaweedfs import AccessKey
from presign import ConfigurationError, Presigner, PresignError, UploadPolicy, UploadRequest
from presign.s3 import S3Backend
from presign.signing import sigv4
from presign.signing.hmac_sha256 import HmacSha256Key
from presign.tokens import CompletionTokens

SECRET_KEY = "PLANTED-secret-access-key"
SESSION_TOKEN = "PLANTED-session-token"
TOKEN_SECRET = "PLANTED-token-secret"
PLANTED = (SECRET_KEY, SESSION_TOKEN, TOKEN_SECRET)


def _presigner(endpoint_url: str | None = None, upload_method: Any = "auto") -> Presigner:
    session = boto3.Session(
        aws_access_key_id="AKIAEXAMPLE",
        aws_secret_access_key=SECRET_KEY,
        aws_session_token=SESSION_TOKEN,
        region_name="eu-central-1",
    )
    return Presigner(
        backend=S3Backend(bucket="b", session=session, endpoint_url=endpoint_url, upload_method=upload_method),
        policy=UploadPolicy(content_types={"image/png"}, max_bytes=9, prefix="public/"),
        secret=TOKEN_SECRET,
    )


def _everything_that_shows(value: Any) -> str:
    return f"{value!r} {value!s} {value}"


@pytest.mark.parametrize("upload_method", ["post", "put"])
def test_no_repr_shows_a_secret_or_what_grants_access(upload_method: str) -> None:
    presigner = _presigner(upload_method=upload_method)
    ticket = presigner.issue(UploadRequest(content_type="image/png", size=9))
    grant = presigner.policy.decide(UploadRequest(content_type="image/png"), object_id="0" * 32)
    signed = presigner.backend.sign_upload(grant, datetime.now(timezone.utc))
    scope = sigv4.hmac_scope(access_key="a", secret_key=SECRET_KEY, date="20260101", region="r", service="s3")
    backend: Any = presigner.backend
    held = backend._credentials.current(datetime.now(timezone.utc))
    settings = read_settings(["--secret", TOKEN_SECRET])
    key = AccessKey(access_key_id="a", secret_access_key=SECRET_KEY)
    shown = " ".join(
        _everything_that_shows(value)
        for value in (
            presigner,
            backend,
            ticket,
            signed,
            grant,
            scope,
            scope.key,
            HmacSha256Key(SECRET_KEY.encode()),
            held,
            backend._credentials,
            CompletionTokens(TOKEN_SECRET),
            settings,
            key,
        )
    )
    signature = ticket.fields.get("x-amz-signature") or ticket.url.partition("X-Amz-Signature=")[2]
    for secret in (*PLANTED, ticket.token, signature, ticket.fields.get("policy", signature)):
        assert secret
        assert secret not in shown


def _failures() -> list[Callable[[], object]]:
    presigner = _presigner(endpoint_url="http://127.0.0.1:9")
    ticket = presigner.issue(UploadRequest(content_type="image/png"))
    return [
        lambda: presigner.complete(ticket.token),
        lambda: presigner.complete(ticket.token + "x"),
        lambda: presigner.complete(TOKEN_SECRET),
        lambda: presigner.complete(ticket.token, owner="mallory"),
        lambda: presigner.backend.check(),
        lambda: presigner.sign_download("k", expires_in=timedelta(days=30)),
        lambda: CompletionTokens([TOKEN_SECRET, "short"]),
        lambda: S3Backend(bucket="b", endpoint_url=f"http://user:{SECRET_KEY}@localhost"),
    ]


@pytest.mark.parametrize("number", range(len(_failures())))
def test_no_exception_shows_a_secret_even_with_its_causes(number: int, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="presign"), pytest.raises(PresignError) as caught:
        _failures()[number]()
    shown = "".join(traceback.format_exception(caught.value)) + str(caught.value.problem()) + caplog.text
    for secret in PLANTED:
        assert secret not in shown
    assert caught.value.__cause__ is None


def test_a_refused_setting_of_the_demo_is_named_and_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRESIGN_MAX_BYTES", "PLANTED-by-mistake")
    with pytest.raises(BadSettings) as caught:
        read_settings()
    assert "PRESIGN_MAX_BYTES" in str(caught.value)
    assert "PLANTED" not in "".join(traceback.format_exception(caught.value))


def test_a_short_secret_is_refused_without_being_repeated() -> None:
    with pytest.raises(ConfigurationError) as caught:
        CompletionTokens("PLANTED-12")
    assert "PLANTED" not in str(caught.value)
