"""What is true of every cloud's program and of the page that describes it: its settings and its examples."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pulumi
import pytest
from pulumi.runtime.mocks import MockCallArgs, MockResourceArgs, Mocks

from tests.infra.pulumi_program import ROOT, copy_program, read_config, run_program

_PYTHON_TYPES = {"string": str, "boolean": bool, "integer": int, "array": list, "object": dict}
_TABLE = re.compile(r"<!-- table: settings -->\n(.*?)<!-- end of table -->", re.DOTALL)


class CloudWithoutResources(Mocks):
    """A cloud that fails the test when the program registers a resource."""

    def call(self, args: MockCallArgs) -> Any:
        raise AssertionError(f"the program calls {args.token} although its settings are wrong")

    def new_resource(self, args: MockResourceArgs) -> Any:
        raise AssertionError(f"the program registered {args.name} although its settings are wrong")


def problems(project_file: str, config: Mapping[str, Any]) -> list[str]:
    """Return the lines of the message with which the program of ``project_file`` stops."""
    with pytest.raises(pulumi.RunError) as error:
        run_program((ROOT / project_file).parent, CloudWithoutResources(), config, project_file=project_file)
    return str(error.value).splitlines()


def check_declarations(project_file: str) -> None:
    """Check that each key has a type, a default of that type, and a description."""
    declared = read_config(project_file)
    assert declared
    for key, entry in declared.items():
        assert set(entry) - {"items"} == {"type", "default", "description"}, key
        assert type(entry["default"]) is _PYTHON_TYPES[entry["type"]], key
        assert ("items" in entry) == (entry["type"] == "array"), key


def check_page(page: Path, project_file: str, in_words: Mapping[str, str]) -> None:
    """Check that the table of ``page`` has every key with its default; ``in_words`` has those that are described."""
    table = _TABLE.search(page.read_text(encoding="utf-8"))
    assert table
    documented = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", table[1], re.MULTILINE))
    defaults = {key: declared["default"] for key, declared in read_config(project_file).items()}
    plain = {
        key: f"`{default}`" if isinstance(default, str) else f"`{json.dumps(default)}`"
        for key, default in defaults.items()
    }
    assert documented == plain | dict(in_words)


def example(page: Path, name: str) -> str:
    """Return the Python code of ``page`` after the comment that names it."""
    found = re.search(rf"<!-- example: {name} -->\n```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    assert found
    return found[1]


def program_of_ones_own(directory: Path, source: str) -> Path:
    """Write a program with the code ``source`` beside a copy of the components, and return its folder."""
    infra = copy_program(directory)
    (infra / "__main__.py").write_text(source, encoding="utf-8")
    return infra


def documented(arguments: type, name: str) -> str:
    """Return what the schema of Pulumi's provider says about an argument, in one line."""
    found = re.search(rf":param \S+ {name}: (.*?)(?=:param |\Z)", vars(arguments)["__init__"].__doc__ or "", re.DOTALL)
    assert found, f"{arguments.__name__} has no argument {name}"
    return " ".join(found[1].split())
