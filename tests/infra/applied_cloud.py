"""A cloud whose resources one function each applies, as a provider for the real Pulumi engine.

The clouds of Azure and Google work with the mocks of Pulumi's SDK. This module lets the engine use the same functions:
it creates, reads and deletes every resource, and changes those that can be applied again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pulumi.runtime.mocks import MockCallArgs, MockResourceArgs, Mocks

from tests.infra.engine.provider import Found, NotApplied, ResourceType, Values
from tests.infra.inputs import Inputs

Apply = Callable[[str, Inputs], "tuple[str, dict[str, Any]]"]
Read = Callable[[str, Values], "Values | None"]


@dataclass(frozen=True, kw_only=True)
class AppliedType:
    """A type of resource: ``apply`` makes one, ``change`` changes one, if it can be, and ``remove`` gets its inputs.

    ``look_up`` gets the id and the inputs of the state. It returns the inputs with which the cloud's resource would be
    made as it is now, or None if it is gone.
    """

    token: str
    apply: Apply
    look_up: Read
    remove: Callable[[Values], None]
    computed: frozenset[str] = frozenset()
    named_by: str | None = None
    separator: str = ""
    change: Apply | None = None
    replaced_by: frozenset[str] = frozenset()

    def auto_name(self, name: str, digits: str) -> str:
        """Return the name that Pulumi's provider chooses."""
        return f"{name}{self.separator}{digits}"

    def check(self, inputs: Values) -> None:
        """Accept everything: ``apply`` refuses what the cloud refuses."""

    def create(self, inputs: Values) -> tuple[str, Values]:
        """Apply the resource."""
        return self._call(self.apply, inputs)

    def read(self, identifier: str, inputs: Values, outputs: Values) -> Found | None:
        """Return the resource as the cloud has it now."""
        found = self.look_up(identifier, inputs)
        return None if found is None else Found(inputs=found)

    def update(self, identifier: str, inputs: Values, old_inputs: Values) -> Values:
        """Change the resource, if it can be."""
        if self.change is None:
            raise NotApplied(f"{self.token} cannot be changed here")
        return self._call(self.change, inputs)[1]

    def delete(self, identifier: str, inputs: Values, outputs: Values) -> None:
        """Remove the resource."""
        self.remove(inputs)

    def _call(self, apply: Apply, inputs: Values) -> tuple[str, Values]:
        wrapped = Inputs(self.token, inputs)
        identifier, outputs = apply("", wrapped)
        wrapped.require_all_used()
        return identifier, outputs


@dataclass(frozen=True, kw_only=True)
class AppliedCloud:
    """The types of one provider's package, for ``attached``."""

    package: str
    types: Mapping[str, AppliedType] = field(repr=False)

    def resource_type(self, token: str) -> ResourceType:
        """Return the type with this token."""
        if token not in self.types:
            raise NotApplied(f"the resource type {token} is not supported here")
        return self.types[token]

    def invoke(self, token: str, arguments: Values) -> Values:
        """Refuse: these programs call no function of a provider."""
        raise NotApplied(f"the program calls {token}, which is not supported here")


class AppliedMocks(Mocks):
    """Mocks for Pulumi's SDK that apply the same types, one resource at a time.

    An unknown resource type and an input that nothing uses raise NotApplied.
    """

    def __init__(self, package: str, types: Iterable[AppliedType]) -> None:
        self._package = package
        self._types = {each.token: each for each in types}
        self._one_at_a_time = threading.Lock()

    @property
    def for_engine(self) -> AppliedCloud:
        """The same cloud, as a provider for the real engine."""
        return AppliedCloud(package=self._package, types=self._types)

    def call(self, args: MockCallArgs) -> Any:
        raise NotApplied(f"the program calls {args.token}, which is not supported here")

    def new_resource(self, args: MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        if not args.custom:
            return None, {}
        if args.typ not in self._types:
            raise NotApplied(f"the resource type {args.typ} is not supported here")
        inputs = Inputs(args.typ, args.inputs)
        with self._one_at_a_time:
            identifier, state = self._types[args.typ].apply(args.name, inputs)
        inputs.require_all_used()
        return identifier, {**args.inputs, **state}


def if_there(is_there: object, inputs: Values) -> Values | None:
    """Return the inputs of a resource that nobody can change without replacing it, or None if it is gone."""
    return inputs if is_there else None


def with_values(inputs: Values, **now: Any) -> Values:
    """Return ``inputs`` with what the cloud has ``now``; an empty value that the program did not give stays away."""
    return {**inputs, **{key: value for key, value in now.items() if key in inputs or value}}
