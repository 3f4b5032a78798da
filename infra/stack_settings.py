"""The stack's settings: read once, checked together, and refused with one message for each wrong key.

Pulumi.yaml declares every key with its type, its default and its meaning, and the engine fills in the defaults. This
module checks what the engine cannot check, such as a prefix without its slash or an origin with a path. It does so
before the program creates the first resource.
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

# AWS accepts no signature that is older than seven days, so a longer limit would have no effect.
_MAX_SIGNATURE_AGE_MINUTES = 7 * 24 * 60

# S3 allows dots in a name, but the bucket's host name then does not match S3's wildcard certificate.
_BUCKET_NAME = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]", re.ASCII)
_RESERVED_BUCKET_NAMES = re.compile(r"(xn--|sthree-|amzn-s3-demo-).*|.*(-s3alias|--ol-s3|--x-s3|--table-s3)", re.ASCII)

_HOST = re.compile(r"(\*\.)?[a-z0-9]([a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\]", re.ASCII)
_DEFAULT_PORTS = {"http": 80, "https": 443}


class BadSettings(pulumi.RunError):
    """The settings are wrong; the message has one line for each problem, and each line names its key.

    The engine prints a RunError without a stack trace.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The checked settings of one stack. Pulumi.yaml says what each key means."""

    bucket_name: str | None
    public_prefix: str
    pending_prefix: str | None
    """Where uploads wait until they are verified, or None if they go straight to ``public_prefix``."""
    expire_pending_after_days: int
    allowed_origins: tuple[str, ...]
    public_read: bool
    abort_uploads_after_days: int
    allow_verification: bool
    separate_verifier: bool
    allow_listing: bool
    publish_in_parts: bool
    create_user: bool
    access_key_generation: int
    keep_previous_access_key: bool
    signature_max_age_minutes: int | None
    force_destroy: bool
    protect: bool
    tags: Mapping[str, str] = field(hash=False)
    endpoint_url: str | None
    """The S3 endpoint in ``aws:endpoints`` if the stack runs on a local server, or None on AWS itself."""


def read_settings() -> Settings:
    """Return the settings of the running stack; raise BadSettings with all problems that they have."""
    project = pulumi.Config()
    values = {key: value for key in _KEYS if (value := project.get(key)) is not None}
    # The SDK cannot list the keys of a stack. A misspelt key would have no effect, and its default would stay in force.
    namespace = f"{project.name}:"
    names = {key for key in json.loads(os.environ.get("PULUMI_CONFIG") or "{}") if key.startswith(namespace)}
    return _SettingsReader(project.name, values).read(
        unknown_keys=sorted(key.removeprefix(namespace) for key in names if key.removeprefix(namespace) not in _KEYS),
        aws_endpoints=pulumi.Config("aws").get("endpoints"),
    )


_KEYS = (
    "bucketName",
    "publicPrefix",
    "pendingPrefix",
    "expirePendingAfterDays",
    "allowedOrigins",
    "allowAnyOrigin",
    "publicRead",
    "abortUploadsAfterDays",
    "allowVerification",
    "separateVerifier",
    "allowListing",
    "publishInParts",
    "createUser",
    "accessKeyGeneration",
    "keepPreviousAccessKey",
    "signatureMaxAgeMinutes",
    "forceDestroy",
    "protect",
    "tags",
)


class _SettingsReader:
    """Converts the engine's strings into typed values, and collects the problems that it finds."""

    def __init__(self, namespace: str, values: Mapping[str, str]) -> None:
        self._namespace = namespace
        self._values = values
        self._problems: list[str] = []

    def read(self, *, unknown_keys: Sequence[str], aws_endpoints: str | None) -> Settings:
        for key in unknown_keys:
            closest = get_close_matches(key, _KEYS, n=1)
            self._add_problem(
                key, "is not a setting of this program" + (f"; did you mean {closest[0]}?" if closest else "")
            )
        generation = self._whole_number("accessKeyGeneration", minimum=1, maximum=1_000_000)
        keep_previous = self._boolean("keepPreviousAccessKey")
        if keep_previous and generation == 1:
            self._add_problem(
                "keepPreviousAccessKey",
                "must be false while accessKeyGeneration is 1, because there is no previous access key",
            )
        allow_verification = self._boolean("allowVerification")
        separate_verifier = self._boolean("separateVerifier")
        if separate_verifier and not allow_verification:
            self._add_problem(
                "separateVerifier",
                "must be false while allowVerification is false, because the verifier would have no rights",
            )
        publish_in_parts = self._boolean("publishInParts")
        public_prefix = self._prefix("publicPrefix")
        pending_prefix = self._pending_prefix("pendingPrefix", public_prefix=public_prefix)
        if publish_in_parts and (pending_prefix is None or not allow_verification):
            self._add_problem(
                "publishInParts",
                "must be false while pendingPrefix is empty or allowVerification is false, because then nothing is "
                "published",
            )
        settings = Settings(
            bucket_name=self._bucket_name("bucketName"),
            public_prefix=public_prefix,
            pending_prefix=pending_prefix,
            expire_pending_after_days=self._whole_number("expirePendingAfterDays", minimum=1, maximum=3650),
            allowed_origins=self._origins("allowedOrigins", allow_any=self._boolean("allowAnyOrigin")),
            public_read=self._boolean("publicRead"),
            abort_uploads_after_days=self._whole_number("abortUploadsAfterDays", minimum=1, maximum=3650),
            allow_verification=allow_verification,
            separate_verifier=separate_verifier,
            allow_listing=self._boolean("allowListing"),
            publish_in_parts=publish_in_parts,
            create_user=self._boolean("createUser"),
            access_key_generation=generation,
            keep_previous_access_key=keep_previous,
            # Every key needs a default, or the engine asks for a value. So 0 means "no limit" here.
            signature_max_age_minutes=self._whole_number(
                "signatureMaxAgeMinutes", minimum=0, maximum=_MAX_SIGNATURE_AGE_MINUTES
            )
            or None,
            force_destroy=self._boolean("forceDestroy"),
            protect=self._boolean("protect"),
            tags=self._tags("tags"),
            endpoint_url=self._s3_endpoint(aws_endpoints),
        )
        if not self._problems:
            self._check_length_of_policies(settings)
        if self._problems:
            raise BadSettings(self._problems)
        return settings

    def _add_problem(self, key: str, problem: str) -> None:
        self._problems.append(f"{self._namespace}:{key} {problem}")

    def _text(self, key: str) -> str:
        if key not in self._values:
            self._add_problem(key, "has no value, and Pulumi.yaml declares no default for it")
        return self._values.get(key, "")

    def _boolean(self, key: str) -> bool:
        text = self._text(key)
        if text not in {"true", "false", ""}:
            self._add_problem(key, f'must be true or false; it is "{text}"')
        return text == "true"

    def _whole_number(self, key: str, *, minimum: int, maximum: int) -> int:
        text = self._text(key)
        if re.fullmatch(r"-?[0-9]{1,12}", text, re.ASCII) and minimum <= int(text) <= maximum:
            return int(text)
        if text:
            self._add_problem(key, f'must be a whole number from {minimum} to {maximum}; it is "{text}"')
        return minimum

    def _bucket_name(self, key: str) -> str | None:
        name = self._text(key)
        if not name:
            return None
        if not _BUCKET_NAME.fullmatch(name):
            self._add_problem(
                key,
                "must have 3 to 63 lowercase letters, digits and hyphens, and must begin and end with a letter or a "
                f'digit. Dots are refused, because S3\'s TLS certificate does not cover such names; it is "{name}"',
            )
        elif _RESERVED_BUCKET_NAMES.fullmatch(name):
            self._add_problem(key, f'must not begin or end with a text that AWS reserves, such as xn--; it is "{name}"')
        return name

    def _prefix(self, key: str) -> str:
        prefix = self._text(key)
        try:
            return policies.require_prefix(prefix, name=f"{self._namespace}:{key}")
        except ValueError as error:
            self._problems.append(str(error))
            return prefix

    def _pending_prefix(self, key: str, *, public_prefix: str) -> str | None:
        prefix = self._text(key)
        if not prefix:
            return None
        name, public_name = f"{self._namespace}:{key}", f"{self._namespace}:publicPrefix"
        try:
            # A wrong public prefix is reported once, under its own key.
            policies.require_prefix(prefix, name=name)
            if not any(problem.startswith(f"{public_name} ") for problem in self._problems):
                policies.require_separate_prefixes(prefix, public_prefix, pending_name=name, public_name=public_name)
        except ValueError as error:
            self._problems.append(str(error))
        return prefix

    def _check_length_of_policies(self, settings: Settings) -> None:
        if not settings.create_user:
            return
        documents = policies.identity_policies(
            # Pulumi chooses the bucket's name later, so the longest one must fit.
            policies.LONGEST_BUCKET_ARN,
            settings.public_prefix,
            pending_prefix=settings.pending_prefix,
            allow_verification=settings.allow_verification,
            separate_verifier=settings.separate_verifier,
            allow_listing=settings.allow_listing,
            publish_in_parts=settings.publish_in_parts,
            signature_max_age_minutes=settings.signature_max_age_minutes,
        )
        try:
            for document in documents:
                policies.require_inline_length(
                    document, prefixes_name=f"{self._namespace}:pendingPrefix and {self._namespace}:publicPrefix"
                )
        except ValueError as error:
            self._problems.append(str(error))

    def _origins(self, key: str, *, allow_any: bool) -> tuple[str, ...]:
        origins = self._json(key)
        if not isinstance(origins, list) or not all(isinstance(origin, str) for origin in origins):
            self._add_problem(
                key,
                "must be a list of origins; set each of them with "
                f"pulumi config set --path '{self._namespace}:{key}[0]' https://app.example.com",
            )
            return ()
        if not origins:
            self._add_problem(key, "must name at least one origin")
        for origin in origins:
            if origin == "*":
                if not allow_any:
                    self._add_problem(
                        key,
                        f'must not be "*" unless {self._namespace}:allowAnyOrigin is true, because "*" lets the pages '
                        "of every web site send uploads if they have a ticket",
                    )
            elif problem := _origin_problem(origin):
                self._add_problem(key, f'{problem}; it has "{origin}"')
        return tuple(origins)

    def _tags(self, key: str) -> Mapping[str, str]:
        tags = self._json(key)
        if not isinstance(tags, dict) or not all(isinstance(value, str) for value in tags.values()):
            self._add_problem(
                key,
                "must map names to strings; set each of them with "
                f"pulumi config set --path '{self._namespace}:{key}.team' media",
            )
            return {}
        # AWS's own limits for tags. Names that begin with "aws:" are reserved.
        if len(tags) > 50:
            self._add_problem(key, f"must have at most 50 tags; it has {len(tags)}")
        for name, value in tags.items():
            if not 1 <= len(name) <= 128 or name.lower().startswith("aws:") or len(value) > 256:
                self._add_problem(
                    key,
                    "must have names of 1 to 128 characters that do not start with aws:, and values of at most 256 "
                    f'characters; the tag "{name[:128]}" does not fit',
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
            s3_endpoints = [endpoint["s3"] for endpoint in json.loads(aws_endpoints) if endpoint.get("s3")]
        except (ValueError, TypeError, AttributeError, KeyError):
            self._problems.append("aws:endpoints must be a list of maps, as in Pulumi.local.yaml")
            return None
        return str(s3_endpoints[0]) if s3_endpoints else None


def _origin_problem(origin: str) -> str | None:
    """Return why no browser can send ``origin`` as its Origin header, or None if a browser can.

    S3 compares the CORS rule with the Origin header character by character; only ``*`` matches several characters. A
    browser sends the scheme and the host in lower case, and the port only if it is not the scheme's default.
    https://www.rfc-editor.org/rfc/rfc6454#section-6.2
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
        return "must have origins without a path, a query or a fragment; a slash at the end is a path"
    if port == _DEFAULT_PORTS[parts.scheme]:
        return "must have origins without the scheme's default port, because browsers do not send it"
    host = parts.netloc if port is None else parts.netloc.removesuffix(f":{port}")
    if not _HOST.fullmatch(host):
        return "must have origins of a lowercase host and an optional port; only the first label of the host may be *"
    return None
