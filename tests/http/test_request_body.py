"""The limit on a request's body, whatever the framework gives: a header, or a function that reads."""

from __future__ import annotations

from io import BytesIO

import pytest

from presign.http.problems import problem_response
from presign.http.request_body import MAX_BODY_BYTES, BodyTooLarge, check_declared_length, read_limited


@pytest.mark.parametrize("declared", [str(MAX_BODY_BYTES + 1), b"%d" % (MAX_BODY_BYTES + 1), "9" * 30, "9" * 5000])
def test_a_declared_length_above_the_limit_is_refused(declared: str | bytes) -> None:
    with pytest.raises(BodyTooLarge):
        check_declared_length(declared)


@pytest.mark.parametrize(
    "declared", [None, "", b"", "0", str(MAX_BODY_BYTES), b"%d" % MAX_BODY_BYTES, "x", "-1", "1e9", "\xb2"]
)
def test_any_other_length_passes_because_the_body_is_limited_as_well(declared: str | bytes | None) -> None:
    check_declared_length(declared)


@pytest.mark.parametrize("size", [0, 1, MAX_BODY_BYTES])
@pytest.mark.parametrize("chunk_bytes", [1000, 10 * MAX_BODY_BYTES])
def test_a_body_within_the_limit_is_read_whole(size: int, chunk_bytes: int) -> None:
    body = BytesIO(b"x" * size)
    assert read_limited(lambda wanted: body.read(min(wanted, chunk_bytes))) == b"x" * size


@pytest.mark.parametrize("chunk_bytes", [1000, 10 * MAX_BODY_BYTES])
def test_of_a_larger_body_one_byte_too_many_is_read_at_most(chunk_bytes: int) -> None:
    body = BytesIO(b"x" * 10 * MAX_BODY_BYTES)
    with pytest.raises(BodyTooLarge):
        read_limited(lambda wanted: body.read(min(wanted, chunk_bytes)))
    assert body.tell() == MAX_BODY_BYTES + 1


def test_a_wsgi_application_leaves_the_connection_to_its_server() -> None:
    problem = problem_response(BodyTooLarge())
    assert problem.headers["Connection"] == "close"
    assert problem.wsgi_headers == {name: value for name, value in problem.headers.items() if name != "Connection"}
