"""Parsing of untrusted text files, within limits.

Nothing in them is resolved, executed or looked up: no interpolations, no YAML tags or aliases, no environment variables.
What goes beyond a limit, or does not parse, raises :class:`Unreadable`, a ValueError that lacks the file's name.
"""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

JSON_BYTES = 64 * 2**20
YAML_BYTES = 256 * 2**10
YAML_NODES = 20_000
DEPTH = 64
LARGEST = 2**63


class Unreadable(ValueError):
    """What is in a file cannot be read, or is refused."""


def read_text(path: Path, most: int) -> str:
    """The text of a UTF-8 file of at most ``most`` bytes. Raises OSError and :class:`Unreadable`."""
    with path.open("rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise Unreadable(f"it is larger than {most} bytes, the most that is read of such a file")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise Unreadable(f"it is not UTF-8: {error}") from error


def read_json(path: Path, most: int = JSON_BYTES) -> Any:
    """The value in a JSON file. Raises OSError and :class:`Unreadable`."""
    return parse_json(read_text(path, most))


def read_json_lines(path: Path, most: int = JSON_BYTES) -> Iterator[tuple[int, Any]]:
    """The lines of a JSON Lines file, of at most ``most`` bytes each: their numbers from 1, and their values.

    Blank ones are left out. Raises as :func:`read_json` does.
    """
    with path.open("rb") as file:
        for number in itertools.count(1):
            line = file.readline(most + 1)
            if not line:
                return
            if len(line) > most:
                raise Unreadable(f"line {number} is larger than {most} bytes, the most that is read of a line")
            if line.isspace():
                continue
            try:
                value = parse_json(line.decode())
            except ValueError as error:
                raise Unreadable(f"line {number}: {error}") from error
            yield number, value


def parse_json(text: str) -> Any:
    """The value of a JSON text. Raises :class:`Unreadable`."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"it is not JSON: {error}") from error


def read_yaml(path: Path, most: int = YAML_BYTES) -> Any:
    """The value in a YAML file. Raises OSError and :class:`Unreadable`."""
    return parse_yaml(read_text(path, most))


def parse_yaml(text: str) -> Any:
    """The value of a YAML text, with the numbers that OmegaConf reads in it. Raises :class:`Unreadable`."""
    try:
        _check_events(text)
        return yaml.load(text, _Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise Unreadable(str(error)) from error


def require_literal(value: Any, where: str = "") -> None:
    """Raise :class:`Unreadable` where a nested value holds an interpolation or a number of more than 64 bits."""
    for path, item in _leaves(value, where):
        if isinstance(item, str) and "${" in item:
            raise Unreadable(f"{path or 'it'} holds an interpolation, {item!r}, and only values are read")
        if isinstance(item, int) and abs(item) >= LARGEST:
            raise Unreadable(f"{path or 'it'} holds a number of more than 64 bits")


def _leaves(value: Any, where: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, item in value.items():
            path = f"{where}.{key}" if where else str(key)
            yield path, key
            yield from _leaves(item, path)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _leaves(item, f"{where}[{index}]")
    else:
        yield where, value


def _check_events(text: str) -> None:
    depth = nodes = 0
    for event in yaml.parse(text, yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            raise Unreadable(f"line {event.start_mark.line + 1}: it refers to {event.anchor!r} with an alias; repeat it")
        nodes += isinstance(event, yaml.NodeEvent)
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if nodes > YAML_NODES:
            raise Unreadable(f"it holds more than {YAML_NODES} values")
        if depth > DEPTH:
            raise Unreadable(f"line {event.start_mark.line + 1}: it is nested more than {DEPTH} deep")


class _Loader(yaml.SafeLoader):
    """As OmegaConf: ``1e-3`` is a number, a date is a string, and a key that is given twice is refused."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - as the base class has it
        first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        if twice := next((key for key, count in keys.items() if count > 1), None):
            raise Unreadable(f"line {node.start_mark.line + 1}: it has the key {twice!r} twice")
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)
