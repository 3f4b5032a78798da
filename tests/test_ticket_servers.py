"""The servers that bench-serve compares: their forms are judged, and the one in Rust is built where there is a Rust."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from botocore.config import Config
from starlette.requests import Request
from starlette.responses import JSONResponse

from bench import rust_programs, serve, ticket_servers
from bench.results import Report, Result
from bench.rust_programs import NoCargo
from bench.server_processes import running
from bench.summary import serve_rows, servers
from bench.ticket_check import REQUEST, check_answer
from bench.ticket_servers import AWS, BUCKET, EXPRESS, FASTAPI, GO, ORIGIN, REGION, RUST, SERVERS, Server
from bench.wrk import P50, P99, RATE
from emulators import serving
from emulators.post_policy import PostPolicy
from emulators.processes import StartFailed
from emulators.s3_reference import POLICY_DIALECT
from emulators.upload_buffer import SizeRange

CRATE = Path(ticket_servers.__file__).with_name("rust")
KEY = "public/0123456789abcdef"
EXACT: list[Any] = [{"Content-Type": "image/png"}, {"success_action_status": "201"}]
NO_CONTENT = {"success_action_status": "204"}
SIZE: list[Any] = [["content-length-range", 48213, 48213]]


def _form(*, conditions: list[Any], key: str = KEY, expires_in: int = 60, **fields: str) -> dict[str, str]:
    """Return a form that boto3 signs for the file that a ticket server is asked for."""
    s3 = boto3.client(
        "s3",
        region_name=REGION,
        aws_access_key_id=AWS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=AWS["AWS_SECRET_ACCESS_KEY"],
        config=Config(signature_version="s3v4"),
    )
    fields = {"Content-Type": "image/png", "success_action_status": "201", **fields}
    post: dict[str, Any] = s3.generate_presigned_post(
        BUCKET, key, Fields=fields, Conditions=conditions, ExpiresIn=expires_in
    )
    return {**post["fields"], "key": KEY}


@contextmanager
def _server(fields: Mapping[str, str], *, allowed: str = ORIGIN) -> Iterator[str]:
    """Serve the form ``fields`` to the pages of one origin."""

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        assert await Request(scope, receive).json() == REQUEST
        headers = {"Access-Control-Allow-Origin": allowed}
        await JSONResponse({"method": "POST", "fields": dict(fields)}, headers=headers)(scope, receive, send)

    with serving.serve(answer) as url:
        yield url


def test_a_form_for_exactly_the_file_passes() -> None:
    with _server(_form(conditions=[*EXACT, *SIZE])) as url:
        check_answer("a server", url)


@pytest.mark.parametrize(
    ("form", "message"),
    [
        (lambda: _form(conditions=EXACT), "a longer file gets 201, a shorter file gets 201"),
        (lambda: _form(conditions=[*EXACT, ["content-length-range", 1, 48213]]), "a shorter file gets 201"),
        (lambda: _form(conditions=[["starts-with", "$Content-Type", ""], EXACT[1], *SIZE]), "another type gets 201"),
        (lambda: _form(conditions=[*EXACT, *SIZE], key="public/${filename}"), "another key gets 201"),
        (lambda: _form(conditions=[*EXACT, *SIZE, {"acl": "public-read"}], acl="public-read"), "another field gets"),
        (lambda: _form(conditions=[*EXACT, *SIZE], expires_in=600), "the file after 60 seconds gets 201"),
        (lambda: _form(conditions=SIZE), "the file gets 403"),
        (lambda: {**_form(conditions=[*EXACT, *SIZE]), "x-amz-signature": "0" * 64}, "the file gets 403"),
        (lambda: _form(conditions=[EXACT[0], NO_CONTENT, *SIZE], success_action_status="204"), "the file gets 204"),
    ],
)
def test_a_form_that_allows_more_or_nothing_fails_the_benchmark(form: Any, message: str) -> None:
    with _server(form()) as url, pytest.raises(AssertionError, match=f"a server answers .*{re.escape(message)}"):
        check_answer("a server", url)


def test_a_server_that_does_not_answer_the_pages_origin_fails_the_benchmark() -> None:
    form = _form(conditions=[*EXACT, *SIZE])
    with _server(form, allowed="http://localhost:1") as url, pytest.raises(AssertionError, match="page's origin"):
        check_answer("a server", url)


def test_wrk_sends_the_request_whose_answer_is_judged() -> None:
    script = (Path(serve.__file__).parent / "upload.lua").read_text(encoding="utf-8")
    (body,) = re.findall(r"wrk\.body = '(.*)'", script)
    (origin,) = re.findall(r'wrk\.headers\["Origin"\] = "(.*)"', script)
    assert (json.loads(body), origin) == (REQUEST, ORIGIN)


@pytest.fixture(params=[FASTAPI, GO, RUST], ids=lambda server: server.name)
def other_server(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a server that signs with another library than presign."""
    server = request.param
    if not Path(server.command[0]).exists():
        pytest.skip(f"the server is not built by `make bench-serve`: {server.name}")
    # With two workers, the server in Rust has another runtime than in most of the benchmark.
    with running(server, workers=2) as process:
        yield f"{process.url}/upload"


def test_each_server_gives_a_form_for_exactly_the_file_and_refuses_the_same(other_server: str) -> None:
    check_answer("the server", other_server)
    with httpx.Client(trust_env=False, headers={"Origin": ORIGIN}) as client:
        first, second = (client.post(other_server, json={"type": "image/gif"}).json() for _ in range(2))
        assert first["key"] != second["key"]
        (policy,) = (value for name, value in first["fields"].items() if name.lower() == "policy")
        assert PostPolicy.parse(policy, POLICY_DIALECT).sizes == SizeRange(min_bytes=1, max_bytes=2**30)
        for content in (
            b"{",
            b"{}",
            b'{"type": "text/html"}',
            b'{"type": "image/gif", "size": 0}',
            b'{"type": "image/gif", "size": -1}',
            b'{"type": "image/gif", "size": 1073741825}',
            b'{"type": "image/gif", "size": 4294967297}',
        ):
            answer = client.post(other_server, content=content, headers={"Content-Type": "application/json"})
            assert answer.is_client_error, (content, answer.text)
        other = client.post(other_server, json={"type": "image/gif"}, headers={"Origin": "http://localhost:1"})
        assert "Access-Control-Allow-Origin" not in other.headers
        wanted = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
        preflight = client.options(other_server, headers=wanted)
        assert preflight.is_success
        assert preflight.headers["Access-Control-Allow-Origin"] == ORIGIN
        assert "POST" in preflight.headers["Access-Control-Allow-Methods"]
        assert "content-type" in preflight.headers["Access-Control-Allow-Headers"].lower()


@pytest.mark.parametrize("other_server", [GO, RUST], indirect=True, ids=lambda server: server.name)
def test_a_compiled_server_reads_16_kib_of_a_body(other_server: str) -> None:
    for size, is_read in ((2**14, True), (2**14 + 1, False)):
        content = b'{"type": "image/gif", "name": "'.ljust(size - 2, b"a") + b'"}'
        answer = httpx.post(
            other_server, content=content, headers={"Content-Type": "application/json"}, trust_env=False
        )
        assert answer.is_success is is_read, answer.text


# What cargo says of itself, and which versions of Rust it is new enough for.
VERSIONS = [
    ("cargo 1.95.0 (f2d3ce0bd 2026-03-21)", {"1.88": True, "1.95": True, "1.96": False, "2.0": False}),
    ("cargo 1.9.0", {"1.8": True, "1.88": False}),
    ("cargo 1.96.0-nightly (cc37d5e62 2026-04-01)", {"1.88": True, "1.96": True}),
    ("something else 1.95.0", {"1.88": False}),
    ("", {"1.0": False}),
]


@pytest.mark.parametrize(("said", "expected"), VERSIONS, ids=[said or "nothing" for said, _ in VERSIONS])
def test_a_cargo_on_path_is_taken_if_it_is_new_enough(
    said: str, expected: Mapping[str, bool], fake_cargo: Callable[[str], Path]
) -> None:
    cargo = fake_cargo(f"print({said!r})")
    for least, is_taken in expected.items():
        if is_taken:
            assert rust_programs.find_cargo(least=least) == str(cargo)
            continue
        with pytest.raises(NoCargo, match=f"no cargo of version {least} or later is on PATH"):
            rust_programs.find_cargo(least=least)


def test_a_cargo_that_is_absent_or_fails_is_not_new_enough(fake_cargo: Callable[[str], Path]) -> None:
    with pytest.raises(NoCargo):
        rust_programs.find_cargo(least="1.0")
    fake_cargo("print('cargo 1.95.0'); sys.exit('no toolchain is installed')")
    with pytest.raises(NoCargo):
        rust_programs.find_cargo(least="1.0")


@pytest.fixture
def fake_cargo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Make a program in Python the only `cargo`, and an empty folder the cache."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def make(code: str) -> Path:
        cargo = folder / "cargo"
        imports = "import os, sys\nfrom pathlib import Path"
        cargo.write_text(f"#!{sys.executable} -I\n{imports}\n{code}\n", encoding="utf-8")
        cargo.chmod(0o755)
        return cargo

    return make


ANSWERS = """
if sys.argv[1:] == ["--version"]:
    print("cargo 1.95.0")
    sys.exit()
if sys.argv[1:] == ["generate-lockfile"]:
    Path("Cargo.lock").write_text('[[package]]\\nname = "newest"\\nsource = "the index"\\nchecksum = "00"\\n')
    sys.exit()
"""
# Like cargo, it writes to the target's folder; the program is a list of the arguments and of the files that it found.
COMPILES = f"""{ANSWERS}
*arguments, option, target = sys.argv[1:]
assert option == "--target-dir" and not Path(target).is_relative_to(Path.cwd())
(Path(target) / "release" / "deps").mkdir(parents=True)
lock = Path("Cargo.lock").read_text()
assert lock.replace('source = "the index"\\n', "") == Path("crates.lock").read_text()
assert lock.count('\\nsource = "the index"\\nchecksum = ') == lock.count("checksum = ") > 0
files = sorted(str(path.relative_to(Path.cwd())) for path in Path.cwd().rglob("*") if path.is_file())
(Path(target) / "release" / "bench_ticket_server").write_text(" ".join([*arguments, *files]))
"""


def test_the_server_in_rust_is_built_once_with_its_pinned_crates(fake_cargo: Callable[[str], Path]) -> None:
    fake_cargo(COMPILES)
    ticket_servers.build_rust()
    program = ticket_servers.rust_program()
    files = "Cargo.lock Cargo.toml README.md crates.lock rustfmt.toml src/main.rs"
    assert program.read_text() == f"build --release --locked {files}"
    assert list(program.parent.iterdir()) == [program]
    fake_cargo("sys.exit('called again')")
    ticket_servers.build_rust()


def test_the_results_of_other_builds_are_not_copied(fake_cargo: Callable[[str], Path], tmp_path: Path) -> None:
    cargo, crate, program = fake_cargo(COMPILES), tmp_path / "crate", tmp_path / "program"
    (crate / "target").mkdir(parents=True)
    (crate / "target" / "large").touch()
    (crate / "Cargo.toml").write_text('[package]\nname = "bench_ticket_server"\n')
    (crate / "crates.lock").write_text('[[package]]\nname = "axum"\nchecksum = "00"\n')
    rust_programs.build(str(cargo), crate, program)
    assert program.read_text() == "build --release --locked Cargo.lock Cargo.toml crates.lock"


def test_a_build_that_fails_says_why_and_leaves_nothing(fake_cargo: Callable[[str], Path]) -> None:
    fake_cargo(f"{ANSWERS}sys.exit('error: linker `cc` not found')")
    with pytest.raises(StartFailed, match=r"cargo build .*error: linker `cc` not found"):
        ticket_servers.build_rust()
    assert list(ticket_servers.rust_program().parent.iterdir()) == []


def test_other_sources_are_another_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    crate = Path(shutil.copytree(CRATE, tmp_path / "rust"))
    monkeypatch.setattr(ticket_servers, "_RUST", crate)
    before = ticket_servers.rust_program()
    assert [str(before)] == RUST.command
    names = {before}
    for source in ("src/main.rs", "Cargo.toml", "crates.lock"):
        with (crate / source).open("a") as file:
            file.write("\n")
        names.add(ticket_servers.rust_program())
    assert len(names) == 4


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the servers that the benchmark measures, here without starting them."""
    names: list[str] = []

    def measure(server: Server, workers: int, options: object) -> Mapping[str, float]:
        names.append(server.name)
        return {"requests": 1, RATE: 2.0, P50: 3.0, P99: 4.0, serve.CPU: 5.0, serve.RESIDENT: 6.0}

    monkeypatch.setattr(serve, "_measure", measure)
    for name in ("install_express", "build_go"):
        monkeypatch.setattr(serve, name, lambda: None)
    return names


def test_without_rust_the_benchmark_says_so_and_measures_the_other_servers(
    fake_cargo: Callable[[str], Path], measured: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_cargo("print('cargo 1.60.0')")
    serve.main(["--rounds", "1", "--workers", "1", "--results", str(tmp_path)])
    assert measured == [server.name for server in SERVERS if server is not RUST]
    left_out = (
        f"{RUST.name} is left out, because it is not built and no cargo of version "
        f"{rust_programs.least_version(CRATE)} or later is on PATH."
    )
    # At the beginning, and in the report.
    assert capsys.readouterr().out.count(left_out) == 2
    assert left_out in Report.read("serve", tmp_path).conditions


def test_with_rust_the_benchmark_measures_all_servers(
    fake_cargo: Callable[[str], Path], measured: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_cargo(COMPILES)
    serve.main(["--rounds", "1", "--workers", "1", "--results", str(tmp_path)])
    assert measured == [server.name for server in SERVERS]
    assert "left out" not in capsys.readouterr().out


def test_the_tables_have_a_row_about_rust_if_it_was_measured() -> None:
    everything = [
        Result(
            case=serve.case_name(workers),
            by=server.name,
            figures={RATE: [2.0], serve.CPU: [4e-6], serve.RESIDENT: [2.0**20]},
        )
        for workers in (1, 2)
        for server in SERVERS
    ]
    for results, count in ((everything, 2), ([each for each in everything if each.by != RUST.name], 0)):
        report = Report(measured_at="", machine="", conditions="", results=results)
        compared = [row[2].partition(":")[0] for row in serve_rows(report)]
        assert sorted(compared) == sorted([EXPRESS.name, GO.name, GO.name] * 2 + [RUST.name] * count)
        lines = servers(report).splitlines()
        assert ("| Rust: axum with rust-s3 | 2.00 | 1.00 | 4.00 |" in lines) is bool(count)
        assert len(lines) == 2 + len({result.by for result in results})
