"""The upload policy: what the application allows. Pure: it turns a request into a grant or an error."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import product
from types import MappingProxyType
from typing import Literal
from urllib.parse import quote

from presign.errors import ConfigurationError, InvalidRequest, TooLarge, TooSmall, TypeNotAllowed
from presign.keys import DEFAULT_KEY_TEMPLATE, check_key_template, check_prefix, make_key
from presign.media_types import extension_of, fit_extension, is_active, is_media_type
from presign.messages import MAX_SIZE_BYTES, Grant, Rule, UploadOptions, UploadRequest, check_tags

DEFAULT_EXPIRES_IN = timedelta(seconds=60)
DEFAULT_MAX_EXPIRES_IN = timedelta(hours=1)
DEFAULT_PENDING_PREFIX = "pending/"
DEFAULT_MAX_HASHED_BYTES = 512 * 1024 * 1024
DEFAULT_PART_BYTES = 8 * 1024 * 1024
MAX_RESUMABLE_FOR = timedelta(days=7)
"""Services forget unfinished uploads after this time, by default or always."""

_METADATA_NAME = re.compile(r"[a-z0-9][a-z0-9_]{0,63}", re.ASCII)
_PRINTABLE_ASCII = re.compile(r"[\x20-\x7e]+", re.ASCII)
_SPACES = re.compile(" {2,}")
_MAX_METADATA_BYTES = 2048
_STORAGE_CLASS = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}", re.ASCII)
_PLACEHOLDER_SHA256 = "0" * 64
_NO_OPTIONS = UploadOptions()


@dataclass(frozen=True, kw_only=True)
class UploadPolicy:
    """What may be uploaded, and which headers every object gets.

    - ``content_types``: exact media types. Types in which browsers run scripts (html, svg, xml, javascript) need
      ``allow_active_content=True``.
    - ``max_bytes``, ``min_bytes``: the bounds of the size, in bytes, both inclusive. If a request declares a size, the
      ticket accepts that size only.
    - ``prefix``: the beginning of all keys, such as ``"public/"``.
    - ``key_template``: the rest of the keys, such as ``"{owner}/{id}{ext}"`` (see keys.check_key_template).
    - ``pending_prefix``: where uploads wait until they are verified. Completion then copies the verified bytes to the
      final key, where no ticket can write, and deletes the pending object. On Azure and Google Cloud Storage, the
      backend can put pending uploads into a container or bucket of their own.

      With ``pending_prefix=None``, uploads go straight to the final key. That saves the copy, and has four
      disadvantages. Whoever may read the prefix can read a file before it is verified, even if nobody ever completes
      the upload. Until its ticket expires, the sender can replace a verified file, unless ``create_only`` is set. A
      header that the store dropped cannot be corrected. Tags and a storage class cannot be set.
    - ``public_read``: everybody may read objects under the prefix, so tickets and stored objects have an
      ``object_url``. This only describes the bucket's own policy; it does not change who may read.
    - ``expires_in``: a ticket's lifetime. On a storage that checks the expiry only after the upload
      (``Backend.checks_expiry_late``), a ticket for a large file lasts longer.
    - ``max_expires_in``: the longest lifetime of a ticket.
    - ``create_only``: an upload never overwrites an object, even if the same ticket is sent twice. If there is no
      ``cache_control``, these objects get ``no-cache``. Otherwise the storage would keep an unknown value: browsers add
      a Cache-Control of their own to a request with If-None-Match, and it differs between browsers (Fetch standard,
      HTTP-network-or-cache fetch).
    - ``require_size``, ``require_sha256``: requests must declare these. A file that comes in parts may have a
      ``parts_digest`` in the place of its ``sha256``.
    - ``content_disposition``: browsers show (``"inline"``) or save (``"attachment"``) the object, under the name that
      the request gives.
    - ``fit_extension``: if the extension of that name does not fit the content type, the name gets one that does.
    - ``cache_control``, ``metadata``: headers of every object.
    - ``verify_content``: completion compares the object's first bytes with its content type.
    - ``max_hashed_bytes``: the largest object that completion reads to compute its SHA-256. If the storage does not
      itself enforce the checksum, a request with a SHA-256 is refused if its ticket would allow a larger file. So it
      must declare its size if ``max_bytes`` is larger.
    - ``parts_from_bytes``: a file of at least this size comes in parts, which clients send in parallel and can resume.
      The request must declare the size. A file that is too large for one request always comes in parts. With a size
      above ``max_bytes``, no other file does. By default, this begins at 100 MiB on S3 and Google Cloud Storage, except
      for files that the storage can check only in one request: those with a ``sha256``, and all files if
      ``require_at_storage`` needs it. On Azure, a ticket for parts permits more than one for a single request, so by
      default only files above 5,000 MiB come in parts.
    - ``part_bytes``: the size of a part. The parts of a file are larger if there would be too many of them.
    - ``resumable_for``: how long after its ticket a file that comes in parts can be sent and completed, at most 7 days.
    - ``require_at_storage``: rules that the storage itself must enforce. Building a Presigner fails if its backend
      cannot enforce one of them for every request that this policy allows.

    Raises ConfigurationError if the values contradict each other or a storage would not accept them.

    >>> policy = UploadPolicy(content_types={"image/png"}, max_bytes=10_000_000, prefix="public/")
    """

    content_types: Collection[str]
    max_bytes: int
    prefix: str
    key_template: str = DEFAULT_KEY_TEMPLATE
    pending_prefix: str | None = DEFAULT_PENDING_PREFIX
    min_bytes: int = 1
    public_read: bool = False
    expires_in: timedelta = DEFAULT_EXPIRES_IN
    max_expires_in: timedelta = DEFAULT_MAX_EXPIRES_IN
    create_only: bool = False
    require_size: bool = False
    require_sha256: bool = False
    content_disposition: Literal["inline", "attachment"] | None = None
    fit_extension: bool = False
    cache_control: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    allow_active_content: bool = False
    verify_content: bool = True
    max_hashed_bytes: int = DEFAULT_MAX_HASHED_BYTES
    parts_from_bytes: int | None = None
    part_bytes: int = DEFAULT_PART_BYTES
    resumable_for: timedelta = MAX_RESUMABLE_FOR
    require_at_storage: Collection[Rule] = frozenset()

    def __post_init__(self) -> None:
        object.__setattr__(self, "content_types", self._checked_content_types())
        object.__setattr__(self, "metadata", MappingProxyType(_checked_metadata(self.metadata)))
        object.__setattr__(self, "require_at_storage", _checked_rules(self.require_at_storage))
        if self.create_only and self.cache_control is None:
            object.__setattr__(self, "cache_control", "no-cache")
        check_prefix(self.prefix)
        check_key_template(self.key_template)
        if self.pending_prefix is not None and not check_prefix(self.pending_prefix, field="pending_prefix"):
            raise ConfigurationError(
                "pending_prefix must not be empty, or a sweep would delete published objects; "
                "with None, uploads go straight to their final key",
                field="pending_prefix",
            )
        self._check_sizes()
        self._check_lifetimes()
        if self.content_disposition not in {None, "inline", "attachment"}:
            raise ConfigurationError(
                "content_disposition must be 'inline', 'attachment' or None",
                field="content_disposition",
                value=str(self.content_disposition),
            )
        if self.cache_control is not None and not _is_printable_ascii(self.cache_control):
            raise ConfigurationError("cache_control must be printable ASCII", field="cache_control")
        if self.cache_control is not None:
            # Signatures treat several spaces as one. The storage may store all of them, or only one.
            object.__setattr__(self, "cache_control", _single_spaced(self.cache_control))

    def decide(
        self,
        request: UploadRequest,
        *,
        object_id: str,
        owner: str | None = None,
        options: UploadOptions = _NO_OPTIONS,
    ) -> Grant:
        """Return the grant for an allowed request; ``object_id``, 32 random hexadecimal digits, makes its key unique.

        Raises TypeNotAllowed, TooLarge, TooSmall, or InvalidRequest if a required member is absent. Raises
        ConfigurationError for ``options`` that the policy does not allow, and if ``key_template`` needs an owner and
        there is none.
        """
        # Media types are case-insensitive (RFC 9110 section 8.3.1), but storages compare them letter by letter.
        content_type = request.content_type.lower()
        if content_type not in self.content_types:
            allowed = tuple(sorted(self.content_types))
            raise TypeNotAllowed(
                f"'type' must be one of {', '.join(allowed)}", field="type", value=request.content_type, limit=allowed
            )
        min_bytes, max_bytes = self.min_bytes, self.max_bytes
        if request.size is not None:
            if request.size > max_bytes:
                raise TooLarge(
                    f"'size' is {request.size} bytes, and at most {max_bytes} are allowed",
                    field="size",
                    value=request.size,
                    limit=max_bytes,
                )
            if request.size < min_bytes:
                raise TooSmall(
                    f"'size' is {request.size} bytes, and at least {min_bytes} are needed",
                    field="size",
                    value=request.size,
                    limit=min_bytes,
                )
            min_bytes = max_bytes = request.size
        elif self.require_size:
            raise InvalidRequest("'size' is required", field="size")
        if self.require_sha256 and request.sha256 is None and request.parts_digest is None:
            raise InvalidRequest("'sha256' is required", field="sha256")
        prefix, metadata = self.prefix, self.metadata
        if options is not _NO_OPTIONS:
            prefix, metadata = self._check_options(options)
        template = self.key_template
        if template == DEFAULT_KEY_TEMPLATE:
            key = prefix + object_id
        else:
            extension = extension_of(content_type) if "{ext}" in template else ""
            key = make_key(prefix, object_id, template=template, owner=owner, extension=extension)
        disposition_type, name = self.content_disposition, request.name
        if name is not None and self.fit_extension:
            name = fit_extension(name, content_type)
        return Grant(
            key=key,
            pending_key=None if self.pending_prefix is None else self.pending_prefix + object_id,
            content_type=content_type,
            min_bytes=min_bytes,
            max_bytes=max_bytes,
            expires_in=self.expires_in,
            create_only=self.create_only,
            sha256=request.sha256,
            content_disposition=content_disposition(disposition_type, name) if disposition_type else None,
            cache_control=self.cache_control,
            metadata=metadata,
            tags=options.tags,
            storage_class=options.storage_class,
            verify_content=self.verify_content,
            owner=owner,
            name=request.name,
        )

    def allows(self, grant: Grant) -> bool:
        """Say whether this policy still allows ``grant``, which an earlier version of it may have made.

        The key, the pending key, the content type and the sizes must lie within the policy. If the policy has
        ``require_size``, ``require_sha256``, ``verify_content``, ``create_only`` or the disposition ``attachment``, the
        grant must have it too.
        """
        in_pending_place = (
            grant.pending_key is None
            if self.pending_prefix is None
            else grant.pending_key is not None and grant.pending_key.startswith(self.pending_prefix)
        )
        is_attachment = (grant.content_disposition or "").partition(";")[0] == "attachment"
        return (
            in_pending_place
            and grant.key.startswith(self.prefix)
            and grant.content_type in self.content_types
            and self.min_bytes <= grant.min_bytes <= grant.max_bytes <= self.max_bytes
            and (grant.exact_bytes is not None or not self.require_size)
            and (Rule.CHECKSUM in grant.rules or not self.require_sha256)
            and (grant.verify_content or not self.verify_content)
            and (grant.create_only or not self.create_only)
            and (is_attachment or self.content_disposition != "attachment")
        )

    def possible_grants(self) -> list[Grant]:
        """Return one grant for each combination of size and SHA-256 that a request may have."""
        exact = {self.min_bytes, self.max_bytes}
        sizes = sorted(exact) if self.require_size else [None, *sorted(exact)]
        digests = [_PLACEHOLDER_SHA256] if self.require_sha256 else [None, _PLACEHOLDER_SHA256]
        content_type = min(self.content_types)
        owner = "owner" if "{owner}" in self.key_template else None
        return [
            self.decide(
                UploadRequest(content_type=content_type, size=size, sha256=sha256), object_id="0" * 32, owner=owner
            )
            for size, sha256 in product(sizes, digests)
        ]

    def _check_options(self, options: UploadOptions) -> tuple[str, Mapping[str, str]]:
        """Return the prefix and the metadata that result from the policy and ``options``."""
        prefix = self.prefix if options.prefix is None else check_prefix(options.prefix)
        if not prefix.startswith(self.prefix):
            raise ConfigurationError(
                f"prefix must begin with the policy's prefix, {self.prefix!a}", field="prefix", value=prefix
            )
        if self.pending_prefix is None and (options.tags or options.storage_class is not None):
            raise ConfigurationError(
                "tags and storage_class are set at publication, so they need a policy with a pending_prefix",
                field="tags" if options.tags else "storage_class",
            )
        _check_tags(options.tags)
        storage_class = options.storage_class
        if storage_class is not None and not (
            isinstance(storage_class, str) and _STORAGE_CLASS.fullmatch(storage_class)
        ):
            raise ConfigurationError(
                "storage_class must be the service's own name, such as STANDARD_IA",
                field="storage_class",
                value=str(storage_class),
            )
        if not options.metadata:
            return prefix, self.metadata
        merged = _checked_metadata({**self.metadata, **_checked_metadata(options.metadata)})
        return prefix, MappingProxyType(merged)

    def _check_sizes(self) -> None:
        for name in ("min_bytes", "max_bytes", "max_hashed_bytes", "parts_from_bytes", "part_bytes"):
            value = getattr(self, name)
            if name == "parts_from_bytes" and value is None:
                continue
            if not isinstance(value, int) or isinstance(value, bool):
                raise ConfigurationError(
                    f"{name} must be a whole number of bytes such as 10_000_000, not {value!a}",
                    field=name,
                    value=str(value),
                )
        if not 1 <= self.max_bytes <= MAX_SIZE_BYTES:
            raise ConfigurationError(
                f"max_bytes must be between 1 and {MAX_SIZE_BYTES}",
                field="max_bytes",
                value=str(self.max_bytes),
                limit=MAX_SIZE_BYTES,
            )
        if self.max_hashed_bytes < 0:
            raise ConfigurationError(
                "max_hashed_bytes must be 0 or more", field="max_hashed_bytes", value=str(self.max_hashed_bytes)
            )
        for name in ("parts_from_bytes", "part_bytes"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigurationError(f"{name} must be 1 or more", field=name, value=str(value))
        if not 0 <= self.min_bytes <= self.max_bytes:
            raise ConfigurationError(
                f"min_bytes must be between 0 and max_bytes ({self.max_bytes})",
                field="min_bytes",
                value=str(self.min_bytes),
            )

    def _check_lifetimes(self) -> None:
        for name in ("expires_in", "max_expires_in", "resumable_for"):
            value = getattr(self, name)
            if not isinstance(value, timedelta):
                raise ConfigurationError(
                    f"{name} must be a timedelta such as timedelta(seconds=60), not {value!a}",
                    field=name,
                    value=str(value),
                )
        if not timedelta(seconds=1) <= self.expires_in <= self.max_expires_in:
            raise ConfigurationError(
                f"expires_in must be between 1 second and max_expires_in ({self.max_expires_in}); "
                "raise max_expires_in for a longer lifetime",
                field="expires_in",
                value=str(self.expires_in),
                limit=str(self.max_expires_in),
            )
        if not timedelta(seconds=1) <= self.resumable_for <= MAX_RESUMABLE_FOR:
            raise ConfigurationError(
                f"resumable_for must be between 1 second and {MAX_RESUMABLE_FOR.days} days, because services forget "
                "unfinished uploads",
                field="resumable_for",
                value=str(self.resumable_for),
                limit=str(MAX_RESUMABLE_FOR),
            )

    def _checked_content_types(self) -> frozenset[str]:
        if isinstance(self.content_types, str) or not isinstance(self.content_types, Collection):
            raise ConfigurationError(
                "content_types must be a set of media types such as {'image/png'}", field="content_types"
            )
        if not self.content_types:
            raise ConfigurationError("content_types must have at least one media type", field="content_types")
        for content_type in self.content_types:
            if not isinstance(content_type, str) or "*" in content_type or not is_media_type(content_type):
                raise ConfigurationError(
                    f"content_types must be exact media types such as image/png, not {content_type!a}",
                    field="content_types",
                    value=str(content_type),
                )
            if is_active(content_type) and not self.allow_active_content:
                raise ConfigurationError(
                    f"content_types has {content_type}, in which browsers run scripts; "
                    "if you want that, serve uploads from a domain without cookies and set allow_active_content=True",
                    field="content_types",
                    value=content_type,
                )
        return frozenset(content_type.lower() for content_type in self.content_types)


def content_disposition(disposition_type: str, name: str | None) -> str:
    """Return a Content-Disposition value in ASCII for any file name (RFC 6266, appendix D).

    >>> content_disposition("attachment", "cat.png")
    'attachment; filename="cat.png"'
    """
    if name is None:
        return disposition_type
    fallback = _single_spaced("".join(c if " " <= c <= "~" and c not in '"\\%' else "_" for c in name))
    if fallback == name:
        return f'{disposition_type}; filename="{name}"'
    return f"{disposition_type}; filename=\"{fallback}\"; filename*=UTF-8''{quote(name, safe='')}"


def _check_tags(tags: Mapping[str, str]) -> None:
    check_tags(tags)
    for name in tags:
        if name.lower().startswith("aws:"):
            raise ConfigurationError("AWS keeps tags whose names begin with aws: for itself", field="tags", value=name)


def _single_spaced(value: str) -> str:
    return _SPACES.sub(" ", value) if "  " in value else value


def _checked_rules(rules: Collection[Rule]) -> frozenset[Rule]:
    known = ", ".join(rule.value for rule in Rule)
    if isinstance(rules, str) or not isinstance(rules, Collection):
        raise ConfigurationError(
            "require_at_storage must be a set of rules such as {Rule.SIZE}", field="require_at_storage"
        )
    try:
        return frozenset(Rule(rule) for rule in rules)
    except ValueError:
        unknown = ", ".join(sorted(str(rule) for rule in rules if rule not in set(Rule)))
        raise ConfigurationError(
            f"require_at_storage has rules that do not exist ({unknown}); the rules are {known}",
            field="require_at_storage",
            value=unknown,
            limit=known,
        ) from None


def _checked_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    if not isinstance(metadata, Mapping):
        raise ConfigurationError("metadata must be a mapping of text to text", field="metadata")
    for name, value in metadata.items():
        # Azure takes C# identifiers, and S3 turns names into lower case.
        if not isinstance(name, str) or not _METADATA_NAME.fullmatch(name):
            raise ConfigurationError(
                f"metadata names must consist of lower-case letters, digits and underscores, not {name!a}",
                field="metadata",
                value=str(name),
            )
        # HTTP removes spaces at both ends of a header's value.
        if not _is_printable_ascii(value) or value != value.strip():
            raise ConfigurationError(
                f"metadata {name!a} must be printable ASCII without spaces at its ends", field="metadata", value=name
            )
    if sum(len(name) + len(value) for name, value in metadata.items()) > _MAX_METADATA_BYTES:
        raise ConfigurationError("metadata is too large", field="metadata", limit=_MAX_METADATA_BYTES)
    return dict(metadata)


def _is_printable_ascii(value: object) -> bool:
    return isinstance(value, str) and _PRINTABLE_ASCII.fullmatch(value) is not None
