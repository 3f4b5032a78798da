"""The settings of a stack as the engine hands them over: converted once, and refused with one message for each key.

Pulumi.yaml declares every key with its type, its default and its meaning, and the engine fills in the defaults. This
module checks what the engine cannot check, such as an origin with a path. Each cloud's program adds its own keys.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from typing import TypeVar
from urllib.parse import urlsplit

import pulumi

from presign_infra.prefixes import require_prefix, require_separate_prefixes

_Choice = TypeVar("_Choice", bound=str)

_HOST = re.compile(r"(\*\.)?[a-z0-9]([a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\]", re.ASCII)
_DEFAULT_PORTS = {"http": 80, "https": 443}


class BadSettings(pulumi.RunError):
    """The settings are wrong; the message has one line for each problem, and each line names its key.

    The engine prints a RunError without a stack trace.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class SettingsReader:
    """Converts the engine's strings into typed values, and collects the problems that it finds.

    ``keys`` are all keys that the program knows, and ``provider`` is the namespace of its cloud, such as ``aws``. A
    method returns a value of the right type for a wrong setting, too, so that all problems can be found in one run;
    ``raise_problems`` then stops the program.
    """

    def __init__(self, keys: Sequence[str], *, provider: str) -> None:
        project = pulumi.Config()
        self.namespace = project.name
        self._values = {key: value for key in keys if (value := project.get(key)) is not None}
        self._problems: list[str] = []
        # The SDK cannot list the keys of a stack. A misspelt key would have no effect, and its default would stay in
        # force.
        for name in sorted(json.loads(os.environ.get("PULUMI_CONFIG") or "{}")):
            namespace, _, key = name.partition(":")
            if namespace == self.namespace and key not in keys:
                closest = get_close_matches(key, keys, n=1)
                self.add_problem(
                    key, "is not a setting of this program" + (f"; did you mean {closest[0]}?" if closest else "")
                )
            elif namespace not in {self.namespace, provider, "pulumi"}:
                meant = self.namespace if key in keys else provider
                self.add_line(
                    f"{name} has a namespace that this program does not read; its namespaces are {self.namespace} and "
                    f"{provider}. Did you mean {meant}:{key}? Remove the other one with pulumi config rm {name}"
                )

    def name(self, key: str) -> str:
        """Return what error messages call ``key``, such as ``presign:publicPrefix``."""
        return f"{self.namespace}:{key}"

    def add_problem(self, key: str, problem: str) -> None:
        """Add a problem with the value of ``key``, such as ``must be true or false``."""
        self.add_line(f"{self.name(key)} {problem}")

    def add_line(self, line: str) -> None:
        """Add a problem whose text names its key itself."""
        self._problems.append(line)

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """Add the message of a ValueError that the block raises; it must name the key."""
        try:
            yield
        except ValueError as error:
            self.add_line(str(error))

    def has_problem(self, key: str | None = None) -> bool:
        """Return whether ``key`` has a problem, or with None whether any has one."""
        return any(key is None or problem.startswith(f"{self.name(key)} ") for problem in self._problems)

    def raise_problems(self) -> None:
        """Raise BadSettings with all problems, if there are any."""
        if self._problems:
            raise BadSettings(self._problems)

    def text(self, key: str) -> str:
        """Return the text of ``key``, which may be empty."""
        if key not in self._values:
            self.add_problem(key, "has no value, and Pulumi.yaml declares no default for it")
        return self._values.get(key, "")

    def boolean(self, key: str) -> bool:
        """Return whether ``key`` is ``true``."""
        text = self.text(key)
        if text not in {"true", "false"} and key in self._values:
            self.add_problem(key, f'must be true or false; it is "{text}"')
        return text == "true"

    def whole_number(self, key: str, *, minimum: int, maximum: int) -> int:
        """Return the number of ``key``, from ``minimum`` to ``maximum``."""
        text = self.text(key)
        if re.fullmatch(r"-?[0-9]{1,12}", text, re.ASCII) and minimum <= int(text) <= maximum:
            return int(text)
        if key in self._values:
            self.add_problem(key, f'must be a whole number from {minimum} to {maximum}; it is "{text}"')
        return minimum

    def json(self, key: str) -> object:
        """Return the list or the map of ``key``, or None if it has no JSON text."""
        try:
            return json.loads(self.text(key))
        except ValueError:
            return None

    def prefix(self, key: str) -> str:
        """Return the prefix of ``key``, such as ``public/``."""
        prefix = self.text(key)
        with self.collecting():
            require_prefix(prefix, name=self.name(key))
        return prefix

    def pending_prefix(self, key: str, *, public_key: str) -> str | None:
        """Return the prefix of ``key``, which must not overlap the one of ``public_key``; None if it is empty."""
        prefix = self.text(key)
        if not prefix:
            return None
        name = self.name(key)
        with self.collecting():
            require_prefix(prefix, name=name)
            # A wrong public prefix is reported once, under its own key.
            if not self.has_problem(public_key):
                public_prefix, public_name = self.text(public_key), self.name(public_key)
                require_separate_prefixes(prefix, public_prefix, pending_name=name, public_name=public_name)
        return prefix

    def one_of(self, key: str, choices: Sequence[_Choice]) -> _Choice:
        """Return the one of ``choices`` that ``key`` names."""
        text = self.text(key)
        for choice in choices:
            if text == choice:
                return choice
        self.add_problem(key, f'must be one of {", ".join(choices)}; it is "{text}"')
        return choices[0]

    def origins(self, key: str, *, allow_any_key: str) -> tuple[str, ...]:
        """Return the origins of pages in the list of ``key``; ``*`` is refused unless ``allow_any_key`` is true."""
        allow_any = self.boolean(allow_any_key)
        origins = self.strings(key, example="https://app.example.com")
        if not origins and not self.has_problem(key):
            self.add_problem(key, "must name at least one origin")
        for origin in origins:
            if origin == "*":
                if not allow_any:
                    self.add_problem(
                        key,
                        f'must not be "*" unless {self.name(allow_any_key)} is true, because "*" lets the pages '
                        "of every web site send uploads if they have a ticket",
                    )
            elif problem := _origin_problem(origin):
                self.add_problem(key, f'{problem}; it has "{origin}"')
        return origins

    def strings(self, key: str, *, example: str, what: str = "texts") -> tuple[str, ...]:
        """Return the list of strings of ``key``.

        An error message calls them ``what``, and shows ``example`` as one of them.
        """
        strings = self.json(key)
        if not isinstance(strings, list) or not all(isinstance(string, str) for string in strings):
            self.add_problem(
                key,
                f"must be a list of {what}; set each of them with "
                f"pulumi config set --path '{self.name(key)}[0]' {example}",
            )
            return ()
        return tuple(strings)

    def string_map(self, key: str) -> Mapping[str, str]:
        """Return the map of names to strings of ``key``, such as tags.

        ``pulumi config set --path`` stores ``42`` as a number and ``true`` as a boolean. Here, they are the texts that
        were given. A number with a point is refused, because 1.10 would become 1.1.
        """
        values = self.json(key)
        if not isinstance(values, dict):
            self.add_problem(
                key,
                "must map names to texts; set each of them with "
                f"pulumi config set --path '{self.name(key)}.team' media",
            )
            return {}
        for name, value in values.items():
            if not isinstance(value, str | int):
                self.add_problem(
                    key,
                    f'must map names to texts; the value of "{name[:128]}" is none. Write it with quotes into the '
                    f"stack's file, Pulumi.{pulumi.get_stack()}.yaml",
                )
        folded = [name.casefold() for name in values]
        if same := [name for name in values if folded.count(name.casefold()) > 1]:
            self.add_problem(
                key, f"must have names that differ in more than their case, unlike {same[0]!a} and {same[1]!a}"
            )
        return {name: value if isinstance(value, str) else json.dumps(value) for name, value in values.items()}


def _origin_problem(origin: str) -> str | None:
    """Return why no browser can send ``origin`` as its Origin header, or None if a browser can.

    A store compares its CORS rule with the Origin header character by character; only ``*`` matches several characters.
    A browser sends the scheme and the host in lower case, and the port only if it is not the scheme's default.
    https://www.rfc-editor.org/rfc/rfc6454#section-6.2
    """
    if origin != origin.lower():
        return "must have origins in lower case, as browsers send them"
    try:
        parts = urlsplit(origin)
        port = parts.port
    except ValueError:
        return "must have origins such as https://app.example.com"
    if parts.scheme not in _DEFAULT_PORTS or not parts.netloc:
        return "must have origins that start with https:// or http:// and a host"
    if origin != f"{parts.scheme}://{parts.netloc}":
        return "must have origins without a path, a query or a fragment; a slash at the end is a path"
    if port == _DEFAULT_PORTS[parts.scheme]:
        return "must have origins without the scheme's default port, because browsers do not send it"
    host = parts.netloc if port is None else parts.netloc.removesuffix(f":{port}")
    if not _HOST.fullmatch(host):
        return "must have origins of a lowercase host and an optional port; only the first label of the host may be *"
    return None
