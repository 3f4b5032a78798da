"""The simulation of bench/scale: what is known of queues holds in it, and docs/scale.md has its tables."""

from __future__ import annotations

import http.client
import math
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import Any

import pytest

from bench import scale, scale_model, scale_simulation
from bench.results import Report, Result
from bench.scale_model import AZURE, GOOGLE, S3, Cloud, Requests, read_costs
from bench.scale_simulation import (
    Events,
    Latency,
    Outcome,
    Slowness,
    Station,
    Worker,
    simulate_partitions,
    simulate_worker,
)
from emulators.azurite import ACCOUNT_KEY, Azurite
from emulators.gcs_accounts import generate_credentials, trusted_account
from emulators.gcs_bucket import GcsBucket
from emulators.gcs_reference import GcsReference
from emulators.serving import serve
from presign import Backend, Presigner, UploadPolicy
from presign.azure import AzureBackend
from presign.gcs import GCSBackend
from presign.http.async_endpoints import MAX_THREADS, TIMEOUT_SECONDS
from tests.azure.accounts import prepare_account
from tests.conftest import PNG, TOKEN_SECRET, Store, png_request, upload

WORKER = Worker(
    ticket_seconds=0.0001,
    completion_seconds=0.002,
    requests=3,
    latency=Latency(median=0.1, p99=0.4),
    threads=20,
)
# Three answers of 0.12 s in the mean, and 20 threads.
MOST = 55


def _simulated(**changes: Any) -> Outcome:
    arguments = {"uploads_per_second": 30.0, "seconds": 60.0, **changes}
    return simulate_worker(arguments.pop("worker", WORKER), **arguments)


def _with(**changes: Any) -> Worker:
    return Worker(**{**vars(WORKER), **changes})


# The queue


def _erlang_c(servers: int, offered: float) -> float:
    """Return the probability that an arrival waits, for Poisson arrivals, exponential service and ``offered`` erlangs.

    Source: Erlang's delay formula, in the form that needs no factorials (by the recursion of Erlang's loss formula).
    """
    loss = 1.0
    for count in range(1, servers + 1):
        loss = offered * loss / (count + offered * loss)
    utilization = offered / servers
    return loss / (1 - utilization * (1 - loss))


def _mean_wait(arrivals_per_second: float, service_seconds: float, servers: int, *, arrivals: int, seed: int) -> float:
    """Return the mean wait with Poisson arrivals and exponential service, to compare with Erlang's formula."""
    events, random, station = Events(), Random(seed), Station(servers)
    waits: list[float] = []

    def arrive(left: int) -> None:
        if left > 1:
            events.after(random.expovariate(arrivals_per_second), lambda: arrive(left - 1))
        arrived = events.now

        def start() -> None:
            waits.append(events.now - arrived)
            events.after(random.expovariate(1 / service_seconds), station.release)

        station.take(start)

    arrive(arrivals)
    events.run(math.inf)
    return sum(waits) / len(waits)


@pytest.mark.parametrize("threads", [1, 3, 20])
@pytest.mark.parametrize("rate", [5.0, 30.0, 200.0])
def test_every_completion_that_arrived_has_ended_or_runs_or_waits(threads: int, rate: float) -> None:
    outcome = _simulated(worker=_with(threads=threads), uploads_per_second=rate)
    assert outcome.arrived == outcome.ended + outcome.running + outcome.waiting
    assert outcome.running <= threads
    assert outcome.ended == len(outcome.took) > 0
    assert outcome.arrived == pytest.approx(rate * 60, rel=0.2)


@pytest.mark.parametrize(("servers", "utilization"), [(1, 0.5), (1, 0.8), (4, 0.8), (20, 0.9)])
def test_the_mean_wait_is_that_of_erlangs_formula(servers: int, utilization: float) -> None:
    service_seconds, offered = 0.25, servers * utilization
    waited = _mean_wait(offered / service_seconds, service_seconds, servers, arrivals=200_000, seed=7)
    expected = _erlang_c(servers, offered) * service_seconds / (servers - offered)
    assert waited == pytest.approx(expected, rel=0.1)


def test_erlangs_formula_has_the_values_of_its_closed_form() -> None:
    assert _erlang_c(1, 0.7) == pytest.approx(0.7)
    for servers, offered in ((2, 1.0), (5, 4.0), (20, 15.0)):
        last = offered**servers / math.factorial(servers) * servers / (servers - offered)
        others = sum(offered**k / math.factorial(k) for k in range(servers))
        assert _erlang_c(servers, offered) == pytest.approx(last / (others + last))


def test_the_core_is_busy_as_long_as_the_work_takes_and_never_longer_than_time_passes() -> None:
    outcome = _simulated(uploads_per_second=30.0)
    work = outcome.arrived * (WORKER.completion_seconds + WORKER.ticket_seconds)
    assert outcome.busy_seconds == pytest.approx(work, rel=0.1)
    overloaded = _simulated(worker=_with(completion_seconds=0.5), uploads_per_second=30.0)
    assert 0.95 * 60 < overloaded.busy_seconds <= 60 + 0.5


def test_no_worker_does_more_than_its_threads_and_its_core_can() -> None:
    for changes in ({}, {"threads": 5}, {"completion_seconds": 0.05}, {"threads": 64}):
        worker = _with(**changes)
        most = scale_model.completions_per_second(
            worker.completion_seconds, 3 * worker.latency.mean, threads=worker.threads
        )
        outcome = _simulated(worker=worker, uploads_per_second=2 * most)
        assert 0.85 * most < outcome.ended / 60 < 1.05 * most


def test_more_load_makes_answers_later_and_more_threads_make_them_earlier() -> None:
    by_load = [_simulated(uploads_per_second=MOST * share).percentile(0.99) for share in (0.3, 0.9, 1.2, 2.0)]
    assert by_load == sorted(by_load)
    assert by_load[-1] > 5 * by_load[0]
    by_threads = [_simulated(worker=_with(threads=each)).percentile(0.99) for each in (8, 12, 20, 64)]
    assert by_threads == sorted(by_threads, reverse=True)
    assert by_threads[0] > 5 * by_threads[-1]


def test_a_slow_storage_makes_completions_late_until_the_queue_is_gone() -> None:
    usual = _simulated(seconds=200.0)
    slow = _simulated(seconds=200.0, slowness=Slowness(start=40, end=80, factor=10))
    assert usual.late == 0
    assert usual.last_late_at == 0
    assert slow.late > 0
    assert slow.most_waiting > 10 * usual.most_waiting
    assert 80 < slow.last_late_at < 200


def test_a_latency_has_the_median_the_mean_and_the_99th_percentile_that_it_says() -> None:
    latency, random = Latency(median=0.1, p99=0.4), Random(3)
    drawn = sorted(latency.draw(random) for _ in range(50_000))
    assert drawn[25_000] == pytest.approx(0.1, rel=0.03)
    assert drawn[49_500] == pytest.approx(0.4, rel=0.05)
    assert sum(drawn) / len(drawn) == pytest.approx(latency.mean, rel=0.03)


def test_the_same_seed_gives_the_same_figures_and_another_seed_others() -> None:
    assert _simulated() == _simulated()
    assert _simulated(seed=2) != _simulated()


# Partitions


@pytest.mark.parametrize("ascending", [False, True])
@pytest.mark.parametrize("new", [100.0, 3500.0, 9000.0, 60_000.0])
def test_no_partition_does_more_than_its_limit_and_no_request_is_lost_from_the_account(
    new: float, ascending: bool
) -> None:
    outcome = simulate_partitions(new_per_second=new, limit=3500, seconds=3000, split_after=300, ascending=ascending)
    assert outcome.most_in_one <= 3500
    assert max(outcome.done) <= 3500 * outcome.partitions
    assert sum(outcome.new) == pytest.approx(new * 3000)
    assert sum(outcome.new) == pytest.approx(sum(outcome.done) + sum(outcome.lost) + outcome.again[-1])


def test_random_keys_are_refused_until_there_are_enough_partitions_and_ascending_ones_always() -> None:
    def simulated(new: float, *, ascending: bool = False) -> Any:
        return simulate_partitions(new_per_second=new, limit=3500, seconds=6000, split_after=600, ascending=ascending)

    assert (simulated(3500).refusing_seconds, simulated(3500).partitions) == (0, 1)
    ends = [simulated(new).refusing_seconds for new in (3000.0, 6000.0, 12_000.0, 24_000.0)]
    assert ends == sorted(ends)
    # Each doubling needs one split more, and then those that waited are done.
    assert [end // 600 for end in ends] == [0, 1, 2, 3]
    ascending = simulated(6000, ascending=True)
    assert ascending.refusing_seconds == 6000
    assert 0.3 < ascending.lost_share < 1 - 3500 / 6000


# Requests, prices and limits


def test_the_prices_are_those_of_the_requests() -> None:
    assert S3.price(Requests(writes=1_000_000, reads=0)) == pytest.approx(5)
    assert S3.price(Requests(writes=0, reads=1_000_000, deletes=10**9)) == pytest.approx(0.4)
    assert AZURE.price(Requests(writes=10_000, reads=10_000)) == pytest.approx(0.055 + 0.0044)
    # 1 GiB: begin, 128 parts, list, commit; GET, COPY, DELETE.
    assert S3.requests_of_parts(2**30, published=True) == Requests(writes=131, reads=1, lists=1, deletes=1)
    assert AZURE.requests_of_parts(2**30, published=True).writes == 128 + 1 + 1
    assert S3.requests_of_parts(2**30, published=False).deletes == 0


def test_the_first_limit_that_is_reached_counts() -> None:
    # Two writes and a deletion, of 3,500 a second.
    assert S3.uploads_per_second(published=True) == pytest.approx(3500 / 3)
    assert GOOGLE.uploads_per_second(published=True) == pytest.approx(1000 / 3)
    assert AZURE.uploads_per_second(published=False) == pytest.approx(
        20_000 / AZURE.requests_of_an_upload(published=False).all
    )
    assert scale_model.minutes_to_grow(4 * 1000 / 3, GOOGLE, published=True) == pytest.approx(40)
    assert scale_model.minutes_to_grow(1, GOOGLE, published=True) == 0


def test_the_model_has_the_adapters_own_limits() -> None:
    assert (scale_model.THREADS, scale_simulation.TIMEOUT_SECONDS) == (MAX_THREADS, TIMEOUT_SECONDS)


# What completions send


@pytest.fixture(scope="module")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azurite]:
    with Azurite(directory=tmp_path_factory.mktemp("azurite")) as running:
        prepare_account(running, {"account_key": ACCOUNT_KEY})
        yield running


def _azure(request: pytest.FixtureRequest) -> Backend:
    running: Azurite = request.getfixturevalue("azurite")
    return AzureBackend(
        container="public", pending_container="pending", account_url=running.account_url, account_key=ACCOUNT_KEY
    )


def _google(request: pytest.FixtureRequest) -> Backend:
    directory: Path = request.getfixturevalue("tmp_path")
    account = directory / "account.json"
    generate_credentials(account, token_uri="http://unknown.invalid/token")
    app = GcsReference(
        buckets={"uploads": GcsBucket(), "pending": GcsBucket()}, service_accounts=trusted_account(account)
    )
    url = request.getfixturevalue("served")(app)
    generate_credentials(account, token_uri=f"{url}/token")
    return GCSBackend(bucket="uploads", pending_bucket="pending", credentials=account, endpoint_url=url)


def _kind_of(request: str) -> str:
    method, _, url = request.partition(" ")
    if "comp=list" in url:
        return "lists"
    return {"GET": "reads", "HEAD": "reads", "DELETE": "deletes"}.get(method, "writes")


@pytest.fixture
def served() -> Iterator[Callable[[Any], str]]:
    with ExitStack() as stack:
        yield lambda app: stack.enter_context(serve(app))


def _s3(request: pytest.FixtureRequest) -> Backend:
    store: Store = request.getfixturevalue("s3_reference")
    return store.backend()


@pytest.mark.parametrize(
    ("cloud", "backend"),
    [
        pytest.param(S3, _s3, id="S3"),
        pytest.param(AZURE, _azure, id="Azure"),
        pytest.param(GOOGLE, _google, id="Google"),
    ],
)
@pytest.mark.parametrize("published", [True, False])
def test_a_completion_sends_the_requests_that_the_model_counts(
    cloud: Cloud,
    backend: Callable[[pytest.FixtureRequest], Backend],
    published: bool,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pending_prefix = "pending/" if published else None
    policy = UploadPolicy(content_types={"image/png"}, max_bytes=1000, prefix="public/", pending_prefix=pending_prefix)
    presigner = Presigner(backend=backend(request), policy=policy, secret=TOKEN_SECRET)
    methods: list[str] = []
    put_request = http.client.HTTPConnection.putrequest

    def note(connection: Any, method: str, url: str, *arguments: Any, **options: Any) -> None:
        methods.append(f"{method} {url}")
        put_request(connection, method, url, *arguments, **options)

    def complete() -> Requests:
        ticket = presigner.issue(png_request())
        assert upload(ticket, PNG).status in {200, 201, 204}
        methods.clear()
        presigner.complete(ticket.token)
        return Requests(**{"writes": 0, "reads": 0, **Counter(_kind_of(each) for each in methods)})

    monkeypatch.setattr(http.client.HTTPConnection, "putrequest", note)
    # The first completion of a process also tries what the store refuses, and gets an access token.
    complete()
    expected = cloud.done(published=published)
    if cloud is AZURE and published:
        # Azurite refuses Put Blob From URL, which tests/azure/test_one_request_publication.py tests, and gets a block
        # and a list of blocks in its place.
        expected += Requests(writes=2, reads=0)
    assert complete() == expected


# The costs


def test_a_completion_without_publishing_costs_its_share_of_the_measured_requests(tmp_path: Path) -> None:
    for name in ("serve", "parts"):
        (tmp_path / f"{name}.json").write_text(Report.read(name).to_json())
    measured = [
        Result(case=case, by="presign", figures={"cpu_seconds": [0.1, 0.6, 0.2]})
        for case in ("S3, SeaweedFS", "Azure, Azurite", "Google, reference server")
    ]
    report = Report(measured_at="", machine="", conditions="", results=measured)
    (tmp_path / "complete.json").write_text(report.to_json())
    costs = read_costs(tmp_path)
    assert costs.completion == {"S3": 0.2, "Azure": 0.2, "Google": 0.2}
    assert costs.in_place == pytest.approx({"S3": 0.2 / 3, "Azure": 0.1, "Google": 0.1})


# The page


def test_the_page_has_the_tables_that_the_command_makes() -> None:
    page = scale.PAGE.read_text(encoding="utf-8")
    assert scale.page_with(page, scale.tables()) == page, "python -m bench.scale --write"


def test_a_table_without_a_place_on_the_page_is_an_error() -> None:
    assert scale.page_with("<!-- table: a -->\nold\n<!-- end of table -->", {"a": "new"}) == (
        "<!-- table: a -->\n\nnew\n\n<!-- end of table -->"
    )
    with pytest.raises(KeyError, match="'b'"):
        scale.page_with("<!-- table: a -->\n<!-- end of table -->", {"b": "new"})
