"""The AWS program on the real engine: what a preview shows, what `up` changes, and what is left when it fails."""

from __future__ import annotations

from collections.abc import Callable

from tests.infra.boto3_cloud import Boto3Cloud
from tests.infra.engine.stacks import EngineStack

MakeStack = Callable[..., EngineStack]


def test_a_stack_is_created_once_and_changed_and_destroyed(aws_stack: MakeStack, moto_cloud: Boto3Cloud) -> None:
    stack = aws_stack(protect=False)
    # The stack itself, two components, seven resources for the bucket and three for the signer.
    assert stack.preview()[0] == {"create": 13}
    assert stack.up() == {"create": 13}
    bucket = stack.outputs()["bucket"]
    assert bucket.startswith("uploads-bucket-")
    assert stack.up() == {}

    stack.configure({"presign:allowedOrigins": ["https://app.example.com"]})
    assert stack.up() == {"update": 1}
    rules = moto_cloud.s3.get_bucket_cors(Bucket=bucket)["CORSRules"]
    assert [rule["AllowedOrigins"] for rule in rules] == [["https://app.example.com"]]

    assert stack.destroy() == {"delete": 13}
    assert bucket not in {entry["Name"] for entry in moto_cloud.s3.list_buckets()["Buckets"]}
    assert not moto_cloud.iam.list_users()["Users"]


def test_secrets_are_marked_and_encrypted_in_every_file_of_the_state(aws_stack: MakeStack) -> None:
    stack = aws_stack(separateVerifier=True)
    stack.up()
    assert stack.secret_outputs() == {"secretAccessKey", "verifierSecretAccessKey", "env"}
    outputs, state = stack.outputs(), stack.state_text()
    assert outputs["accessKeyId"] in state
    for secret in ("secretAccessKey", "verifierSecretAccessKey"):
        assert outputs[secret] in outputs["env"]
        assert outputs[secret] not in state


def test_what_somebody_changed_by_hand_is_found_and_put_back(aws_stack: MakeStack, moto_cloud: Boto3Cloud) -> None:
    stack = aws_stack()
    stack.up()
    bucket = stack.outputs()["bucket"]
    assert stack.refresh() == {}
    moto_cloud.s3.put_public_access_block(
        Bucket=bucket,
        PublicAccessBlockConfiguration={
            "BlockPublicAcls": False,
            "IgnorePublicAcls": False,
            "BlockPublicPolicy": False,
            "RestrictPublicBuckets": False,
        },
    )
    moto_cloud.s3.delete_bucket_lifecycle(Bucket=bucket)

    assert stack.refresh() == {"update": 1, "delete": 1}
    assert stack.up() == {"update": 1, "create": 1}
    block = moto_cloud.s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
    assert block["BlockPublicAcls"]
    assert len(moto_cloud.s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]) == 2
    assert stack.refresh() == {}
    assert stack.up() == {}
