"""The component for the identity that signs uploads."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pulumi
from pulumi_aws import iam

import policies


class UploadSigner(pulumi.ComponentResource):
    """An IAM user with an access key, which may upload under one prefix of one bucket.

    - ``allow_verification``: the user may also read and delete objects under the prefix. Completing an upload needs it.
    - ``signature_max_age_minutes``: AWS refuses presigned URLs whose signature is older, even if they expire later.
    - ``create_user``: with False, a managed policy is created instead of the user. Attach it to a role; then there is
      no access key to keep or to rotate.
    - ``access_key_generation``: the number of the access key in use. A higher number replaces it with a new one.
    - ``keep_previous_access_key``: the access key with the number before it also stays valid. AWS allows a user at most
      two keys.

    Raises ValueError for a prefix, an age or a generation that cannot work.
    """

    access_key_id: pulumi.Output[str] | None
    """The access key's id, or None with ``create_user=False``."""
    secret_access_key: pulumi.Output[str] | None
    """The access key's secret, as a secret output, or None with ``create_user=False``."""
    policy_arn: pulumi.Output[str] | None
    """The ARN of the managed policy to attach to a role, or None with ``create_user=True``."""

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
        child_options = pulumi.ResourceOptions(parent=self)
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
                opts=child_options,
            )
            self.policy_arn = managed.arn
            self.register_outputs({"policyArn": self.policy_arn})
            return

        user = iam.User(f"{name}-user", tags=tags, opts=child_options)
        # An inline policy belongs to this user alone. Nobody can attach it to another identity.
        iam.UserPolicy(f"{name}-policy", user=user.name, policy=policy, opts=child_options)
        if keep_previous_access_key:
            iam.AccessKey(f"{name}-access-key-{access_key_generation - 1}", user=user.name, opts=child_options)
        key = iam.AccessKey(f"{name}-access-key-{access_key_generation}", user=user.name, opts=child_options)
        self.access_key_id = key.id
        self.secret_access_key = pulumi.Output.secret(key.secret)
        self.register_outputs({"accessKeyId": self.access_key_id, "secretAccessKey": self.secret_access_key})
