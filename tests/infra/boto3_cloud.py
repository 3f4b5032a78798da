"""The parts of AWS that the program needs, on a running server, for the mocks and for the real engine alike.

Each resource type is created, read, changed and deleted with boto3. An unknown resource type and an input that no call
uses raise NotApplied, so no test can pass without the real effect. This module adds what AWS does and the servers do
not: every new bucket gets a public access block, a public policy is refused as long as the block forbids it, a user has
at most two access keys, and an attached policy cannot be deleted.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar
from uuid import uuid4

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError, ParamValidationError
from pulumi.runtime.mocks import MockCallArgs, MockResourceArgs, Mocks

from tests.infra.engine.provider import Found, NotApplied, ResourceType, Values, whole_numbers

# All clients share a session, because a session reads the services' descriptions only once.
_SESSION = boto3.session.Session()

_ALL_BLOCKED = {
    "BlockPublicAcls": True,
    "IgnorePublicAcls": True,
    "BlockPublicPolicy": True,
    "RestrictPublicBuckets": True,
}

# The names whose first letter is not all that distinguishes the SDK of Pulumi from AWS's API.
_AWS_NAMES = {"id": "ID", "corsRules": "CORSRules", "sseAlgorithm": "SSEAlgorithm", "kmsMasterKeyId": "KMSMasterKeyID"}
_PULUMI_NAMES = {aws: pulumi for pulumi, aws in _AWS_NAMES.items()}

_Result = TypeVar("_Result")


class Boto3Cloud(Mocks):
    """The parts of AWS that the program needs, on the server at ``endpoint_url``, with an administrator's key.

    ``ca_file`` verifies a server that speaks TLS. ``user_policies="managed"`` is for a server whose inline policies
    accept only some statements: the same document becomes a managed policy, attached to this user only.
    ``stores_access_block=False`` is for a server without the API for public access blocks: they are kept in memory.
    ``stores_encryption=False`` is for a server that cannot encrypt: the rules are read, and no call is made.
    """

    package = "aws"

    def __init__(
        self,
        endpoint_url: str,
        *,
        access_key: str = "admin",
        secret_key: str = "admin-secret",
        region: str = "eu-central-1",
        ca_file: str | None = None,
        user_policies: str = "inline",
        stores_access_block: bool = True,
        stores_encryption: bool = True,
    ) -> None:
        self.endpoint_url = endpoint_url
        self.region = region
        self.ca_file = ca_file
        self.s3 = self.client("s3", access_key, secret_key)
        self.iam = self.client("iam", access_key, secret_key)
        self.cloudfront = self.client("cloudfront", access_key, secret_key)
        self.access_blocks: dict[str, dict[str, bool]] = {}
        self.user_policies = user_policies
        self.stores_access_block = stores_access_block
        self.stores_encryption = stores_encryption
        # Like the engine's, the generated names end in random digits. So several runs can use the same server.
        self._digits = uuid4().hex[:7]
        # Independent resources arrive on several threads at once. SeaweedFS keeps a bucket's CORS rules, encryption and
        # tags together: it reads all, changes one and writes all. Two calls at once would lose a change.
        self._one_at_a_time = threading.Lock()

    def client(self, service: str, access_key: str, secret_key: str, *, endpoint_url: str | None = None) -> Any:
        """Return a boto3 client of this server that signs with the given key, and with SigV4."""
        return _SESSION.client(
            service,  # type: ignore[call-overload]
            endpoint_url=endpoint_url or self.endpoint_url,
            region_name=self.region,
            aws_access_key_id=access_key,
            aws_secret_access_key=secret_key,
            verify=self.ca_file,
            config=Config(
                signature_version="s3v4" if service == "s3" else None,
                s3={"addressing_style": "path"},
                retries={"total_max_attempts": 1},
            ),
        )

    def invoke(self, token: str, arguments: Values) -> Values:
        """Return what a function of the AWS provider returns; raise NotApplied for an unknown one."""
        if token == "aws:index/getPartition:getPartition":
            return {"id": "aws", "partition": "aws", "dnsSuffix": "amazonaws.com", "reverseDnsPrefix": "com.amazonaws"}
        if token == "aws:index/getCallerIdentity:getCallerIdentity":
            identity = self.client("sts", "admin", "admin-secret").get_caller_identity()
            return {"id": identity["Account"], "accountId": identity["Account"], "arn": identity["Arn"]}
        if token == "aws:s3/getBucket:getBucket":
            bucket = arguments["bucket"]
            region = self.s3.get_bucket_location(Bucket=bucket)["LocationConstraint"] or "us-east-1"
            return {"id": bucket, "bucket": bucket, "arn": f"arn:aws:s3:::{bucket}", "bucketRegion": region}
        raise NotApplied(f"the program calls {token}, which is not supported here")

    def call(self, args: MockCallArgs) -> Any:
        return dict(self.invoke(args.token, args.args))

    def new_resource(self, args: MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        if not args.custom:
            return None, {}
        resource = self.resource_type(args.typ)
        # The mock monitor passes all numbers as floats.
        inputs = whole_numbers(args.inputs)
        if resource.named_by and not inputs.get(resource.named_by):
            inputs[resource.named_by] = resource.auto_name(args.name, self._digits)
        resource.check(inputs)
        with self._one_at_a_time:
            identifier, outputs = resource.create(inputs)
        return identifier, {**inputs, **outputs}

    def resource_type(self, token: str) -> ResourceType:
        """Return the resource type with this token."""
        if token in _BUCKET_SETTINGS:
            return _BucketSetting(self, token, **_BUCKET_SETTINGS[token])
        if token not in _RESOURCE_TYPES:
            raise NotApplied(f"the resource type {token} is not supported here")
        return _RESOURCE_TYPES[token](self)

    def bucket_is_ready(self, bucket: str) -> None:
        """Return when the new ``bucket`` takes objects; on AWS, this is at once."""

    def put_access_block(self, bucket: str, block: dict[str, bool]) -> None:
        """Set the four access blocks of ``bucket``."""
        self.access_blocks[bucket] = block
        if self.stores_access_block:
            self.s3.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration=block)


class _Resource:
    """What the resource types have in common: the client, and the refusal of inputs that no call uses."""

    inputs: Collection[str]
    replaced_by: Collection[str] = ()
    named_by: str | None = None
    computed: Collection[str] = ()

    def __init__(self, cloud: Boto3Cloud) -> None:
        self.cloud = cloud
        self.s3 = cloud.s3
        self.iam = cloud.iam

    def auto_name(self, name: str, digits: str) -> str:
        return f"{name}-{digits}"

    def check(self, inputs: Values) -> None:
        if unused := sorted(inputs.keys() - set(self.inputs)):
            raise NotApplied(f"{type(self).__name__} has inputs that no call uses: {unused}")


class _Bucket(_Resource):
    inputs = ("bucket", "forceDestroy", "tags")
    replaced_by = ("bucket",)
    named_by = "bucket"
    computed = ("arn", "region")

    def create(self, inputs: Values) -> tuple[str, Values]:
        bucket, region = inputs["bucket"], self.cloud.region
        location = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
        self.s3.create_bucket(Bucket=bucket, **location)
        self.cloud.bucket_is_ready(bucket)
        self.cloud.put_access_block(bucket, _ALL_BLOCKED)
        self._tag(bucket, inputs)
        return bucket, {"arn": f"arn:aws:s3:::{bucket}", "region": region}

    def read(self, identifier: str, inputs: Values, outputs: Values) -> Found | None:
        if _unless_missing(lambda: self.s3.head_bucket(Bucket=identifier)) is None:
            return None
        tags = _unless_missing(lambda: self.s3.get_bucket_tagging(Bucket=identifier)) or {"TagSet": []}
        return Found(inputs=_with_tags({**inputs, "bucket": identifier}, tags["TagSet"]))

    def update(self, identifier: str, inputs: Values, old_inputs: Values) -> Values:
        self._tag(identifier, inputs, old_inputs)
        return {}

    def delete(self, identifier: str, inputs: Values, outputs: Values) -> None:
        # As in the AWS provider, the state decides, which has what the last `up` applied.
        if outputs.get("forceDestroy"):
            # moto takes the condition of the statement that refuses plain http for fulfilled.
            self.s3.delete_bucket_policy(Bucket=identifier)
            versions = self.s3.list_object_versions(Bucket=identifier)
            for entry in [*versions.get("Versions", []), *versions.get("DeleteMarkers", [])]:
                self.s3.delete_object(Bucket=identifier, Key=entry["Key"], VersionId=entry["VersionId"])
        self.s3.delete_bucket(Bucket=identifier)

    def _tag(self, bucket: str, inputs: Values, old_inputs: Values | None = None) -> None:
        if inputs.get("tags"):
            self.s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": _tag_set(inputs["tags"])})
        elif (old_inputs or {}).get("tags"):
            self.s3.delete_bucket_tagging(Bucket=bucket)


class _BucketSetting(_Resource):
    """A setting of a bucket that AWS's API puts, gets and deletes as a whole, with the same members as Pulumi's SDK."""

    replaced_by = ("bucket",)

    def __init__(self, cloud: Boto3Cloud, token: str, *, call: str, argument: str, inputs: Collection[str]) -> None:
        super().__init__(cloud)
        self._token = token
        self._call = call
        self._argument = argument
        self.inputs = ("bucket", *inputs)

    def create(self, inputs: Values) -> tuple[str, Values]:
        self._put(inputs)
        return inputs["bucket"], {}

    def read(self, identifier: str, inputs: Values, outputs: Values) -> Found | None:
        answer = _unless_missing(lambda: getattr(self.s3, f"get_{self._call}")(Bucket=identifier))
        if answer is None:
            return None
        # Some of these answers have the members themselves, and others have them inside the argument of the call.
        members = _from_aws(answer.get(self._argument, answer))
        found = {key: value for key, value in members.items() if key in self.inputs}
        return Found(inputs={"bucket": identifier, **_without_defaults(found, inputs)})

    def update(self, identifier: str, inputs: Values, old_inputs: Values) -> Values:
        self._put(inputs)
        return {}

    def delete(self, identifier: str, inputs: Values, outputs: Values) -> None:
        calls = {"bucket_lifecycle_configuration": "bucket_lifecycle"}
        getattr(self.s3, f"delete_{calls.get(self._call, self._call)}")(Bucket=identifier)

    def _put(self, inputs: Values) -> None:
        members = {key: value for key, value in inputs.items() if key != "bucket"}
        argument = _to_aws(members)
        if self._call == "bucket_encryption" and not self.cloud.stores_encryption:
            return
        try:
            getattr(self.s3, f"put_{self._call}")(Bucket=inputs["bucket"], **{self._argument: argument})
        except ParamValidationError as error:
            raise NotApplied(f"{self._token} has inputs that no call uses: {error}") from error


class _OwnershipControls(_BucketSetting):
    """The one setting whose API has a list of rules, and Pulumi's SDK one rule."""

    def __init__(self, cloud: Boto3Cloud) -> None:
        super().__init__(
            cloud,
            "aws:s3/bucketOwnershipControls:BucketOwnershipControls",
            call="bucket_ownership_controls",
            argument="OwnershipControls",
            inputs=("rule", "rules"),
        )

    def read(self, identifier: str, inputs: Values, outputs: Values) -> Found | None:
        found = super().read(identifier, inputs, outputs)
        return found and Found(inputs={"bucket": identifier, "rule": found.inputs["rules"][0]})

    def _put(self, inputs: Values) -> None:
        super()._put({"bucket": inputs["bucket"], "rules": [inputs["rule"]]})


class _Versioning(_Resource):
    inputs = ("bucket", "versioningConfiguration")
    replaced_by = ("bucket",)

    def create(self, inputs: Values) -> tuple[str, Values]:
        self._set(inputs["bucket"], inputs["versioningConfiguration"]["status"])
        return inputs["bucket"], {}

    def read(self, identifier: str, inputs: Values, outputs: Values) -> Found | None:
        answer = _unless_missing(lambda: self.s3.get_bucket_versioning(Bucket=identifier))
        if answer is None or "Status" not in answer:
            return None
        return Found(inputs={"bucket": identifier, "versioningConfiguration": {"status": answer["Status"]}})

    def update(self, identifier: str, inputs: Values, old_inputs: Values) -> Values:
        return self.create(inputs)[1]

    def delete(self, identifier: str, inputs: Values, outputs: Values) -> None:
        # As the AWS provider does: S3 cannot forget that a bucket once had versions.
        self._set(identifier, "Suspended")

    def _set(self, bucket: str, status: str) -> None:
        self.s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": status})


class _Logging(_Resource):
    inputs = ("bucket", "targetBucket", "targetPrefix")
    replaced_by = ("bucket",)

    def create(self, inputs: Values) -> tuple[str, Values]:
        target = _to_aws({key: value for key, value in inputs.items() if key != "bucket"})
        self.s3.put_bucket_logging(Bucket=inputs["bucket"], BucketLoggingStatus={"LoggingEnabled": target})
        return inputs["bucket"], {}

    def read(self, identifier: str, inputs: Values, outputs: Values) -> Found | None:
        answer = _unless_missing(lambda: self.s3.get_bucket_logging(Bucket=identifier))
        if answer is None or "LoggingEnabled" not in answer:
            return None
        found = {key: value for key, value in _from_aws(answer["LoggingEnabled"]).items() if key in self.inputs}
        return Found(inputs={"bucket": identifier, **found})

    def update(self, identifier: str, inputs: Values, old_inputs: Values) -> Values:
        return self.create(inputs)[1]

    def delete(self, identifier: str, inputs: Values, outputs: Values) -> None:
        self.s3.put_bucket_logging(Bucket=identifier, BucketLoggingStatus={})


class _AccessBlock(_Resource):
    inputs = ("bucket", "blockPublicAcls", "ignorePublicAcls", "blockPublicPolicy", "restrictPublicBuckets")
    replaced_by = ("bucket",)

    def create(self, inputs: Values) -> tuple[str, Values]:
        settings = {key: bool(inputs.get(key)) for key in self.inputs if key != "bucket"}
        self.cloud.put_access_block(inputs["bucket"], _to_aws(settings))
        return inputs["bucket"], {}

    def read(self, identifier: str, inputs: Values, outputs: Values) -> Found | None:
        answer = _unless_missing(lambda: self.s3.get_public_access_block(Bucket=identifier))
        return answer and Found(inputs={"bucket": identifier, **_from_aws(answer["PublicAccessBlockConfiguration"])})

    def update(self, identifier: str, inputs: Values, old_inputs: Values) -> Values:
        return self.create(inputs)[1]

    def delete(self, identifier: str, inputs: Values, outputs: Values) -> None:
        self.cloud.access_blocks.pop(identifier, None)
        self.s3.delete_public_access_block(Bucket=identifier)


class _BucketPolicy(_Resource):
    inputs = ("bucket", "policy")
    replaced_by = ("bucket",)

    def create(self, inputs: Values) -> tuple[str, Values]:
        bucket, policy = inputs["bucket"], inputs["policy"]
        public = any(
            statement["Effect"] == "Allow" and statement["Principal"] == "*"
            for statement in json.loads(policy)["Statement"]
        )
        if public and self.cloud.access_blocks.get(bucket, _ALL_BLOCKED)["BlockPublicPolicy"]:
            raise ClientError(
                {"Error": {"Code": "AccessDenied", "Message": "public policies are blocked"}}, "PutBucketPolicy"
            )
        self.s3.put_bucket_policy(Bucket=bucket, Policy=policy)
        return bucket, {}

    def read(self, identifier: str, inputs: Values, outputs: Values) -> Found | None:
        answer = _unless_missing(lambda: self.s3.get_bucket_policy(Bucket=identifier))
        return answer and Found(inputs={"bucket": identifier, "policy": _document(answer["Policy"], inputs)})

    def update(self, identifier: str, inputs: Values, old_inputs: Values) -> Values:
        return self.create(inputs)[1]

    def delete(self, identifier: str, inputs: Values, outputs: Values) -> None:
        self.s3.delete_bucket_policy(Bucket=identifier)


class _User(_Resource):
    inputs = ("name", "forceDestroy", "path", "permissionsBoundary", "tags")
    # AWS can change them, but the requests would be of no use to the tests.
    replaced_by = ("path", "permissionsBoundary")
    named_by = "name"
    computed = ("arn",)

    def create(self, inputs: Values) -> tuple[str, Values]:
        user = self.iam.create_user(UserName=inputs["name"], **_of_identity(inputs))["User"]
        return inputs["name"], {"arn": user["Arn"]}

    def read(self, identifier: str, inputs: Values, outputs: Values) -> Found | None:
        answer = _unless_missing(lambda: self.iam.get_user(UserName=identifier))
        if answer is None:
            return None
        tags = self.iam.list_user_tags(UserName=identifier)["Tags"]
        return Found(inputs=_with_tags({**inputs, "name": identifier}, tags))

    def update(self, identifier: str, inputs: Values, old_inputs: Values) -> Values:
        tags = inputs.get("tags", {})
        if gone := sorted(old_inputs.get("tags", {}).keys() - tags.keys()):
            self.iam.untag_user(UserName=identifier, TagKeys=gone)
        self.iam.tag_user(UserName=identifier, Tags=_tag_set(tags))
        return {}

    def delete(self, identifier: str, inputs: Values, outputs: Values) -> None:
        keys = self.iam.list_access_keys(UserName=identifier)["AccessKeyMetadata"]
        policies = self.iam.list_user_policies(UserName=identifier)["PolicyNames"]
        if (keys or policies) and not outputs.get("forceDestroy"):
            raise ClientError(
                {
                    "Error": {
                        "Code": "DeleteConflict",
                        "Message": "Cannot delete entity, must delete access keys and policies first.",
                    }
                },
                "DeleteUser",
            )
        for key in keys:
            self.iam.delete_access_key(UserName=identifier, AccessKeyId=key["AccessKeyId"])
        # Like the AWS provider, which deletes inline policies with `forceDestroy`.
        for policy in policies:
            self.iam.delete_user_policy(UserName=identifier, PolicyName=policy)
        self.iam.delete_user(UserName=identifier)


class _UserPolicy(_Resource):
    inputs = ("name", "user", "policy")
    replaced_by = ("name", "user")
    named_by = "name"

    def create(self, inputs: Values) -> tuple[str, Values]:
        user, policy, name = inputs["user"], inputs["policy"], inputs["name"]
        if self.cloud.user_policies == "managed":
            # An inline policy's name is one of its user, but a managed policy's is one of the account.
            arn = self.iam.create_policy(PolicyName=f"{user}-{name}", PolicyDocument=policy)["Policy"]["Arn"]
            self.iam.attach_user_policy(UserName=user, PolicyArn=arn)
        else:
            self.iam.put_user_policy(UserName=user, PolicyName=name, PolicyDocument=policy)
        return f"{user}:{name}", {}

    def read(self, identifier: str, inputs: Values, outputs: Values) -> Found | None:
        user, _, name = identifier.partition(":")
        answer = _unless_missing(lambda: self.iam.get_user_policy(UserName=user, PolicyName=name))
        if answer is None:
            return None
        return Found(inputs={"user": user, "name": name, "policy": _document(answer["PolicyDocument"], inputs)})

    def update(self, identifier: str, inputs: Values, old_inputs: Values) -> Values:
        return self.create(inputs)[1]

    def delete(self, identifier: str, inputs: Values, outputs: Values) -> None:
        user, _, name = identifier.partition(":")
        self.iam.delete_user_policy(UserName=user, PolicyName=name)


class _AccessKey(_Resource):
    inputs = ("user", "status")
    replaced_by = ("user",)
    computed = ("secret", "status")

    def create(self, inputs: Values) -> tuple[str, Values]:
        user = inputs["user"]
        if len(self._keys(user)) >= 2:
            raise ClientError(
                {"Error": {"Code": "LimitExceeded", "Message": "Cannot exceed quota for AccessKeysPerUser: 2"}},
                "CreateAccessKey",
            )
        key = self.iam.create_access_key(UserName=user)["AccessKey"]
        return key["AccessKeyId"], {"secret": key["SecretAccessKey"], "status": "Active"}

    def read(self, identifier: str, inputs: Values, outputs: Values) -> Found | None:
        keys = _unless_missing(lambda: self._keys(outputs["user"]))
        return Found(inputs=inputs) if identifier in (keys or ()) else None

    def update(self, identifier: str, inputs: Values, old_inputs: Values) -> Values:
        self.iam.update_access_key(UserName=inputs["user"], AccessKeyId=identifier, Status=inputs["status"])
        return {}

    def delete(self, identifier: str, inputs: Values, outputs: Values) -> None:
        self.iam.delete_access_key(UserName=outputs["user"], AccessKeyId=identifier)

    def _keys(self, user: str) -> list[str]:
        return [key["AccessKeyId"] for key in self.iam.list_access_keys(UserName=user)["AccessKeyMetadata"]]


class _Role(_Resource):
    inputs = ("name", "description", "assumeRolePolicy", "path", "permissionsBoundary", "tags")
    replaced_by = ("name", "path", "permissionsBoundary")
    named_by = "name"
    computed = ("arn",)

    def create(self, inputs: Values) -> tuple[str, Values]:
        role = self.iam.create_role(
            RoleName=inputs["name"],
            Description=inputs.get("description", ""),
            AssumeRolePolicyDocument=inputs["assumeRolePolicy"],
            **_of_identity(inputs),
        )["Role"]
        return inputs["name"], {"arn": role["Arn"]}

    def read(self, identifier: str, inputs: Values, outputs: Values) -> Found | None:
        answer = _unless_missing(lambda: self.iam.get_role(RoleName=identifier))
        if answer is None:
            return None
        trust = _document(answer["Role"]["AssumeRolePolicyDocument"], {"policy": inputs["assumeRolePolicy"]})
        return Found(inputs=_with_tags({**inputs, "assumeRolePolicy": trust}, answer["Role"].get("Tags", [])))

    def update(self, identifier: str, inputs: Values, old_inputs: Values) -> Values:
        if inputs.get("tags") != old_inputs.get("tags"):
            raise NotApplied("the tags of a role cannot be changed here")
        self.iam.update_assume_role_policy(RoleName=identifier, PolicyDocument=inputs["assumeRolePolicy"])
        return {}

    def delete(self, identifier: str, inputs: Values, outputs: Values) -> None:
        self.iam.delete_role(RoleName=identifier)


class _InstanceProfile(_Resource):
    inputs = ("name", "path", "role", "tags")
    replaced_by = inputs
    named_by = "name"
    computed = ("arn",)

    def create(self, inputs: Values) -> tuple[str, Values]:
        name = inputs["name"]
        profile = self.iam.create_instance_profile(InstanceProfileName=name, **_of_identity(inputs))["InstanceProfile"]
        self.iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=inputs["role"])
        return name, {"arn": profile["Arn"]}

    def read(self, identifier: str, inputs: Values, outputs: Values) -> Found | None:
        answer = _unless_missing(lambda: self.iam.get_instance_profile(InstanceProfileName=identifier))
        return answer and Found(inputs=inputs)

    def update(self, identifier: str, inputs: Values, old_inputs: Values) -> Values:
        raise NotApplied("an instance profile cannot be changed")

    def delete(self, identifier: str, inputs: Values, outputs: Values) -> None:
        self.iam.remove_role_from_instance_profile(InstanceProfileName=identifier, RoleName=outputs["role"])
        self.iam.delete_instance_profile(InstanceProfileName=identifier)


class _OriginAccessControl(_Resource):
    inputs = ("name", "originAccessControlOriginType", "signingBehavior", "signingProtocol")
    replaced_by = inputs
    named_by = "name"
    computed = ("etag",)

    def create(self, inputs: Values) -> tuple[str, Values]:
        config = {**_to_aws(dict(inputs)), "Description": "Managed by Pulumi"}
        answer = self.cloud.cloudfront.create_origin_access_control(OriginAccessControlConfig=config)
        return answer["OriginAccessControl"]["Id"], {"etag": answer["ETag"]}

    def read(self, identifier: str, inputs: Values, outputs: Values) -> Found | None:
        return _unless_missing(lambda: self.cloud.cloudfront.get_origin_access_control(Id=identifier)) and Found(
            inputs=inputs
        )

    def update(self, identifier: str, inputs: Values, old_inputs: Values) -> Values:
        raise NotApplied("an origin access control is not changed here")

    def delete(self, identifier: str, inputs: Values, outputs: Values) -> None:
        self.cloud.cloudfront.delete_origin_access_control(Id=identifier)


class _Distribution(_Resource):
    inputs = (
        *("comment", "defaultCacheBehavior", "enabled", "httpVersion", "isIpv6Enabled", "origins", "restrictions"),
        *("tags", "viewerCertificate"),
    )
    computed = ("arn", "domainName", "etag")

    def create(self, inputs: Values) -> tuple[str, Values]:
        config = self._config(dict(inputs))
        tags = {"Items": _tag_set(inputs.get("tags", {}))}
        try:
            answer = self.cloud.cloudfront.create_distribution_with_tags(
                DistributionConfigWithTags={"DistributionConfig": config, "Tags": tags}
            )
        except ParamValidationError as error:
            raise NotApplied(f"the distribution has inputs that no call uses: {error}") from error
        found = answer["Distribution"]
        return found["Id"], {"arn": found["ARN"], "domainName": found["DomainName"], "etag": answer["ETag"]}

    def read(self, identifier: str, inputs: Values, outputs: Values) -> Found | None:
        return _unless_missing(lambda: self.cloud.cloudfront.get_distribution(Id=identifier)) and Found(inputs=inputs)

    def update(self, identifier: str, inputs: Values, old_inputs: Values) -> Values:
        raise NotApplied("a distribution is not changed here")

    def delete(self, identifier: str, inputs: Values, outputs: Values) -> None:
        etag = self.cloud.cloudfront.get_distribution(Id=identifier)["ETag"]
        self.cloud.cloudfront.delete_distribution(Id=identifier, IfMatch=etag)

    @staticmethod
    def _config(inputs: dict[str, Any]) -> dict[str, Any]:
        """Return the inputs in the shape of AWS's API, in which a list has its length."""
        behavior = dict(inputs["defaultCacheBehavior"])
        cached = _items(behavior.pop("cachedMethods"))
        methods = {**_items(behavior.pop("allowedMethods")), "CachedMethods": cached}
        geo = dict(inputs["restrictions"]["geoRestriction"])
        origins = [
            {"S3OriginConfig": {"OriginAccessIdentity": ""}, "Id": origin["originId"]}
            | {key: value for key, value in _to_aws(origin).items() if key != "OriginId"}
            for origin in inputs["origins"]
        ]
        certificate = {"CloudFrontDefaultCertificate": inputs["viewerCertificate"]["cloudfrontDefaultCertificate"]}
        return {
            "CallerReference": uuid4().hex,
            "Comment": inputs["comment"],
            "Enabled": inputs["enabled"],
            "HttpVersion": inputs["httpVersion"],
            "IsIPV6Enabled": inputs["isIpv6Enabled"],
            "Origins": _items(origins),
            "DefaultCacheBehavior": {**_to_aws(behavior), "AllowedMethods": methods},
            "Restrictions": {"GeoRestriction": {**_to_aws(geo), **_items(geo.pop("locations", []))}},
            "ViewerCertificate": certificate,
        }


def _items(values: list[Any]) -> dict[str, Any]:
    return {"Quantity": len(values), "Items": values}


class _Policy(_Resource):
    inputs = ("name", "description", "path", "policy", "tags")
    replaced_by = ("name", "description", "path")
    named_by = "name"
    computed = ("arn",)

    def create(self, inputs: Values) -> tuple[str, Values]:
        policy = self.iam.create_policy(
            PolicyName=inputs["name"],
            Description=inputs.get("description", ""),
            PolicyDocument=inputs["policy"],
            **_of_identity(inputs),
        )["Policy"]
        return policy["Arn"], {"arn": policy["Arn"]}

    def read(self, identifier: str, inputs: Values, outputs: Values) -> Found | None:
        answer = _unless_missing(lambda: self.iam.get_policy(PolicyArn=identifier))
        if answer is None:
            return None
        policy = answer["Policy"]
        version = self.iam.get_policy_version(PolicyArn=identifier, VersionId=policy["DefaultVersionId"])
        document = _document(version["PolicyVersion"]["Document"], inputs)
        return Found(inputs=_with_tags({**inputs, "policy": document}, policy.get("Tags", [])))

    def update(self, identifier: str, inputs: Values, old_inputs: Values) -> Values:
        if inputs["policy"] != old_inputs["policy"]:
            self.iam.create_policy_version(PolicyArn=identifier, PolicyDocument=inputs["policy"], SetAsDefault=True)
            self._delete_old_versions(identifier)
        if gone := sorted(old_inputs.get("tags", {}).keys() - inputs.get("tags", {}).keys()):
            self.iam.untag_policy(PolicyArn=identifier, TagKeys=gone)
        self.iam.tag_policy(PolicyArn=identifier, Tags=_tag_set(inputs.get("tags", {})))
        return {}

    def delete(self, identifier: str, inputs: Values, outputs: Values) -> None:
        # AWS refuses this for a policy that is attached anywhere.
        attached = self.iam.list_entities_for_policy(PolicyArn=identifier)
        if attached["PolicyRoles"] or attached["PolicyUsers"] or attached["PolicyGroups"]:
            raise ClientError(
                {"Error": {"Code": "DeleteConflict", "Message": "Cannot delete a policy attached to entities."}},
                "DeletePolicy",
            )
        self._delete_old_versions(identifier)
        self.iam.delete_policy(PolicyArn=identifier)

    def _delete_old_versions(self, arn: str) -> None:
        for version in self.iam.list_policy_versions(PolicyArn=arn)["Versions"]:
            if not version["IsDefaultVersion"]:
                self.iam.delete_policy_version(PolicyArn=arn, VersionId=version["VersionId"])


class _RolePolicyAttachment(_Resource):
    inputs = ("role", "policyArn")
    replaced_by = ("role", "policyArn")

    def create(self, inputs: Values) -> tuple[str, Values]:
        self.iam.attach_role_policy(RoleName=inputs["role"], PolicyArn=inputs["policyArn"])
        return f"{inputs['role']}/{inputs['policyArn']}", {}

    def read(self, identifier: str, inputs: Values, outputs: Values) -> Found | None:
        role, policy = outputs["role"], outputs["policyArn"]
        attached = _unless_missing(lambda: self.iam.list_attached_role_policies(RoleName=role))
        arns = [each["PolicyArn"] for each in (attached or {"AttachedPolicies": []})["AttachedPolicies"]]
        return Found(inputs=inputs) if policy in arns else None

    def update(self, identifier: str, inputs: Values, old_inputs: Values) -> Values:
        raise NotApplied("the attachment of a policy cannot be changed")

    def delete(self, identifier: str, inputs: Values, outputs: Values) -> None:
        self.iam.detach_role_policy(RoleName=outputs["role"], PolicyArn=outputs["policyArn"])


_BUCKET_SETTINGS: Mapping[str, Any] = {
    "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration": {
        "call": "bucket_encryption",
        "argument": "ServerSideEncryptionConfiguration",
        "inputs": ("rules",),
    },
    "aws:s3/bucketCorsConfiguration:BucketCorsConfiguration": {
        "call": "bucket_cors",
        "argument": "CORSConfiguration",
        "inputs": ("corsRules",),
    },
    "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration": {
        "call": "bucket_lifecycle_configuration",
        "argument": "LifecycleConfiguration",
        "inputs": ("rules",),
    },
}

_RESOURCE_TYPES: Mapping[str, Callable[[Boto3Cloud], ResourceType]] = {
    "aws:s3/bucket:Bucket": _Bucket,
    "aws:s3/bucketOwnershipControls:BucketOwnershipControls": _OwnershipControls,
    "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock": _AccessBlock,
    "aws:s3/bucketVersioning:BucketVersioning": _Versioning,
    "aws:s3/bucketLogging:BucketLogging": _Logging,
    "aws:s3/bucketPolicy:BucketPolicy": _BucketPolicy,
    "aws:iam/user:User": _User,
    "aws:iam/userPolicy:UserPolicy": _UserPolicy,
    "aws:iam/accessKey:AccessKey": _AccessKey,
    "aws:cloudfront/originAccessControl:OriginAccessControl": _OriginAccessControl,
    "aws:cloudfront/distribution:Distribution": _Distribution,
    "aws:iam/role:Role": _Role,
    "aws:iam/instanceProfile:InstanceProfile": _InstanceProfile,
    "aws:iam/policy:Policy": _Policy,
    "aws:iam/rolePolicyAttachment:RolePolicyAttachment": _RolePolicyAttachment,
}


def _unless_missing(call: Callable[[], _Result]) -> _Result | None:
    """Return what ``call`` returns, or None if the server says that there is no such thing."""
    try:
        return call()
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code.startswith("NoSuch") or code.endswith("NotFoundError") or code in {"404", "NoSuchEntity"}:
            return None
        raise


def _to_aws(value: Any) -> Any:
    if isinstance(value, dict):
        return {_AWS_NAMES.get(key, key[:1].upper() + key[1:]): _to_aws(each) for key, each in value.items()}
    return [_to_aws(each) for each in value] if isinstance(value, list) else value


def _from_aws(value: Any) -> Any:
    if isinstance(value, dict):
        return {_PULUMI_NAMES.get(key, key[:1].lower() + key[1:]): _from_aws(each) for key, each in value.items()}
    return [_from_aws(each) for each in value] if isinstance(value, list) else value


def _without_defaults(found: Any, known: Any) -> Any:
    """Return ``found`` without the empty members that the server added to those that are ``known``."""
    if isinstance(found, dict) and isinstance(known, dict):
        kept = {key: each for key, each in found.items() if key in known or each not in (None, False, "", [], {})}
        return {key: _without_defaults(each, known.get(key)) for key, each in kept.items()}
    if isinstance(found, list) and isinstance(known, list) and len(found) == len(known):
        return [_without_defaults(*each) for each in zip(found, known, strict=True)]
    return found


def _document(found: str | Values, inputs: Values) -> str:
    """Return a policy document as text: the known text if it means the same, as servers write JSON in their own way."""
    document = json.loads(found) if isinstance(found, str) else found
    known = inputs.get("policy", "{}")
    return str(known) if document == json.loads(known) else json.dumps(document)


def _of_identity(inputs: Values) -> dict[str, Any]:
    """Return the arguments that AWS's calls for users, roles, policies and instance profiles have in common."""
    boundary = {"PermissionsBoundary": inputs["permissionsBoundary"]} if "permissionsBoundary" in inputs else {}
    return {"Path": inputs.get("path", "/"), "Tags": _tag_set(inputs.get("tags", {})), **boundary}


def _tag_set(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def _with_tags(inputs: Mapping[str, Any], tag_set: list[dict[str, str]]) -> dict[str, Any]:
    tags = {tag["Key"]: tag["Value"] for tag in tag_set}
    return {**inputs, "tags": tags} if tags or "tags" in inputs else dict(inputs)
