"""What a browser asks before an upload, and what it lets the page read afterwards."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from presign.doctor.sending import Answer
from presign.doctor.session import BODY, Result, Session, Way
from presign.messages import Rule
from presign.testing.requests import UploadAttempt

_OTHER_ORIGIN = "https://presign-doctor.invalid"


def check_pages(session: Session, way: Way) -> Iterator[Result]:
    """Ask as the page's origin, with exactly the ticket's method and headers, at the ticket's own URL."""
    session.current = "cors-preflight"
    if session.origin is None:
        yield Result.unknown("cors-preflight", "no origin was given (--origin)")
        return
    attempt = session.sign(session.grant(create_only=way.create_only))
    hashed = session.grant(create_only=way.create_only, sha256=hashlib.sha256(BODY).hexdigest())
    with_checksum = session.sign(hashed) if Rule.CHECKSUM in session.backend.enforces(hashed) else None
    yield from ask_before(session, session.origin, attempt, way.described, with_checksum=with_checksum)
    if session.create_only is None and not way.create_only:
        # Where both kinds of tickets are uploaded in the same way, as on Azure, their headers can still differ.
        create_only = session.sign(session.grant(create_only=True))
        if create_only.method == attempt.method and _names(create_only) != _names(attempt):
            what = f"{way.described} that is create-only"
            yield from ask_before(session, session.origin, create_only, what, with_checksum=None)
    session.current = "cors-answer"
    sent = session.send(attempt)
    if not sent.is_accepted:
        yield Result.unknown("cors-answer", f"the storage answers {sent.status} to {way.described}")
    elif sent.headers.get("Access-Control-Allow-Origin") in {"*", session.origin}:
        yield Result.good("cors-answer", f"{session.origin} may read the answer to {way.described}")
        if way.mechanism == "put":
            yield from judge_exposed(session, sent, way.described)
    else:
        yield Result.bad("cors-answer", f"{session.origin} may not read the answer to {way.described}")


def ask_before(
    session: Session, origin: str, attempt: UploadAttempt, what: str, *, with_checksum: UploadAttempt | None
) -> Iterator[Result]:
    """Send the preflight request of an upload, with exactly its method and headers, at its own URL.

    ``with_checksum`` is the same upload with a SHA-256 in its headers, which only some policies require.
    """
    names = _names(attempt)
    answer = _ask(session, attempt, origin, names)
    if _allows(answer, origin, attempt.method, names):
        yield Result.good("cors-preflight", f"{origin} may send {what}")
        if _allows(_ask(session, attempt, _OTHER_ORIGIN, names), _OTHER_ORIGIN, attempt.method, names):
            yield Result.bad("cors-any-origin", f"every origin may send {what}")
        else:
            yield Result.good("cors-any-origin", f"another origin may not send {what}")
        if with_checksum is not None and (added := _names(with_checksum)) != names:
            if _allows(_ask(session, with_checksum, origin, added), origin, attempt.method, added):
                yield Result.good("cors-checksum", f"{origin} may send {what} with a SHA-256")
            else:
                listed = ", ".join(sorted(set(added) - set(names)))
                yield Result.bad("cors-checksum", f"{origin} may not send {listed} with {what}")
    elif names and _allows(_ask(session, attempt, origin, []), origin, attempt.method, []):
        refused = [
            name
            for name in names
            if not _allows(_ask(session, attempt, origin, [name]), origin, attempt.method, [name])
        ]
        only_guards = refused and set(refused) <= set(session.guards_of(attempt))
        ending = " (only the guards of the tickets)" if only_guards else ""
        yield Result.bad("cors-headers", f"{origin} may not send {', '.join(refused or names)} with {what}{ending}")
    else:
        yield Result.bad(
            "cors-preflight",
            f"the storage answers {answer.status} to the preflight request of {origin} for {what}, and does not allow "
            "it",
        )


def judge_exposed(session: Session, answer: Answer, what: str) -> Iterator[Result]:
    """Say whether a page can read the headers of an answer that uploaders need."""
    wanted = () if session.diagnosis is None else session.diagnosis.exposed_headers
    shown = {name.strip().lower() for name in answer.headers.get("Access-Control-Expose-Headers", "").split(",")}
    missing = [name for name in wanted if name not in shown and "*" not in shown]
    if missing:
        yield Result.bad("cors-exposed", f"the answer to {what} does not expose {', '.join(missing)}")
    elif wanted:
        yield Result.good("cors-exposed", f"the answer to {what} exposes {', '.join(wanted)}")


def _names(attempt: UploadAttempt) -> list[str]:
    return sorted(name.lower() for name in attempt.headers)


def _ask(session: Session, attempt: UploadAttempt, origin: str, names: list[str]) -> Answer:
    headers = {"Origin": origin, "Access-Control-Request-Method": attempt.method}
    if names:
        headers["Access-Control-Request-Headers"] = ",".join(names)
    return session.sender.send("OPTIONS", attempt.url, headers=headers)


def _allows(answer: Answer, origin: str, method: str, names: list[str]) -> bool:
    """Say whether a browser sends the request after this answer (Fetch standard, "CORS-preflight fetch")."""
    allowed_headers = _listed(answer, "Access-Control-Allow-Headers")
    # A browser allows POST always, because a form without script sends it too.
    has_method = method == "POST" or bool({method.lower(), "*"} & _listed(answer, "Access-Control-Allow-Methods"))
    return (
        answer.is_accepted
        and answer.headers.get("Access-Control-Allow-Origin") in {"*", origin}
        and has_method
        and ("*" in allowed_headers or set(names) <= allowed_headers)
    )


def _listed(answer: Answer, name: str) -> set[str]:
    return {each.strip().lower() for each in answer.headers.get(name, "").split(",")} - {""}
