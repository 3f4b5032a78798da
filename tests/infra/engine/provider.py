"""A provider for the real Pulumi engine, over any cloud that a test can run: the half that knows no cloud.

The engine speaks gRPC with a provider. ``attached`` serves a ``Cloud`` in this process, and yields the variable of the
environment with which the engine uses it in place of the provider's plugin. Inputs and outputs have the names of
Pulumi's SDK, such as ``bucketPrefix``. In a preview, a value that is not known yet is ``UNKNOWN``.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import grpc
from google.protobuf import empty_pb2, struct_pb2
from google.protobuf.json_format import MessageToDict
from pulumi.runtime.proto import plugin_pb2, provider_pb2, provider_pb2_grpc
from pulumi.runtime.rpc import UNKNOWN

Values = Mapping[str, Any]

# The key under which a provider remembers which inputs it chose itself; Pulumi's own providers use the same one.
_CHOSEN = "__defaults"


class NotApplied(Exception):
    """The program uses a resource type, an input or a function that the tests' cloud does not apply."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """A resource as the cloud has it now: the inputs that would make it, and what else it returns."""

    inputs: Values
    outputs: Values = field(default_factory=dict)


class ResourceType(Protocol):
    """One type of resource of a cloud. Exceptions of its methods fail the operation, with their text."""

    @property
    def replaced_by(self) -> Collection[str]:
        """The inputs that the cloud cannot change: with another value, the engine replaces the resource."""

    @property
    def named_by(self) -> str | None:
        """The input for which the engine chooses a value if the program gives none."""

    @property
    def computed(self) -> Collection[str]:
        """The outputs that are not known before the resource exists."""

    def auto_name(self, name: str, digits: str) -> str:
        """Return a name for the resource that the program calls ``name``; ``digits`` are seven random hex digits."""

    def check(self, inputs: Values) -> None:
        """Raise ValueError or NotApplied for inputs that the cloud's API or its provider refuses before any call."""

    def create(self, inputs: Values) -> tuple[str, Values]:
        """Create the resource; return its id and its computed outputs."""

    def read(self, identifier: str, inputs: Values, outputs: Values) -> Found | None:
        """Return what the cloud has now, or None if the resource is gone; the arguments are what the state has."""

    def update(self, identifier: str, inputs: Values, old_inputs: Values) -> Values:
        """Change the resource; return computed outputs that the change gave other values."""

    def delete(self, identifier: str, inputs: Values, outputs: Values) -> None:
        """Delete the resource."""


class Cloud(Protocol):
    """A cloud that a test runs."""

    @property
    def package(self) -> str:
        """The name of the provider's package, such as ``aws``."""

    def resource_type(self, token: str) -> ResourceType:
        """Return the type with a token such as ``aws:s3/bucket:Bucket``; raise NotApplied if there is none."""

    def invoke(self, token: str, arguments: Values) -> Values:
        """Return what a function of the provider returns; raise NotApplied if there is none with this token."""


@contextmanager
def attached(*clouds: Cloud) -> Iterator[dict[str, str]]:
    """Serve the clouds as providers; yield the variables of the environment with which the engine attaches them."""
    with ExitStack() as stack:
        ports = []
        for cloud in clouds:
            # One thread, so that a cloud gets one call after the other. The engine itself asks for several at once.
            server = grpc.server(stack.enter_context(ThreadPoolExecutor(1)))
            provider_pb2_grpc.add_ResourceProviderServicer_to_server(_Provider(cloud), server)
            ports.append(f"{cloud.package}:{server.add_insecure_port('127.0.0.1:0')}")
            server.start()
            stack.callback(_stop, server)
        yield {"PULUMI_DEBUG_PROVIDERS": ",".join(ports)}


def _stop(server: grpc.Server) -> None:
    server.stop(grace=None).wait()


class _Provider(provider_pb2_grpc.ResourceProviderServicer):
    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    def Handshake(self, request: Any, context: Any) -> Any:  # noqa: N802
        # The engine itself keeps the secrets of a provider that does not know them.
        return provider_pb2.ProviderHandshakeResponse()

    def Attach(self, request: Any, context: Any) -> Any:  # noqa: N802
        return empty_pb2.Empty()

    def GetPluginInfo(self, request: Any, context: Any) -> Any:  # noqa: N802
        return plugin_pb2.PluginInfo()

    def CheckConfig(self, request: Any, context: Any) -> Any:  # noqa: N802
        return provider_pb2.CheckResponse(inputs=request.news)

    def DiffConfig(self, request: Any, context: Any) -> Any:  # noqa: N802
        return provider_pb2.DiffResponse(changes=provider_pb2.DiffResponse.DIFF_NONE)

    def Configure(self, request: Any, context: Any) -> Any:  # noqa: N802
        return provider_pb2.ConfigureResponse(supportsPreview=True)

    def Cancel(self, request: Any, context: Any) -> Any:  # noqa: N802
        return empty_pb2.Empty()

    def Invoke(self, request: Any, context: Any) -> Any:  # noqa: N802
        with _failures_in(context):
            result = self._cloud.invoke(request.tok, _values(request.args))
            return provider_pb2.InvokeResponse(**{"return": _struct(result)})

    def Check(self, request: Any, context: Any) -> Any:  # noqa: N802
        resource, inputs = self._resource(request), _values(request.news)
        named_by, chosen = resource.named_by, {}
        if named_by and not inputs.get(named_by):
            # The engine sends the old inputs unless it replaces the resource, which then needs another name.
            old_name = _values(request.olds)[named_by] if _name_was_chosen(request.olds, resource) else None
            inputs[named_by] = old_name or resource.auto_name(_name(request.urn), request.randomSeed.hex()[:7])
            chosen = {_CHOSEN: [named_by]}
        try:
            resource.check(inputs)
        except (ValueError, NotApplied) as error:
            failure = provider_pb2.CheckFailure(reason=f"{type(error).__name__}: {error}")
            return provider_pb2.CheckResponse(inputs=_struct(inputs), failures=[failure])
        return provider_pb2.CheckResponse(inputs=_struct({**inputs, **chosen}))

    def Diff(self, request: Any, context: Any) -> Any:  # noqa: N802
        resource, new, old = self._resource(request), _values(request.news), _values(request.old_inputs)
        changed = sorted(key for key in {*new, *old} if not _same(new.get(key), old.get(key)))
        replaces = [key for key in changed if key in resource.replaced_by]
        return provider_pb2.DiffResponse(
            changes=provider_pb2.DiffResponse.DIFF_SOME if changed else provider_pb2.DiffResponse.DIFF_NONE,
            diffs=changed,
            replaces=replaces,
            # Two resources cannot have one name at the same time, and a chosen name will be another one.
            deleteBeforeReplace=bool(replaces and resource.named_by) and not _name_was_chosen(request.news, resource),
            hasDetailedDiff=True,
            detailedDiff={key: _kind(key in old, key in new, replaces=key in replaces) for key in changed},
        )

    def Create(self, request: Any, context: Any) -> Any:  # noqa: N802
        resource, inputs = self._resource(request), _values(request.properties)
        if request.preview:
            return provider_pb2.CreateResponse(
                properties=_struct({**inputs, **dict.fromkeys(resource.computed, UNKNOWN)})
            )
        with _failures_in(context):
            identifier, outputs = resource.create(inputs)
            return provider_pb2.CreateResponse(id=identifier, properties=_struct({**inputs, **outputs}))

    def Read(self, request: Any, context: Any) -> Any:  # noqa: N802
        with _failures_in(context):
            inputs, outputs = _values(request.inputs), _values(request.properties)
            found = self._resource(request).read(request.id, inputs, outputs)
            if found is None:
                return provider_pb2.ReadResponse()
            kept = {key: value for key, value in outputs.items() if key not in inputs}
            chosen = {key: value for key, value in MessageToDict(request.inputs).items() if key == _CHOSEN}
            return provider_pb2.ReadResponse(
                id=request.id,
                inputs=_struct({**found.inputs, **chosen}),
                properties=_struct({**kept, **found.inputs, **found.outputs}),
            )

    def Update(self, request: Any, context: Any) -> Any:  # noqa: N802
        inputs, old_inputs = _values(request.news), _values(request.old_inputs)
        outputs = {key: value for key, value in _values(request.olds).items() if key not in {*inputs, *old_inputs}}
        if request.preview:
            return provider_pb2.UpdateResponse(properties=_struct({**outputs, **inputs}))
        with _failures_in(context):
            changed = self._resource(request).update(request.id, inputs, old_inputs)
            return provider_pb2.UpdateResponse(properties=_struct({**outputs, **inputs, **changed}))

    def Delete(self, request: Any, context: Any) -> Any:  # noqa: N802
        with _failures_in(context):
            self._resource(request).delete(request.id, _values(request.old_inputs), _values(request.properties))
            return empty_pb2.Empty()

    def _resource(self, request: Any) -> ResourceType:
        return self._cloud.resource_type(request.urn.split("::")[2].rpartition("$")[2])


@contextmanager
def _failures_in(context: Any) -> Iterator[None]:
    """Tell the engine the text of an exception, which it shows as the resource's error."""
    try:
        yield
    except Exception as error:  # whatever a cloud's SDK raises belongs to the resource
        context.abort(grpc.StatusCode.UNKNOWN, f"{type(error).__name__}: {error}")


def _values(struct: struct_pb2.Struct) -> dict[str, Any]:
    values: dict[str, Any] = whole_numbers(MessageToDict(struct))
    return values


def whole_numbers(value: Any) -> Any:
    """Return ``value`` with 7 for 7.0, as the protocol has no whole numbers, and without the provider's own notes."""
    if isinstance(value, dict):
        return {key: whole_numbers(each) for key, each in value.items() if key != _CHOSEN}
    if isinstance(value, list):
        return [whole_numbers(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _struct(values: Values) -> struct_pb2.Struct:
    struct = struct_pb2.Struct()
    struct.update(values)
    return struct


def _same(new: Any, old: Any) -> bool:
    """Return whether two inputs mean the same; JSON documents do if their values are equal."""
    if new == old:
        return True
    try:
        return bool(json.loads(new) == json.loads(old))
    except (TypeError, ValueError):
        return False


def _name_was_chosen(inputs: struct_pb2.Struct, resource: ResourceType) -> bool:
    return resource.named_by in MessageToDict(inputs).get(_CHOSEN, [])


def _kind(was_there: bool, is_there: bool, *, replaces: bool) -> provider_pb2.PropertyDiff:
    kind = "UPDATE" if was_there and is_there else "ADD" if is_there else "DELETE"
    kinds = provider_pb2.PropertyDiff.Kind
    return provider_pb2.PropertyDiff(kind=kinds.Value(f"{kind}_REPLACE" if replaces else kind), inputDiff=True)


def _name(urn: str) -> str:
    return urn.rpartition("::")[2]
