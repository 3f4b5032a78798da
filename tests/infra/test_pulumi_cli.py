"""The program on the real engine with the real AWS provider, on moto's server, if `pulumi` is installed."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml  # type: ignore[import-untyped]

from tests.infra.pulumi_program import ROOT, copy_program, read_config

pytestmark = pytest.mark.skipif(
    shutil.which("pulumi") is None,
    reason="`pulumi` is not on PATH: preview, up, an update and destroy on the real engine are not tested",
)


@pytest.fixture
def project(tmp_path: Path, moto_url: str) -> Path:
    """A copy of the project whose stack ``local`` uses the tests' own server."""
    directory = tmp_path / "project"
    program = copy_program(directory)
    shutil.copy(ROOT / "Pulumi.yaml", directory)
    # The program uses the packages of the tests, so nothing is downloaded.
    (program / ".venv").symlink_to(sys.prefix, target_is_directory=True)
    config = read_config("Pulumi.local.yaml")
    config["aws:endpoints"] = [dict.fromkeys(config["aws:endpoints"][0], moto_url)]
    (directory / "Pulumi.local.yaml").write_text(yaml.safe_dump({"config": config}), encoding="utf-8")
    return directory


def count_changes(summary: Mapping[Any, int] | None) -> dict[str, int]:
    """Return how many resources each operation changed, by the name of the operation."""
    counts = {str(getattr(operation, "value", operation)): count for operation, count in (summary or {}).items()}
    return {operation: count for operation, count in counts.items() if operation != "same"}


def test_the_real_engine_previews_creates_updates_and_destroys_the_stack(
    project: Path, tmp_path: Path, moto_url: str
) -> None:
    from pulumi import automation

    state = tmp_path / "state"
    state.mkdir()
    environment = {"PULUMI_BACKEND_URL": state.as_uri(), "PULUMI_CONFIG_PASSPHRASE": "rehearsal"}
    stack = automation.create_stack(
        "local", work_dir=str(project), opts=automation.LocalWorkspaceOptions(env_vars=environment)
    )
    s3 = boto3.client(
        "s3", endpoint_url=moto_url, region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
    )

    # The stack itself, two components, seven resources for the bucket and three for the signer.
    assert count_changes(stack.preview().change_summary) == {"create": 13}

    created = stack.up()
    assert count_changes(created.summary.resource_changes) == {"create": 13}
    outputs = created.outputs
    assert {name for name, output in outputs.items() if output.secret} == {"secretAccessKey", "env"}
    bucket = outputs["bucket"].value
    assert s3.get_bucket_cors(Bucket=bucket)["CORSRules"][0]["AllowedOrigins"] == ["http://localhost:8080"]
    assert f"PRESIGN_BUCKET='{outputs['presignBucket'].value}'" in outputs["env"].value
    deployment = str(stack.export_stack().deployment)
    assert outputs["secretAccessKey"].value not in deployment

    assert count_changes(stack.up(expect_no_changes=True).summary.resource_changes) == {}

    stack.set_config("presign:allowedOrigins[0]", automation.ConfigValue("https://app.example.com"), path=True)
    assert count_changes(stack.up().summary.resource_changes) == {"update": 1}
    assert s3.get_bucket_cors(Bucket=bucket)["CORSRules"][0]["AllowedOrigins"] == ["https://app.example.com"]

    assert count_changes(stack.destroy().summary.resource_changes) == {"delete": 13}
    assert bucket not in {entry["Name"] for entry in s3.list_buckets()["Buckets"]}
