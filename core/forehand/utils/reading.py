"""Parsing of untrusted text files, within limits.

Nothing in them is resolved, executed or looked up: no interpolations, no YAML tags or aliases, no environment variables.
What goes beyond a limit, or does not parse, raises :class:`Unreadable`, a ValueError that lacks the file's name.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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
    from forehand.utils import yaml_text  # PyYAML, which a contract's JSON does not need

    return yaml_text.parse(text)


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
