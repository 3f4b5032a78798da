"""HMAC-SHA256 with a key that signs many messages."""

from __future__ import annotations

import hashlib
from typing import Any

_BLOCK_BYTES = 64
_INNER_PAD = bytes(byte ^ 0x36 for byte in range(256))
_OUTER_PAD = bytes(byte ^ 0x5C for byte in range(256))


class HmacSha256Key:
    """Sign messages with HMAC-SHA256 (RFC 2104, section 4).

    The key's two padded blocks are hashed once, when the key is made. A message then costs two copies of a hash state,
    which takes about half as long as ``hmac.digest``: that function looks the algorithm up and hashes the key again for
    every message. The key itself is not stored, and ``repr`` shows nothing of it.
    """

    __slots__ = ("_inner", "_outer")

    def __init__(self, key: bytes) -> None:
        block = (hashlib.sha256(key).digest() if len(key) > _BLOCK_BYTES else key).ljust(_BLOCK_BYTES, b"\0")
        self._inner = hashlib.sha256(block.translate(_INNER_PAD))
        self._outer = hashlib.sha256(block.translate(_OUTER_PAD))

    def __repr__(self) -> str:
        return "HmacSha256Key(...)"

    def for_messages_after(self, beginning: bytes) -> HmacSha256Key:
        """Return the key for messages that all begin so: it takes what follows. The beginning is hashed once."""
        inner = self._inner.copy()
        inner.update(beginning)
        return _BegunKey(inner, self._outer)

    def digest(self, message: bytes) -> bytes:
        """Return the message's authentication code, 32 bytes."""
        inner = self._inner.copy()
        inner.update(message)
        outer = self._outer.copy()
        outer.update(inner.digest())
        return outer.digest()

    def hexdigest(self, message: bytes) -> str:
        """Return the message's authentication code as 64 lower-case hexadecimal digits."""
        # digest() would take a call more for each of thousands of parts.
        inner = self._inner.copy()
        inner.update(message)
        outer = self._outer.copy()
        outer.update(inner.digest())
        return outer.hexdigest()


class _BegunKey(HmacSha256Key):
    """A key whose inner hash has taken the beginning of every message."""

    __slots__ = ()

    # hashlib has no public name for the type of a hash.
    def __init__(self, inner: Any, outer: Any) -> None:
        self._inner = inner
        self._outer = outer
