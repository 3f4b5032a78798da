"""S3 on this machine: SeaweedFS, provisioned as the Pulumi program provisions AWS."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from demo_server.storages.folder import read_state, save_state
from demo_server.storages.local_storage import BUCKET, PUBLIC_PREFIX, REGION, LocalStorage, pending_place
from emulators.bucket_readiness import wait_until_bucket_takes_objects
from emulators.ports import is_free
from emulators.processes import StartFailed
from emulators.seaweedfs import AccessKey, SeaweedFS
from infra.presign_infra.prefixes import require_separate_prefixes
from infra.presign_infra.s3_policies import (
    bucket_policy,
    cors_rules,
    local_policy,
    local_signer_policy,
    verifier_policy,
)
from presign.s3.copying import MAX_COPY_BYTES

if TYPE_CHECKING:
    from mypy_boto3_iam import IAMClient
    from mypy_boto3_s3 import S3Client

_BUCKET_ARN = f"arn:aws:s3:::{BUCKET}"
_SIGNER = "presign-signer"
_VERIFIER = "presign-verifier"
_ATTEMPTS = 12


@contextmanager
def run_s3(
    directory: Path,
    *,
    origins: Sequence[str],
    report: Callable[[str], None],
    pending_prefix: str | None,
    max_bytes: int | None = None,
) -> Iterator[LocalStorage]:
    """Run SeaweedFS for pages of ``origins`` while the block lasts.

    Two identities use the bucket, as in production: one signs uploads and may read nothing, the other verifies and
    publishes them. Uploads, keys and the port are kept in ``directory``, so that the next run serves the same URLs. If
    ``max_bytes``, the size of the largest upload, is above what one request copies, the one that verifies may also
    upload to the final place. Raises StartFailed.
    """
    _check_prefixes(pending_prefix)
    state = read_state(directory)
    admin, signer, verifier = (_saved_access_key(state, name) for name in ("admin", "signer", "verifier"))
    admin = admin or _new_access_key()
    earlier_port = state.get("port", 0)
    report(f"Starting SeaweedFS, a local S3 storage, with its data in {directory} (a few seconds)")
    server = SeaweedFS(directory=directory, admin=admin, s3_port=earlier_port if is_free(earlier_port) else 0)
    with server:
        report(
            f"Provisioning the bucket {BUCKET}: CORS for {', '.join(origins)}, public reads under {PUBLIC_PREFIX}"
            f"{pending_place(pending_prefix)}"
        )
        session = boto3.Session(
            aws_access_key_id=admin.access_key_id, aws_secret_access_key=admin.secret_access_key, region_name=REGION
        )
        try:
            s3 = _s3_client(session, server.endpoint_url)
            _provision_bucket(s3, origins)
            wait_until_bucket_takes_objects(s3, BUCKET)
            iam = session.client("iam", endpoint_url=server.endpoint_url)
            signing = local_signer_policy(
                _BUCKET_ARN, PUBLIC_PREFIX, pending_prefix=pending_prefix, allow_verification=False
            )
            verifying = verifier_policy(
                _BUCKET_ARN,
                PUBLIC_PREFIX,
                pending_prefix=pending_prefix,
                allow_listing=pending_prefix is not None,
                publish_in_parts=pending_prefix is not None and (max_bytes or 0) > MAX_COPY_BYTES,
            )
            signer = provision_user(iam, _SIGNER, signing, earlier_key=signer)
            verifier = provision_user(iam, _VERIFIER, local_policy(verifying), earlier_key=verifier)
        except (BotoCoreError, ClientError) as error:
            raise StartFailed(f"SeaweedFS could not be provisioned: {error}") from None
        save_state(
            directory,
            {"port": server.port, "admin": vars(admin), "signer": vars(signer), "verifier": vars(verifier)},
        )
        yield LocalStorage(
            server=server.process,
            environment={
                "PRESIGN_BUCKET": f"s3://{BUCKET}/{PUBLIC_PREFIX}?"
                + urlencode({"region": REGION, "endpoint_url": server.endpoint_url}),
                "AWS_ACCESS_KEY_ID": signer.access_key_id,
                "AWS_SECRET_ACCESS_KEY": signer.secret_access_key,
                "PRESIGN_VERIFIER_ACCESS_KEY_ID": verifier.access_key_id,
                "PRESIGN_VERIFIER_SECRET_ACCESS_KEY": verifier.secret_access_key,
            },
        )


def provision_user(
    iam: IAMClient, name: str, policy: Mapping[str, Any], *, earlier_key: AccessKey | None = None
) -> AccessKey:
    """Let the user ``name`` do what ``policy`` says and nothing else, and return its access key.

    That is ``earlier_key`` if the store still knows it, else a new one.
    """
    if name not in {user["UserName"] for user in iam.list_users()["Users"]}:
        iam.create_user(UserName=name)
    iam.put_user_policy(UserName=name, PolicyName="upload", PolicyDocument=json.dumps(policy))
    known = {key["AccessKeyId"] for key in iam.list_access_keys(UserName=name)["AccessKeyMetadata"]}
    if earlier_key is not None and earlier_key.access_key_id in known:
        return earlier_key
    made = iam.create_access_key(UserName=name)["AccessKey"]
    return AccessKey(access_key_id=made["AccessKeyId"], secret_access_key=made["SecretAccessKey"])


def _check_prefixes(pending_prefix: str | None) -> None:
    if pending_prefix is None:
        return
    try:
        require_separate_prefixes(pending_prefix, PUBLIC_PREFIX, pending_name="PRESIGN_PENDING_PREFIX")
    except ValueError as error:
        raise StartFailed(str(error)) from None


def _saved_access_key(state: Mapping[str, Any], name: str) -> AccessKey | None:
    return AccessKey(**state[name]) if name in state else None


def _s3_client(session: boto3.Session, endpoint_url: str) -> S3Client:
    retries: Any = {"mode": "standard", "total_max_attempts": _ATTEMPTS}
    config = Config(signature_version="s3v4", s3={"addressing_style": "path"}, retries=retries)
    return session.client("s3", endpoint_url=endpoint_url, config=config)


def _provision_bucket(s3: S3Client, origins: Sequence[str]) -> None:
    if BUCKET not in {bucket["Name"] for bucket in s3.list_buckets()["Buckets"]}:
        s3.create_bucket(Bucket=BUCKET)
    rules: Any = cors_rules(origins)
    s3.put_bucket_cors(Bucket=BUCKET, CORSConfiguration={"CORSRules": rules})
    # The store speaks no TLS, and nothing leaves this machine.
    policy = bucket_policy(_BUCKET_ARN, PUBLIC_PREFIX, public_read=True, deny_plain_http=False)
    s3.put_bucket_policy(Bucket=BUCKET, Policy=json.dumps(policy))


def _new_access_key() -> AccessKey:
    return AccessKey(access_key_id=f"demo{secrets.token_hex(8)}", secret_access_key=secrets.token_urlsafe(30))
