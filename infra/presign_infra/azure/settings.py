"""The settings of a stack on Azure: read once, checked together, and refused with one message for each wrong key."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from presign_infra.azure import rights
from presign_infra.azure.account import require_container_name
from presign_infra.azure.identities import PRINCIPAL_TYPES
from presign_infra.settings import SettingsReader

REPLICATIONS = ("LRS", "ZRS", "GRS", "RAGRS", "GZRS", "RAGZRS")
"""How Azure keeps copies of a standard account."""

_ACCOUNT_NAME = re.compile(r"[a-z0-9]{3,24}", re.ASCII)
_RESOURCE_GROUP_NAME = re.compile(r"[A-Za-z0-9_().-]{0,89}[A-Za-z0-9_()-]", re.ASCII)
_OBJECT_ID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", re.ASCII)

_KEYS = (
    "resourceGroup",
    "accountName",
    "container",
    "pendingContainer",
    "publicPrefix",
    "pendingPrefix",
    "expirePendingAfterDays",
    "softDeleteDays",
    "allowedOrigins",
    "allowAnyOrigin",
    "metadataNames",
    "corsMaxAgeSeconds",
    "publicRead",
    "allowVerification",
    "separateVerifier",
    "uploadInParts",
    "publishInParts",
    "bindHeaders",
    "signerPrincipalId",
    "verifierPrincipalId",
    "principalType",
    "replication",
    "protect",
    "tags",
)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The checked settings of one stack. infra/azure/Pulumi.yaml says what each key means."""

    resource_group: str | None
    account_name: str | None
    container: str
    pending_container: str | None
    """The container where uploads wait until they are verified, or None if they go straight to ``container``."""
    public_prefix: str
    pending_prefix: str | None
    expire_pending_after_days: int
    soft_delete_days: int
    allowed_origins: tuple[str, ...]
    metadata_names: tuple[str, ...]
    cors_max_age_seconds: int
    public_read: bool
    allow_verification: bool
    separate_verifier: bool
    upload_in_parts: bool
    publish_in_parts: bool
    bind_headers: bool
    signer_principal_id: str | None
    verifier_principal_id: str | None
    principal_type: str
    sku: str
    protect: bool
    tags: Mapping[str, str] = field(hash=False)


def read_settings() -> Settings:
    """Return the settings of the running stack; raise BadSettings with all problems that they have."""
    reader = SettingsReader(_KEYS, provider="azure-native")
    public_prefix = reader.prefix("publicPrefix")
    pending_prefix = reader.pending_prefix("pendingPrefix", public_key="publicPrefix")
    container = _container(reader, "container")
    pending_container = _container(reader, "pendingContainer")
    if container == pending_container:
        reader.add_problem("pendingContainer", "must differ from container, because a container is public as a whole")
    public_read = reader.boolean("publicRead")
    if public_read and pending_prefix is None:
        reader.add_problem(
            "publicRead",
            "must be false while pendingPrefix is empty, because Azure enforces neither the type nor the size of an "
            "upload, and everybody could read it before it is verified",
        )
    settings = Settings(
        resource_group=_optional(
            reader, "resourceGroup", _RESOURCE_GROUP_NAME, "must be the name of a resource group that exists"
        ),
        account_name=_optional(
            reader, "accountName", _ACCOUNT_NAME, "must have 3 to 24 lower-case letters and digits, and nothing else"
        ),
        container=container,
        pending_container=None if pending_prefix is None else pending_container,
        public_prefix=public_prefix,
        pending_prefix=pending_prefix,
        expire_pending_after_days=reader.whole_number("expirePendingAfterDays", minimum=1, maximum=3650),
        soft_delete_days=reader.whole_number("softDeleteDays", minimum=0, maximum=365),
        allowed_origins=reader.origins("allowedOrigins", allow_any_key="allowAnyOrigin"),
        metadata_names=_metadata_names(reader),
        cors_max_age_seconds=reader.whole_number("corsMaxAgeSeconds", minimum=0, maximum=86_400),
        public_read=public_read,
        allow_verification=reader.boolean("allowVerification"),
        separate_verifier=reader.boolean("separateVerifier"),
        upload_in_parts=reader.boolean("uploadInParts"),
        publish_in_parts=reader.boolean("publishInParts"),
        bind_headers=reader.boolean("bindHeaders"),
        signer_principal_id=_object_id(reader, "signerPrincipalId"),
        verifier_principal_id=_object_id(reader, "verifierPrincipalId"),
        principal_type=reader.one_of("principalType", PRINCIPAL_TYPES),
        sku=f"Standard_{reader.one_of('replication', REPLICATIONS)}",
        protect=reader.boolean("protect"),
        tags=_tags(reader),
    )
    _check_identities(reader, settings)
    _check_parts(reader, settings)
    if not reader.has_problem():
        _check_cors(reader, settings)
    reader.raise_problems()
    return settings


def _check_identities(reader: SettingsReader, settings: Settings) -> None:
    if settings.separate_verifier and not settings.allow_verification:
        reader.add_problem(
            "separateVerifier",
            "must be false while allowVerification is false, because the verifier would have no rights",
        )
    if settings.verifier_principal_id is not None and not settings.separate_verifier:
        reader.add_problem(
            "verifierPrincipalId", "must be empty while separateVerifier is false, because the signer then verifies"
        )
    signer, verifier = settings.signer_principal_id, settings.verifier_principal_id
    if settings.principal_type != PRINCIPAL_TYPES[0] and signer is None and verifier is None:
        reader.add_problem(
            "principalType",
            f"must be {PRINCIPAL_TYPES[0]} while signerPrincipalId and verifierPrincipalId are empty, because it is "
            "their type",
        )
    if settings.separate_verifier and signer is not None and signer.lower() == (verifier or "").lower():
        reader.add_problem("verifierPrincipalId", "must differ from signerPrincipalId, or there is one identity")


def _check_parts(reader: SettingsReader, settings: Settings) -> None:
    if settings.pending_container is None and settings.upload_in_parts:
        reader.add_problem(
            "uploadInParts",
            "must be false while pendingPrefix is empty, because presign takes no file in parts straight to its final "
            "place on Azure",
        )
    if settings.publish_in_parts and (settings.pending_container is None or not settings.allow_verification):
        reader.add_problem(
            "publishInParts",
            "must be false while pendingPrefix is empty or allowVerification is false, because then nothing is "
            "published",
        )
    if settings.bind_headers and settings.upload_in_parts:
        reader.add_problem(
            "bindHeaders",
            "must be false while uploadInParts is true, because no header could be bound to all blocks of a file; set "
            "one of them to false",
        )


def _check_cors(reader: SettingsReader, settings: Settings) -> None:
    try:
        rights.cors_rule(
            settings.allowed_origins,
            metadata_names=settings.metadata_names,
            max_age_seconds=settings.cors_max_age_seconds,
        )
    except ValueError as error:
        key = "metadataNames" if str(error).startswith("metadata_names") else "allowedOrigins"
        reader.add_problem(key, f"cannot be used: {error}")


def _container(reader: SettingsReader, key: str) -> str:
    name = reader.text(key)
    with reader.collecting():
        require_container_name(name, setting=reader.name(key))
    return name


def _optional(reader: SettingsReader, key: str, pattern: re.Pattern[str], problem: str) -> str | None:
    text = reader.text(key)
    if text and not pattern.fullmatch(text):
        reader.add_problem(key, f'{problem}; it is "{text}"')
    return text or None


def _object_id(reader: SettingsReader, key: str) -> str | None:
    return _optional(
        reader,
        key,
        _OBJECT_ID,
        "must be an object ID, such as `az ad signed-in-user show --query id` prints, and not a name or a client ID",
    )


def _metadata_names(reader: SettingsReader) -> tuple[str, ...]:
    names = reader.strings("metadataNames", what="names", example="owner")
    with reader.collecting():
        rights.require_metadata_names(names, setting=reader.name("metadataNames"))
    return names


def _tags(reader: SettingsReader) -> Mapping[str, str]:
    tags = reader.string_map("tags")
    # Azure's own limits for the tags of a storage account, whose names may have 128 characters only.
    if len(tags) > 50:
        reader.add_problem("tags", f"must have at most 50 tags; it has {len(tags)}")
    for name, value in tags.items():
        if not 1 <= len(name) <= 128 or set(name) & set("<>%&\\?/") or len(value) > 256:
            reader.add_problem(
                "tags",
                "must have names of 1 to 128 characters without <>%&\\?/ and values of at most 256 characters; the tag "
                f'"{name[:128]}" does not fit',
            )
    return tags
