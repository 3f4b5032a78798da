"""The identity that signs uploads, as one component."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pulumi
from pulumi_aws import iam

import policies


class UploadSigner(pulumi.ComponentResource):
    """An IAM user with an access key that may upload under one prefix of one bucket, and little else.

    `allow_verification` lets it also read and delete there, which completing an upload needs.
    `signature_max_age_minutes` makes AWS refuse presigned URLs whose signature is older, whatever their expiry says.
    `create_user=False` makes a managed policy instead, to attach to a role: then there is no key to keep or rotate.

    The access key is numbered by `access_key_generation`. Counting it up with `keep_previous_access_key=True` issues a
    new key beside the old one; turning that off again deletes the old one. AWS allows a user two keys at a time.
    """

    access_key_id: pulumi.Output[str] | None
    """The key's id, or None with `create_user=False`."""
    secret_access_key: pulumi.Output[str] | None
    """The key's secret, marked as one, or None with `create_user=False`."""
    policy_arn: pulumi.Output[str] | None
    """The managed policy to attach to a role, with `create_user=False` alone."""

    def __init__(
        self,
        name: str,
        *,
        bucket_arn: pulumi.Input[str],
        prefix: str,
        allow_verification: bool = True,
        signature_max_age_minutes: int | None = None,
        create_user: bool = True,
        access_key_generation: int = 1,
        keep_previous_access_key: bool = False,
        tags: Mapping[str, str] | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        policies.require_prefix(prefix)
        if keep_previous_access_key and access_key_generation < 2:
            raise ValueError("keep_previous_access_key needs an access_key_generation of at least 2")
        super().__init__("presign:aws:UploadSigner", name, {}, opts)
        of_this = pulumi.ResourceOptions(parent=self)
        policy = pulumi.Output.from_input(bucket_arn).apply(
            lambda arn: json.dumps(
                policies.signer_policy(
                    arn,
                    prefix,
                    allow_verification=allow_verification,
                    signature_max_age_minutes=signature_max_age_minutes,
                )
            )
        )

        self.access_key_id = self.secret_access_key = self.policy_arn = None
        if not create_user:
            managed = iam.Policy(
                f"{name}-policy",
                description=f"Sign uploads under {prefix} of one bucket.",
                policy=policy,
                tags=tags,
                opts=of_this,
            )
            self.policy_arn = managed.arn
            self.register_outputs({"policyArn": self.policy_arn})
            return

        user = iam.User(f"{name}-user", tags=tags, opts=of_this)
        # Inline: the policy belongs to this user alone and goes away with it.
        iam.UserPolicy(f"{name}-policy", user=user.name, policy=policy, opts=of_this)
        if keep_previous_access_key:
            iam.AccessKey(f"{name}-access-key-{access_key_generation - 1}", user=user.name, opts=of_this)
        key = iam.AccessKey(f"{name}-access-key-{access_key_generation}", user=user.name, opts=of_this)
        self.access_key_id = key.id
        self.secret_access_key = pulumi.Output.secret(key.secret)
        self.register_outputs({"accessKeyId": self.access_key_id, "secretAccessKey": self.secret_access_key})
