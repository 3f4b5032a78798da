"""The examples in the docstrings of presign, for the tests that run them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from inspect import cleandoc
from pathlib import Path
from textwrap import dedent
from typing import Any

PACKAGE = Path(__file__).resolve().parent.parent / "presign"


def find_examples() -> dict[str, str]:
    """Return the Python code after each ``::``, under the name of what it belongs to, such as ``presign.flask``."""
    found: dict[str, str] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        module = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
        for name, text in _docstrings(ast.parse(path.read_text())):
            for block in re.findall(r"::\n\n((?: {4}.*\n|\n)+)", cleandoc(text) + "\n"):
                code = dedent(block).strip() + "\n"
                if _is_python(code):
                    key = f"{module}.{name}" if name else module
                    assert key not in found, f"{key} has two examples"
                    found[key] = code
    return found


def run(code: str, **given: Any) -> dict[str, Any]:
    """Run an example with these names, and return all names afterwards."""
    names = dict(given)
    exec(compile(code, "an example in a docstring", "exec"), names)
    return names


def _docstrings(tree: ast.Module) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield getattr(node, "name", ""), text
    # A text after an assignment describes what was assigned.
    for before, after in zip(tree.body, tree.body[1:], strict=False):
        match before, after:
            case ast.Assign(targets=[ast.Name(id=name)]), ast.Expr(value=ast.Constant(value=str(text))):
                yield name, text


def _is_python(code: str) -> bool:
    try:
        compile(code, "an example", "exec")
    except SyntaxError:
        return False
    return True
