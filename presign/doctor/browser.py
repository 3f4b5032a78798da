"""What a browser asks before an upload, and what it lets the page read afterwards."""

from __future__ import annotations

from collections.abc import Iterator

from presign.doctor.sending import Answer
from presign.doctor.session import Seen, Session, Way
from presign.doctor.uploads import exposed, guards_of
from presign.testing.requests import UploadAttempt

_OTHER_ORIGIN = "https://presign-doctor.invalid"


def check_pages(session: Session, way: Way) -> Iterator[Seen]:
    """Ask as the page's origin, with exactly the ticket's method and headers, at the ticket's own URL."""
    session.current = "cors-preflight"
    if session.origin is None:
        yield Seen.unknown("cors-preflight", "no origin was given (--origin)")
        return
    grant = session.grant(create_only=way.create_only)
    attempt = session.sign(grant)
    names = sorted(name.lower() for name in attempt.headers)
    answer = _ask(session, attempt, session.origin, names)
    if _allows(answer, session.origin, attempt.method, names):
        yield Seen.good("cors-preflight", f"{session.origin} may send {way.described}")
        if _allows(_ask(session, attempt, _OTHER_ORIGIN, names), _OTHER_ORIGIN, attempt.method, names):
            yield Seen.bad("cors-any-origin", f"every origin may send {way.described}")
        else:
            yield Seen.good("cors-any-origin", f"another origin may not send {way.described}")
    elif names and _allows(_ask(session, attempt, session.origin, []), session.origin, attempt.method, []):
        refused = [
            name
            for name in names
            if not _allows(_ask(session, attempt, session.origin, [name]), session.origin, attempt.method, [name])
        ]
        listed = ", ".join(refused or names)
        guards = guards_of(attempt, session.sign_unguarded(grant))
        only_guards = " (only the guards of the tickets)" if refused and set(refused) <= set(guards) else ""
        yield Seen.bad("cors-headers", f"{session.origin} may not send {listed} with {way.described}{only_guards}")
    else:
        yield Seen.bad(
            "cors-preflight",
            f"the storage answers {answer.status} to the preflight request of {session.origin} for {way.described}, "
            "and does not allow it",
        )
    session.current = "cors-answer"
    sent = session.send(attempt)
    if not sent.is_accepted:
        yield Seen.unknown("cors-answer", f"the storage answers {sent.status} to {way.described}")
    elif sent.headers.get("Access-Control-Allow-Origin") in {"*", session.origin}:
        yield Seen.good("cors-answer", f"{session.origin} may read the answer to {way.described}")
        if way.mechanism == "put":
            yield from exposed(session, sent, way.described)
    else:
        yield Seen.bad("cors-answer", f"{session.origin} may not read the answer to {way.described}")


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
