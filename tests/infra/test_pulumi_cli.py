"""The same program through the real engine and AWS provider, on moto's server, where a `pulumi` is installed."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml  # type: ignore[import-untyped]

from tests.infra.pulumi_program import INFRA, ROOT

pytestmark = pytest.mark.skipif(
    shutil.which("pulumi") is None,
    reason="no `pulumi` on PATH: the real engine's preview, up, unchanged up, CORS change and destroy are not shown",
)


@pytest.fixture
def project(tmp_path: Path, moto_url: str) -> Path:
    """A copy of the project whose stack `local` stands on the tests' own server."""
    directory = tmp_path / "project"
    shutil.copytree(INFRA, directory / "infra", ignore=shutil.ignore_patterns(".*", "__pycache__"))
    shutil.copy(ROOT / "Pulumi.yaml", directory)
    # The tests' own packages, instead of downloading them again.
    (directory / "infra" / ".venv").symlink_to(sys.prefix, target_is_directory=True)
    stack = yaml.safe_load((ROOT / "Pulumi.local.yaml").read_text(encoding="utf-8"))
    stack["config"]["aws:endpoints"] = [dict.fromkeys(stack["config"]["aws:endpoints"][0], moto_url)]
    (directory / "Pulumi.local.yaml").write_text(yaml.safe_dump(stack), encoding="utf-8")
    return directory


def changed(summary: Mapping[Any, int] | None) -> dict[str, int]:
    """Answers how many resources each operation touched, by the operation's name, but for those left alone."""
    counts = {str(getattr(operation, "value", operation)): count for operation, count in (summary or {}).items()}
    return {operation: count for operation, count in counts.items() if operation != "same"}


def test_the_real_engine_previews_creates_keeps_updates_and_destroys(
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

    # The stack itself, two components, seven resources of the bucket and three of the signer.
    assert changed(stack.preview().change_summary) == {"create": 13}

    created = stack.up()
    assert changed(created.summary.resource_changes) == {"create": 13}
    outputs = created.outputs
    assert {name for name, output in outputs.items() if output.secret} == {"secretAccessKey", "env"}
    bucket = outputs["bucket"].value
    assert s3.get_bucket_cors(Bucket=bucket)["CORSRules"][0]["AllowedOrigins"] == ["http://localhost:8080"]
    assert f"PRESIGN_BUCKET='{outputs['presignBucket'].value}'" in outputs["env"].value
    deployment = str(stack.export_stack().deployment)
    assert outputs["secretAccessKey"].value not in deployment

    assert changed(stack.up(expect_no_changes=True).summary.resource_changes) == {}

    stack.set_config("presign:allowedOrigins[0]", automation.ConfigValue("https://app.example.com"), path=True)
    assert changed(stack.up().summary.resource_changes) == {"update": 1}
    assert s3.get_bucket_cors(Bucket=bucket)["CORSRules"][0]["AllowedOrigins"] == ["https://app.example.com"]

    assert changed(stack.destroy().summary.resource_changes) == {"delete": 13}
    assert bucket not in {entry["Name"] for entry in s3.list_buckets()["Buckets"]}
