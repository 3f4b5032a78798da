"""The examination of one storage: every canary in turn, and everything deleted at the end."""

from __future__ import annotations

import secrets
import ssl
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import timedelta
from functools import partial
from types import MappingProxyType
from typing import Literal

from presign.backends.backend import Backend
from presign.backends.failures import warn
from presign.backends.knowledge import StoreKnowledge
from presign.doctor.access import check_deletion, check_rights, check_strangers
from presign.doctor.browser import check_pages
from presign.doctor.report import Finding, Report
from presign.doctor.session import LIFETIME, MAX_BYTES, Aborted, PolicyHeaders, Result, Session
from presign.doctor.tampering import check_forgeries, check_rules, check_unsigned_headers
from presign.doctor.transport import check_clock, check_settings, check_tls
from presign.doctor.uploads import (
    check_listing,
    check_longest_tickets,
    check_parts,
    check_pending_expiry,
    check_publication,
    check_uploads,
    check_versions,
)
from presign.errors import ConfigurationError, CredentialsUnavailable, StorageUnavailable
from presign.parts import files_in_parts
from presign.policy import DEFAULT_MAX_EXPIRES_IN, DEFAULT_PENDING_PREFIX, UploadPolicy
from presign.presigner import Presigner, check_place

FOLDER = ".presign-doctor"
"""The segment of the keys under which the doctor stores, below each prefix."""

DEFAULT_CONTENT_TYPE = "application/octet-stream"

_NO_METADATA: Mapping[str, str] = MappingProxyType({})

_Canary = Callable[[Session], Iterator[Result]]


def examine(
    backend: Backend,
    *,
    prefix: str,
    pending_prefix: str | None = DEFAULT_PENDING_PREFIX,
    origin: str | None = None,
    content_types: Collection[str] = (DEFAULT_CONTENT_TYPE,),
    public_read: bool | None = None,
    max_bytes: int | None = None,
    max_expires_in: timedelta = DEFAULT_MAX_EXPIRES_IN,
    create_only: bool | None = None,
    content_disposition: Literal["inline", "attachment"] | None = "attachment",
    cache_control: str | None = None,
    metadata: Mapping[str, str] = _NO_METADATA,
    ssl_context: ssl.SSLContext | None = None,
    report_finding: Callable[[Finding], None] = lambda _: None,
) -> Report:
    """Send real uploads, good ones and tampered ones, delete all of them, and return what was found.

    - ``prefix``, ``pending_prefix``: those of the application's policy. Everything is stored below
      ``.presign-doctor/`` under them, and deleted at the end, also after a failure or an interruption.
    - ``origin``: the page's origin, such as ``"https://app.example.com"``; without it, CORS is not checked.
    - ``content_types``: some of the policy's; an upload of each is sent.
    - ``create_only``: the policy's; None tries tickets of both kinds. On S3 and Google Cloud Storage, these are a POST
      form and a PUT.
    - ``public_read``: whether everybody should be able to read published objects; None if either is right.
    - ``max_bytes``: the policy's; if no file of this size comes in parts, none is sent in parts. Without it, one is.
    - ``max_expires_in``: the policy's; an upload is sent with a ticket that is valid for so long.
    - ``content_disposition``, ``cache_control``, ``metadata``: the policy's. They are headers of the tickets, so the
      storage's CORS rules must allow them.
    - ``ssl_context``: how to trust the storage's certificate; by default the system's way.
    - ``report_finding``: called with each finding as soon as it is made.

    An examination takes about two hundred small requests. Raises ConfigurationError for a wrong prefix, type or
    origin, and if the two prefixes overlap in one place; what is wrong with the storage is in the report.

    ::

        backend, prefix = open_backend("s3://my-bucket/public/?region=eu-central-1")
        report = examine(backend, prefix=prefix, origin="https://app.example.com")
        print(report.to_text())
    """
    policy = UploadPolicy(
        content_types=content_types,
        max_bytes=MAX_BYTES if max_bytes is None else max_bytes,
        prefix=prefix,
        pending_prefix=pending_prefix,
        allow_active_content=True,
    )
    check_place(backend, policy)
    session = Session(
        backend=backend,
        base_prefix=policy.prefix,
        base_pending_prefix=policy.pending_prefix,
        folder=f"{FOLDER}/{secrets.token_hex(8)}/",
        origin=_checked_origin(origin),
        content_types=tuple(sorted(content_types)),
        create_only=create_only,
        headers=PolicyHeaders(content_disposition=content_disposition, cache_control=cache_control, metadata=metadata),
        public_read=public_read,
        with_parts=_takes_parts(backend, max_bytes, policy),
        max_expires_in=_checked_lifetime(max_expires_in),
        ssl_context=ssl_context,
    )
    return _report(session, _run, report_finding)


def _report(
    session: Session,
    run: Callable[[Session, Callable[[Result], None]], None],
    report_finding: Callable[[Finding], None],
) -> Report:
    """Run the canaries, delete everything whatever happens, and return the report."""
    findings: list[Finding] = []

    def add(result: Result) -> None:
        finding = session.finding(result)
        findings.append(finding)
        report_finding(finding)

    left: list[tuple[str, str]] = []
    is_interrupted = True
    try:
        run(session, add)
        is_interrupted = False
    finally:
        try:
            for key, reason in session.cleanup.clear():
                left.append((key, reason))
                if is_interrupted:
                    warn("%s could not be deleted: %s", key, reason)
        except BaseException:
            warn("what the doctor stored below %s may still be there; delete it", _folders(session))
            raise
        finally:
            session.sender.close()
    for key, reason in left:
        add(Result.bad("left-over", f"{key} could not be deleted: {reason}"))
    name = session.backend.name
    return Report(
        storage=name,
        prefix=session.base_prefix,
        pending_prefix=session.base_pending_prefix,
        findings=tuple(findings),
        learned=StoreKnowledge(
            storage=name,
            host="" if session.diagnosis is None else session.diagnosis.host,
            shown={way: frozenset(rules) for way, rules in session.shown.items()},
        ),
    )


def _folders(session: Session) -> str:
    places = (session.pending_prefix, session.prefix)
    return " and ".join(f"{session.backend.name}/{place}" for place in places if place is not None)


def examine_presigner(
    presigner: Presigner,
    *,
    origin: str | None = None,
    ssl_context: ssl.SSLContext | None = None,
    report_finding: Callable[[Finding], None] = lambda _: None,
) -> Report:
    """Examine the storage of a presigner, with what its policy says; see examine."""
    policy = presigner.policy
    return examine(
        presigner.backend,
        prefix=policy.prefix,
        pending_prefix=policy.pending_prefix,
        origin=origin,
        content_types=policy.content_types,
        max_bytes=policy.max_bytes,
        max_expires_in=policy.max_expires_in,
        create_only=policy.create_only,
        content_disposition=policy.content_disposition,
        cache_control=policy.cache_control,
        metadata=policy.metadata,
        public_read=policy.public_read,
        ssl_context=ssl_context,
        report_finding=report_finding,
    )


def check_health(presigner: Presigner, *, ssl_context: ssl.SSLContext | None = None) -> Report:
    """Send one good upload of each kind, read and delete it, and compare the clocks; for an application's health check.

    This takes about a dozen small requests and stores an object for a moment, so call it every few minutes, and not
    for every request of a load balancer. ``Report.is_healthy`` is the result.

    ::

        @app.get("/health/uploads")
        def uploads() -> Response:
            report = check_health(presigner)
            return JSONResponse(report.to_dict(), status_code=200 if report.is_healthy else 503)
    """
    policy = presigner.policy
    session = Session(
        backend=presigner.backend,
        base_prefix=policy.prefix,
        base_pending_prefix=policy.pending_prefix,
        folder=f"{FOLDER}/{secrets.token_hex(8)}/",
        origin=None,
        content_types=(min(policy.content_types),),
        create_only=policy.create_only,
        public_read=None,
        with_parts=False,
        max_expires_in=LIFETIME,
        ssl_context=ssl_context,
    )
    return _report(session, _run_health, lambda _: None)


def _run_health(session: Session, add: Callable[[Result], None]) -> None:
    if _run_canary(check_settings, session, add) and _run_canary(check_deletion, session, add):
        _run_canary(check_uploads, session, add)
        _run_canary(check_clock, session, add)


def _run(session: Session, add: Callable[[Result], None]) -> None:
    if not _run_canary(check_settings, session, add):
        return
    if not _run_canary(check_deletion, session, add):
        return
    _run_canary(check_uploads, session, add)
    _run_canary(check_clock, session, add)
    _run_canary(check_longest_tickets, session, add)
    for way in session.working_ways:
        _run_canary(partial(check_pages, way=way), session, add)
        _run_canary(partial(check_rules, way=way), session, add)
        _run_canary(partial(check_forgeries, way=way), session, add)
    for canary in (
        check_strangers,
        check_unsigned_headers,
        check_publication,
        check_parts,
        check_versions,
        check_pending_expiry,
        check_listing,
        check_rights,
        check_tls,
    ):
        _run_canary(canary, session, add)


def _run_canary(canary: _Canary, session: Session, add: Callable[[Result], None]) -> bool:
    """Run one canary; return False if the examination cannot go on."""
    try:
        for result in canary(session):
            add(result)
    except Aborted:
        return False
    except (StorageUnavailable, CredentialsUnavailable, ConfigurationError) as error:
        add(Result.unknown(session.current, f"the test could not be made: {error.detail}"))
    return True


def _takes_parts(backend: Backend, max_bytes: int | None, policy: UploadPolicy) -> bool:
    return max_bytes is None or files_in_parts(backend, policy).from_bytes <= max_bytes


def _checked_lifetime(max_expires_in: timedelta) -> timedelta:
    if not isinstance(max_expires_in, timedelta) or max_expires_in < timedelta(seconds=1):
        raise ConfigurationError("max_expires_in must be a timedelta of at least one second", field="max_expires_in")
    return max_expires_in


def _checked_origin(origin: str | None) -> str | None:
    if origin is None:
        return None
    scheme, separator, rest = origin.partition("://")
    if scheme not in {"http", "https"} or not separator or not rest or any(c in rest for c in "/?#@ *"):
        raise ConfigurationError(
            "origin must be a scheme, a host and perhaps a port, such as https://app.example.com",
            field="origin",
            value=origin,
        )
    return origin
