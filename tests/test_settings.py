from __future__ import annotations

import os
from datetime import timedelta

import pytest

from demo_server.app import bad_settings, build_presigner
from demo_server.demo import environment_of
from demo_server.settings import BadSettings, Settings, read_settings
from presign import ConfigurationError, Presigner, RuleViolated, UploadPolicy, UploadRequest
from presign.testing import MemoryBackend
from tests.conftest import PNG
from tests.test_content import IPHONE_PHOTO


@pytest.fixture(autouse=True)
def _no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(("AWS_", "AZURE_", "GCS_", "GOOGLE_", "PRESIGN_", "STORAGE_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRESIGN_MAX_BYTES", "5MiB")
    monkeypatch.setenv("PRESIGN_TYPES", "image/png, text/plain,")
    monkeypatch.setenv("PRESIGN_ALLOWED_ORIGINS", "https://a.example,http://localhost:5173")
    monkeypatch.setenv("PRESIGN_CREATE_ONLY", "true")
    monkeypatch.setenv("PRESIGN_EXPIRES_IN", "90")
    monkeypatch.setenv("PRESIGN_BUCKET", "")
    settings = read_settings()
    assert settings.max_bytes == 5 * 1024 * 1024
    assert settings.types == ("image/png", "text/plain")
    assert settings.origins == ("https://a.example", "http://localhost:5173")
    assert settings.create_only
    assert settings.expiry == timedelta(seconds=90)
    assert settings.bucket is None


def test_a_photo_of_an_iphone_may_be_uploaded_and_is_known_by_its_first_bytes() -> None:
    backend = MemoryBackend()
    policy = UploadPolicy(content_types=read_settings().types, max_bytes=1000, prefix="public/")
    presigner = Presigner(backend=backend, policy=policy, secret="the secret of these tests")
    for content, is_photo in ((IPHONE_PHOTO, True), (PNG, False)):
        ticket = presigner.issue(UploadRequest(content_type="image/heic", name="IMG_0001.HEIC"))
        backend.upload(ticket, content)
        if is_photo:
            assert presigner.complete(ticket.token).content_type == "image/heic"
        else:
            with pytest.raises(RuleViolated, match="image/png"):
                presigner.complete(ticket.token)


@pytest.mark.parametrize(("value", "expected"), [(None, "pending/"), ("new/", "new/"), ("", None)])
def test_an_empty_pending_prefix_is_the_straight_way(
    value: str | None, expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if value is not None:
        monkeypatch.setenv("PRESIGN_PENDING_PREFIX", value)
    assert read_settings().pending_prefix == expected


def test_the_verifiers_access_key_has_two_halves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRESIGN_BUCKET", "s3://bucket/public/?region=eu-central-1")
    monkeypatch.setenv("PRESIGN_VERIFIER_ACCESS_KEY_ID", "AKIAVERIFIER")
    with pytest.raises(BadSettings, match="PRESIGN_VERIFIER_SECRET_ACCESS_KEY"):
        read_settings()
    monkeypatch.setenv("PRESIGN_VERIFIER_SECRET_ACCESS_KEY", "the-secret-half")
    settings = read_settings()
    assert settings.verifier_access_key_id == "AKIAVERIFIER"
    assert settings.verifier_secret_access_key is not None
    assert settings.verifier_secret_access_key.get_secret_value() == "the-secret-half"
    assert "the-secret-half" not in repr(settings)


def test_options_win_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRESIGN_PORT", "3001")
    settings = read_settings(["--port", "3002", "--types", "image/png", "--create-only"])
    assert (settings.port, settings.types, settings.create_only) == (3002, ("image/png",), True)


def test_the_demos_other_processes_read_the_same_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRESIGN_CONTENT_DISPOSITION", "")
    options = {
        "bucket": "s3://bucket/public/?region=eu-central-1",
        "secret": "a secret that is long enough",
        "types": "image/png,text/plain",
        "max-bytes": "5MiB",
        "parts-from-bytes": "1MiB",
        "part-bytes": "8MiB",
        "pending-prefix": "",
        "verifier-access-key-id": "AKIAVERIFIER",
        "verifier-secret-access-key": "the verifier's secret",
    }
    given = read_settings([f"--{name}={value}" for name, value in options.items()])
    for name, value in environment_of(given).items():
        monkeypatch.setenv(name, value)
    assert read_settings() == given
    assert (given.pending_prefix, given.content_disposition) == (None, None)


@pytest.mark.parametrize("bucket", ["", "gs://bucket/", "azblob://account/container/"])
def test_a_verifiers_access_key_is_for_s3_alone(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRESIGN_BUCKET", bucket)
    monkeypatch.setenv("PRESIGN_VERIFIER_ACCESS_KEY_ID", "AKIAVERIFIER")
    monkeypatch.setenv("PRESIGN_VERIFIER_SECRET_ACCESS_KEY", "the-secret-half")
    with pytest.raises(BadSettings, match=r"PRESIGN_VERIFIER_ACCESS_KEY_ID .* begins with s3://"):
        read_settings()


@pytest.mark.parametrize(("value", "prefix"), [(None, "pending/"), ("inbox/", "inbox/"), ("", None)])
def test_uploads_wait_under_the_pending_prefix_or_go_straight_to_their_place(
    value: str | None, prefix: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    monkeypatch.setenv("PRESIGN_BUCKET", "s3://bucket/public/?region=eu-central-1")
    monkeypatch.setenv("PRESIGN_SECRET", "a secret that is long enough")
    if value is not None:
        monkeypatch.setenv("PRESIGN_PENDING_PREFIX", value)
    assert build_presigner(read_settings()).policy.pending_prefix == prefix


def test_by_default_the_demos_own_page_may_ask() -> None:
    settings = read_settings()
    assert settings.origins == ("http://localhost:8080",)
    assert settings.api_origin == "http://localhost:3000"


def test_the_help_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        read_settings(["--help"])
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    for name, field in Settings.model_fields.items():
        assert f"--{name.replace('_', '-')}" in shown
        assert field.description


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PRESIGN_PORT", "0"),
        ("PRESIGN_PORT", "http"),
        ("PRESIGN_PORT", "8080"),
        ("PRESIGN_PAGE_PORT", "65536"),
        ("PRESIGN_WORKERS", "0"),
        ("PRESIGN_WORKERS", "many"),
        ("PRESIGN_MAX_BYTES", "big"),
        ("PRESIGN_MIN_BYTES", "-1"),
        ("PRESIGN_PARTS_FROM_BYTES", "large"),
        ("PRESIGN_PART_BYTES", ""),
        ("PRESIGN_EXPIRES_IN", "soon"),
        ("PRESIGN_ALLOWED_ORIGINS", "https://a.example/path"),
        ("PRESIGN_ALLOWED_ORIGINS", "*"),
        ("PRESIGN_ALLOWED_ORIGINS", "a.example"),
        ("PRESIGN_CREATE_ONLY", "perhaps"),
        ("PRESIGN_CONTENT_DISPOSITION", "sideways"),
        ("PRESIGN_STORAGE", "ftp"),
        ("PRESIGN_STORAGE", ""),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused_by_its_name(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(BadSettings, match=variable):
        read_settings()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PRESIGN_TYPES", "text/html"),
        ("PRESIGN_TYPES", "image/*"),
        ("PRESIGN_MAX_BYTES", "0"),
        ("PRESIGN_MIN_BYTES", "2GiB"),
        ("PRESIGN_PARTS_FROM_BYTES", "0"),
        ("PRESIGN_PART_BYTES", "0"),
        ("PRESIGN_EXPIRES_IN", "3601"),
        ("PRESIGN_EXPIRES_IN", "0"),
        ("PRESIGN_SECRET", "short"),
        ("PRESIGN_PENDING_PREFIX", "public/"),
        ("PRESIGN_PENDING_PREFIX", "pending"),
        ("PRESIGN_BUCKET", "gs:/nothing"),
        ("PRESIGN_BUCKET", "gs://bucket/?region=eu"),
        ("PRESIGN_BUCKET", "azblob://account/"),
        ("PRESIGN_BUCKET", "ftp://bucket/"),
        ("PRESIGN_BUCKET", "s3://bucket/prefix?region=eu-central-1"),
        ("PRESIGN_BUCKET", "s3://bucket/?region=eu-central-1&colour=red"),
        ("PRESIGN_BUCKET", "s3://bucket/"),
    ],
)
def test_a_setting_that_the_library_refuses_is_named_as_the_user_named_it(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    monkeypatch.setenv("PRESIGN_BUCKET", "s3://bucket/public/?region=eu-central-1")
    monkeypatch.setenv("PRESIGN_SECRET", "a secret that is long enough")
    monkeypatch.setenv(variable, value)
    with pytest.raises(BadSettings, match=f"^{variable}: "):
        build_presigner(read_settings())


def test_missing_credentials_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRESIGN_BUCKET", "s3://bucket/public/?region=eu-central-1")
    monkeypatch.setenv("PRESIGN_SECRET", "a secret that is long enough")
    with pytest.raises(BadSettings, match="AWS_ACCESS_KEY_ID"):
        build_presigner(read_settings())


@pytest.mark.parametrize(
    ("bucket", "variables", "named"),
    [
        ("azblob://account/uploads/", {"AZURE_STORAGE_CONNECTION_STRING": "x"}, "AZURE_STORAGE_CONNECTION_STRING"),
        ("azblob://account/uploads/", {"AZURE_STORAGE_KEY": "no base64"}, "AZURE_STORAGE_KEY"),
        (
            "azblob://account/uploads/",
            {"AZURE_STORAGE_CONNECTION_STRING": "AccountName=account;AccountKey=no base64"},
            "AZURE_STORAGE_CONNECTION_STRING",
        ),
        ("gs://bucket/", {"GOOGLE_APPLICATION_CREDENTIALS": "/no/such/file.json"}, "GOOGLE_APPLICATION_CREDENTIALS"),
        ("gs://bucket/", {"GCS_HMAC_ACCESS_ID": "GOOG1E"}, "GCS_HMAC_ACCESS_ID"),
    ],
)
def test_credentials_that_make_no_sense_are_named_as_the_user_named_them(
    bucket: str, variables: dict[str, str], named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PRESIGN_BUCKET", bucket)
    monkeypatch.setenv("PRESIGN_SECRET", "a secret that is long enough")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(BadSettings, match=f"^{named}: "):
        build_presigner(read_settings())


def test_an_identity_is_named_by_the_variable_that_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = read_settings(["--bucket", "azblob://account/uploads/"])
    refused = ConfigurationError("refused", field="credential")
    assert str(bad_settings(refused, settings)) == "AZURE_STORAGE_CONNECTION_STRING: refused"
    monkeypatch.setenv("AZURE_CLIENT_ID", "an application")
    assert str(bad_settings(refused, settings)) == "AZURE_CLIENT_ID: refused"


def test_a_wrong_clock_is_blamed_on_no_setting() -> None:
    settings = read_settings(["--bucket", "gs://bucket/"])
    assert str(bad_settings(ConfigurationError("set the clock", field="clock"), settings)) == "set the clock"


def test_a_storage_and_a_bucket_of_another_cloud_are_refused_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRESIGN_BUCKET", "gs://bucket/")
    assert read_settings(["--storage", "gcs"]).storage == "gcs"
    assert read_settings().bucket == "gs://bucket/"
    with pytest.raises(BadSettings, match="PRESIGN_STORAGE is azure, and PRESIGN_BUCKET begins with gs://"):
        read_settings(["--storage", "azure"])


def test_a_misspelt_setting_is_refused_with_the_right_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRESIGN_MAX_BYTE", "5MB")
    with pytest.raises(BadSettings, match="did you mean PRESIGN_MAX_BYTES"):
        read_settings()


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(SystemExit) as caught:
        read_settings(["--colour", "red"])
    assert caught.value.code == 2
