"""A fresh process that completes two uploads: ``python -m tests.completing_in_fresh_process prepare|not ADDRESS``.

The standard input has the two tokens, one a line. The standard output gets what each completion imported, in JSON.
"""

from __future__ import annotations

import json
import sys

from presign import Presigner, UploadPolicy
from presign.backends import open_backend
from tests.completing_process import PENDING_PREFIX, PREFIX

SECRET = "the secret of the fresh processes"


def new_presigner(address: str) -> Presigner:
    backend, _ = open_backend(address)
    policy = UploadPolicy(content_types={"image/png"}, max_bytes=1000, prefix=PREFIX, pending_prefix=PENDING_PREFIX)
    return Presigner(backend=backend, policy=policy, secret=SECRET)


def main(prepares: bool, address: str, tokens: list[str]) -> list[list[str]]:
    """Return the modules that each completion imported."""
    presigner = new_presigner(address)
    if prepares:
        presigner.prepare()
    imported = []
    for token in tokens:
        before = set(sys.modules)
        presigner.complete(token)
        imported.append(sorted(set(sys.modules) - before))
    return imported


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1] == "prepare", sys.argv[2], sys.stdin.read().split())))
