"""The stack's settings: read once, checked as a whole, refused with a sentence that names the key.

Every key, its type, its default and its meaning are declared in Pulumi.yaml and nowhere else; the engine fills the
defaults in. What the engine cannot check, a prefix without its slash or an origin with a path, is checked here before
the first resource is asked for.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from urllib.parse import urlsplit

import pulumi

import policies

# A signature lives for seven days at most, whatever the policy says.
_MAX_SIGNATURE_AGE_MINUTES = 7 * 24 * 60

# A dot is legal in a bucket's name, but then the host name no longer matches S3's wildcard certificate.
_BUCKET_NAME = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]", re.ASCII)
_RESERVED_BUCKET_NAMES = re.compile(r"(xn--|sthree-|amzn-s3-demo-).*|.*(-s3alias|--ol-s3|--x-s3|--table-s3)", re.ASCII)

_HOST = re.compile(r"(\*\.)?[a-z0-9]([a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\]", re.ASCII)
_DEFAULT_PORTS = {"http": 80, "https": 443}


class BadConfiguration(pulumi.RunError):
    """The settings make no sense; the message has one sentence per key that is at fault.

    The engine prints a RunError without a stack trace.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What one stack provisions; every value has been checked. Pulumi.yaml describes each key."""

    bucket_name: str | None
    public_prefix: str
    allowed_origins: tuple[str, ...]
    public_read: bool
    abort_uploads_after_days: int
    allow_verification: bool
    create_user: bool
    access_key_generation: int
    keep_previous_access_key: bool
    signature_max_age_minutes: int | None
    force_destroy: bool
    protect: bool
    tags: Mapping[str, str] = field(hash=False)
    endpoint_url: str | None
    """The S3 endpoint that `aws:endpoints` names, when the stack stands on a local server rather than on AWS."""


def read() -> Settings:
    """Answers the running stack's settings; raises BadConfiguration with everything that is wrong with them."""
    project = pulumi.Config()
    values = {key: value for key in _KEYS if (value := project.get(key)) is not None}
    # The SDK cannot list keys, and a misspelt key would silently leave its default in force.
    namespace = f"{project.name}:"
    given = {key for key in json.loads(os.environ.get("PULUMI_CONFIG") or "{}") if key.startswith(namespace)}
    return _Reader(project.name, values).settings(
        unknown_keys=sorted(key.removeprefix(namespace) for key in given if key.removeprefix(namespace) not in _KEYS),
        aws_endpoints=pulumi.Config("aws").get("endpoints"),
    )


_KEYS = (
    "bucketName",
    "publicPrefix",
    "allowedOrigins",
    "allowAnyOrigin",
    "publicRead",
    "abortUploadsAfterDays",
    "allowVerification",
    "createUser",
    "accessKeyGeneration",
    "keepPreviousAccessKey",
    "signatureMaxAgeMinutes",
    "forceDestroy",
    "protect",
    "tags",
)


class _Reader:
    """Reads typed values out of the strings that the engine hands over, and remembers every complaint on the way."""

    def __init__(self, namespace: str, values: Mapping[str, str]) -> None:
        self._namespace = namespace
        self._values = values
        self._problems: list[str] = []

    def settings(self, *, unknown_keys: Sequence[str], aws_endpoints: str | None) -> Settings:
        for key in unknown_keys:
            near = get_close_matches(key, _KEYS, n=1)
            self._complain(key, "is no key of this program" + (f"; did you mean {near[0]}?" if near else ""))
        generation = self._whole_number("accessKeyGeneration", minimum=1, maximum=1_000_000)
        keep_previous = self._flag("keepPreviousAccessKey")
        if keep_previous and generation == 1:
            self._complain(
                "keepPreviousAccessKey", "must be false while accessKeyGeneration is 1: no key came before it"
            )
        settings = Settings(
            bucket_name=self._bucket_name("bucketName"),
            public_prefix=self._prefix("publicPrefix"),
            allowed_origins=self._origins("allowedOrigins", allow_any=self._flag("allowAnyOrigin")),
            public_read=self._flag("publicRead"),
            abort_uploads_after_days=self._whole_number("abortUploadsAfterDays", minimum=1, maximum=3650),
            allow_verification=self._flag("allowVerification"),
            create_user=self._flag("createUser"),
            access_key_generation=generation,
            keep_previous_access_key=keep_previous,
            # The engine asks for a value unless a key has a default, so 0 stands for "no limit".
            signature_max_age_minutes=self._whole_number(
                "signatureMaxAgeMinutes", minimum=0, maximum=_MAX_SIGNATURE_AGE_MINUTES
            )
            or None,
            force_destroy=self._flag("forceDestroy"),
            protect=self._flag("protect"),
            tags=self._tags("tags"),
            endpoint_url=self._s3_endpoint(aws_endpoints),
        )
        if self._problems:
            raise BadConfiguration(self._problems)
        return settings

    def _complain(self, key: str, complaint: str) -> None:
        self._problems.append(f"{self._namespace}:{key} {complaint}")

    def _text(self, key: str) -> str:
        if key not in self._values:
            self._complain(key, "has no value; Pulumi.yaml declares its default")
        return self._values.get(key, "")

    def _flag(self, key: str) -> bool:
        text = self._text(key)
        if text not in {"true", "false", ""}:
            self._complain(key, f'must be true or false; it is "{text}"')
        return text == "true"

    def _whole_number(self, key: str, *, minimum: int, maximum: int) -> int:
        text = self._text(key)
        if re.fullmatch(r"-?[0-9]{1,12}", text, re.ASCII) and minimum <= int(text) <= maximum:
            return int(text)
        if text:
            self._complain(key, f'must be a whole number from {minimum} to {maximum}; it is "{text}"')
        return minimum

    def _bucket_name(self, key: str) -> str | None:
        name = self._text(key)
        if not name:
            return None
        if not _BUCKET_NAME.fullmatch(name):
            self._complain(
                key,
                "must have 3 to 63 lowercase letters, digits and hyphens, with a letter or digit at both ends, and no "
                f'dot, which breaks TLS host names; it is "{name}"',
            )
        elif _RESERVED_BUCKET_NAMES.fullmatch(name):
            self._complain(key, f'must not use a beginning or an end that AWS keeps for itself; it is "{name}"')
        return name

    def _prefix(self, key: str) -> str:
        prefix = self._text(key)
        try:
            return policies.require_prefix(prefix, name=f"{self._namespace}:{key}")
        except ValueError as error:
            self._problems.append(str(error))
            return prefix

    def _origins(self, key: str, *, allow_any: bool) -> tuple[str, ...]:
        origins = self._json(key)
        if not isinstance(origins, list) or not all(isinstance(origin, str) for origin in origins):
            self._complain(
                key,
                "must be a list of origins, set one by one: "
                f"pulumi config set --path '{self._namespace}:{key}[0]' https://app.example.com",
            )
            return ()
        if not origins:
            self._complain(key, "must name at least one origin")
        for origin in origins:
            if origin == "*":
                if not allow_any:
                    self._complain(
                        key,
                        'must not be "*", which lets every web site send uploads with a ticket that it got hold of, '
                        f"unless {self._namespace}:allowAnyOrigin is true",
                    )
            elif complaint := _origin_complaint(origin):
                self._complain(key, f'{complaint}; it has "{origin}"')
        return tuple(origins)

    def _tags(self, key: str) -> Mapping[str, str]:
        tags = self._json(key)
        if not isinstance(tags, dict) or not all(isinstance(value, str) for value in tags.values()):
            self._complain(
                key,
                "must map names to strings, set one by one: "
                f"pulumi config set --path '{self._namespace}:{key}.team' media",
            )
            return {}
        # AWS takes 50 tags, a name of 128 and a value of 256 characters, and keeps the prefix aws: for itself.
        if len(tags) > 50:
            self._complain(key, f"must have at most 50 tags; it has {len(tags)}")
        for name, value in tags.items():
            if not 1 <= len(name) <= 128 or name.lower().startswith("aws:") or len(value) > 256:
                self._complain(
                    key,
                    "must have names of 1 to 128 characters that do not start with aws:, and values of at most 256; "
                    f'the tag "{name[:128]}" breaks this',
                )
        return tags

    def _json(self, key: str) -> object:
        try:
            return json.loads(self._text(key))
        except ValueError:
            return None

    def _s3_endpoint(self, aws_endpoints: str | None) -> str | None:
        if not aws_endpoints:
            return None
        try:
            endpoints = json.loads(aws_endpoints)
            found = [endpoint["s3"] for endpoint in endpoints if endpoint.get("s3")]
        except (ValueError, TypeError, AttributeError, KeyError):
            self._problems.append("aws:endpoints must be a list of maps, as in Pulumi.local.yaml")
            return None
        return str(found[0]) if found else None


def _origin_complaint(origin: str) -> str | None:
    """Answers why no browser would ever send `origin`, or None if one would.

    S3 compares the rule with the Origin header character by character, but for one `*`. Browsers send scheme, host and
    a port that is not the scheme's own, in lower case. https://www.rfc-editor.org/rfc/rfc6454#section-6.2
    """
    if origin != origin.lower():
        return "must have origins in lower case, as browsers send them"
    try:
        parts = urlsplit(origin)
        port = parts.port
    except ValueError:
        return "must have origins such as https://app.example.com"
    if parts.scheme not in _DEFAULT_PORTS or not parts.netloc:
        return "must have origins that start with https:// or http:// and a host"
    if origin != f"{parts.scheme}://{parts.netloc}":
        return "must have origins without a path, query or fragment, not even a trailing slash"
    if port == _DEFAULT_PORTS[parts.scheme]:
        return "must have origins without the scheme's own port, which browsers leave out"
    host = parts.netloc if port is None else parts.netloc.removesuffix(f":{port}")
    if not _HOST.fullmatch(host):
        return "must have origins of a lowercase host and an optional port, with * for the first label at most"
    return None
