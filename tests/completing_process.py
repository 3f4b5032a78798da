"""A presigner for uploads that tests interrupt, and a process that completes one of them until it is killed."""

from __future__ import annotations

import sys
from collections.abc import Callable

from presign import Accept, Backend, Completion, InspectedObject, Presigner, Reject, UploadPolicy
from presign.backends import open_backend

PREFIX, PENDING_PREFIX = "public/", "pending/"
PNG = b"\x89PNG\r\n\x1a\n" + b"0123456789abcdef"
TOLD = "told"
"""The line that the process writes when it tells the application; it then waits to be killed."""


def completing_presigner(
    backend: Backend, on_complete: Callable[[Completion], None], *, in_parts: bool = False
) -> Presigner:
    """Return a presigner that inspects the uploads, so that a completion has as many requests as it can have.

    With ``in_parts``, its tickets are for files in parts; any such presigner completes them.
    """
    return Presigner(
        name="interrupted",
        backend=backend,
        policy=UploadPolicy(
            content_types={"image/png"},
            max_bytes=100,
            prefix=PREFIX,
            pending_prefix=PENDING_PREFIX,
            public_read=True,
            metadata={"tenant": "7"},
            parts_from_bytes=1 if in_parts else None,
        ),
        secret="the secret of the interrupted uploads' tokens",
        inspect=_inspect,
        on_complete=on_complete,
    )


def _inspect(uploaded: InspectedObject) -> Accept | Reject:
    return Accept() if uploaded.open().read() == PNG else Reject("these are other bytes")


def _tell_and_wait(_: Completion) -> None:
    print(TOLD, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    address, token = sys.argv[1:]
    completing_presigner(open_backend(address)[0], _tell_and_wait).complete(token)
