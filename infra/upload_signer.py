"""The component for the identities that sign, verify and publish uploads."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi_aws import iam

import policies


class UploadSigner(pulumi.ComponentResource):
    """An IAM user with an access key, which may upload to one prefix of one bucket, and publish what it verified.

    - ``prefix``: where verified uploads are published.
    - ``pending_prefix``: where uploads go. With None, they go straight to ``prefix``.
    - ``allow_verification``: the user may also read and delete what is pending, and copy it to ``prefix``. Completing
      an upload needs it.
    - ``separate_verifier``: a second user has these rights, with its own access key. The first one may only upload, so
      no ticket can read or copy anything, on any store.
    - ``allow_listing``: the one that verifies may also list what is pending. ``presign sweep`` needs it.
    - ``publish_in_parts``: the one that verifies may also publish objects above 5 GB. Then it may also upload to
      ``prefix`` directly.
    - ``signature_max_age_minutes``: AWS refuses presigned URLs whose signature is older, even if they expire later.
    - ``create_user``: with False, managed policies are created instead of users. Attach them to roles; then there is
      no access key to keep or to rotate.
    - ``access_key_generation``: the number of the access keys in use. A higher number replaces them with new ones.
    - ``keep_previous_access_key``: the access keys with the number before it also stay valid. AWS allows a user at most
      two keys.

    Raises ValueError for prefixes, an age or a generation that cannot work, and for a separate verifier that may not
    verify.
    """

    access_key_id: pulumi.Output[str] | None
    """The id of the access key that signs, or None with ``create_user=False``."""
    secret_access_key: pulumi.Output[str] | None
    """The secret of the access key that signs, as a secret output, or None with ``create_user=False``."""
    policy_arn: pulumi.Output[str] | None
    """The ARN of the managed policy for the role that signs, or None with ``create_user=True``."""
    verifier_access_key_id: pulumi.Output[str] | None
    """The id of the separate verifier's access key, or None if there is none."""
    verifier_secret_access_key: pulumi.Output[str] | None
    """The secret of the separate verifier's access key, as a secret output, or None if there is none."""
    verifier_policy_arn: pulumi.Output[str] | None
    """The ARN of the managed policy for the role that verifies, or None if there is none."""

    def __init__(
        self,
        name: str,
        *,
        bucket_arn: pulumi.Input[str],
        prefix: str,
        pending_prefix: str | None = "pending/",
        allow_verification: bool = True,
        separate_verifier: bool = False,
        allow_listing: bool = True,
        publish_in_parts: bool = False,
        signature_max_age_minutes: int | None = None,
        create_user: bool = True,
        access_key_generation: int = 1,
        keep_previous_access_key: bool = False,
        tags: Mapping[str, str] | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        if keep_previous_access_key and access_key_generation < 2:
            raise ValueError("keep_previous_access_key needs an access_key_generation of at least 2")
        if separate_verifier and not allow_verification:
            raise ValueError("separate_verifier needs allow_verification=True, or the verifier would have no rights")

        def signer_policy(bucket_arn: str) -> dict[str, Any]:
            return policies.signer_policy(
                bucket_arn,
                prefix,
                pending_prefix=pending_prefix,
                allow_verification=allow_verification and not separate_verifier,
                allow_listing=allow_listing,
                publish_in_parts=publish_in_parts and not separate_verifier,
                signature_max_age_minutes=signature_max_age_minutes,
            )

        def verifier_policy(bucket_arn: str) -> dict[str, Any]:
            return policies.verifier_policy(
                bucket_arn,
                prefix,
                pending_prefix=pending_prefix,
                allow_listing=allow_listing,
                publish_in_parts=publish_in_parts,
                signature_max_age_minutes=signature_max_age_minutes,
            )

        identities = [
            _Identity(name=name, policy=signer_policy, description=f"Sign uploads to {pending_prefix or prefix}")
        ]
        if separate_verifier:
            identities.append(
                _Identity(name=f"{name}-verifier", policy=verifier_policy, description=f"Verify uploads for {prefix}")
            )
        for identity in identities:
            document = identity.policy(policies.LONGEST_BUCKET_ARN)
            if create_user:
                policies.require_inline_length(document)

        super().__init__("presign:aws:UploadSigner", name, {}, opts)
        arn = pulumi.Output.from_input(bucket_arn)
        generations = [access_key_generation - 1] if keep_previous_access_key else []
        generations.append(access_key_generation)
        made = [
            self._create_user(identity, arn, generations, tags)
            if create_user
            else self._create_managed_policy(identity, arn, tags)
            for identity in identities
        ]
        signer, verifier = made[0], made[1] if separate_verifier else _Made()
        self.access_key_id = signer.access_key_id
        self.secret_access_key = signer.secret_access_key
        self.policy_arn = signer.policy_arn
        self.verifier_access_key_id = verifier.access_key_id
        self.verifier_secret_access_key = verifier.secret_access_key
        self.verifier_policy_arn = verifier.policy_arn
        outputs = {
            "accessKeyId": self.access_key_id,
            "secretAccessKey": self.secret_access_key,
            "policyArn": self.policy_arn,
            "verifierAccessKeyId": self.verifier_access_key_id,
            "verifierSecretAccessKey": self.verifier_secret_access_key,
            "verifierPolicyArn": self.verifier_policy_arn,
        }
        self.register_outputs({key: value for key, value in outputs.items() if value is not None})

    def _create_user(
        self,
        identity: _Identity,
        bucket_arn: pulumi.Output[str],
        generations: list[int],
        tags: Mapping[str, str] | None,
    ) -> _Made:
        child_options = pulumi.ResourceOptions(parent=self)
        user = iam.User(f"{identity.name}-user", tags=tags, opts=child_options)
        # An inline policy belongs to this user alone. Nobody can attach it to another identity.
        iam.UserPolicy(
            f"{identity.name}-policy", user=user.name, policy=identity.policy_json(bucket_arn), opts=child_options
        )
        keys = [
            iam.AccessKey(f"{identity.name}-access-key-{generation}", user=user.name, opts=child_options)
            for generation in generations
        ]
        return _Made(access_key_id=keys[-1].id, secret_access_key=pulumi.Output.secret(keys[-1].secret))

    def _create_managed_policy(
        self, identity: _Identity, bucket_arn: pulumi.Output[str], tags: Mapping[str, str] | None
    ) -> _Made:
        managed = iam.Policy(
            f"{identity.name}-policy",
            description=f"{identity.description} of one bucket.",
            policy=identity.policy_json(bucket_arn),
            tags=tags,
            opts=pulumi.ResourceOptions(parent=self),
        )
        return _Made(policy_arn=managed.arn)


@dataclass(frozen=True, kw_only=True)
class _Identity:
    """One identity of the component, before its resources exist."""

    name: str
    policy: Callable[[str], dict[str, Any]]
    description: str

    def policy_json(self, bucket_arn: pulumi.Output[str]) -> pulumi.Output[str]:
        return bucket_arn.apply(lambda arn: json.dumps(self.policy(arn)))


@dataclass(frozen=True, kw_only=True)
class _Made:
    """What an identity's resources are known by."""

    access_key_id: pulumi.Output[str] | None = None
    secret_access_key: pulumi.Output[str] | None = None
    policy_arn: pulumi.Output[str] | None = None
