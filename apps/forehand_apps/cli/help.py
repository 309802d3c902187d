"""``forehand <command> --help``: purpose, examples, groups, and every option with what it means.

All of it is read from the configuration files: the comment at the head of ``conf/<command>.yaml`` holds the purpose and
the examples, and the comment beside a key is its description.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from typing import Any

import yaml
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.text import Text

from forehand import registry
from forehand_apps.cli.options import refuse_unknown
from forehand_apps.main import configuration_name

_OWN = "pkg://forehand_apps.conf"


def show_manual(command: str, overrides: Sequence[str]) -> None:
    """Print the help of ``command``, with its configuration under ``overrides``."""
    with initialize_config_module("forehand_apps.conf", version_base="1.3"):
        refuse_unknown(command, overrides)
        config = compose(configuration_name(command), overrides=list(overrides), return_hydra_config=True)
        loader = GlobalHydra.instance().config_loader()
        choices = {
            str(where): str(choice)
            for where, choice in config.hydra.runtime.choices.items()
            if not str(where).startswith("hydra/") and choice is not None
        }
        options = {where: loader.get_group_options(where.partition("@")[0]) for where in choices}

    own = source(configuration_name(command))
    comments = _comments(own)
    for where, choice in choices.items():
        group, _, package = where.partition("@")
        written = source(f"{group}/{choice}")
        stated = re.search(r"^#\s*@package\s+(\S+)", written, re.MULTILINE)
        package = stated[1] if stated else package or group.replace("/", ".")
        prefix = "" if package == "_global_" else f"{package}."
        comments |= {prefix + key: comment for key, comment in _comments(written).items()}

    console = Console()
    _print(console, Text(f"forehand {command} [key=value …]\n", style="bold"))
    _print(console, Text(_head(own) + "\n"))
    if choices:
        _print(console, Text("Choices", style="bold"))
        for where, choice in choices.items():
            others = ", ".join(o for o in options[where] if o != choice)
            _print(console, Text(f"  {where}={choice}" + (f"   or {others}" if others else "")))
        _print(console, Text())
    _print(console, Text("Options", style="bold"))
    for line, comment in _lines(config, comments):
        text = Text(f"  {line}")
        if comment:
            text.append(f"  # {comment}", style="dim")
        _print(console, text)


def _print(console: Console, text: Text) -> None:
    console.print(text, soft_wrap=True)


def source(name: str) -> str:
    """The text of ``name``.yaml, from the first folder on the search path that has it."""
    for folder in (_OWN, *(p.configuration for p in registry().plugins() if p.configuration)):
        file = resources.files(folder.removeprefix("pkg://")).joinpath(f"{name}.yaml")
        if file.is_file():
            return file.read_text(encoding="utf-8")
    return ""


def _head(text: str) -> str:
    """The comment a file begins with."""
    lines = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").removeprefix(" "))
    return "\n".join(lines)


def _comments(text: str) -> dict[str, str]:
    """Dotted key → the comment beside it, with its deeper indented lines below, or else the comment right above it."""
    lines = text.splitlines()
    found: dict[str, str] = {}

    def walk(node: yaml.Node | None, prefix: str) -> None:
        if not isinstance(node, yaml.MappingNode):
            return
        for key, value in node.value:
            path = f"{prefix}{key.value}"
            inline = isinstance(value, yaml.ScalarNode) or value.flow_style
            mark = value.end_mark if inline else key.end_mark
            if comment := re.search(r"#\s*(.+)$", lines[mark.line][mark.column :] if mark.line < len(lines) else ""):
                below = _comment_below(lines, mark.line, key.start_mark.column) if inline else []
                found[path] = " ".join([comment[1].strip(), *below])
            elif above := _comment_above(lines, key.start_mark.line, key.start_mark.column):
                found[path] = above
            if not inline:
                walk(value, path + ".")

    walk(yaml.compose(text), "")
    return found


def _comment_below(lines: Sequence[str], line: int, column: int) -> list[str]:
    below = itertools.takewhile(lambda text: _indent_of_comment(text) > column, lines[line + 1 :])
    return [text.strip().lstrip("# ") for text in below]


def _indent_of_comment(line: str) -> int:
    """The indent of a line that holds only a comment; -1 of any other."""
    return line.index("#") if line.lstrip().startswith("#") else -1


def _comment_above(lines: Sequence[str], line: int, column: int) -> str:
    words: list[str] = []
    while line > 0 and _indent_of_comment(lines[line - 1]) == column:
        line -= 1
        words.insert(0, lines[line].strip().lstrip("# "))
    return "" if line == 0 else " ".join(words)  # the head of the file is about all of it


def _lines(config: DictConfig, comments: Mapping[str, str]) -> Iterator[tuple[str, str | None]]:
    """The configuration as YAML, line by line, each with its comment."""

    def walk(node: Mapping[str, Any], prefix: str, depth: int) -> Iterator[tuple[str, str | None]]:
        for key, value in node.items():
            path, indent = f"{prefix}{key}", "  " * depth
            if isinstance(value, Mapping) and value:
                yield f"{indent}{key}:", comments.get(path)
                yield from walk(value, path + ".", depth + 1)
            else:
                plain = yaml.safe_dump(value, default_flow_style=True, width=10_000, allow_unicode=True)
                yield f"{indent}{key}: {plain.removesuffix('...' + chr(10)).strip()}", comments.get(path)

    plain = OmegaConf.to_container(config, resolve=False)
    assert isinstance(plain, dict)
    plain.pop("hydra", None)
    yield from walk({str(k): v for k, v in plain.items()}, "", 0)
