"""Settings that are not text: refused with the setting's name, and without the value, which may be a secret."""

from __future__ import annotations

from typing import Any

import boto3
import pytest

from presign import ConfigurationError
from presign.backends.settings import check_texts
from presign.s3 import S3Backend

SESSION = boto3.Session(aws_access_key_id="AKIAEXAMPLE", aws_secret_access_key="a secret", region_name="eu-central-1")


@pytest.mark.parametrize("value", [5, 1.5, True, b"s3cr3t", ["s3cr3t"], {"s3cr3t": "s3cr3t"}])
def test_a_value_that_is_not_text_is_refused_by_the_settings_name(value: object) -> None:
    with pytest.raises(ConfigurationError, match="region must be text") as caught:
        check_texts({"bucket": "uploads", "endpoint_url": None, "region": value})
    assert (caught.value.field, caught.value.value) == ("region", type(value).__name__)
    assert "s3cr3t" not in str(caught.value.problem())


def test_texts_and_settings_that_are_not_given_pass() -> None:
    check_texts({"bucket": "uploads", "region": "", "endpoint_url": None})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("bucket", 5),
        ("bucket", None),
        ("bucket", b"uploads"),
        ("region", 5),
        ("endpoint_url", 5),
        ("public_endpoint_url", 5),
        ("upload_method", ["post"]),
    ],
)
def test_the_s3_backend_refuses_a_setting_that_is_not_text(name: str, value: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        S3Backend(**{"bucket": "uploads", "session": SESSION, name: value})
    assert caught.value.field == name
