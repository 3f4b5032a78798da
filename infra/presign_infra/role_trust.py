"""Who may take on a role of AWS: trust policies for its services and for OpenID Connect, as pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .s3_policies import policy_document

SERVICES = {"ec2": "ec2.amazonaws.com", "ecs": "ecs-tasks.amazonaws.com", "lambda": "lambda.amazonaws.com"}
"""The services that run applications, with their names in policies."""


def service_trust(service: str, *, account_id: str) -> dict[str, Any]:
    """Return the trust policy for a service of ``SERVICES``, such as ``ecs``, in the account ``account_id``.

    For EC2 and Lambda, AWS itself gives a role only to what runs in the role's account, and sends no condition that
    says so. For a task of ECS, the policy says it.
    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-iam-roles.html
    """
    statement: dict[str, Any] = {
        "Effect": "Allow",
        "Principal": {"Service": SERVICES[service]},
        "Action": "sts:AssumeRole",
    }
    if service == "ecs":
        statement["Condition"] = {"StringEquals": {"aws:SourceAccount": account_id}}
    return policy_document(statement)


def oidc_trust(provider_arn: str, *, audience: str, subjects: Sequence[str]) -> dict[str, Any]:
    """Return the trust policy for tokens of an OpenID Connect provider, such as that of a Kubernetes cluster.

    A token must be for exactly ``audience``, and its subject must be one of ``subjects``, character by character.
    Raises ValueError without a subject: then every user of the provider could take on the role.
    https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_create_for-idp_oidc.html
    """
    if not audience or not subjects or not all(subjects):
        raise ValueError("audience and subjects must not be empty, or everybody with a token could take on the role")
    for value in (audience, *subjects):
        if set("*?$") & set(value):
            raise ValueError(
                "audience and subjects are compared exactly and know neither wildcards nor variables (${...}); one is "
                f'"{value}"'
            )
    issuer = provider_arn.partition(":oidc-provider/")[2]
    if not issuer:
        raise ValueError(f'provider_arn must be the ARN of an OpenID Connect provider; it is "{provider_arn}"')
    return policy_document(
        {
            "Effect": "Allow",
            "Principal": {"Federated": provider_arn},
            "Action": "sts:AssumeRoleWithWebIdentity",
            "Condition": {"StringEquals": {f"{issuer}:aud": audience, f"{issuer}:sub": list(subjects)}},
        }
    )
