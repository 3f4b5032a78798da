"""The ticket servers that are measured beside each other, and how each is started."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.node import NODE
from demo_server.seaweedfs import HOST

EXPRESS = Path(__file__).with_name("express")
ORIGIN = "http://localhost:8080"
BUCKET = "example-bucket"
REGION = "eu-central-1"
# The example key pair of the AWS documentation: signing needs no real one, and nothing is sent anywhere.
AWS = {
    "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "AWS_REGION": REGION,
    "AWS_DEFAULT_REGION": REGION,
    "AWS_EC2_METADATA_DISABLED": "true",
}
# What `python -m demo_server` gives uvicorn.
_AS_THE_DEMO = ("--http", "demo_server.joined_writes:JoinedWritesProtocol", "--no-proxy-headers", "--no-server-header")
_TYPES = "image/gif,image/jpeg,image/png,image/webp"


@dataclass(frozen=True, kw_only=True)
class Server:
    """One contender: ``command`` and ``environment`` take a port and a number of workers."""

    name: str
    command: Callable[[int, int], Sequence[str]]
    environment: Callable[[int, int], Mapping[str, str]]
    signs: bool = True


def _uvicorn(target: str, *options: str) -> Callable[[int, int], Sequence[str]]:
    def command(port: int, workers: int) -> Sequence[str]:
        return [
            *(sys.executable, "-m", "uvicorn", "--no-access-log", "--log-level", "warning", "--host", HOST),
            *("--port", str(port), "--workers", str(workers), *options, target),
        ]

    return command


def _presign_environment(port: int, workers: int) -> Mapping[str, str]:
    return {
        **AWS,
        "PRESIGN_BUCKET": f"s3://{BUCKET}/public/?region={REGION}",
        "PRESIGN_SECRET": secrets.token_urlsafe(32),
        "PRESIGN_ALLOWED_ORIGINS": ORIGIN,
        "PRESIGN_TYPES": _TYPES,
        "PRESIGN_MAX_BYTES": str(2**30),
        # The others keep no file name either.
        "PRESIGN_DISPOSITION": "",
    }


def _peer_environment(port: int, workers: int) -> Mapping[str, str]:
    return {
        **AWS,
        "BUCKET": BUCKET,
        "ORIGIN": ORIGIN,
        "PORT": str(port),
        "WORKERS": str(workers),
        "NODE_ENV": "production",
    }


PRESIGN = Server(
    name="presign",
    command=_uvicorn("demo_server.app:create_app", "--factory", *_AS_THE_DEMO),
    environment=_presign_environment,
)
EXPRESS_SERVER = Server(
    name="Express, AWS SDK v3",
    command=lambda port, workers: [str(NODE), str(EXPRESS / "server.js")],
    environment=_peer_environment,
)
FASTAPI = Server(
    name="FastAPI, boto3", command=_uvicorn("bench.servers.fastapi_boto3:app"), environment=_peer_environment
)
EMPTY = Server(
    name="empty endpoint",
    command=_uvicorn("bench.servers.empty:app", *_AS_THE_DEMO),
    environment=lambda port, workers: {},
    signs=False,
)
SERVERS = (PRESIGN, EXPRESS_SERVER, FASTAPI, EMPTY)
