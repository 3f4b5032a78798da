"""The component for the identities that sign, verify and publish uploads."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pulumi
from pulumi_aws import iam

from presign_infra import s3_policies as policies


class UploadSigner(pulumi.ComponentResource):
    """An IAM user with an access key, which may upload to one prefix of one bucket, and publish what it verified.

    - ``bucket_arn``: the bucket's ARN. Without it, the identities get their policies from ``allow``. So the bucket can
      be made with ``deleted_before=signer.identities``.
    - ``prefix``: where verified uploads are published.
    - ``pending_prefix``: where uploads go. With None, they go straight to ``prefix``.
    - ``allow_verification``: the user may also read and delete what is pending, and copy it to ``prefix``. Completing
      an upload needs it.
    - ``separate_verifier``: a second user has these rights, with its own access key. The first one may only upload, so
      on no store can a ticket read or copy anything that is not public.
    - ``allow_listing``: the one that verifies may also list what is pending. ``presign sweep`` needs it.
    - ``publish_in_parts``: the one that verifies may also publish objects above 5 GB. Then it may also upload to
      ``prefix`` directly.
    - ``signature_max_age_minutes``: AWS refuses presigned URLs whose signature is older, even if they expire later.
    - ``server_signature_max_age_minutes``: a smaller limit for what only the server does: it reads and deletes what is
      pending, and publishes it.
    - ``kms_key_arn``: the KMS key that encrypts the bucket. The identities may use it through S3, for this bucket
      alone.
    - ``create_user``: with False, managed policies are created instead of users, and attached to roles; then there is
      no access key to keep or to rotate.
    - ``roles``, ``verifier_roles``: the names of the roles that get the policies of the two identities. You can also
      attach the policies elsewhere.
    - ``role_trust``: a trust policy, such as ``presign_infra.role_trust`` returns. Each identity then gets a role of
      its own, which those may take on whom the trust policy names. It needs ``create_user=False``.
    - ``verifier_role_trust``: another trust policy for the separate verifier's role.
    - ``instance_profiles``: each of these roles gets an instance profile, which an EC2 instance needs.
    - ``permissions_boundary``: the ARN of a policy that limits the users and roles, whatever their policies allow.
    - ``path``: the path of the users, roles, policies and instance profiles in IAM, such as ``/uploads/``.
    - ``access_key_generation``: the number of the access keys in use. Another number replaces them with new ones.
    - ``keep_previous_access_key``: the access keys with the number before it also stay valid. A user never has more
      than two keys, which is what AWS allows: a key that is not kept is deleted before a new one takes its place.
    - ``protect``: the engine refuses to delete the users and their policies, which can still be changed. Access keys
      are not protected, because they must be replaced.

    Raises ValueError for prefixes, an age or a generation that cannot work, for a separate verifier that may not
    verify, and for roles and trust policies of an identity that has a user or does not exist.
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
    role_arn: pulumi.Output[str] | None
    """The ARN of the role that signs, or None without ``role_trust``."""
    verifier_role_arn: pulumi.Output[str] | None
    """The ARN of the role that verifies, or None if there is none."""
    instance_profile: pulumi.Output[str] | None
    """The name of the instance profile of the role that signs, or None without ``instance_profiles``."""
    verifier_instance_profile: pulumi.Output[str] | None
    """The name of the instance profile of the role that verifies, or None if there is none."""
    identities: tuple[pulumi.Resource, ...]
    """The users and their access keys, or the roles of the component's own and their instance profiles."""

    def __init__(
        self,
        name: str,
        *,
        bucket_arn: pulumi.Input[str] | None = None,
        prefix: str,
        pending_prefix: str | None = "pending/",
        allow_verification: bool = True,
        separate_verifier: bool = False,
        allow_listing: bool = True,
        publish_in_parts: bool = False,
        signature_max_age_minutes: int | None = None,
        server_signature_max_age_minutes: int | None = None,
        kms_key_arn: str | None = None,
        create_user: bool = True,
        roles: Sequence[str] = (),
        verifier_roles: Sequence[str] = (),
        role_trust: pulumi.Input[Mapping[str, Any]] | None = None,
        verifier_role_trust: pulumi.Input[Mapping[str, Any]] | None = None,
        instance_profiles: bool = False,
        permissions_boundary: str | None = None,
        path: str = "/",
        access_key_generation: int = 1,
        keep_previous_access_key: bool = False,
        protect: bool = False,
        tags: Mapping[str, str] | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        if keep_previous_access_key and access_key_generation < 2:
            raise ValueError("keep_previous_access_key needs an access_key_generation of at least 2")
        if create_user and (roles or verifier_roles):
            raise ValueError("roles and verifier_roles need create_user=False, because a user's policy has no ARN")
        if create_user and role_trust is not None:
            raise ValueError("role_trust needs create_user=False; an identity has either a user or a role")
        if role_trust is None and (verifier_role_trust is not None or instance_profiles):
            raise ValueError("verifier_role_trust and instance_profiles need role_trust")
        if verifier_role_trust is not None and not separate_verifier:
            raise ValueError("verifier_role_trust needs separate_verifier=True")
        if verifier_roles and not separate_verifier:
            raise ValueError("verifier_roles need separate_verifier=True; without it, the signer's roles also verify")
        if both := sorted(set(roles) & set(verifier_roles)):
            raise ValueError(
                f'roles and verifier_roles must have no role in common, or there is one identity: "{both[0]}"'
            )

        def documents(arn: str) -> Sequence[dict[str, Any]]:
            return policies.identity_policies(
                arn,
                prefix,
                pending_prefix=pending_prefix,
                allow_verification=allow_verification,
                separate_verifier=separate_verifier,
                allow_listing=allow_listing,
                publish_in_parts=publish_in_parts,
                signature_max_age_minutes=signature_max_age_minutes,
                server_signature_max_age_minutes=server_signature_max_age_minutes,
                kms_key_arn=kms_key_arn,
            )

        def texts_for(arn: str) -> list[str]:
            checked = documents(arn)
            if create_user:
                for document in checked:
                    policies.require_inline_length(document)
            return [json.dumps(document) for document in checked]

        # The arguments are checked here, before the bucket's ARN is known.
        texts_for(policies.SHORTEST_BUCKET_ARN)
        super().__init__("presign:aws:UploadSigner", name, {}, opts)
        self._texts_for = texts_for
        self._protect_identities = protect
        self._of_all: dict[str, Any] = {"path": path, "tags": tags}
        self._permissions_boundary = permissions_boundary
        generations = [access_key_generation - 1] if keep_previous_access_key else []
        generations.append(access_key_generation)

        def identity(
            name: str, description: str, roles: Sequence[str], trust: pulumi.Input[Mapping[str, Any]] | None
        ) -> _Identity:
            made = _Identity(name=name, description=description, roles=roles)
            if create_user:
                return self._with_user(made, generations)
            return made if trust is None else self._with_role(made, trust, instance_profile=instance_profiles)

        self._signer = identity(name, "Signs uploads to one bucket.", roles, role_trust)
        self._verifier = (
            identity(
                f"{name}-verifier",
                "Verifies and publishes uploads in one bucket.",
                verifier_roles,
                role_trust if verifier_role_trust is None else verifier_role_trust,
            )
            if separate_verifier
            else None
        )
        all_identities = [self._signer] if self._verifier is None else [self._signer, self._verifier]
        self.identities = tuple(resource for each in all_identities for resource in each.resources)
        self.access_key_id, self.secret_access_key = _access_key(self._signer)
        self.verifier_access_key_id, self.verifier_secret_access_key = _access_key(self._verifier)
        self.role_arn, self.instance_profile = _role(self._signer)
        self.verifier_role_arn, self.verifier_instance_profile = _role(self._verifier)
        self.policy_arn = self.verifier_policy_arn = None
        self._is_allowed = False
        if bucket_arn is not None:
            self.allow(bucket_arn)

    def allow(self, bucket_arn: pulumi.Input[str]) -> None:
        """Give the identities their policies for the bucket with this ARN. Call it once, if ``bucket_arn`` was None.

        ``policy_arn`` and ``verifier_policy_arn`` are known afterwards. Raises RuntimeError for a second call.
        """
        if self._is_allowed:
            raise RuntimeError("allow was called before; make another UploadSigner for another bucket")
        self._is_allowed = True
        texts = pulumi.Output.from_input(bucket_arn).apply(self._texts_for)
        self.policy_arn = self._create_policy(self._signer, texts[0])
        if self._verifier is not None:
            self.verifier_policy_arn = self._create_policy(
                self._verifier,
                texts[1],
            )
        outputs = {
            "accessKeyId": self.access_key_id,
            "secretAccessKey": self.secret_access_key,
            "policyArn": self.policy_arn,
            "verifierAccessKeyId": self.verifier_access_key_id,
            "verifierSecretAccessKey": self.verifier_secret_access_key,
            "verifierPolicyArn": self.verifier_policy_arn,
            "roleArn": self.role_arn,
            "verifierRoleArn": self.verifier_role_arn,
            "instanceProfile": self.instance_profile,
            "verifierInstanceProfile": self.verifier_instance_profile,
        }
        self.register_outputs({key: value for key, value in outputs.items() if value is not None})

    def _with_user(self, identity: _Identity, generations: Sequence[int]) -> _Identity:
        protected = pulumi.ResourceOptions(parent=self, protect=self._protect_identities)
        user = iam.User(
            f"{identity.name}-user",
            # The access keys and the inline policy go with the user.
            force_destroy=True,
            permissions_boundary=self._permissions_boundary,
            **self._of_all,
            opts=protected,
        )
        keys = tuple(self._create_access_key(identity.name, user, generation) for generation in generations)
        return replace(identity, user=user, keys=keys)

    def _create_access_key(self, name: str, user: iam.User, generation: int) -> iam.AccessKey:
        # The generations take turns in two slots. A new key first deletes the one in its slot, so AWS never sees three.
        slot = "odd" if generation % 2 else "even"
        return iam.AccessKey(
            f"{name}-access-key-{slot}",
            user=user.name,
            opts=pulumi.ResourceOptions(
                parent=self,
                replacement_trigger=generation,
                delete_before_replace=True,
                # A user that cannot be deleted keeps its keys.
                deleted_with=user,
                aliases=[pulumi.Alias(name=f"{name}-access-key-{generation}")],
            ),
        )

    def _create_policy(self, identity: _Identity, policy: pulumi.Output[str]) -> pulumi.Output[str] | None:
        """Create the identity's policy; return its ARN, which an inline policy does not have."""
        if identity.user is not None:
            self._create_inline_policy(identity.name, identity.user, policy)
            return None
        managed = iam.Policy(
            f"{identity.name}-policy",
            description=identity.description,
            policy=policy,
            **self._of_all,
            # AWS cannot change a description. A new policy would have another ARN, which no role would have.
            opts=pulumi.ResourceOptions(parent=self, protect=self._protect_identities, ignore_changes=["description"]),
        )
        for role in identity.roles:
            # With the role in the name, no other role of a list that changes is attached or detached.
            iam.RolePolicyAttachment(
                f"{identity.name}-role-{role}",
                role=role,
                policy_arn=managed.arn,
                opts=pulumi.ResourceOptions(parent=self),
            )
        if identity.role is not None:
            iam.RolePolicyAttachment(
                f"{identity.name}-own-role-policy",
                role=identity.role.name,
                policy_arn=managed.arn,
                opts=pulumi.ResourceOptions(parent=self, protect=self._protect_identities),
            )
        return managed.arn

    def _create_inline_policy(self, name: str, user: iam.User, policy: pulumi.Output[str]) -> None:
        # An inline policy belongs to this user alone. Nobody can attach it to another identity.
        iam.UserPolicy(
            f"{name}-policy",
            # Pulumi forgets the policy when it fails to delete the bucket. Under the same name, `up` finds it again.
            name=f"{name}-policy",
            user=user.name,
            policy=policy,
            opts=pulumi.ResourceOptions(
                parent=self,
                protect=self._protect_identities,
                # It is made after the bucket, whose ARN it has. It must not go before the bucket.
                deleted_with=user,
                # In stacks of earlier versions, Pulumi chose the name.
                ignore_changes=["name"],
            ),
        )

    def _with_role(
        self, identity: _Identity, trust: pulumi.Input[Mapping[str, Any]], *, instance_profile: bool
    ) -> _Identity:
        protected = pulumi.ResourceOptions(parent=self, protect=self._protect_identities)
        role = iam.Role(
            f"{identity.name}-own-role",
            description=identity.description,
            assume_role_policy=pulumi.Output.json_dumps(trust),
            permissions_boundary=self._permissions_boundary,
            **self._of_all,
            opts=protected,
        )
        if not instance_profile:
            return replace(identity, role=role)
        profile = iam.InstanceProfile(
            f"{identity.name}-instance-profile", role=role.name, **self._of_all, opts=protected
        )
        return replace(identity, role=role, profile=profile)


@dataclass(frozen=True, kw_only=True)
class _Identity:
    """An identity of the component: a user with its access keys, a role, or the roles of others by their names."""

    name: str
    description: str
    roles: Sequence[str]
    user: iam.User | None = None
    keys: tuple[iam.AccessKey, ...] = ()
    role: iam.Role | None = None
    profile: iam.InstanceProfile | None = None

    @property
    def resources(self) -> list[pulumi.Resource]:
        """What the component made for this identity, apart from policies."""
        return [each for each in (self.user, *self.keys, self.role, self.profile) if each is not None]


def _access_key(identity: _Identity | None) -> tuple[pulumi.Output[str], pulumi.Output[str]] | tuple[None, None]:
    """Return the id and the secret of the newest access key, if there is one."""
    if identity is None or not identity.keys:
        return None, None
    newest = identity.keys[-1]
    # With this name, mypy infers what Output.secret returns.
    secret: pulumi.Output[str] = pulumi.Output.secret(newest.secret)
    return newest.id, secret


def _role(identity: _Identity | None) -> tuple[pulumi.Output[str] | None, pulumi.Output[str] | None]:
    """Return the role's ARN and the name of its instance profile, if there are any."""
    if identity is None or identity.role is None:
        return None, None
    return identity.role.arn, None if identity.profile is None else identity.profile.name
