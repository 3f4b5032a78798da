"""Apply the resources of a Pulumi program to a running server with boto3, usually with one API call each.

An unknown resource type and an input that no call uses raise NotApplied, so no test can pass without the real effect.
This module adds two things that AWS does and the servers do not: every new bucket gets a public access block, and a
public policy is refused as long as the block forbids it.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from typing import Any
from uuid import uuid4

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError
from pulumi.runtime.mocks import MockCallArgs, MockResourceArgs, Mocks

# All clients share a session, because a session reads the services' descriptions only once.
_SESSION = boto3.session.Session()

_ALL_BLOCKED = {
    "BlockPublicAcls": True,
    "IgnorePublicAcls": True,
    "BlockPublicPolicy": True,
    "RestrictPublicBuckets": True,
}


class NotApplied(Exception):
    """The program uses a resource type, an input or a provider function that this module does not apply."""


class Boto3Cloud(Mocks):
    """The parts of AWS that the program needs, on the server at ``endpoint_url``, with an administrator's key.

    ``ca_file`` verifies a server that speaks TLS. ``user_policies="managed"`` is for a server whose inline policies
    accept only some statements: the same document becomes a managed policy, attached to this user only.
    ``stores_access_block=False`` is for a server without the API for public access blocks: they are kept in memory.
    ``stores_encryption=False`` is for a server that cannot encrypt: the rules are read, and no call is made.
    """

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
        self.access_blocks: dict[str, dict[str, bool]] = {}
        self._user_policies = user_policies
        self._stores_access_block = stores_access_block
        self._stores_encryption = stores_encryption
        # Like the engine's, the generated names end in random digits. So several runs can use the same server.
        self._suffix = uuid4().hex[:7]
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

    def call(self, args: MockCallArgs) -> Any:
        raise NotApplied(f"the program calls {args.token}, which is not supported here")

    def new_resource(self, args: MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        if not args.custom:
            return None, {}
        appliers: Mapping[str, Callable[[str, _Inputs], tuple[str, dict[str, Any]]]] = {
            "aws:s3/bucket:Bucket": self._bucket,
            "aws:s3/bucketOwnershipControls:BucketOwnershipControls": self._ownership,
            "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock": self._access_block,
            "aws:s3/bucketPolicy:BucketPolicy": self._bucket_policy,
            "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration": self._encryption,
            "aws:s3/bucketCorsConfiguration:BucketCorsConfiguration": self._cors,
            "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration": self._lifecycle,
            "aws:iam/user:User": self._user,
            "aws:iam/userPolicy:UserPolicy": self._user_policy,
            "aws:iam/accessKey:AccessKey": self._access_key,
            "aws:iam/policy:Policy": self._policy,
        }
        if args.typ not in appliers:
            raise NotApplied(f"the resource type {args.typ} is not supported here")
        inputs = _Inputs(args.typ, args.inputs)
        with self._one_at_a_time:
            identifier, state = appliers[args.typ](args.name, inputs)
        inputs.require_all_used()
        return identifier, {**args.inputs, **state}

    def _bucket(self, name: str, inputs: _Inputs) -> tuple[str, dict[str, Any]]:
        bucket = inputs.take("bucket", default=f"{name}-{self._suffix}")
        inputs.take("forceDestroy", default=False)  # only deletion uses it; tests find it in `ProgramRun.resources`
        location = (
            {"CreateBucketConfiguration": {"LocationConstraint": self.region}} if self.region != "us-east-1" else {}
        )
        self.s3.create_bucket(Bucket=bucket, **location)
        self._put_access_block(bucket, _ALL_BLOCKED)
        if tags := inputs.take("tags", default={}):
            self.s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": _tag_set(tags)})
        return bucket, {"bucket": bucket, "arn": f"arn:aws:s3:::{bucket}", "region": self.region}

    def _ownership(self, name: str, inputs: _Inputs) -> tuple[str, dict[str, Any]]:
        bucket = inputs.take("bucket")
        rule = inputs.nested("rule")
        self.s3.put_bucket_ownership_controls(
            Bucket=bucket, OwnershipControls={"Rules": [{"ObjectOwnership": rule.take("objectOwnership")}]}
        )
        return bucket, {}

    def _access_block(self, name: str, inputs: _Inputs) -> tuple[str, dict[str, Any]]:
        bucket = inputs.take("bucket")
        self._put_access_block(
            bucket,
            {
                "BlockPublicAcls": inputs.take("blockPublicAcls", default=False),
                "IgnorePublicAcls": inputs.take("ignorePublicAcls", default=False),
                "BlockPublicPolicy": inputs.take("blockPublicPolicy", default=False),
                "RestrictPublicBuckets": inputs.take("restrictPublicBuckets", default=False),
            },
        )
        return bucket, {}

    def _put_access_block(self, bucket: str, block: dict[str, bool]) -> None:
        self.access_blocks[bucket] = block
        if self._stores_access_block:
            self.s3.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration=block)

    def _bucket_policy(self, name: str, inputs: _Inputs) -> tuple[str, dict[str, Any]]:
        bucket, policy = inputs.take("bucket"), inputs.take("policy")
        public = any(
            statement["Effect"] == "Allow" and statement["Principal"] == "*"
            for statement in json.loads(policy)["Statement"]
        )
        if public and self.access_blocks[bucket]["BlockPublicPolicy"]:
            raise ClientError(
                {"Error": {"Code": "AccessDenied", "Message": "public policies are blocked"}}, "PutBucketPolicy"
            )
        self.s3.put_bucket_policy(Bucket=bucket, Policy=policy)
        return bucket, {}

    def _encryption(self, name: str, inputs: _Inputs) -> tuple[str, dict[str, Any]]:
        bucket = inputs.take("bucket")
        rules = [
            {
                "ApplyServerSideEncryptionByDefault": {
                    "SSEAlgorithm": rule.nested("applyServerSideEncryptionByDefault").take("sseAlgorithm")
                }
            }
            for rule in inputs.nested_list("rules")
        ]
        if self._stores_encryption:
            self.s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": rules})
        return bucket, {}

    def _cors(self, name: str, inputs: _Inputs) -> tuple[str, dict[str, Any]]:
        bucket = inputs.take("bucket")
        rules = [
            {
                "AllowedOrigins": rule.take("allowedOrigins"),
                "AllowedMethods": rule.take("allowedMethods"),
                "AllowedHeaders": rule.take("allowedHeaders", default=[]),
                "ExposeHeaders": rule.take("exposeHeaders", default=[]),
            }
            for rule in inputs.nested_list("corsRules")
        ]
        self.s3.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": rules})
        return bucket, {}

    def _lifecycle(self, name: str, inputs: _Inputs) -> tuple[str, dict[str, Any]]:
        bucket = inputs.take("bucket")
        rules = [self._lifecycle_rule(rule) for rule in inputs.nested_list("rules")]
        self.s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": rules})
        return bucket, {}

    def _lifecycle_rule(self, rule: _Inputs) -> dict[str, Any]:
        # The mock monitor passes all numbers as floats.
        days = {
            name: {field: int(nested.take(key))}
            for name, source, key, field in (
                (
                    "AbortIncompleteMultipartUpload",
                    "abortIncompleteMultipartUpload",
                    "daysAfterInitiation",
                    "DaysAfterInitiation",
                ),
                ("Expiration", "expiration", "days", "Days"),
                (
                    "NoncurrentVersionExpiration",
                    "noncurrentVersionExpiration",
                    "noncurrentDays",
                    "NoncurrentDays",
                ),
            )
            if (nested := rule.optional(source)) is not None
        }
        return {
            "ID": rule.take("id"),
            "Status": rule.take("status"),
            "Filter": {"Prefix": rule.nested("filter").take("prefix")},
            **days,
        }

    def _user(self, name: str, inputs: _Inputs) -> tuple[str, dict[str, Any]]:
        user = f"{name}-{self._suffix}"
        tags = inputs.take("tags", default={})
        arn = self.iam.create_user(UserName=user, Tags=_tag_set(tags))["User"]["Arn"]
        return user, {"name": user, "arn": arn}

    def _user_policy(self, name: str, inputs: _Inputs) -> tuple[str, dict[str, Any]]:
        user, policy, policy_name = inputs.take("user"), inputs.take("policy"), f"{name}-{self._suffix}"
        if self._user_policies == "managed":
            arn = self.iam.create_policy(PolicyName=policy_name, PolicyDocument=policy)["Policy"]["Arn"]
            self.iam.attach_user_policy(UserName=user, PolicyArn=arn)
        else:
            self.iam.put_user_policy(UserName=user, PolicyName=policy_name, PolicyDocument=policy)
        return f"{user}:{policy_name}", {"name": policy_name}

    def _access_key(self, name: str, inputs: _Inputs) -> tuple[str, dict[str, Any]]:
        key = self.iam.create_access_key(UserName=inputs.take("user"))["AccessKey"]
        return key["AccessKeyId"], {"secret": key["SecretAccessKey"], "status": "Active"}

    def _policy(self, name: str, inputs: _Inputs) -> tuple[str, dict[str, Any]]:
        policy = self.iam.create_policy(
            PolicyName=f"{name}-{self._suffix}",
            Description=inputs.take("description"),
            PolicyDocument=inputs.take("policy"),
            Tags=_tag_set(inputs.take("tags", default={})),
        )["Policy"]
        return policy["Arn"], {"arn": policy["Arn"], "name": policy["PolicyName"]}


class _Inputs:
    """The inputs of a resource, which remember which of them were used, also in nested inputs."""

    def __init__(self, path: str, values: Mapping[str, Any]) -> None:
        self._path = path
        self._unused = dict(values)
        self._nested: list[_Inputs] = []

    def take(self, name: str, **default: Any) -> Any:
        """Return an input and mark it as used; raise NotApplied if it is absent and no ``default`` is given."""
        if name not in self._unused and "default" not in default:
            raise NotApplied(f"{self._path} lacks {name}")
        return self._unused.pop(name, default.get("default"))

    def nested(self, name: str) -> _Inputs:
        return self._add_nested(name, self.take(name))

    def optional(self, name: str) -> _Inputs | None:
        values = self.take(name, default=None)
        return None if values is None else self._add_nested(name, values)

    def nested_list(self, name: str) -> list[_Inputs]:
        return [self._add_nested(name, value) for value in self.take(name)]

    def _add_nested(self, name: str, values: Mapping[str, Any]) -> _Inputs:
        nested = _Inputs(f"{self._path}.{name}", values)
        self._nested.append(nested)
        return nested

    def require_all_used(self) -> None:
        if self._unused:
            raise NotApplied(f"{self._path} has inputs that no call uses: {sorted(self._unused)}")
        for nested in self._nested:
            nested.require_all_used()


def _tag_set(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]
