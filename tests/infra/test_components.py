"""The components in another Pulumi program, which uses several of each under its own names."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.infra.boto3_cloud import Boto3Cloud
from tests.infra.pulumi_program import INFRA, PROVISIONING_PAGE, ROOT, run_program

PROGRAM = """
import pulumi
from presign_infra.aws import UploadBucket, UploadSigner

avatars = UploadBucket("avatars", allowed_origins=["https://app.example.com"], public_prefix="avatars/")
scans = UploadBucket("scans", allowed_origins=["https://app.example.com"], public_read=False, protect=False)
UploadSigner("avatars-signer", bucket_arn=avatars.arn, prefix="avatars/", allow_verification=False)
role_policy = UploadSigner(
    "scans-signer", bucket_arn=scans.arn, prefix="scans/", create_user=False, separate_verifier=True
)
users = UploadSigner("users", bucket_arn=scans.arn, prefix="scans/", pending_prefix="new/", separate_verifier=True)
pulumi.export("avatars", avatars.bucket)
pulumi.export("policy", role_policy.policy_arn)
pulumi.export("verifierPolicy", role_policy.verifier_policy_arn)
pulumi.export("keys", [users.access_key_id, users.verifier_access_key_id])
pulumi.export("nothing", [role_policy.verifier_access_key_id, users.policy_arn, users.verifier_policy_arn])
"""


def other_program(directory: Path, source: str) -> Path:
    """Write a program with the code ``source`` into ``directory``, beside the package of the components."""
    shutil.copytree(INFRA / "presign_infra", directory / "presign_infra")
    (directory / "__main__.py").write_text(source, encoding="utf-8")
    return directory


def test_another_program_can_use_several_of_each_component(tmp_path: Path, moto_cloud: Boto3Cloud) -> None:
    run = run_program(other_program(tmp_path, PROGRAM), moto_cloud)
    assert run.outputs["avatars"].startswith("avatars-bucket-")
    assert run.outputs["policy"].startswith("arn:aws:iam::")
    protected = {name for name, resource in run.resources.items() if resource.protect}
    assert protected == {name for name, resource in run.resources.items() if resource.parent == "avatars"}
    assert {resource.parent for name, resource in run.resources.items() if name.startswith("avatars-signer-")} == {
        "avatars-signer"
    }
    assert '/pending/*"' in run.resources["scans-signer-policy"].inputs["policy"]
    assert '/scans/*"' in run.resources["scans-signer-verifier-policy"].inputs["policy"]
    assert '/scans/*"' not in run.resources["scans-signer-policy"].inputs["policy"]
    assert run.outputs["verifierPolicy"].startswith("arn:aws:iam::")
    assert run.outputs["verifierPolicy"] != run.outputs["policy"]
    assert len(set(run.outputs["keys"])) == 2
    assert run.outputs["nothing"] == [None, None, None]
    assert {name for name, resource in run.resources.items() if resource.parent == "users"} == {
        "users-user",
        "users-policy",
        "users-access-key-odd",
        "users-verifier-user",
        "users-verifier-policy",
        "users-verifier-access-key-odd",
    }
    rules = moto_cloud.s3.get_bucket_lifecycle_configuration(Bucket=run.outputs["avatars"])["Rules"]
    assert [rule["Filter"]["Prefix"] for rule in rules] == ["", "pending/", ""]


def test_the_example_that_the_page_about_provisioning_shows_runs(tmp_path: Path, moto_cloud: Boto3Cloud) -> None:
    source = (ROOT / "examples" / "pulumi_aws" / "__main__.py").read_text(encoding="utf-8")
    page = PROVISIONING_PAGE.read_text(encoding="utf-8")
    shown = re.search(r"<!-- example: pulumi -->\n```python\n(.*?)```", page, re.DOTALL)
    assert shown
    assert source.endswith(f'"""\n\n{shown[1]}')
    program = tmp_path / "program"
    program.mkdir()
    (program / "__main__.py").write_text(source, encoding="utf-8")
    # The package as pip would install it, and not the folder that it is built from.
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)],
        cwd=INFRA,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("presign_infra-*.whl")
    with ZipFile(wheel) as archive:
        archive.extractall(program)
    assert (program / "presign_infra" / "py.typed").exists()
    run = run_program(program, moto_cloud)
    assert {"avatars-bucket", "avatars-policy", "avatars-signer-policy"} <= set(run.resources)
    assert (
        run.outputs["signerPolicy"] == moto_cloud.iam.get_policy(PolicyArn=run.outputs["signerPolicy"])["Policy"]["Arn"]
    )


def test_the_example_with_users_makes_them_before_the_bucket(tmp_path: Path, moto_cloud: Boto3Cloud) -> None:
    page = PROVISIONING_PAGE.read_text(encoding="utf-8")
    shown = re.search(r"<!-- example: users -->\n```python\n(.*?)```", page, re.DOTALL)
    assert shown
    run = run_program(other_program(tmp_path, shown[1]), moto_cloud)
    assert run.resources["scans-bucket"].dependencies == {"scans-signer-user", "scans-signer-access-key-odd"}
    assert '/scans/*"' in run.resources["scans-signer-policy"].inputs["policy"]


def test_a_signer_is_for_one_bucket(tmp_path: Path, moto_cloud: Boto3Cloud) -> None:
    source = """
from presign_infra.aws import UploadSigner
signer = UploadSigner("s", bucket_arn="arn:aws:s3:::a", prefix="up/")
signer.allow("arn:aws:s3:::b")
"""
    with pytest.raises(RuntimeError, match="make another UploadSigner for another bucket"):
        run_program(other_program(tmp_path, source), moto_cloud)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ('UploadBucket("b", allowed_origins=["https://a.example"], public_prefix="up")', "public_prefix must end with"),
        ('UploadBucket("b", allowed_origins=[])', "at least one origin"),
        (
            'UploadBucket("b", allowed_origins=["https://a.example"], kms_key_arn="arn:aws:kms:eu-central-1:1:key/a")',
            "kms_key_arn needs public_read=False or cloudfront=True",
        ),
        (
            'UploadBucket("b", allowed_origins=["https://a.example"], cloudfront=True, public_read=False)',
            "cloudfront needs public_read=True",
        ),
        (
            'UploadBucket("b", allowed_origins=["https://a.example"], existing_bucket_settings=["cors"])',
            "existing_bucket_settings needs existing_bucket",
        ),
        (
            'UploadBucket("b", allowed_origins=["https://a.example"], existing_bucket="c", '
            'existing_bucket_settings=["x"])',
            "existing_bucket_settings must be some of ownership",
        ),
        (
            'UploadBucket("b", allowed_origins=["https://a.example"], existing_bucket="c", force_destroy=True)',
            "existing_bucket excludes bucket_name and force_destroy",
        ),
        ('UploadBucket("b", allowed_origins=["https://a.example"], abort_uploads_after_days=0)', "at least 1"),
        (
            'UploadBucket("b", allowed_origins=["https://a.example"], pending_prefix="public/new/")',
            "pending_prefix and public_prefix must not overlap",
        ),
        (
            'UploadBucket("b", allowed_origins=["https://a.example"], expire_pending_after_days=0)',
            "expire_pending_after_days must be at least 1",
        ),
        ('UploadSigner("s", bucket_arn="arn:aws:s3:::b", prefix="up")', "prefix must end with a slash"),
        (
            'UploadSigner("s", bucket_arn="arn:aws:s3:::b", prefix="up/", pending_prefix="up/new/")',
            "pending_prefix and prefix must not overlap",
        ),
        (
            'UploadSigner("s", bucket_arn="arn:aws:s3:::b", prefix="up/", pending_prefix="p" * 250 + "/")',
            "prefix and pending_prefix must be shorter",
        ),
        (
            'UploadSigner("s", bucket_arn="arn:aws:s3:::b", prefix="up/", separate_verifier=True, '
            "allow_verification=False)",
            "separate_verifier needs allow_verification=True",
        ),
        (
            'UploadSigner("s", bucket_arn="arn:aws:s3:::b", prefix="up/", pending_prefix=None, publish_in_parts=True)',
            "publish_in_parts needs a pending_prefix",
        ),
        ('UploadSigner("s", bucket_arn="arn:aws:s3:::b", prefix="up/", signature_max_age_minutes=0)', "at least 1"),
        (
            'UploadSigner("s", bucket_arn="arn:aws:s3:::b", prefix="up/", role_trust={})',
            "role_trust needs create_user=False",
        ),
        (
            'UploadSigner("s", bucket_arn="arn:aws:s3:::b", prefix="up/", create_user=False, instance_profiles=True)',
            "verifier_role_trust and instance_profiles need role_trust",
        ),
        (
            'UploadSigner("s", bucket_arn="arn:aws:s3:::b", prefix="up/", create_user=False, role_trust={}, '
            "verifier_role_trust={})",
            "verifier_role_trust needs separate_verifier=True",
        ),
        (
            'UploadSigner("s", bucket_arn="arn:aws:s3:::b", prefix="up/", roles=["app"])',
            "roles and verifier_roles need create_user=False",
        ),
        (
            'UploadSigner("s", bucket_arn="arn:aws:s3:::b", prefix="up/", create_user=False, verifier_roles=["app"])',
            "verifier_roles need separate_verifier=True",
        ),
        (
            'UploadSigner("s", bucket_arn="arn:aws:s3:::b", prefix="up/", create_user=False, separate_verifier=True, '
            'roles=["app"], verifier_roles=["app"])',
            "roles and verifier_roles must have no role in common",
        ),
        (
            'UploadSigner("s", bucket_arn="arn:aws:s3:::b", prefix="up/", keep_previous_access_key=True)',
            "access_key_generation of at least 2",
        ),
    ],
)
def test_a_component_refuses_arguments_that_make_no_sense(
    tmp_path: Path, moto_cloud: Boto3Cloud, call: str, message: str
) -> None:
    source = f"from presign_infra.aws import UploadBucket, UploadSigner\n{call}\n"
    with pytest.raises(ValueError, match=message):
        run_program(other_program(tmp_path, source), moto_cloud)
