"""The settings of a stack on Google Cloud: read once, checked together, and refused with one message for each key."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import pulumi

from presign_infra.gcp import rights
from presign_infra.gcp.addresses import storage_endpoint
from presign_infra.gcp.identities import SIGN_WITH, SignWith
from presign_infra.settings import SettingsReader

# Google allows dots and underscores, too. A name with dots must be a domain of yours, and Google's TLS certificate does
# not cover its virtual-hosted URLs.
_BUCKET_NAME = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]", re.ASCII)
_LOCATION = re.compile(r"[A-Za-z]{2,}[A-Za-z0-9-]*", re.ASCII)
_LABEL_NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}", re.ASCII)
_LABEL_VALUE = re.compile(r"[a-z0-9_-]{0,63}", re.ASCII)
_MEMBER = re.compile(r"(user|group|serviceAccount|domain):[^:\s]+|principal(Set)?://\S+", re.ASCII)

_KEYS = (
    "bucketName",
    "location",
    "publicPrefix",
    "pendingPrefix",
    "expirePendingAfterDays",
    "abortUploadsAfterDays",
    "softDeleteDays",
    "allowedOrigins",
    "allowAnyOrigin",
    "metadataNames",
    "corsMaxAgeSeconds",
    "publicRead",
    "allowVerification",
    "separateVerifier",
    "allowListing",
    "signWith",
    "accessKeyGeneration",
    "keepPreviousAccessKey",
    "impersonators",
    "forceDestroy",
    "protect",
    "tags",
)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The checked settings of one stack. infra/gcp/Pulumi.yaml says what each key means."""

    bucket_name: str | None
    location: str
    public_prefix: str
    pending_prefix: str | None
    """Where uploads wait until they are verified, or None if they go straight to ``public_prefix``."""
    expire_pending_after_days: int
    abort_uploads_after_days: int
    soft_delete_days: int
    allowed_origins: tuple[str, ...]
    metadata_names: tuple[str, ...]
    cors_max_age_seconds: int
    public_read: bool
    allow_verification: bool
    separate_verifier: bool
    allow_listing: bool
    sign_with: SignWith
    access_key_generation: int
    keep_previous_access_key: bool
    impersonators: tuple[str, ...]
    force_destroy: bool
    protect: bool
    labels: Mapping[str, str] = field(hash=False)
    endpoint_url: str | None
    """The store in ``gcp:storageCustomEndpoint`` if the stack runs on a local server, or None on Google itself."""


def read_settings() -> Settings:
    """Return the settings of the running stack; raise BadSettings with all problems that they have."""
    reader = SettingsReader(_KEYS, provider="gcp")
    google = pulumi.Config("gcp")
    public_prefix = reader.prefix("publicPrefix")
    settings = Settings(
        bucket_name=_bucket_name(reader),
        location=_location(reader, region=google.get("region")),
        public_prefix=public_prefix,
        pending_prefix=reader.pending_prefix("pendingPrefix", public_key="publicPrefix"),
        expire_pending_after_days=reader.whole_number("expirePendingAfterDays", minimum=1, maximum=3650),
        abort_uploads_after_days=reader.whole_number("abortUploadsAfterDays", minimum=1, maximum=3650),
        soft_delete_days=_soft_delete_days(reader),
        allowed_origins=_origins(reader),
        metadata_names=_metadata_names(reader),
        cors_max_age_seconds=reader.whole_number("corsMaxAgeSeconds", minimum=0, maximum=86_400),
        public_read=reader.boolean("publicRead"),
        allow_verification=reader.boolean("allowVerification"),
        separate_verifier=reader.boolean("separateVerifier"),
        allow_listing=reader.boolean("allowListing"),
        sign_with=reader.one_of("signWith", SIGN_WITH),
        access_key_generation=reader.whole_number("accessKeyGeneration", minimum=1, maximum=1_000_000),
        keep_previous_access_key=reader.boolean("keepPreviousAccessKey"),
        impersonators=_impersonators(reader),
        force_destroy=reader.boolean("forceDestroy"),
        protect=reader.boolean("protect"),
        labels=_labels(reader),
        endpoint_url=storage_endpoint(google.get("storageCustomEndpoint")),
    )
    if settings.separate_verifier and not settings.allow_verification:
        reader.add_problem(
            "separateVerifier",
            "must be false while allowVerification is false, because the verifier would have no rights",
        )
    if settings.keep_previous_access_key and settings.access_key_generation == 1:
        reader.add_problem(
            "keepPreviousAccessKey",
            "must be false while accessKeyGeneration is 1, because there is no previous access key",
        )
    elif settings.keep_previous_access_key and settings.sign_with == "signBlob":
        reader.add_problem(
            "keepPreviousAccessKey", "must be false while signWith is signBlob, because there are no keys"
        )
    reader.raise_problems()
    return settings


def _bucket_name(reader: SettingsReader) -> str | None:
    name = reader.text("bucketName")
    if name and (not _BUCKET_NAME.fullmatch(name) or name.startswith("goog") or "google" in name):
        reader.add_problem(
            "bucketName",
            "must have 3 to 63 lowercase letters, digits and hyphens, must begin and end with a letter or a digit, and "
            f'must not begin with goog or contain google; it is "{name}"',
        )
    return name or None


def _location(reader: SettingsReader, *, region: str | None) -> str:
    location = reader.text("location") or region or ""
    if not location:
        reader.add_problem(
            "location", "must be a location such as EU or europe-west1, while gcp:region is not set; it is empty"
        )
    elif not _LOCATION.fullmatch(location):
        reader.add_problem("location", f'must be a location such as EU or europe-west1; it is "{location}"')
    return location


def _soft_delete_days(reader: SettingsReader) -> int:
    days = reader.whole_number("softDeleteDays", minimum=0, maximum=90)
    if 0 < days < 7:
        reader.add_problem("softDeleteDays", f"must be 0, or from 7 to 90, because Google allows no less; it is {days}")
    return days


def _origins(reader: SettingsReader) -> tuple[str, ...]:
    origins = reader.origins("allowedOrigins", allow_any_key="allowAnyOrigin")
    for origin in origins:
        if "*" in origin and origin != "*":
            reader.add_problem(
                "allowedOrigins", f'must name each origin in full, because Google knows no wildcards; it has "{origin}"'
            )
    return origins


def _metadata_names(reader: SettingsReader) -> tuple[str, ...]:
    names = reader.strings("metadataNames", what="names", example="owner")
    with reader.collecting():
        rights.require_metadata_names(names, setting=reader.name("metadataNames"))
    return names


def _impersonators(reader: SettingsReader) -> tuple[str, ...]:
    members = reader.strings("impersonators", what="members", example="user:me@example.com")
    for member in members:
        if not _MEMBER.fullmatch(member):
            reader.add_problem(
                "impersonators",
                "must have members such as user:me@example.com, and not everybody may act as the signer; it has "
                f'"{member}"',
            )
    if len(set(members)) < len(members):
        reader.add_problem("impersonators", "must name each member once")
    return members


def _labels(reader: SettingsReader) -> Mapping[str, str]:
    labels = reader.string_map("tags")
    if reader.has_problem("tags"):
        return labels
    # Google calls them labels, and has these limits.
    if len(labels) > 64:
        reader.add_problem("tags", f"must have at most 64 tags; it has {len(labels)}")
    for name, value in labels.items():
        if not _LABEL_NAME.fullmatch(name) or not _LABEL_VALUE.fullmatch(value):
            reader.add_problem(
                "tags",
                "must have names and values of at most 63 lower-case letters, digits, _ and -, and names that begin "
                f'with a letter, because they become labels; the tag "{name[:128]}" does not fit',
            )
    return labels
