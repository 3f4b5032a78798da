"""The limit on a request's body, whatever the framework gives: a header, or a function that reads."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from io import BytesIO
from typing import Any, cast

import pytest

from presign import TooManyRequests
from presign.asgi import read_body
from presign.http.problems import problem_response
from presign.http.request_body import (
    MAX_BODY_BYTES,
    MAX_LARGER_BODIES,
    BodyTooLarge,
    LargerBodies,
    check_declared_length,
    read_limited,
)


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


LIST_BYTES = 3 * MAX_BODY_BYTES


def _read(content: bytes, chunk_bytes: int, *, is_declared: bool, is_async: bool) -> tuple[bytes | int, int]:
    """Return the body, or the limit that it breaks, and how many bytes were read."""
    source = BytesIO(content)
    limits: Any = {"list_limit": LIST_BYTES, "content_length": str(len(content)) if is_declared else None}

    async def receive() -> Any:
        chunk = source.read(chunk_bytes)
        return {"type": "http.request", "body": chunk, "more_body": source.tell() < len(content)}

    try:
        if is_async:
            return asyncio.run(read_body(receive, **limits)), source.tell()
        return read_limited(lambda size: source.read(min(size, chunk_bytes)), **limits), source.tell()
    except BodyTooLarge as refused:
        return cast("int", refused.limit), source.tell()


by_reader = pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
by_framing = pytest.mark.parametrize("is_declared", [False, True], ids=["chunked", "declared"])
by_chunk = pytest.mark.parametrize("chunk_bytes", [1000, 10 * LIST_BYTES])


@by_reader
@by_framing
@by_chunk
def test_a_list_may_be_larger_than_an_object(chunk_bytes: int, is_declared: bool, is_async: bool) -> None:
    for start, limit in ((b"[", LIST_BYTES), (b"{", MAX_BODY_BYTES), (b" ", MAX_BODY_BYTES)):
        for size in (1, MAX_BODY_BYTES, MAX_BODY_BYTES + 1, LIST_BYTES):
            content = start.ljust(size)
            body, _ = _read(content, chunk_bytes, is_declared=is_declared, is_async=is_async)
            assert body == (content if size <= limit else limit)


@by_reader
@by_framing
@by_chunk
def test_of_a_list_that_is_too_large_no_more_is_read_than_shows_it(
    chunk_bytes: int, is_declared: bool, is_async: bool
) -> None:
    content = b"[".ljust(5 * LIST_BYTES)
    limit, was_read = _read(content, chunk_bytes, is_declared=is_declared, is_async=is_async)
    assert limit == LIST_BYTES
    # An ASGI server decides how large its chunks are.
    assert was_read <= (0 if is_declared else LIST_BYTES + (chunk_bytes if is_async else 1))


@by_reader
def test_of_a_body_that_is_declared_too_large_and_is_no_list_the_first_byte_is_read(is_async: bool) -> None:
    content = b"{".ljust(LIST_BYTES)
    assert _read(content, 1, is_declared=True, is_async=is_async) == (MAX_BODY_BYTES, 1)


def _seconds_for_small_pieces(first_bytes: int, *, is_async: bool) -> float:
    """Return the CPU time that it takes to read a list of a piece of this size and 5000 pieces of one byte."""
    pieces = iter([b"[".ljust(first_bytes), *[b" "] * 5000, b""])
    limits: Any = {"list_limit": 100 * MAX_BODY_BYTES}

    async def receive() -> Any:
        piece = next(pieces)
        return {"type": "http.request", "body": piece, "more_body": bool(piece)}

    start = time.thread_time()
    body = asyncio.run(read_body(receive, **limits)) if is_async else read_limited(lambda _: next(pieces), **limits)
    assert len(body) == first_bytes + 5000
    return time.thread_time() - start


@by_reader
def test_a_small_piece_of_a_long_list_costs_no_copy_of_what_came_before(is_async: bool) -> None:
    short = _seconds_for_small_pieces(1, is_async=is_async)
    # With copies, it takes more than fifty times as long.
    assert _seconds_for_small_pieces(3_000_000, is_async=is_async) < 10 * short + 0.05


def test_an_owner_sends_few_larger_bodies_at_the_same_time() -> None:
    async def scenario() -> None:
        bodies, sent = LargerBodies(), asyncio.Event()
        small, large = b"[".ljust(MAX_BODY_BYTES), b"[".ljust(MAX_BODY_BYTES + 1)

        def reading(start: bytes, owner: str | None, *, is_declared: bool = False) -> asyncio.Task[bytes]:
            messages = [{"type": "http.request", "body": start, "more_body": True}]

            async def receive() -> Any:
                if messages:
                    return messages.pop()
                await sent.wait()
                return {"type": "http.request", "body": b"]"}

            length = str(LIST_BYTES) if is_declared else None
            claim = partial(bodies.claim, owner)
            return asyncio.ensure_future(
                read_body(receive, list_limit=LIST_BYTES, content_length=length, claim_larger=claim)
            )

        of_alice = [reading(large, "alice") for _ in range(MAX_LARGER_BODIES - 1)]
        of_alice.append(reading(b"[", "alice", is_declared=True))
        await asyncio.sleep(0)
        refused = [reading(large, "alice"), reading(b"[", "alice", is_declared=True)]
        others = [reading(large, "bob"), reading(small, "alice"), *[reading(large, None) for _ in range(9)]]
        await asyncio.sleep(0)
        of_alice.pop().cancel()
        await asyncio.sleep(0)
        of_alice.append(reading(large, "alice"))
        await asyncio.sleep(0)
        sent.set()
        for each in refused:
            with pytest.raises(TooManyRequests) as caught:
                await each
            assert caught.value.retry_after == 1
        assert {body[-1:] for body in await asyncio.gather(*of_alice, *others)} == {b"]"}
        assert await reading(large, "alice") == large + b"]"

    asyncio.run(scenario())


def test_a_wsgi_application_leaves_the_connection_to_its_server() -> None:
    problem = problem_response(BodyTooLarge())
    assert problem.headers["Connection"] == "close"
    assert problem.wsgi_headers == {name: value for name, value in problem.headers.items() if name != "Connection"}
