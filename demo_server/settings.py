"""The demo's settings, from environment variables, a `.env` file and options; a wrong one is refused at the start."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import ByteSize, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from presign.policy import DEFAULT_PART_BYTES
from presign.tokens import MIN_SECRET_BYTES

PREFIX = "PRESIGN_"
StorageName = Literal["s3", "azure", "gcs"]
_SCHEMES: dict[StorageName, str] = {"s3": "s3", "azure": "azblob", "gcs": "gs"}
DEFAULT_TYPES = (
    "application/pdf",
    "application/zip",
    "audio/mpeg",
    "image/avif",
    "image/gif",
    "image/heic",
    "image/heif",
    "image/jpeg",
    "image/png",
    "image/webp",
    "text/csv",
    "text/plain",
    "video/mp4",
)
_PORTS = range(1, 65_536)


class BadSettings(Exception):
    """Settings are wrong; the message has a line for each of them, with the variable's name."""


class Settings(BaseSettings):
    """The demo's settings: each field is the variable PRESIGN_<NAME> and the option --<name>."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        cli_prog_name="python -m demo_server",
        cli_kebab_case=True,
        cli_implicit_flags=True,
        cli_hide_none_type=True,
        cli_avoid_json=True,
        hide_input_in_errors=True,
    )

    bucket: str | None = Field(
        None,
        description="Where uploads go, such as s3://bucket/public/?region=eu-central-1, azblob://account/container/ or "
        "gs://bucket/public/. The provider's SDK finds the credentials. Without a bucket the demo starts a storage of "
        "its own.",
    )
    storage: StorageName = Field(
        "s3",
        description="Which storage the demo starts if no bucket is named: SeaweedFS (s3), Azurite (azure) or the "
        "reference GCS server (gcs).",
    )
    secret: SecretStr | None = Field(
        None,
        description=f"The key that signs completion tokens, at least {MIN_SECRET_BYTES} bytes; "
        "without it each start makes a new one.",
    )
    host: str = Field("127.0.0.1", description="The address that the API and the page listen on.")
    port: int = Field(3000, description="The API's port.")
    page_port: int = Field(8080, description="The page's port.")
    workers: int = Field(1, ge=1, le=256, description="How many processes serve the API.")
    allowed_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Origins whose pages may ask for tickets, separated by commas; by default the demo's own page."
    )
    types: Annotated[tuple[str, ...], NoDecode] = Field(
        DEFAULT_TYPES, description="Content types that may be uploaded, separated by commas."
    )
    min_bytes: ByteSize = Field(ByteSize(1), description="The smallest file, such as 1 or 10KiB.")
    max_bytes: ByteSize = Field(ByteSize(2**30), description="The largest file, such as 5MB or 1GiB.")
    parts_from_bytes: ByteSize | None = Field(
        None,
        description="From which size on a file comes in parts, which can be resumed, such as 50MiB; by default from "
        "100MiB on, on a storage that has parts.",
    )
    part_bytes: ByteSize = Field(ByteSize(DEFAULT_PART_BYTES), description="The size of a part, such as 8MiB.")
    expires_in: int = Field(60, description="How many seconds a ticket is valid, at most 3600.")
    create_only: bool = Field(False, description="Never overwrite an object, not even with the same ticket.")
    require_sha256: bool = Field(
        False, description="Allow only the bytes whose SHA-256 the browser sent when it asked for the ticket."
    )
    pending_prefix: str | None = Field(
        "pending/",
        description="Where uploads wait in the bucket until they are verified; an empty value sends them straight to "
        "their final place.",
    )
    verifier_access_key_id: str | None = Field(
        None,
        description="The id of the access key that verifies and publishes uploads, if another one signs them.",
    )
    verifier_secret_access_key: SecretStr | None = Field(
        None, description="The secret of the access key that verifies and publishes uploads."
    )
    content_disposition: Literal["inline", "attachment"] | None = Field(
        "inline", description="Whether browsers show a stored file (inline) or save it under its name (attachment)."
    )
    public_read: bool = Field(
        True, description="Whether everybody may read what is stored, so that the page can link to it."
    )
    data_dir: Path = Field(
        Path(".demo-data"), description="The folder where the demo's own storage keeps uploads and keys between runs."
    )

    @field_validator(
        "bucket",
        "secret",
        "content_disposition",
        "parts_from_bytes",
        "pending_prefix",
        "verifier_access_key_id",
        "verifier_secret_access_key",
        mode="before",
    )
    @classmethod
    def _empty_is_unset(cls, value: object) -> object:
        return None if value == "" else value

    @field_validator("allowed_origins", "types", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("allowed_origins")
    @classmethod
    def _are_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            parts = urlsplit(origin)
            if (
                parts.scheme not in {"http", "https"}
                or origin != f"{parts.scheme}://{parts.netloc}"
                or not parts.netloc
            ):
                raise ValueError(f"{origin!a} is not an origin such as https://www.example.com, without a path")
        return origins

    @field_validator("port", "page_port")
    @classmethod
    def _are_ports(cls, port: int) -> int:
        if port not in _PORTS:
            raise ValueError("a port lies between 1 and 65535")
        return port

    @model_validator(mode="after")
    def _ports_differ(self) -> Settings:
        if self.port == self.page_port:
            raise ValueError("PRESIGN_PORT and PRESIGN_PAGE_PORT must differ: the page and the API are two origins")
        return self

    @model_validator(mode="after")
    def _verifier_is_complete(self) -> Settings:
        if (self.verifier_access_key_id is None) != (self.verifier_secret_access_key is None):
            raise ValueError(
                "PRESIGN_VERIFIER_ACCESS_KEY_ID and PRESIGN_VERIFIER_SECRET_ACCESS_KEY are the two halves of one "
                "access key; set both or neither"
            )
        return self

    @model_validator(mode="after")
    def _clouds_agree(self) -> Settings:
        named = (self.bucket or "").partition("://")[0]
        if "storage" in self.model_fields_set and named in _SCHEMES.values() and named != _SCHEMES[self.storage]:
            raise ValueError(
                f"PRESIGN_STORAGE is {self.storage}, and PRESIGN_BUCKET begins with {named}://; set only one of them"
            )
        return self

    @model_validator(mode="after")
    def _verifier_is_for_s3(self) -> Settings:
        if self.verifier_access_key_id is not None and not (self.bucket or "").startswith("s3://"):
            raise ValueError(
                "PRESIGN_VERIFIER_ACCESS_KEY_ID and PRESIGN_VERIFIER_SECRET_ACCESS_KEY are for a PRESIGN_BUCKET that "
                "begins with s3://; set that, or neither of them"
            )
        return self

    @property
    def page_origin(self) -> str:
        """The origin of the demo's page in a browser on this machine."""
        return f"http://{_browsable(self.host)}:{self.page_port}"

    @property
    def api_origin(self) -> str:
        """The origin of the API for a browser on this machine."""
        return f"http://{_browsable(self.host)}:{self.port}"

    @property
    def origins(self) -> tuple[str, ...]:
        """The origins whose pages may ask for tickets."""
        return self.allowed_origins or (self.page_origin,)

    @property
    def expiry(self) -> timedelta:
        """How long a ticket is valid."""
        return timedelta(seconds=self.expires_in)


def read_settings(arguments: Sequence[str] | None = None) -> Settings:
    """Return the settings of the environment and, if given, of command-line arguments; raises BadSettings."""
    _refuse_unknown_variables(os.environ)
    # argparse ends the program itself, with its usage, for --help and for an unknown option.
    source: dict[str, Any] = {} if arguments is None else {"_cli_parse_args": list(arguments)}
    try:
        return Settings(**source)
    except ValidationError as error:
        raise BadSettings("\n".join(_message(each) for each in error.errors(include_url=False))) from None


def _refuse_unknown_variables(environment: Mapping[str, str]) -> None:
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    for name in environment:
        if name.startswith(PREFIX) and name not in known:
            closest = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {closest[0]}?" if closest else f"; known are {', '.join(sorted(known))}"
            raise BadSettings(f"{name} is not a setting of the demo{hint}")


def _message(error: Any) -> str:
    message = error["msg"].removeprefix("Value error, ")
    if not error["loc"]:
        return str(message)
    return f"{PREFIX}{str(error['loc'][0]).upper()}: {message}"


def _browsable(host: str) -> str:
    return "localhost" if host in {"127.0.0.1", "0.0.0.0", "::", "::1"} else host  # noqa: S104  (compared, not bound)
