"""What a prefix may be: the path of a folder for uploads, in the programs of all clouds."""

from __future__ import annotations

import re

# Some prefixes that presign accepts are refused here: `*`, `?` and `${...}` are wildcards in a policy of AWS.
_SEGMENT = re.compile(r"[A-Za-z0-9!_.'()=@+,-]+", re.ASCII)

_MAX_PREFIX_LENGTH = 256

# The x-amz-copy-source header names the pending object, and clients may percent-encode it. AWS does not document
# whether it decodes the header before it compares it with a policy. These characters are the same in both forms.
_PENDING_PREFIX = re.compile(r"[A-Za-z0-9_./-]+", re.ASCII)


def require_prefix(prefix: str, *, name: str = "prefix") -> str:
    """Return ``prefix`` if it is the path of a folder, such as ``public/``; raise ValueError otherwise.

    ``name`` is what the error message calls the prefix. Without the slash at the end, ``public`` would also cover
    ``publicity/``. With a slash at the beginning, the prefix would match no key of presign. With a wildcard, it would
    cover more than it seems to.
    """
    if not prefix.endswith("/"):
        raise ValueError(f'{name} must end with a slash, as in "public/"; it is "{prefix}"')
    if prefix.startswith("/"):
        raise ValueError(f'{name} must not start with a slash; it is "{prefix}"')
    if len(prefix) > _MAX_PREFIX_LENGTH:
        raise ValueError(f"{name} must have at most {_MAX_PREFIX_LENGTH} characters; it has {len(prefix)}")
    for segment in prefix[:-1].split("/"):
        if segment in {".", ".."} or not _SEGMENT.fullmatch(segment):
            raise ValueError(
                f"{name} must have segments of ASCII letters, digits and !_.'()=@+,- alone; one is {segment!a}"
            )
    return prefix


def require_separate_prefixes(
    pending_prefix: str,
    public_prefix: str,
    *,
    pending_name: str = "pending_prefix",
    public_name: str = "public_prefix",
) -> None:
    """Raise ValueError unless the two prefixes are valid and neither of them is inside the other.

    ``pending_name`` and ``public_name`` are what the error message calls the prefixes. The case of letters does not
    count, because SeaweedFS can ignore it in a policy.
    """
    for prefix, name in ((pending_prefix, pending_name), (public_prefix, public_name)):
        require_prefix(prefix, name=name)
    if not _PENDING_PREFIX.fullmatch(pending_prefix):
        raise ValueError(
            f"{pending_name} must have ASCII letters, digits and _.- alone, because these characters are never "
            f'percent-encoded; it is "{pending_prefix}"'
        )
    folded_pending, folded_public = pending_prefix.casefold(), public_prefix.casefold()
    if folded_pending.startswith(folded_public) or folded_public.startswith(folded_pending):
        raise ValueError(
            f"{pending_name} and {public_name} must not overlap, because nobody may read an upload before it is "
            f'verified; they are "{pending_prefix}" and "{public_prefix}". Choose two folders that are not inside each '
            "other, such as pending/ and public/"
        )
