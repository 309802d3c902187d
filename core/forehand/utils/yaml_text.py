"""Parsing of YAML text, within limits and without tags, aliases and interpolations; imported where YAML is read."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import yaml

from forehand.utils.reading import DEPTH, YAML_NODES, Unreadable


def parse(text: str) -> Any:
    """The value of a YAML text. Raises :class:`Unreadable`."""
    try:
        _check_events(text)
        return yaml.load(text, _Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise Unreadable(str(error)) from error


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
