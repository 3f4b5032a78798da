"""The settings of a stack of the AWS program, read once and checked together before the first resource is created."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import pulumi

from presign_infra import s3_policies as policies
from presign_infra.aws.bucket import SETTINGS
from presign_infra.role_trust import SERVICES
from presign_infra.settings import SettingsReader

# AWS accepts no signature that is older than seven days, so a longer limit would have no effect.
_MAX_SIGNATURE_AGE_MINUTES = 7 * 24 * 60

# S3 allows dots in a name, but the bucket's host name then does not match S3's wildcard certificate.
_BUCKET_NAME = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]", re.ASCII)
_RESERVED_BUCKET_NAMES = re.compile(r"(xn--|sthree-|amzn-s3-demo-).*|.*(-s3alias|--ol-s3|--x-s3|--table-s3)", re.ASCII)

# As long as the name that Pulumi chooses.
_CHOSEN_BUCKET_NAME = "uploads-bucket-0123456"

_KMS_KEY_ARN = re.compile(r"arn:aws[a-z-]*:kms:(?P<region>[a-z0-9-]+):[0-9]{12}:key/[A-Za-z0-9-]{1,64}", re.ASCII)
_POLICY_ARN = re.compile(r"arn:aws[a-z-]*:iam::([0-9]{12}|aws):policy/[A-Za-z0-9+=,.@_/-]{1,640}", re.ASCII)
_OIDC_PROVIDER_ARN = re.compile(r"arn:aws[a-z-]*:iam::[0-9]{12}:oidc-provider/[A-Za-z0-9._/-]{1,255}", re.ASCII)
_IAM_PATH = re.compile(r"/([A-Za-z0-9_.,+@=-][A-Za-z0-9_.,+@=/-]{0,509}/)?", re.ASCII)
# IAM takes no others.
_TAG_TEXT = re.compile(r"[\w .:/=+@-]*")
_ROLE_NAME = re.compile(r"[A-Za-z0-9+=,.@_-]{1,64}", re.ASCII)

_KEYS = (
    "bucketName",
    "existingBucket",
    "existingBucketSettings",
    "publicPrefix",
    "pendingPrefix",
    "expirePendingAfterDays",
    "allowedOrigins",
    "allowAnyOrigin",
    "publicRead",
    "cloudFront",
    "abortUploadsAfterDays",
    "corsMaxAgeSeconds",
    "versioning",
    "expireOldVersionsAfterDays",
    "kmsKeyArn",
    "logBucket",
    "logPrefix",
    "allowVerification",
    "separateVerifier",
    "allowListing",
    "publishInParts",
    "createUser",
    "signerRoles",
    "verifierRoles",
    "roleTrust",
    "oidcProviderArn",
    "oidcAudience",
    "oidcSubjects",
    "verifierOidcSubjects",
    "permissionsBoundary",
    "iamPath",
    "accessKeyGeneration",
    "keepPreviousAccessKey",
    "signatureMaxAgeMinutes",
    "serverSignatureMaxAgeMinutes",
    "forceDestroy",
    "protect",
    "tags",
)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The checked settings of one stack. Pulumi.yaml says what each key means."""

    bucket_name: str | None
    existing_bucket: str | None
    existing_bucket_settings: tuple[str, ...]
    public_prefix: str
    pending_prefix: str | None
    """Where uploads wait until they are verified, or None if they go straight to ``public_prefix``."""
    expire_pending_after_days: int
    allowed_origins: tuple[str, ...]
    public_read: bool
    cloudfront: bool
    abort_uploads_after_days: int
    cors_max_age_seconds: int
    versioning: bool
    expire_old_versions_after_days: int
    kms_key_arn: str | None
    log_bucket: str | None
    log_prefix: str
    allow_verification: bool
    separate_verifier: bool
    allow_listing: bool
    publish_in_parts: bool
    create_user: bool
    signer_roles: tuple[str, ...]
    verifier_roles: tuple[str, ...]
    role_trust: str | None
    """A service such as ``ecs``, or ``oidc``; None if the program makes no role."""
    oidc_provider_arn: str
    oidc_audience: str
    oidc_subjects: tuple[str, ...]
    verifier_oidc_subjects: tuple[str, ...]
    permissions_boundary: str | None
    iam_path: str
    access_key_generation: int
    keep_previous_access_key: bool
    signature_max_age_minutes: int | None
    server_signature_max_age_minutes: int | None
    force_destroy: bool
    protect: bool
    tags: Mapping[str, str] = field(hash=False)
    endpoint_url: str | None
    """The S3 endpoint in ``aws:endpoints`` if the stack runs on a local server, or None on AWS itself."""


def read_settings() -> Settings:
    """Return the settings of the running stack; raise BadSettings with all problems that they have."""
    reader = SettingsReader(_KEYS, provider="aws")
    generation = reader.whole_number("accessKeyGeneration", minimum=1, maximum=1_000_000)
    keep_previous = reader.boolean("keepPreviousAccessKey")
    if keep_previous and generation == 1:
        reader.add_problem(
            "keepPreviousAccessKey",
            "must be false while accessKeyGeneration is 1, because there is no previous access key",
        )
    allow_verification = reader.boolean("allowVerification")
    separate_verifier = reader.boolean("separateVerifier")
    if separate_verifier and not allow_verification:
        reader.add_problem(
            "separateVerifier",
            "must be false while allowVerification is false, because the verifier would have no rights",
        )
    create_user = reader.boolean("createUser")
    signer_roles, verifier_roles = _roles(reader, "signerRoles"), _roles(reader, "verifierRoles")
    for key in (key for key, roles in (("signerRoles", signer_roles), ("verifierRoles", verifier_roles)) if roles):
        if create_user:
            reader.add_problem(key, "must be empty while createUser is true, because the program then creates users")
    if verifier_roles and not separate_verifier:
        reader.add_problem(
            "verifierRoles",
            "must be empty while separateVerifier is false, because the roles in signerRoles then verify, too",
        )
    for role in sorted(set(signer_roles) & set(verifier_roles)):
        reader.add_problem(
            "verifierRoles", f'must have no role of signerRoles, or there is one identity; both have "{role}"'
        )
    if keep_previous and not create_user:
        reader.add_problem(
            "keepPreviousAccessKey", "must be false while createUser is false, because there are no access keys"
        )
    publish_in_parts = reader.boolean("publishInParts")
    public_prefix = reader.prefix("publicPrefix")
    pending_prefix = reader.pending_prefix("pendingPrefix", public_key="publicPrefix")
    if publish_in_parts and (pending_prefix is None or not allow_verification):
        reader.add_problem(
            "publishInParts",
            "must be false while pendingPrefix is empty or allowVerification is false, because then nothing is "
            "published",
        )
    settings = Settings(
        bucket_name=_bucket_name(reader, "bucketName"),
        existing_bucket=_bucket_name(reader, "existingBucket"),
        existing_bucket_settings=reader.strings("existingBucketSettings", example="cors"),
        public_prefix=public_prefix,
        pending_prefix=pending_prefix,
        expire_pending_after_days=reader.whole_number("expirePendingAfterDays", minimum=1, maximum=3650),
        allowed_origins=reader.origins("allowedOrigins", allow_any_key="allowAnyOrigin"),
        public_read=reader.boolean("publicRead"),
        cloudfront=reader.boolean("cloudFront"),
        abort_uploads_after_days=reader.whole_number("abortUploadsAfterDays", minimum=1, maximum=3650),
        cors_max_age_seconds=reader.whole_number("corsMaxAgeSeconds", minimum=0, maximum=86_400),
        versioning=reader.boolean("versioning"),
        expire_old_versions_after_days=reader.whole_number("expireOldVersionsAfterDays", minimum=1, maximum=3650),
        kms_key_arn=_kms_key_arn(reader, "kmsKeyArn"),
        log_bucket=_bucket_name(reader, "logBucket"),
        log_prefix=reader.prefix("logPrefix"),
        allow_verification=allow_verification,
        separate_verifier=separate_verifier,
        allow_listing=reader.boolean("allowListing"),
        publish_in_parts=publish_in_parts,
        create_user=create_user,
        signer_roles=signer_roles,
        verifier_roles=verifier_roles,
        role_trust=reader.text("roleTrust") or None,
        oidc_provider_arn=reader.text("oidcProviderArn"),
        oidc_audience=reader.text("oidcAudience"),
        oidc_subjects=reader.strings("oidcSubjects", example="system:serviceaccount:web:uploads"),
        verifier_oidc_subjects=reader.strings("verifierOidcSubjects", example="system:serviceaccount:web:worker"),
        permissions_boundary=reader.text("permissionsBoundary") or None,
        iam_path=reader.text("iamPath"),
        access_key_generation=generation,
        keep_previous_access_key=keep_previous,
        signature_max_age_minutes=_signature_age(reader, "signatureMaxAgeMinutes"),
        server_signature_max_age_minutes=_signature_age(reader, "serverSignatureMaxAgeMinutes"),
        force_destroy=reader.boolean("forceDestroy"),
        protect=reader.boolean("protect"),
        tags=_tags(reader, "tags"),
        endpoint_url=_s3_endpoint(reader),
    )
    if settings.log_bucket is not None and settings.log_bucket in {settings.bucket_name, settings.existing_bucket}:
        key = "bucketName" if settings.log_bucket == settings.bucket_name else "existingBucket"
        reader.add_problem("logBucket", f"must be another bucket than {key}, or each record would cause a record")
    _check_existing_bucket(reader, settings)
    _check_roles_of_the_program(reader, settings)
    if settings.cloudfront and not settings.public_read:
        reader.add_problem(
            "cloudFront", "must be false while publicRead is false, because everybody may read through a distribution"
        )
    if settings.kms_key_arn is not None and settings.public_read and not settings.cloudfront:
        reader.add_problem(
            "kmsKeyArn",
            "must be empty while publicRead is true and cloudFront is false, because KMS decrypts nothing for requests "
            "without a signature",
        )
    _check_signature_ages(reader, settings)
    if not reader.has_problem():
        _check_length_of_policies(reader, settings)
    reader.raise_problems()
    return settings


def _bucket_name(reader: SettingsReader, key: str) -> str | None:
    name = reader.text(key)
    if not name:
        return None
    if not _BUCKET_NAME.fullmatch(name):
        reader.add_problem(
            key,
            "must have 3 to 63 lowercase letters, digits and hyphens, and must begin and end with a letter or a "
            f'digit. Dots are refused, because S3\'s TLS certificate does not cover such names; it is "{name}"',
        )
    elif _RESERVED_BUCKET_NAMES.fullmatch(name):
        reader.add_problem(key, f'must not begin or end with a text that AWS reserves, such as xn--; it is "{name}"')
    return name


def _check_existing_bucket(reader: SettingsReader, settings: Settings) -> None:
    chosen = settings.existing_bucket_settings
    for each in dict.fromkeys(chosen):
        if each not in SETTINGS:
            reader.add_problem("existingBucketSettings", f"must have some of {', '.join(SETTINGS)}; one is {each!a}")
    if settings.existing_bucket is None:
        if chosen:
            reader.add_problem("existingBucketSettings", "must be empty while existingBucket is empty")
        return
    for key, is_set in (("bucketName", settings.bucket_name), ("forceDestroy", settings.force_destroy)):
        if is_set:
            reader.add_problem(key, "must not be set while existingBucket is, because it is for a new bucket")
    for key, is_set, needed in (
        ("versioning", settings.versioning, "versioning"),
        ("logBucket", settings.log_bucket, "logging"),
    ):
        if is_set and needed not in chosen:
            reader.add_problem(
                key, f'must not be set while existingBucketSettings does not have "{needed}", or it would do nothing'
            )
        elif needed in chosen and not is_set:
            reader.add_problem(
                "existingBucketSettings", f'must not have "{needed}" while {key} is not set, or it would do nothing'
            )


def _check_roles_of_the_program(reader: SettingsReader, settings: Settings) -> None:
    trust, known = settings.role_trust, (*SERVICES, "oidc")
    if trust is not None and trust not in known:
        reader.add_problem("roleTrust", f"must be empty or one of {', '.join(known)}; it is {trust[:200]!a}")
    elif trust is not None and settings.create_user:
        reader.add_problem("roleTrust", "must be empty while createUser is true, because the program then makes users")
    _check_oidc(reader, settings)
    boundary = settings.permissions_boundary
    if boundary is not None:
        if not _POLICY_ARN.fullmatch(boundary):
            reader.add_problem(
                "permissionsBoundary",
                "must be the ARN of a policy, such as arn:aws:iam::123456789012:policy/limits; it is "
                f'"{boundary[:200]}"',
            )
        if not settings.create_user and trust is None:
            reader.add_problem(
                "permissionsBoundary",
                "must be empty while createUser is false and roleTrust is empty, because there is nothing to limit",
            )
    if not _IAM_PATH.fullmatch(settings.iam_path):
        reader.add_problem(
            "iamPath",
            "must be / or begin and end with a slash, such as /uploads/, with at most 512 ASCII letters, digits and "
            f'_.,+@=/-; it is "{settings.iam_path[:200]}"',
        )


def _check_oidc(reader: SettingsReader, settings: Settings) -> None:
    is_oidc = settings.role_trust == "oidc"
    lists = (
        ("oidcSubjects", settings.oidc_subjects, is_oidc),
        ("verifierOidcSubjects", settings.verifier_oidc_subjects, is_oidc and settings.separate_verifier),
    )
    for key, subjects, needed in lists:
        if reader.has_problem(key):
            continue
        if needed and not subjects:
            reader.add_problem(key, "must name at least one subject, or every token of the provider would be accepted")
        elif subjects and not needed:
            reader.add_problem(key, "must be empty, because no role of the program trusts tokens of a provider for it")
        if not all(subjects) or any(set("*?$") & set(subject) for subject in subjects):
            reader.add_problem(
                key, "must have whole subjects, because they are compared exactly and know no wildcards or variables"
            )
    arn = settings.oidc_provider_arn
    if arn and not is_oidc:
        reader.add_problem("oidcProviderArn", 'must be empty unless roleTrust is "oidc"')
    if is_oidc and not _OIDC_PROVIDER_ARN.fullmatch(arn):
        reader.add_problem(
            "oidcProviderArn",
            "must be the ARN of a provider in IAM, such as arn:aws:iam::123456789012:oidc-provider/"
            f'token.actions.githubusercontent.com; it is "{arn[:200]}"',
        )
    if is_oidc and (not settings.oidc_audience or set("*?$") & set(settings.oidc_audience)):
        reader.add_problem(
            "oidcAudience", f'must be one audience without a wildcard or a variable; it is "{settings.oidc_audience}"'
        )


def _kms_key_arn(reader: SettingsReader, key: str) -> str | None:
    arn = reader.text(key)
    if not arn:
        return None
    found = _KMS_KEY_ARN.fullmatch(arn)
    region = pulumi.Config("aws").get("region")
    if not found:
        reader.add_problem(
            key,
            "must be the ARN of a key, such as arn:aws:kms:eu-central-1:123456789012:key/..., because a policy does "
            f'not know an alias or an id; it is "{arn[:200]}"',
        )
    elif region and found["region"] != region:
        reader.add_problem(key, f"must be in the bucket's region, {region}; it is in {found['region']}")
    return arn


def _signature_age(reader: SettingsReader, key: str) -> int | None:
    # Every key needs a default, or the engine asks for a value. So 0 means "no limit" here.
    return reader.whole_number(key, minimum=0, maximum=_MAX_SIGNATURE_AGE_MINUTES) or None


def _check_signature_ages(reader: SettingsReader, settings: Settings) -> None:
    age, server_age = settings.signature_max_age_minutes, settings.server_signature_max_age_minutes
    if server_age is None:
        return
    if not settings.allow_verification:
        reader.add_problem(
            "serverSignatureMaxAgeMinutes",
            "must be 0 while allowVerification is false, because the server then neither reads nor publishes",
        )
    if age is not None and server_age > age:
        reader.add_problem(
            "serverSignatureMaxAgeMinutes",
            f"must be at most signatureMaxAgeMinutes, which is {age} and applies to all requests; it is {server_age}",
        )


def _check_length_of_policies(reader: SettingsReader, settings: Settings) -> None:
    if not settings.create_user:
        # The longest policy of a role has fewer than the 6,144 characters that AWS allows.
        return
    documents = policies.identity_policies(
        f"{policies.LONGEST_ARN_PREFIX}{settings.bucket_name or settings.existing_bucket or _CHOSEN_BUCKET_NAME}",
        settings.public_prefix,
        pending_prefix=settings.pending_prefix,
        allow_verification=settings.allow_verification,
        separate_verifier=settings.separate_verifier,
        allow_listing=settings.allow_listing,
        publish_in_parts=settings.publish_in_parts,
        signature_max_age_minutes=settings.signature_max_age_minutes,
        server_signature_max_age_minutes=settings.server_signature_max_age_minutes,
        kms_key_arn=settings.kms_key_arn,
    )
    try:
        for document in documents:
            policies.require_inline_length(
                document, prefixes_name=f"{reader.name('pendingPrefix')} and {reader.name('publicPrefix')}"
            )
    except ValueError as error:
        reader.add_line(str(error))


def _roles(reader: SettingsReader, key: str) -> tuple[str, ...]:
    roles = reader.strings(key, example="my-application")
    for role in roles:
        if not _ROLE_NAME.fullmatch(role):
            reader.add_problem(
                key,
                "must have names of roles, which are the last part of their ARNs: 1 to 64 ASCII letters, digits and "
                f'+=,.@_- alone; one is "{role[:200]}"',
            )
    if len(set(roles)) < len(roles):
        reader.add_problem(key, "must name each role once")
    return roles


def _tags(reader: SettingsReader, key: str) -> Mapping[str, str]:
    tags = reader.string_map(key)
    if reader.has_problem(key):
        return tags
    # AWS's own limits for tags. Names that begin with "aws:" are reserved.
    if len(tags) > 50:
        reader.add_problem(key, f"must have at most 50 tags; it has {len(tags)}")
    for name, value in tags.items():
        if not 1 <= len(name) <= 128 or name.lower().startswith("aws:") or len(value) > 256:
            reader.add_problem(
                key,
                "must have names of 1 to 128 characters that do not start with aws:, and values of at most 256 "
                f'characters; the tag "{name[:128]}" does not fit',
            )
        elif not _TAG_TEXT.fullmatch(name + value):
            reader.add_problem(
                key,
                "must have letters, digits, spaces and _.:/=+@- alone, in names and in values; the tag "
                f'"{name}" has another character',
            )
    return tags


def _s3_endpoint(reader: SettingsReader) -> str | None:
    endpoints = pulumi.Config("aws").get("endpoints")
    if not endpoints:
        return None
    try:
        s3_endpoints = [endpoint["s3"] for endpoint in json.loads(endpoints) if endpoint.get("s3")]
    except (ValueError, TypeError, AttributeError, KeyError):
        reader.add_line("aws:endpoints must be a list of maps, as in infra/Pulumi.local.yaml")
        return None
    return str(s3_endpoints[0]) if s3_endpoints else None
