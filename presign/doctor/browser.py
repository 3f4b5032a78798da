"""What a browser asks before an upload, and what it lets the page read afterwards."""

from __future__ import annotations

from collections.abc import Iterator

from presign.doctor.patient import Patient, Seen, Way
from presign.doctor.sending import Answer
from presign.doctor.uploads import exposed
from presign.testing.requests import UploadAttempt

_OTHER_ORIGIN = "https://presign-doctor.invalid"


def check_pages(patient: Patient, way: Way) -> Iterator[Seen]:
    """Ask as the page's origin, with exactly the ticket's method and headers, at the ticket's own URL."""
    patient.current = "cors-preflight"
    if patient.origin is None:
        yield Seen.unknown("cors-preflight", "no origin was given (--origin)")
        return
    attempt = patient.sign(patient.grant(create_only=way.create_only))
    names = sorted(name.lower() for name in attempt.headers)
    answer = _ask(patient, attempt, patient.origin, names)
    if _allows(answer, patient.origin, attempt.method, names):
        yield Seen.good("cors-preflight", f"{patient.origin} may send {way.described}")
        if _allows(_ask(patient, attempt, _OTHER_ORIGIN, names), _OTHER_ORIGIN, attempt.method, names):
            yield Seen.bad("cors-any-origin", f"every origin may send {way.described}")
        else:
            yield Seen.good("cors-any-origin", f"another origin may not send {way.described}")
    elif names and _allows(_ask(patient, attempt, patient.origin, []), patient.origin, attempt.method, []):
        refused = [
            name
            for name in names
            if not _allows(_ask(patient, attempt, patient.origin, [name]), patient.origin, attempt.method, [name])
        ]
        listed = ", ".join(refused or names)
        yield Seen.bad("cors-headers", f"{patient.origin} may not send {listed} with {way.described}")
    else:
        yield Seen.bad(
            "cors-preflight",
            f"the storage answers {answer.status} to the preflight request of {patient.origin} for {way.described}, "
            "and does not allow it",
        )
    patient.current = "cors-answer"
    sent = patient.send(attempt)
    if not sent.is_accepted:
        yield Seen.unknown("cors-answer", f"the storage answers {sent.status} to {way.described}")
    elif sent.headers.get("Access-Control-Allow-Origin") in {"*", patient.origin}:
        yield Seen.good("cors-answer", f"{patient.origin} may read the answer to {way.described}")
        if way.mechanism == "put":
            yield from exposed(patient, sent, way.described)
    else:
        yield Seen.bad("cors-answer", f"{patient.origin} may not read the answer to {way.described}")


def _ask(patient: Patient, attempt: UploadAttempt, origin: str, names: list[str]) -> Answer:
    headers = {"Origin": origin, "Access-Control-Request-Method": attempt.method}
    if names:
        headers["Access-Control-Request-Headers"] = ",".join(names)
    return patient.sender.send("OPTIONS", attempt.url, headers=headers)


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
