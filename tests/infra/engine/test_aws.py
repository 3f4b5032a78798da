"""The AWS program on the real engine: what a preview shows, what `up` changes, and what is left when it fails."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Sequence
from typing import Any
from uuid import uuid4

import pytest
from pulumi import automation

from tests.infra.boto3_cloud import Boto3Cloud
from tests.infra.engine.stacks import EngineStack

MakeStack = Callable[..., EngineStack]


@pytest.fixture
def roles(moto_cloud: Boto3Cloud) -> list[str]:
    """Two roles of applications, which belong to no stack."""
    names = [f"application-{uuid4().hex[:7]}" for _ in range(2)]
    for name in names:
        moto_cloud.iam.create_role(RoleName=name, AssumeRolePolicyDocument="{}")
    return names


def test_a_stack_is_created_once_and_changed_and_destroyed(aws_stack: MakeStack, moto_cloud: Boto3Cloud) -> None:
    stack = aws_stack(protect=False)
    # The stack itself, two components, seven resources for the bucket and three for the signer.
    assert stack.preview()[0] == {"create": 13}
    assert stack.up() == {"create": 13}
    bucket = stack.outputs["bucket"]
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
    assert stack.secret_outputs == {"secretAccessKey", "verifierSecretAccessKey", "env"}
    outputs, state = stack.outputs, stack.state_text()
    assert outputs["accessKeyId"] in state
    for secret in ("secretAccessKey", "verifierSecretAccessKey"):
        assert outputs[secret] in outputs["env"]
        assert outputs[secret] not in state


def test_what_somebody_changed_by_hand_is_found_and_put_back(aws_stack: MakeStack, moto_cloud: Boto3Cloud) -> None:
    stack = aws_stack()
    stack.up()
    bucket = stack.outputs["bucket"]
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
    assert len(moto_cloud.s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]) == 3
    assert stack.refresh() == {}
    assert stack.up() == {}


@pytest.mark.thorough
def test_the_first_preview_shows_both_policies(aws_stack: MakeStack) -> None:
    stack = aws_stack()
    _, text = stack.preview()
    for statement in ("PublicReadUnderPrefix", "DenyPlainHttp", "UploadToPending", "PublishFromPending"):
        assert statement in text
    assert re.search(r"arn:aws:s3:::uploads-bucket-[0-9a-f]{7}/public/\*", text)
    assert not re.search(r"policy +: (\[unknown\]|output<string>)", text)


def test_an_access_key_is_replaced_while_the_previous_one_stays_valid(
    aws_stack: MakeStack, moto_cloud: Boto3Cloud
) -> None:
    stack = aws_stack()
    stack.up()
    first = stack.outputs["accessKeyId"]

    stack.configure({"presign:accessKeyGeneration": 2, "presign:keepPreviousAccessKey": True})
    assert stack.up() == {"create": 1}
    second = stack.outputs["accessKeyId"]
    assert access_keys(moto_cloud) == {first, second}

    stack.configure({"presign:keepPreviousAccessKey": False})
    assert stack.up() == {"delete": 1}
    assert access_keys(moto_cloud) == {second} == {stack.outputs["accessKeyId"]}
    assert stack.outputs["secretAccessKey"] in stack.outputs["env"]


@pytest.mark.thorough
def test_an_access_key_whose_name_had_its_number_stays(aws_stack: MakeStack, moto_cloud: Boto3Cloud) -> None:
    """Stacks from before the two slots have keys such as uploads-signer-access-key-1."""
    stack = aws_stack()
    signer = stack.program / "presign_infra" / "aws" / "signer.py"
    source = signer.read_text(encoding="utf-8")
    earlier = source
    for new, old in (
        ('f"{name}-access-key-{slot}"', 'f"{name}-access-key-{generation}"'),
        ("                replacement_trigger=generation,\n", ""),
        ('                aliases=[pulumi.Alias(name=f"{name}-access-key-{generation}")],\n', ""),
    ):
        assert earlier.count(new) == 1
        earlier = earlier.replace(new, old)
    signer.write_text(earlier, encoding="utf-8")
    stack.up()
    key = stack.outputs["accessKeyId"]

    signer.write_text(source, encoding="utf-8")
    assert stack.up() == {}
    assert access_keys(moto_cloud) == {key} == {stack.outputs["accessKeyId"]}
    stack.configure({"presign:accessKeyGeneration": 3})
    assert stack.up() == {"replace": 1}
    assert access_keys(moto_cloud) == {stack.outputs["accessKeyId"]} != {key}


@pytest.mark.thorough
def test_a_leaked_access_key_is_withdrawn_at_once(aws_stack: MakeStack, moto_cloud: Boto3Cloud) -> None:
    stack = aws_stack()
    stack.up()
    leaked = stack.outputs["accessKeyId"]
    stack.configure({"presign:accessKeyGeneration": 2})
    stack.up()
    assert access_keys(moto_cloud) == {stack.outputs["accessKeyId"]}
    assert leaked not in access_keys(moto_cloud)


@pytest.mark.thorough
@pytest.mark.parametrize("keep", [False, True])
def test_a_rotation_in_which_the_new_access_key_leaks_can_go_on_or_back(
    aws_stack: MakeStack, moto_cloud: Boto3Cloud, keep: bool
) -> None:
    stack = aws_stack()
    stack.up()
    first = stack.outputs["accessKeyId"]
    stack.configure({"presign:accessKeyGeneration": 2, "presign:keepPreviousAccessKey": True})
    stack.up()
    leaked = stack.outputs["accessKeyId"]

    # AWS allows two keys, so one of them must go before the next one comes.
    stack.configure({"presign:accessKeyGeneration": 1 if keep else 3, "presign:keepPreviousAccessKey": False})
    stack.up()
    assert access_keys(moto_cloud) == {stack.outputs["accessKeyId"]}
    assert leaked not in access_keys(moto_cloud)
    assert (first in access_keys(moto_cloud)) is keep

    stack.configure({"presign:accessKeyGeneration": 4, "presign:keepPreviousAccessKey": True})
    stack.up()
    assert len(access_keys(moto_cloud)) == 2


@pytest.mark.thorough
def test_another_prefix_changes_the_policies_in_place(aws_stack: MakeStack, moto_cloud: Boto3Cloud) -> None:
    stack = aws_stack()
    stack.up()
    bucket, key = stack.outputs["bucket"], stack.outputs["accessKeyId"]
    stack.configure({"presign:publicPrefix": "media/"})
    # The policies of the bucket and of the user.
    assert stack.up() == {"update": 2}
    assert stack.outputs["bucket"] == bucket
    assert stack.outputs["accessKeyId"] == key
    policy = moto_cloud.s3.get_bucket_policy(Bucket=bucket)["Policy"]
    assert f"{bucket}/media/*" in policy
    assert f"{bucket}/public/*" not in policy


@pytest.mark.thorough
def test_a_role_keeps_its_policy_when_a_prefix_changes(
    aws_stack: MakeStack, moto_cloud: Boto3Cloud, roles: Sequence[str]
) -> None:
    stack = aws_stack(createUser=False, separateVerifier=True, signerRoles=[roles[0]], verifierRoles=[roles[1]])
    stack.up()
    outputs = stack.outputs
    assert attached_policies(moto_cloud, roles[0]) == {outputs["policyArn"]}
    assert attached_policies(moto_cloud, roles[1]) == {outputs["verifierPolicyArn"]}
    assert not moto_cloud.iam.list_users()["Users"]
    assert "accessKeyId" not in outputs

    stack.configure({"presign:publicPrefix": "media/", "presign:pendingPrefix": "new/"})
    counts = stack.up()
    assert set(counts) == {"update"}
    assert stack.outputs["policyArn"] == outputs["policyArn"]
    assert attached_policies(moto_cloud, roles[0]) == {outputs["policyArn"]}
    version = moto_cloud.iam.get_policy(PolicyArn=outputs["policyArn"])["Policy"]["DefaultVersionId"]
    document = moto_cloud.iam.get_policy_version(PolicyArn=outputs["policyArn"], VersionId=version)["PolicyVersion"]
    assert "/new/*" in json.dumps(document["Document"])


@pytest.mark.thorough
def test_a_policy_whose_description_was_another_one_is_not_replaced(
    aws_stack: MakeStack, moto_cloud: Boto3Cloud, roles: Sequence[str]
) -> None:
    stack = aws_stack(createUser=False, signerRoles=[roles[0]])
    signer = stack.program / "presign_infra" / "aws" / "signer.py"
    source = signer.read_text(encoding="utf-8")
    assert source.count("Signs uploads to one bucket.") == 1
    signer.write_text(source.replace("Signs uploads to one bucket.", "Sign uploads under pending/ of one bucket."))
    stack.up()
    arn = stack.outputs["policyArn"]
    signer.write_text(source, encoding="utf-8")
    assert stack.up() == {}
    assert attached_policies(moto_cloud, roles[0]) == {arn}


@pytest.mark.thorough
def test_a_stack_with_roles_of_its_own_is_created_and_destroyed(aws_stack: MakeStack, moto_cloud: Boto3Cloud) -> None:
    stack = aws_stack(createUser=False, separateVerifier=True, roleTrust="ec2", protect=False)
    stack.up()
    assert stack.up() == {}
    assert stack.refresh() == {}
    names = [stack.outputs[output].rpartition("/")[2] for output in ("roleArn", "verifierRoleArn")]
    policies = [stack.outputs[output] for output in ("policyArn", "verifierPolicyArn")]
    assert [attached_policies(moto_cloud, name) for name in names] == [{policy} for policy in policies]
    stack.destroy()
    assert not moto_cloud.iam.list_roles()["Roles"]
    assert not moto_cloud.iam.list_instance_profiles()["InstanceProfiles"]


@pytest.mark.thorough
def test_one_role_fewer_detaches_no_other_one(
    aws_stack: MakeStack, moto_cloud: Boto3Cloud, roles: Sequence[str]
) -> None:
    stack = aws_stack(createUser=False, signerRoles=list(roles))
    stack.up()
    stack.configure({"presign:signerRoles": [roles[1]]})
    assert stack.up() == {"delete": 1}
    assert [len(attached_policies(moto_cloud, role)) for role in roles] == [0, 1]


@pytest.mark.thorough
def test_a_private_stack_becomes_public_and_private_again(aws_stack: MakeStack, moto_cloud: Boto3Cloud) -> None:
    stack = aws_stack(publicRead=False)
    stack.up()
    bucket = stack.outputs["bucket"]
    for public in (True, False):
        stack.configure({"presign:publicRead": public})
        assert stack.up() == {"update": 2}
        block = moto_cloud.s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
        assert block["RestrictPublicBuckets"] is not public
        assert ("PublicReadUnderPrefix" in moto_cloud.s3.get_bucket_policy(Bucket=bucket)["Policy"]) is public
    assert "PRESIGN_PUBLIC_READ=false" in stack.outputs["env"]


@pytest.mark.thorough
def test_versioning_is_turned_on_and_suspended_again(aws_stack: MakeStack, moto_cloud: Boto3Cloud) -> None:
    stack = aws_stack(versioning=True)
    stack.up()
    bucket = stack.outputs["bucket"]
    assert moto_cloud.s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
    assert stack.refresh() == {}
    stack.configure({"presign:versioning": False})
    assert stack.up() == {"delete": 1}
    assert moto_cloud.s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Suspended"
    assert len(moto_cloud.s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]) == 3


@pytest.mark.thorough
def test_records_of_requests_are_turned_on_and_off(aws_stack: MakeStack, moto_cloud: Boto3Cloud) -> None:
    moto_cloud.s3.create_bucket(Bucket="logs", CreateBucketConfiguration={"LocationConstraint": moto_cloud.region})
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "logging.s3.amazonaws.com"},
        "Action": ["s3:PutObject"],
        "Resource": "arn:aws:s3:::logs/uploads/*",
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    moto_cloud.s3.put_bucket_policy(Bucket="logs", Policy=policy)
    stack = aws_stack(logBucket="logs")
    stack.up()
    assert stack.refresh() == {}
    logging = moto_cloud.s3.get_bucket_logging(Bucket=stack.outputs["bucket"])["LoggingEnabled"]
    assert (logging["TargetBucket"], logging["TargetPrefix"]) == ("logs", "uploads/")
    stack.configure({"presign:logBucket": None})
    assert stack.up() == {"delete": 1}
    assert "LoggingEnabled" not in moto_cloud.s3.get_bucket_logging(Bucket=stack.outputs["bucket"])


def test_a_protected_stack_loses_nothing_when_somebody_destroys_it_without_a_preview(
    aws_stack: MakeStack, moto_cloud: Boto3Cloud
) -> None:
    stack = aws_stack()
    stack.up()
    before, key = protections(moto_cloud, stack.outputs["bucket"]), stack.outputs["accessKeyId"]
    with pytest.raises(automation.CommandError, match="protect"):
        stack.destroy()
    assert protections(moto_cloud, stack.outputs["bucket"]) == before
    assert access_keys(moto_cloud) == {key}
    assert user_policies(moto_cloud)
    assert stack.up() == {}
    assert access_keys(moto_cloud) == {key} == {stack.outputs["accessKeyId"]}


@pytest.mark.thorough
def test_a_protected_stack_only_detaches_its_policy_from_the_roles_of_others(
    aws_stack: MakeStack, moto_cloud: Boto3Cloud, roles: Sequence[str]
) -> None:
    stack = aws_stack(createUser=False, signerRoles=[roles[0]], roleTrust="ecs")
    stack.up()
    own_role, policy = stack.outputs["roleArn"].rpartition("/")[2], stack.outputs["policyArn"]
    with pytest.raises(automation.CommandError, match="protect"):
        stack.destroy()
    assert attached_policies(moto_cloud, roles[0]) == set()
    assert attached_policies(moto_cloud, own_role) == {policy}
    stack.up()
    assert attached_policies(moto_cloud, roles[0]) == {policy}


@pytest.mark.thorough
def test_a_bucket_with_objects_keeps_its_protections_when_it_cannot_be_destroyed(
    aws_stack: MakeStack, moto_cloud: Boto3Cloud
) -> None:
    stack = aws_stack(protect=False)
    stack.up()
    bucket = stack.outputs["bucket"]
    put_object(moto_cloud, bucket)
    before = protections(moto_cloud, bucket)
    with pytest.raises(automation.CommandError, match="BucketNotEmpty"):
        stack.destroy()
    assert protections(moto_cloud, bucket) == before

    # The next `up` knows the bucket again with all its settings.
    stack.up()
    assert stack.up() == {}
    assert protections(moto_cloud, bucket) == before
    stack.configure({"presign:forceDestroy": True})
    stack.up()
    stack.destroy()
    assert bucket not in {entry["Name"] for entry in moto_cloud.s3.list_buckets()["Buckets"]}


@pytest.mark.parametrize("two_identities", [False, pytest.param(True, marks=pytest.mark.thorough)])
def test_access_keys_work_on_if_the_bucket_cannot_be_destroyed(
    aws_stack: MakeStack, moto_cloud: Boto3Cloud, two_identities: bool
) -> None:
    stack = aws_stack(protect=False, separateVerifier=two_identities)
    stack.up()
    bucket, outputs = stack.outputs["bucket"], stack.outputs
    put_object(moto_cloud, bucket)
    keys, policies = access_keys(moto_cloud), user_policies(moto_cloud)
    assert len(keys) == len(policies) == (2 if two_identities else 1)
    with pytest.raises(automation.CommandError, match="BucketNotEmpty"):
        stack.destroy()
    assert access_keys(moto_cloud) == keys
    assert user_policies(moto_cloud) == policies

    # Pulumi forgot the policies of the bucket and of the users. It puts them again, with the same names.
    stack.up()
    assert stack.outputs == outputs
    assert access_keys(moto_cloud) == keys
    assert user_policies(moto_cloud) == policies
    assert stack.up() == {}

    with pytest.raises(automation.CommandError, match="BucketNotEmpty"):
        stack.destroy()
    empty(moto_cloud, bucket)
    stack.destroy()
    assert not moto_cloud.iam.list_users()["Users"]
    assert bucket not in {entry["Name"] for entry in moto_cloud.s3.list_buckets()["Buckets"]}


@pytest.mark.thorough
def test_a_role_of_the_stacks_own_outlives_a_bucket_that_cannot_be_destroyed(
    aws_stack: MakeStack, moto_cloud: Boto3Cloud
) -> None:
    stack = aws_stack(protect=False, createUser=False, roleTrust="ec2")
    stack.up()
    outputs, role = stack.outputs, stack.outputs["roleArn"].rpartition("/")[2]
    put_object(moto_cloud, outputs["bucket"])
    with pytest.raises(automation.CommandError, match="BucketNotEmpty"):
        stack.destroy()
    assert [each["RoleName"] for each in moto_cloud.iam.list_roles()["Roles"]] == [role]

    # A managed policy cannot go with a role, so it went before the bucket.
    assert attached_policies(moto_cloud, role) == set()
    stack.up()
    for name in ("roleArn", "instanceProfile"):
        assert stack.outputs[name] == outputs[name]
    assert attached_policies(moto_cloud, role) == {stack.outputs["policyArn"]}


@pytest.mark.thorough
def test_a_stack_of_an_earlier_version_changes_nothing_and_its_access_key_then_outlives_the_bucket(
    aws_stack: MakeStack, moto_cloud: Boto3Cloud
) -> None:
    stack = aws_stack(protect=False)
    changes = {
        "bucket.py": [("depends_on=deleted_before", "depends_on=[]")],
        "signer.py": [
            ('            name=f"{name}-policy",\n', ""),
            ("                deleted_with=user,\n                # In stacks", "                # In stacks"),
            ('                ignore_changes=["name"],\n', ""),
        ],
    }
    sources = {}
    for file, replacements in changes.items():
        path = stack.program / "presign_infra" / "aws" / file
        earlier = sources[path] = path.read_text(encoding="utf-8")
        for new, old in replacements:
            assert earlier.count(new) == 1, new
            earlier = earlier.replace(new, old)
        path.write_text(earlier, encoding="utf-8")
    stack.up()
    keys, policies = access_keys(moto_cloud), user_policies(moto_cloud)
    assert re.fullmatch(r"uploads-signer-policy-[0-9a-f]{7}", next(iter(policies)))

    for path, source in sources.items():
        path.write_text(source, encoding="utf-8")
    assert stack.preview()[0] == {}
    assert stack.up() == {}
    put_object(moto_cloud, stack.outputs["bucket"])
    with pytest.raises(automation.CommandError, match="BucketNotEmpty"):
        stack.destroy()
    assert access_keys(moto_cloud) == keys
    assert user_policies(moto_cloud) == policies


@pytest.mark.thorough
def test_an_existing_bucket_and_its_settings_outlive_the_stack(aws_stack: MakeStack, moto_cloud: Boto3Cloud) -> None:
    bucket = "media-of-somebody"
    moto_cloud.s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": moto_cloud.region})
    moto_cloud.s3.put_object(Bucket=bucket, Key="public/cat.png", Body=b"cat")
    made = ["ownership", "accessBlock", "policy", "encryption", "cors", "lifecycle"]
    stack = aws_stack(existingBucket=bucket, existingBucketSettings=made, protect=False)
    # The stack itself, two components, six settings of the bucket and three resources for the signer.
    assert stack.up() == {"create": 12}
    assert stack.up() == {}
    before = protections(moto_cloud, bucket)
    stack.configure({"presign:existingBucketSettings": made[:5]})
    stack.up()
    assert protections(moto_cloud, bucket) == before
    stack.destroy()
    assert protections(moto_cloud, bucket) == before
    assert [entry["Key"] for entry in moto_cloud.s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["public/cat.png"]
    assert not moto_cloud.iam.list_users()["Users"]


@pytest.mark.thorough
def test_a_public_bucket_goes_behind_a_distribution_and_back(aws_stack: MakeStack, moto_cloud: Boto3Cloud) -> None:
    stack = aws_stack(protect=False)
    stack.up()
    for cloudfront in (True, False):
        stack.configure({"presign:cloudFront": cloudfront})
        # The access block and the bucket policy; the distribution and its access control come and go.
        assert stack.up() == {"update": 2, ("create" if cloudfront else "delete"): 2}
        assert stack.up() == {}
        block = moto_cloud.s3.get_public_access_block(Bucket=stack.outputs["bucket"])["PublicAccessBlockConfiguration"]
        assert block["RestrictPublicBuckets"] is cloudfront
        assert ("publicUrl" in stack.outputs) is cloudfront
    assert "Items" not in moto_cloud.cloudfront.list_distributions()["DistributionList"]


@pytest.mark.thorough
def test_a_number_that_the_command_line_stores_becomes_the_text_of_a_tag(
    aws_stack: MakeStack, moto_cloud: Boto3Cloud
) -> None:
    stack = aws_stack()
    assert stack.command("config", "set", "--path", "tags.floor", "5", "--stack", "test").returncode == 0
    stack.up()
    assert moto_cloud.s3.get_bucket_tagging(Bucket=stack.outputs["bucket"])["TagSet"] == [
        {"Key": "floor", "Value": "5"}
    ]


def test_a_wrong_setting_stops_the_engine_before_any_resource(aws_stack: MakeStack, moto_cloud: Boto3Cloud) -> None:
    stack = aws_stack()
    stack.configure({"presing:publicRead": False})
    with pytest.raises(automation.CommandError, match=r"Did you mean presign:publicRead\?") as error:
        stack.up()
    assert "Traceback" not in str(error.value)
    assert not moto_cloud.s3.list_buckets()["Buckets"]


@pytest.mark.thorough
def test_the_stack_for_a_local_server_leaves_the_files_of_the_repository_as_they_are(aws_stack: MakeStack) -> None:
    stack = aws_stack()
    source = stack.program / "Pulumi.local.yaml"
    before = source.read_bytes()
    shutil.copy(source, stack.project)
    for arguments in (["stack", "init", "local"], ["stack", "rm", "local", "--yes"]):
        ended = stack.command(*arguments)
        assert ended.returncode == 0, ended.stderr
    assert not (stack.project / source.name).exists()
    assert source.read_bytes() == before


def access_keys(cloud: Boto3Cloud) -> set[str]:
    """Return the ids of all access keys of all users."""
    users = [user["UserName"] for user in cloud.iam.list_users()["Users"]]
    answers = [cloud.iam.list_access_keys(UserName=user)["AccessKeyMetadata"] for user in users]
    return {key["AccessKeyId"] for keys in answers for key in keys}


def user_policies(cloud: Boto3Cloud) -> dict[str, Any]:
    """Return the inline policies of all users, by their names."""
    users = [user["UserName"] for user in cloud.iam.list_users()["Users"]]
    names = [(user, name) for user in users for name in cloud.iam.list_user_policies(UserName=user)["PolicyNames"]]
    return {name: cloud.iam.get_user_policy(UserName=user, PolicyName=name)["PolicyDocument"] for user, name in names}


def attached_policies(cloud: Boto3Cloud, role: str) -> set[str]:
    """Return the ARNs of the policies that are attached to a role."""
    return {each["PolicyArn"] for each in cloud.iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"]}


def protections(cloud: Boto3Cloud, bucket: str) -> list[Any]:
    """Return the settings that keep what is in the bucket from others."""
    s3 = cloud.s3
    return [
        s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"],
        s3.get_bucket_ownership_controls(Bucket=bucket)["OwnershipControls"],
        s3.get_bucket_policy(Bucket=bucket)["Policy"],
        s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"],
        s3.get_bucket_cors(Bucket=bucket)["CORSRules"],
        s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"],
    ]


def put_object(cloud: Boto3Cloud, bucket: str) -> None:
    """Put an object; the bucket policy is away for a moment, because moto takes its condition on TLS for fulfilled."""
    policy = cloud.s3.get_bucket_policy(Bucket=bucket)["Policy"]
    cloud.s3.delete_bucket_policy(Bucket=bucket)
    cloud.s3.put_object(Bucket=bucket, Key="public/cat.png", Body=b"cat")
    cloud.s3.put_bucket_policy(Bucket=bucket, Policy=policy)


def empty(cloud: Boto3Cloud, bucket: str) -> None:
    """Delete what ``put_object`` put, and the bucket policy, whose condition on TLS moto takes for fulfilled."""
    cloud.s3.delete_bucket_policy(Bucket=bucket)
    cloud.s3.delete_object(Bucket=bucket, Key="public/cat.png")
