"""How the tests of faults draw and judge: without a storage."""

from __future__ import annotations

from tests.failing_relay import Event
from tests.faults.faults import FORGOTTEN, KINDS, draw_faults, sent_again
from tests.faults.stores import STORES

FIRST, SECOND = ("PUT /b/k?uploadId=u&partNumber=1", "PUT /b/k?uploadId=u&partNumber=2")
OTHER = "PUT /b/k?uploadId=v&partNumber=1"


def _again(*events: tuple[str, int | None]) -> list[tuple[str, str]]:
    return sent_again([Event(request=request, status=status) for request, status in events], "partNumber=")


def test_a_part_counts_as_sent_again_only_if_the_storage_had_it() -> None:
    assert _again((FIRST, None), (FIRST, 200), (FIRST, None)) == [("/b/k u", "1")]
    assert _again((FIRST, None), (FIRST, 500), (FIRST, None), (FIRST, 200)) == []
    assert _again((FIRST, None), (FIRST, None), (FIRST, 200)) == []
    assert _again((FIRST, 200), (SECOND, None), (OTHER, None), ("GET /b/k?partNumber=1", None)) == []
    assert _again((FIRST, 200), (FIRST, FORGOTTEN), (FIRST, None)) == []
    assert _again((FIRST, 200), (FIRST, FORGOTTEN), (FIRST, 200), (FIRST, None)) == [("/b/k u", "1")]
    azure = "PUT /a/c/k?comp=block&blockid=MQ%3D%3D&sig=x"
    events = [Event(request=azure, status=201), Event(request=azure.replace("sig=x", "sig=y"))]
    assert sent_again(events, "comp=block&") == [("/a/c/k", "MQ==")]


def test_the_same_seed_draws_the_same_faults_and_every_kind_comes_as_often() -> None:
    drawn = draw_faults("1", 50, parts=7)
    assert drawn == draw_faults("1", 50, parts=7) != draw_faults("2", 50, parts=7)
    assert drawn[:8] == draw_faults("1", 50, parts=7)[:8]
    assert {kind: sum(fault.kind == kind for fault in drawn) for kind in KINDS} == dict.fromkeys(KINDS, 5)
    assert {fault.at for fault in drawn} == set(range(7))
    assert {fault.who for fault in drawn} == {"page", "command"}


def test_the_few_faults_of_make_test_have_every_kind() -> None:
    few = [fault for store in STORES for fault in draw_faults(f"1 {store.name}", 6, parts=store.part_count)]
    assert {fault.kind for fault in few} == set(KINDS)
