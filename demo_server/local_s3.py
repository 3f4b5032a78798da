"""S3 on this machine: SeaweedFS, provisioned as the Pulumi program provisions AWS."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from demo_server.local_storage import BUCKET, PUBLIC_PREFIX, REGION
from emulators.ports import is_free
from emulators.seaweedfs import AccessKey, SeaweedFS, StartFailed
from infra.policies import bucket_policy, cors_rules, local_signer_policy

if TYPE_CHECKING:
    from mypy_boto3_iam import IAMClient
    from mypy_boto3_s3 import S3Client

_BUCKET_ARN = f"arn:aws:s3:::{BUCKET}"
_SIGNER = "presign-signer"
# Outside the public prefix.
_PROBE = "readiness"
_ATTEMPTS = 12


@contextmanager
def local_s3(directory: Path, *, origins: Sequence[str], say: Callable[[str], None]) -> Iterator[dict[str, str]]:
    """Run SeaweedFS for pages of ``origins``, and yield the environment that points the demo at it.

    Uploads, keys and the port are kept in ``directory``, so that the next run serves the same URLs. Raises StartFailed.
    """
    directory = directory.resolve()
    state = _State(directory / "state.json")
    say(f"Starting SeaweedFS, a local S3 storage, with its data in {directory} (a few seconds)")
    port = state.port if state.port and is_free(state.port) else 0
    with SeaweedFS(directory=directory, admin=state.admin, s3_port=port) as server:
        state.port = int(server.endpoint_url.rpartition(":")[2])
        say(f"Provisioning the bucket {BUCKET}: CORS for {', '.join(origins)}, public reads under {PUBLIC_PREFIX}")
        clients = _Clients(server.endpoint_url, state.admin)
        try:
            _provision_bucket(clients, origins)
            _await_uploads(clients.s3)
            state.signer = _provision_signer(clients.iam, state.signer)
        except (BotoCoreError, ClientError) as error:
            raise StartFailed(f"SeaweedFS could not be provisioned: {error}") from None
        state.save()
        yield {
            "PRESIGN_BUCKET": f"s3://{BUCKET}/{PUBLIC_PREFIX}?"
            + urlencode({"region": REGION, "endpoint_url": server.endpoint_url}),
            "AWS_ACCESS_KEY_ID": state.signer.access_key_id,
            "AWS_SECRET_ACCESS_KEY": state.signer.secret_access_key,
        }


class _State:
    """What is remembered between runs, in a file that only its owner can read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        kept: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        self.port: int | None = kept.get("port")
        self.admin = AccessKey(**kept["admin"]) if "admin" in kept else _new_access_key()
        self.signer = AccessKey(**kept["signer"]) if kept.get("signer") else None

    def save(self) -> None:
        self._path.touch(mode=0o600)
        kept = {"port": self.port, "admin": vars(self.admin), "signer": vars(self.signer) if self.signer else None}
        self._path.write_text(json.dumps(kept))


class _Clients:
    def __init__(self, endpoint_url: str, admin: AccessKey) -> None:
        session = boto3.Session(
            aws_access_key_id=admin.access_key_id,
            aws_secret_access_key=admin.secret_access_key,
            region_name=REGION,
        )
        self.s3 = session.client(
            "s3",
            endpoint_url=endpoint_url,
            config=Config(
                signature_version="s3v4",
                s3={"addressing_style": "path"},
                retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
            ),
        )
        self.iam = session.client("iam", endpoint_url=endpoint_url)


def _provision_bucket(clients: _Clients, origins: Sequence[str]) -> None:
    s3 = clients.s3
    if BUCKET not in {bucket["Name"] for bucket in s3.list_buckets()["Buckets"]}:
        s3.create_bucket(Bucket=BUCKET)
    rules: Any = cors_rules(origins)
    s3.put_bucket_cors(Bucket=BUCKET, CORSConfiguration={"CORSRules": rules})
    # The store speaks no TLS, and nothing leaves this machine.
    policy = bucket_policy(_BUCKET_ARN, PUBLIC_PREFIX, public_read=True, deny_plain_http=False)
    s3.put_bucket_policy(Bucket=BUCKET, Policy=json.dumps(policy))


def _await_uploads(s3: S3Client) -> None:
    """Return when what an earlier run stored can be read, and more can be stored.

    After a start the bucket answers for some seconds before its volumes do, with 500 for every object in them.
    """
    if s3.list_objects_v2(Bucket=BUCKET, Prefix=_PROBE).get("KeyCount"):
        s3.get_object(Bucket=BUCKET, Key=_PROBE)["Body"].read()
    s3.put_object(Bucket=BUCKET, Key=_PROBE, Body=b"readable")
    s3.get_object(Bucket=BUCKET, Key=_PROBE)["Body"].read()


def _provision_signer(iam: IAMClient, kept: AccessKey | None) -> AccessKey:
    if _SIGNER not in {user["UserName"] for user in iam.list_users()["Users"]}:
        iam.create_user(UserName=_SIGNER)
    policy = local_signer_policy(_BUCKET_ARN, PUBLIC_PREFIX, allow_verification=True)
    iam.put_user_policy(UserName=_SIGNER, PolicyName="upload", PolicyDocument=json.dumps(policy))
    known = {key["AccessKeyId"] for key in iam.list_access_keys(UserName=_SIGNER)["AccessKeyMetadata"]}
    if kept is not None and kept.access_key_id in known:
        return kept
    made = iam.create_access_key(UserName=_SIGNER)["AccessKey"]
    return AccessKey(access_key_id=made["AccessKeyId"], secret_access_key=made["SecretAccessKey"])


def _new_access_key() -> AccessKey:
    return AccessKey(access_key_id=f"demo{secrets.token_hex(8)}", secret_access_key=secrets.token_urlsafe(30))
