"""What each store does otherwise than Amazon S3, as far as a ticket or a completion meets it, and what to do about it.

The tests hold every store to this list, in both directions: what is not here must not happen, and what is here must.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One difference of one or more stores.

    - ``what``: what happens, for the table.
    - ``presign``: what presign does about it.
    - ``operator``: what the operator can do.
    - ``checks``: for each store, the conformance checks that fail because of it.
    - ``attacks``: for each store, the attacks that the store does not refuse, with the outcome; see attacking.py.
    """

    what: str
    presign: str
    operator: str
    checks: Mapping[str, frozenset[str]] = field(default_factory=dict)
    attacks: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def stores(self) -> list[str]:
        """The stores at fault."""
        return sorted({*self.checks, *self.attacks})


def _both_ways(method: str, outcome: str, *names: str) -> dict[str, str]:
    return {f"{method} {way}, {name}": outcome for way in ("straight", "pending") for name in names}


_ALL_SUBJECTS = ("auto, pending", "PUT, pending", "POST, straight", "PUT, straight")


def _in(check: str, *subjects: str) -> frozenset[str]:
    return frozenset(f"{subject}: {check}" for subject in subjects)


FAULTS: tuple[Fault, ...] = (
    Fault(
        what="The SHA-256 of an upload is not checked.",
        presign="Completion verifies it, so nothing else is published. But the ticket says `storage`.",
        operator="Give the backend what `presign doctor --write` has learned: the ticket then says `completion`.",
        checks={"ceph": _in("enforces_the_checksum", *_ALL_SUBJECTS)},
        attacks={
            "ceph": {
                **_both_ways("POST", "completion", "checksum: other bytes under it"),
                **_both_ways("PUT", "completion", "checksum: other bytes under it"),
            }
        },
    ),
    Fault(
        what="A URL that begins later is accepted at once.",
        presign="Only the server signs, and its tickets begin at once.",
        operator="Keep the clocks of the servers right.",
        checks={
            store: _in("refuses_a_ticket_before_its_start", "PUT, pending", "PUT, straight")
            for store in ("ceph", "seaweedfs", "versitygw")
        },
        attacks={
            store: _both_ways("PUT", "obeyed", "not yet valid: an hour") for store in ("ceph", "seaweedfs", "versitygw")
        },
    ),
    Fault(
        what="`If-Match` on DELETE is ignored.",
        presign="If a client replaces its own upload while completion deletes it, the newer one is deleted unjudged.",
        operator="Nothing is needed: the client uploads again. With `create_only=True`, it cannot replace an upload.",
        checks={store: _in("reads_and_deletes_the_named_object", *_ALL_SUBJECTS) for store in ("ceph", "minio")},
    ),
    Fault(
        what="A form's Content-Disposition and Cache-Control are dropped.",
        presign="Publication writes both. Without a pending place, completion refuses the upload.",
        operator='Keep the pending place, which is the default; or use `upload_method="put"`.',
        checks={"ceph": _in("accepts_a_valid_upload", "POST, straight")},
        attacks={
            "ceph": {
                "POST straight, two keys": "completion",
                "POST straight, two files": "completion",
                "POST pending, two keys": "harmless",
                "POST pending, two files": "harmless",
            }
        },
    ),
    Fault(
        what="Headers of a PUT that nobody signed are obeyed: tags, metadata, a redirect.",
        presign="Completion sees them and refuses the upload. Signed guards refuse copies and access control lists.",
        operator='Use POST forms (`upload_method="post"`) to have the store refuse them.',
        attacks={
            "minio": _both_ways("PUT", "completion", "extra header: tagging"),
            "ceph": _both_ways(
                "PUT", "completion", "extra header: tagging", "extra header: website redirect", "metadata: more"
            ),
        },
    ),
    Fault(
        what="A form's fields that no condition covers are stored, such as Content-Encoding and Expires.",
        presign="Completion refuses the upload. But the ticket says that the storage enforces the headers.",
        operator="Give the backend what `presign doctor --write` has learned: the ticket then says `completion`.",
        checks={"seaweedfs": _in("enforces_the_headers", "auto, pending", "POST, straight")},
        attacks={"seaweedfs": _both_ways("POST", "completion", "extra field: encoding", "extra field: expires")},
    ),
    Fault(
        what="A form's `success_action_redirect` is obeyed, although no condition covers it.",
        presign="The stored object is exactly what was granted.",
        operator="Nothing is needed: it only leads the browser of the one who added it elsewhere.",
        attacks={"seaweedfs": _both_ways("POST", "harmless", "extra field: redirect")},
    ),
    Fault(
        what="Something added to a request has no effect, and the request is accepted.",
        presign="The stored object is exactly what was granted.",
        operator="Nothing is needed.",
        attacks={
            "minio": {
                **_both_ways("POST", "harmless", "two files"),
                **_both_ways("PUT", "harmless", "extra parameter: second expiry", "extra header: website redirect"),
            },
            "seaweedfs": _both_ways(
                "POST",
                "harmless",
                "extra field: acl",
                "extra field: tagging",
                "extra field: session token",
                "fields after the file",
                "two files",
            ),
            "versitygw": _both_ways("POST", "harmless", "two keys", "fields after the file"),
        },
    ),
)


def expected_attack(store: str, attack: str) -> str:
    """Return the outcome that an attack has on a store: "refused", unless a fault says otherwise."""
    found = [fault.attacks[store][attack] for fault in FAULTS if attack in fault.attacks.get(store, {})]
    assert len(found) <= 1, f"two faults are about {attack}"
    return found[0] if found else "refused"


def expected_check(store: str, name: str) -> str:
    """Return "passes", or "fails" if a fault says so; ``name`` is SUBJECT: CHECK."""
    return "fails" if any(name in fault.checks.get(store, frozenset()) for fault in FAULTS) else "passes"
