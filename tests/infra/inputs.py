"""The inputs of a resource that a test's cloud applies: each of them must be used, or the test fails."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.infra.engine.provider import NotApplied


class Inputs:
    """The inputs of a resource, which remember which of them were used, also in nested inputs."""

    def __init__(self, path: str, values: Mapping[str, Any]) -> None:
        self._path = path
        self._unused = dict(values)
        self._nested: list[Inputs] = []

    def take(self, name: str, **default: Any) -> Any:
        """Return an input and mark it as used; raise NotApplied if it is absent and no ``default`` is given."""
        if name not in self._unused and "default" not in default:
            raise NotApplied(f"{self._path} lacks {name}")
        return self._unused.pop(name, default.get("default"))

    def nested(self, name: str) -> Inputs:
        return self._add_nested(name, self.take(name))

    def optional(self, name: str) -> Inputs | None:
        values = self.take(name, default=None)
        return None if values is None else self._add_nested(name, values)

    def nested_list(self, name: str) -> list[Inputs]:
        return [self._add_nested(name, value) for value in self.take(name)]

    def _add_nested(self, name: str, values: Mapping[str, Any]) -> Inputs:
        nested = Inputs(f"{self._path}.{name}", values)
        self._nested.append(nested)
        return nested

    def require_all_used(self) -> None:
        if self._unused:
            raise NotApplied(f"{self._path} has inputs that no call uses: {sorted(self._unused)}")
        for nested in self._nested:
            nested.require_all_used()
