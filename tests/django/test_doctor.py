"""The command ``manage.py presign_doctor``."""

from __future__ import annotations

import json
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from tests.conftest import PAGE_ORIGIN, Store
from tests.django.conftest import Project


def _run(*arguments: str, **options: Any) -> tuple[int, str]:
    output = StringIO()
    try:
        call_command("presign_doctor", *arguments, stdout=output, **options)
    except SystemExit as end:
        return int(end.code or 0), output.getvalue()
    return 0, output.getvalue()


def test_the_command_examines_each_alias_and_ends_with_the_worst_exit_code(
    project: Project, s3_reference: Store
) -> None:
    project(public_read=True)
    code, output = _run("photos", "--origin", PAGE_ORIGIN, "--json")
    report = json.loads(output)
    assert (code, report["exit_code"], report["storage"]) == (1, 1, f"s3://{s3_reference.bucket}")
    # The key of this store may do everything.
    warned = {finding["code"] for finding in report["findings"] if finding["severity"] == "warning"}
    assert warned == {"signer-writes-elsewhere", "signer-deletes-elsewhere"}
    assert not [finding for finding in report["findings"] if finding["severity"] == "failure"]
    code, text = _run("--origin", "https://other.example.com")
    assert code == 2
    assert "FAILURE          cors-preflight: the storage answers 403" in text
    listed = s3_reference.admin.list_objects_v2(Bucket=s3_reference.bucket).get("Contents", [])
    assert not [entry["Key"] for entry in listed if ".presign-doctor" in entry["Key"]]


def test_an_unknown_alias_is_named(project: Project) -> None:
    with pytest.raises(CommandError, match="the setting PRESIGN has no videos") as caught:
        _run("videos")
    assert caught.value.returncode == 2
