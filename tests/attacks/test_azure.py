"""Every attack on an upload in blocks, on Azurite. A block's signature permits writing the pending blob in every way.

So the storage takes most of what follows, and completion must see through it. The service itself refuses some of what
Azurite takes, and the other way round; the rows say so.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from emulators.azurite import ACCOUNT_KEY, ACCOUNT_NAME, Azurite
from emulators.wire import Answer, Attempt
from presign import Ticket
from presign.errors import PartsMissing, Rejected, RuleViolated, UploadEnded
from tests.attacks.scene import OTHER_TAIL, OWNER, SECRET, TAIL, TOKEN_ROWS, Row, Scene, Sent, one
from tests.azure.accounts import RunningAccount, prepare_account

PART_BYTES = 64
HTML = b"<script>alert(1)</script>"


class AzureScene(Scene):
    not_there = (500, 501)

    def __init__(self, account: RunningAccount, backend: Any) -> None:
        self.account = account
        super().__init__(backend, part_bytes=PART_BYTES, server="Azurite")

    def send(self, attempt: Attempt) -> Answer:
        return self.account.send(attempt)

    def public(self) -> dict[str, str]:
        return {
            str(blob.name): str(blob.etag) for blob in self.account.admin.get_container_client("public").list_blobs()
        }

    def read_public(self, key: str) -> bytes:
        return self.account.blob("public", key).download_blob().readall()

    def delete_public(self, key: str) -> None:
        self.account.blob("public", key).delete_blob(delete_snapshots="include")

    def pending_url(self, ticket: Ticket) -> str:
        return f"{self.account.azurite.account_url}/pending/{self.pending_key(ticket)}"

    def path(self, key: str, container: str = "pending") -> str:
        return f"/{ACCOUNT_NAME}/{container}/{key}"

    @property
    def blob(self) -> Attempt:
        """A request with the signature of a block for the blob itself."""
        return self.part().without_parameter("comp").without_parameter("blockid")

    def with_id(self, block_id: str, *, body: bytes = TAIL) -> Attempt:
        return self.part(body=body).with_parameter("blockid", block_id)

    def ids(self, ticket: Ticket | None = None) -> list[str]:
        return [self.part(number, ticket).parameter("blockid") for number in (1, 2)]

    def commit(self, *ids: str, kind: str = "Latest", **headers: str) -> Attempt:
        blocks = "".join(f"<{kind}>{each}</{kind}>" for each in ids)
        body = f'<?xml version="1.0" encoding="utf-8"?><BlockList>{blocks}</BlockList>'.encode()
        return self.write(body, comp="blocklist", **headers)

    def write(self, body: bytes = b"", *, comp: str | None = None, **headers: str) -> Attempt:
        """Return a PUT with the signature of a block: of the blob, or of one thing about it."""
        attempt = self.blob if comp is None else self.blob.with_another_parameter("comp", comp)
        named = tuple((name.replace("_", "-"), value) for name, value in headers.items())
        return replace(attempt, headers=named, body=body)

    def put(self, body: bytes, **headers: str) -> Attempt:
        given = {"x_ms_blob_type": "BlockBlob", "x_ms_blob_content_type": "image/png", "x_ms_meta_tenant": "7"}
        return self.write(body, **given | headers)

    def secret_url(self) -> str:
        """Put an object where nobody may read, and return its address."""
        self.account.blob("other", SECRET).upload_blob(b"a secret".ljust(len(self.file)), overwrite=True)
        return f"{self.account.azurite.account_url}/other/{SECRET}"


def _own_id(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _at(when: str, verdict: Any, do: Callable[[AzureScene], Sent], **options: Any) -> Row:
    """Return the row of an attack that the storage takes."""
    return one(do, when=when, verdict=verdict, taken=True, **options)


MOMENTS = ("sent", "listed", "committed", "verified", "published", "aborted")


def _each_moment(name: str, do: Callable[[AzureScene], Sent], **verdicts: Any) -> dict[str, Row]:
    return {f"{name}, {when}": _at(when, verdicts.get(when), do) for when in MOMENTS}


PNG_TYPE = {"x_ms_blob_content_type": "image/png", "x_ms_meta_tenant": "7"}
ROWS: dict[str, Row] = {
    **TOKEN_ROWS,
    # Blocks: no signature covers their ids and lengths.
    "a block: one byte less": _at("sent", PartsMissing, lambda s: s.part(body=TAIL[:-1])),
    "a block: one byte more": _at("sent", PartsMissing, lambda s: s.part(body=TAIL + b"!")),
    "a block: nothing": _at("sent", PartsMissing, lambda s: s.part(body=b""), itself="refuses a block without bytes"),
    "a block: of the whole file": _at("sent", PartsMissing, lambda s: s.part(body=s.file)),
    "a block: one byte more, before the right one": _at("before", None, lambda s: s.part(body=TAIL + b"!")),
    "a block: in the place of another one": _at(
        "sent", PartsMissing, lambda s: s.with_id(s.ids()[0], body=TAIL)
    ),
    "a block: with the id of another upload": _at("sent", None, lambda s: s.with_id(s.ids(s.other)[1])),
    "a block: with the id of another owner's upload": _at("sent", None, lambda s: s.with_id(s.ids(s.foreign)[1])),
    "a block: with a number that the file does not have": _at(
        "sent", None, lambda s: s.with_id(_own_id(base64.b64decode(s.ids()[0]).decode()[:-1] + "3"))
    ),
    "a block: with an id of its own": _at("sent", None, lambda s: s.with_id(_own_id("0123456789abcdef01234567-000002"))),
    "a block: with an id of another length": one(lambda s: s.with_id(_own_id("x")), when="sent"),
    "a block: with an id that is not base64": one(lambda s: s.with_id("!!!"), when="sent"),
    "a block: from another address": one(
        lambda s: s.write(comp="block", x_ms_copy_source=s.secret_url()).with_another_parameter("blockid", s.ids()[1]), when="sent"
    ),
    **{f"a block: the same again, {when}": _at(when, UploadEnded if when == "aborted" else None, lambda s: s.part()) for when in MOMENTS},
    **_each_moment(
        "a block: other bytes of the right length",
        lambda s: s.part(body=OTHER_TAIL),
        sent=Rejected, listed=Rejected, aborted=UploadEnded,
    ),
    "a block: another length, between the list and the commit": _at("listed", RuleViolated, lambda s: s.part(body=TAIL + b"!")),
    # A commit by the client itself.
    "commits: no block": _at("sent", RuleViolated, lambda s: s.commit()),
    "commits: no block, with the right type": _at("sent", RuleViolated, lambda s: s.commit(**PNG_TYPE)),
    "commits: no block, before the blocks are there": _at("before", RuleViolated, lambda s: s.commit(**PNG_TYPE)),
    "commits: one block": _at("sent", RuleViolated, lambda s: s.commit(s.ids()[0], **PNG_TYPE)),
    "commits: the blocks in another order": _at("sent", RuleViolated, lambda s: s.commit(*s.ids()[::-1], **PNG_TYPE)),
    "commits: one block twice": _at("sent", RuleViolated, lambda s: s.commit(s.ids()[0], s.ids()[0], **PNG_TYPE)),
    "commits: the whole file": _at("sent", None, lambda s: s.commit(*s.ids(), **PNG_TYPE)),
    "commits: the whole file as HTML": _at("sent", RuleViolated, lambda s: s.commit(*s.ids(), x_ms_blob_content_type="text/html")),
    "commits: the whole file with metadata of its own": _at("sent", RuleViolated, lambda s: s.commit(*s.ids(), **PNG_TYPE, x_ms_meta_role="admin")),
    "commits: the whole file with an encoding": _at("sent", RuleViolated, lambda s: s.commit(*s.ids(), **PNG_TYPE, x_ms_blob_content_encoding="gzip")),
    "commits: the whole file with a disposition": _at("sent", RuleViolated, lambda s: s.commit(*s.ids(), **PNG_TYPE, x_ms_blob_content_disposition="attachment; filename=x.exe")),
    "commits: the blocks of another upload": one(lambda s: s.commit(*s.ids(s.other), **PNG_TYPE), when="sent"),
    "commits: blocks that are not there": one(lambda s: s.commit(_own_id("0123456789abcdef01234567-000009"), **PNG_TYPE), when="sent"),
    "commits: foreign blocks of the right sizes": Row(
        do=lambda s: [
            s.with_id(_own_id("0123456789abcdef01234567-000001"), body=s.parts[0]),
            s.with_id(_own_id("0123456789abcdef01234567-000002"), body=OTHER_TAIL),
            s.commit(_own_id("0123456789abcdef01234567-000001"), _own_id("0123456789abcdef01234567-000002"), **PNG_TYPE),
        ],
        when="sent", taken=True, verdict=Rejected,
    ),
    "commits: no block, between the list and the commit": _at("listed", RuleViolated, lambda s: s.commit(**PNG_TYPE)),
    "commits: no block, between the commit and the verification": _at("committed", RuleViolated, lambda s: s.commit(**PNG_TYPE)),
    "commits: no block, between the verification and the publication": _at("verified", RuleViolated, lambda s: s.commit(**PNG_TYPE)),
    "commits: no block, after the publication": _at("published", None, lambda s: s.commit(**PNG_TYPE)),
    "commits: no block, after an abort": _at("aborted", RuleViolated, lambda s: s.commit(**PNG_TYPE)),
    # A whole blob instead of blocks.
    **_each_moment("puts a blob: HTML", lambda s: s.put(HTML, x_ms_blob_content_type="text/html"), **dict.fromkeys(("sent", "listed", "committed", "verified", "aborted"), RuleViolated)),
    **_each_moment("puts a blob: other bytes of the right size", lambda s: s.put(s.file[:-1] + b"!"), **dict.fromkeys(("sent", "listed", "committed", "verified", "aborted"), Rejected)),
    "puts a blob: the right one": _at("sent", None, lambda s: s.put(s.file)),
    "puts a blob: empty": _at("committed", RuleViolated, lambda s: s.put(b"")),
    "puts a blob: another tier": _at("committed", RuleViolated, lambda s: s.put(s.file, x_ms_access_tier="Cool")),
    "puts a blob: an append blob": _at("sent", RuleViolated, lambda s: s.write(b"", x_ms_blob_type="AppendBlob", **PNG_TYPE)),
    "puts a blob: an append blob with the right bytes": Row(
        do=lambda s: [s.write(b"", x_ms_blob_type="AppendBlob", **PNG_TYPE), s.write(s.file, comp="appendblock")],
        when="sent", taken=True, verdict=RuleViolated,
    ),
    "puts a blob: an append blob that grows after the verification": Row(
        do=lambda s: [s.write(b"", x_ms_blob_type="AppendBlob", **PNG_TYPE), s.write(s.file, comp="appendblock")],
        when="verified", taken=True, verdict=RuleViolated,
    ),
    "puts a blob: a page blob": _at(
        "sent", RuleViolated, lambda s: s.write(b"", x_ms_blob_type="PageBlob", x_ms_blob_content_length="512", **PNG_TYPE)
    ),
    "puts a blob: a page blob with a page": Row(
        do=lambda s: [
            s.write(b"", x_ms_blob_type="PageBlob", x_ms_blob_content_length="512", **PNG_TYPE),
            s.write(s.file.ljust(512, b"\0"), comp="page", x_ms_page_write="update", x_ms_range="bytes=0-511"),
        ],
        when="sent", taken=True, verdict=RuleViolated,
    ),
    "copies: a private blob": _at(
        "sent", RuleViolated, lambda s: s.write(b"", x_ms_copy_source=s.secret_url()), itself="refuses a source that is not signed"
    ),
    "copies: a private blob at once": _at(
        "sent",
        RuleViolated,
        lambda s: s.write(b"", x_ms_copy_source=s.secret_url(), x_ms_requires_sync="true"),
        itself="refuses a source that is not signed",
    ),
    "copies: another upload's pending blob": one(
        lambda s: s.write(b"", x_ms_copy_source=s.pending_url(s.foreign), x_ms_requires_sync="true"), when="sent"
    ),
    # Things about the blob.
    "changes metadata after the commit": _at("committed", RuleViolated, lambda s: s.write(comp="metadata", x_ms_meta_role="admin")),
    "changes metadata after the verification": _at("verified", RuleViolated, lambda s: s.write(comp="metadata", x_ms_meta_role="admin")),
    "changes the type after the commit": _at("committed", RuleViolated, lambda s: s.write(comp="properties", x_ms_blob_content_type="text/html")),
    "changes the type after the verification": _at("verified", RuleViolated, lambda s: s.write(comp="properties", x_ms_blob_content_type="text/html")),
    "makes a snapshot after the commit": _at("committed", RuleViolated, lambda s: s.write(comp="snapshot")),
    "makes a snapshot after the verification": _at("verified", None, lambda s: s.write(comp="snapshot")),
    "changes the tier after the commit": _at("committed", RuleViolated, lambda s: s.write(comp="tier", x_ms_access_tier="Cool")),
    "changes the tier after the verification": _at("verified", None, lambda s: s.write(comp="tier", x_ms_access_tier="Cool")),
    "leases the blob after the commit": _at("committed", None, lambda s: s.write(comp="lease", x_ms_lease_action="acquire", x_ms_lease_duration="-1")),
    "leases the blob after the verification": _at("verified", None, lambda s: s.write(comp="lease", x_ms_lease_action="acquire", x_ms_lease_duration="-1")),
    "leases a blob of its own": Row(
        do=lambda s: [s.put(HTML), s.write(comp="lease", x_ms_lease_action="acquire", x_ms_lease_duration="-1")],
        when="sent", taken=True, verdict=RuleViolated,
    ),
    "sets tags": one(lambda s: s.write(b"<Tags><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tags>", comp="tags"), when="committed"),
    "sets a retention": one(lambda s: s.write(comp="immutabilityPolicies", x_ms_immutability_policy_until_date="Fri, 01 Jan 2100 00:00:00 GMT"), when="committed", itself="refuses it: it needs the permission i"),
    "sets a legal hold": one(lambda s: s.write(comp="legalhold", x_ms_legal_hold="true"), when="committed", itself="refuses it: it needs the permission i"),
    "undeletes": one(lambda s: s.write(comp="undelete"), when="committed"),
    # Other methods and places.
    **{f"method: {method}": one(lambda s, method=method: replace(s.blob, method=method, body=b""), when="committed") for method in ("GET", "HEAD", "DELETE", "POST")},  # type: ignore[misc]
    "reads the list of blocks": one(lambda s: replace(s.blob.with_another_parameter("comp", "blocklist"), method="GET", body=b""), when="sent"),
    "reads with a query": one(lambda s: replace(s.blob.with_another_parameter("comp", "query"), method="POST", body=b"<QueryRequest/>"), when="committed", itself="refuses it: it needs the permission r"),
    "lists the container": one(
        lambda s: replace(s.blob, method="GET", body=b"").with_path(f"/{ACCOUNT_NAME}/pending").with_another_parameter("restype", "container").with_another_parameter("comp", "list"),
        when="sent",
    ),
    "another blob: of another upload": one(lambda s: s.part().with_path(s.path(s.pending_key(s.other)))),
    "another blob: of another owner": one(lambda s: s.part().with_path(s.path(s.pending_key(s.foreign)))),
    "another blob: the final one": one(lambda s: s.part().with_path(s.path(s.ticket.key, "public"))),
    "another blob: the final one as a whole": one(lambda s: s.put(HTML).with_path(s.path(s.ticket.key, "public"))),
    "another blob: the pending key in the public container": one(lambda s: s.put(HTML).with_path(s.path(s.pending_key(s.ticket), "public"))),
    "another blob: a name below": one(lambda s: s.put(HTML).with_path(s.path(f"{s.pending_key(s.ticket)}/x"))),
    "signature: every permission": one(lambda s: s.part().with_parameter("sp", "racwd")),
    "signature: the whole container": one(lambda s: s.part().with_parameter("sr", "c")),
    "signature: a later end": one(lambda s: s.part().with_parameter("se", "2099-01-01T00:00:00Z")),
    "signature: another one": one(lambda s: s.part().with_parameter("sig", base64.b64encode(bytes(32)).decode())),
    "signature: none": one(lambda s: s.part().without_parameter("sig")),
    "signature: of two hours ago": one(lambda s: s.signed(s.presigner_with(hours=-2), s.ticket, 2)),
    "signature: an overridden type": one(lambda s: s.part().with_another_parameter("rsct", "text/html")),
    # Headers of a block have no effect on the blob.
    **{f"header of a block: {name}": _at("sent", None, lambda s, name=name, value=value: s.part().with_header(name, value)) for name, value in {  # type: ignore[misc]
        "x-ms-blob-content-type": "text/html", "x-ms-meta-role": "admin", "x-ms-access-tier": "Archive", "Content-Type": "text/html", "If-None-Match": "*",
    }.items()},
    "header of a block: a wrong digest": one(lambda s: s.part().with_header("Content-MD5", base64.b64encode(bytes(16)).decode()), when="sent"),
}  # fmt: skip


@pytest.fixture(scope="module")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningAccount, Any]]:
    with Azurite(directory=tmp_path_factory.mktemp("azurite")) as server:
        account = prepare_account(server, {"account_key": ACCOUNT_KEY})
        yield account, account.publishing_backend()


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_on_azurite_nothing_unverified_is_ever_public(azurite: tuple[RunningAccount, Any], row: Row) -> None:
    AzureScene(*azurite).run(row)


def test_the_owner_can_end_what_an_attack_left(azurite: tuple[RunningAccount, Any]) -> None:
    scene = AzureScene(*azurite)
    assert scene.send(scene.put(HTML)).status == 201
    scene.presigner.abort(scene.ticket.token, owner=OWNER)
    assert scene.published() == {}
