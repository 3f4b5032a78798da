"""The servers that answer ``POST /upload``, and how each is started."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from bench import rust_programs
from emulators import go_programs
from emulators.npm_packages import install, node

ORIGIN = "http://localhost:8080"
BUCKET = "example-bucket"
REGION = "eu-central-1"
# The example key pair of the AWS documentation. A signature needs no real one, and nothing is sent to AWS.
AWS = {
    "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "AWS_REGION": REGION,
    "AWS_DEFAULT_REGION": REGION,
    "AWS_EC2_METADATA_DISABLED": "true",
}
_EXPRESS = Path(__file__).with_name("express")
_GO = Path(__file__).with_name("go")
_RUST = Path(__file__).with_name("rust")


@dataclass(frozen=True, kw_only=True)
class Server:
    """A server; it takes its port and its number of workers from the environment (see ``running``)."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]


def uvicorn(application: str, *options: str) -> Sequence[str]:
    """Return the command that serves an ASGI application as it is served in production."""
    return [sys.executable, "-m", "uvicorn", "--no-access-log", "--log-level", "warning", *options, application]


# The options that `python -m demo_server` gives uvicorn, and docs/performance.md recommends.
_DEMO_OPTIONS = ("--http", "presign.uvicorn:JoinedWritesProtocol", "--no-proxy-headers", "--no-server-header")
_OTHERS_ENVIRONMENT = {**AWS, "BUCKET": BUCKET, "ORIGIN": ORIGIN, "NODE_ENV": "production"}

PRESIGN = Server(
    name="presign",
    command=uvicorn("demo_server.app:create_app", "--factory", *_DEMO_OPTIONS),
    environment={
        **AWS,
        "PRESIGN_BUCKET": f"s3://{BUCKET}/public/?region={REGION}",
        "PRESIGN_SECRET": secrets.token_urlsafe(32),
        "PRESIGN_ALLOWED_ORIGINS": ORIGIN,
        "PRESIGN_TYPES": "image/gif,image/jpeg,image/png,image/webp",
        "PRESIGN_MAX_BYTES": str(2**30),
        # The other servers do not store the file's name.
        "PRESIGN_CONTENT_DISPOSITION": "",
    },
)
# The README's recipe, started with uvicorn's own settings.
RECIPE = Server(
    name="presign in FastAPI, plain uvicorn",
    command=uvicorn("bench.servers.fastapi_recipe:app"),
    environment={**_OTHERS_ENVIRONMENT, "PRESIGN_SECRET": secrets.token_urlsafe(32)},
)
EXPRESS = Server(
    name="Express, AWS SDK v3", command=[str(node()), str(_EXPRESS / "server.js")], environment=_OTHERS_ENVIRONMENT
)
FASTAPI = Server(
    name="FastAPI, boto3", command=uvicorn("bench.servers.fastapi_boto3:app"), environment=_OTHERS_ENVIRONMENT
)
# What uvicorn costs with presign's options and no application behind it.
EMPTY = Server(name="empty endpoint", command=uvicorn("bench.servers.empty:app", *_DEMO_OPTIONS), environment={})


def _program(folder: Path, sources: Sequence[str]) -> Path:
    """Return the path of the server that is built from ``sources`` in ``folder``; other sources have another path."""
    digest = sha256(b"".join((folder / name).read_bytes() for name in sources)).hexdigest()
    return go_programs.cache_folder() / f"bench-{folder.name}-{digest[:12]}"


def go_program() -> Path:
    """Return the path of the built Go server."""
    return _program(_GO, ("main.go", "go.mod", "go.sum"))


def rust_program() -> Path:
    """Return the path of the built Rust server."""
    return _program(_RUST, ("src/main.rs", "Cargo.toml", "crates.lock"))


GO = Server(name="Go, AWS SDK v2", command=[str(go_program())], environment=_OTHERS_ENVIRONMENT)
RUST = Server(name="Rust, axum, rust-s3", command=[str(rust_program())], environment=_OTHERS_ENVIRONMENT)
SERVERS = (PRESIGN, RECIPE, GO, RUST, EXPRESS, FASTAPI, EMPTY)


def build_go() -> None:
    """Build the Go server, unless it is built."""
    if not go_program().exists():
        go_programs.build(_GO, go_program())


def build_rust() -> None:
    """Build the Rust server, unless it is built; raises NoCargo if that needs a newer Rust than the machine has."""
    if not rust_program().exists():
        cargo = rust_programs.find_cargo(least=rust_programs.least_version(_RUST))
        rust_programs.build(cargo, _RUST, rust_program())


def install_express() -> None:
    """Install the packages that ``express/package-lock.json`` pins, unless they are installed."""
    install(_EXPRESS)
