"""The components in another Pulumi program, which uses several of each under its own names."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.infra.boto3_cloud import Boto3Cloud
from tests.infra.pulumi_program import INFRA, PROVISIONING_PAGE, run_program

PROGRAM = """
import pulumi
from upload_bucket import UploadBucket
from upload_signer import UploadSigner

avatars = UploadBucket("avatars", allowed_origins=["https://app.example.com"], public_prefix="avatars/")
scans = UploadBucket("scans", allowed_origins=["https://app.example.com"], public_read=False, protect=False)
UploadSigner("avatars-signer", bucket_arn=avatars.arn, prefix="avatars/", allow_verification=False)
role_policy = UploadSigner("scans-signer", bucket_arn=scans.arn, prefix="scans/", create_user=False)
pulumi.export("avatars", avatars.bucket)
pulumi.export("policy", role_policy.policy_arn)
"""


def other_program(directory: Path, source: str) -> Path:
    """Write a program with the code ``source`` and copies of the components into ``directory``."""
    for module in ("policies.py", "upload_bucket.py", "upload_signer.py"):
        shutil.copy(INFRA / module, directory)
    (directory / "__main__.py").write_text(source, encoding="utf-8")
    return directory


def test_another_program_can_use_several_of_each_component(tmp_path: Path, moto_cloud: Boto3Cloud) -> None:
    run = run_program(other_program(tmp_path, PROGRAM), moto_cloud)
    assert run.outputs["avatars"].startswith("avatars-bucket-")
    assert run.outputs["policy"].startswith("arn:aws:iam::")
    assert {name for name, resource in run.resources.items() if resource.protect} == {"avatars-bucket"}
    assert {resource.parent for name, resource in run.resources.items() if name.startswith("avatars-signer-")} == {
        "avatars-signer"
    }
    assert '/scans/*"' in run.resources["scans-signer-policy"].inputs["policy"]


def test_the_example_of_the_page_about_provisioning_runs(tmp_path: Path, moto_cloud: Boto3Cloud) -> None:
    page = PROVISIONING_PAGE.read_text(encoding="utf-8")
    example = re.search(r"<!-- example: pulumi -->\n```python\n(.*?)```", page, re.DOTALL)
    assert example
    run = run_program(other_program(tmp_path, example[1]), moto_cloud)
    assert {"avatars-bucket", "avatars-policy", "avatars-signer-policy"} <= set(run.resources)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ('UploadBucket("b", allowed_origins=["https://a.example"], public_prefix="up")', "public_prefix must end with"),
        ('UploadBucket("b", allowed_origins=[])', "at least one origin"),
        ('UploadBucket("b", allowed_origins=["https://a.example"], abort_uploads_after_days=0)', "at least 1"),
        ('UploadSigner("s", bucket_arn="arn:aws:s3:::b", prefix="up")', "prefix must end with a slash"),
        ('UploadSigner("s", bucket_arn="arn:aws:s3:::b", prefix="up/", signature_max_age_minutes=0)', "at least 1"),
        (
            'UploadSigner("s", bucket_arn="arn:aws:s3:::b", prefix="up/", keep_previous_access_key=True)',
            "access_key_generation of at least 2",
        ),
    ],
)
def test_a_component_refuses_arguments_that_make_no_sense(
    tmp_path: Path, moto_cloud: Boto3Cloud, call: str, message: str
) -> None:
    source = f"from upload_bucket import UploadBucket\nfrom upload_signer import UploadSigner\n{call}\n"
    with pytest.raises(ValueError, match=message):
        run_program(other_program(tmp_path, source), moto_cloud)
