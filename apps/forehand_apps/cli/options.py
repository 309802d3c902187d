"""Command-line overrides: renamed and abbreviated keys, and rejection of unused options."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import yaml
from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf, open_dict

from forehand import registry
from forehand.errors import ConfigurationError, nearest
from forehand.utils.renames import former_keys, given_twice, renamed_key, renamed_keys, renamed_value
from forehand_apps.cli.parts_source import GROUPS, SEVERAL, default_of
from forehand_apps.main import configuration_name

Path = Sequence[str]

_ARGUMENT = re.compile(r"(?P<sign>\+\+|\+|~)?(?P<key>[^=@{\s]+)(?P<package>@[^=]*)?(?P<rest>=.*)?", re.DOTALL)
_WORD = re.compile(r"[^=,\[\]\s]+")


# ---- spellings --------------------------------------------------------------------------------------------------------


def present(command: str, arguments: Sequence[str], own: str) -> list[str]:
    """Overrides under their present names.

    Old names of keys, values and parts are replaced, also inside a mapping (``recipe={keep: 3}``), and ``policy=random``
    becomes ``policy.name=random`` where that is meant; ``own``: the text of the command's configuration file.

    Raises :class:`ConfigurationError` where both names of a key are given.
    """
    mappings = yaml.safe_load(own) or {}
    named = {key for key in GROUPS if isinstance(mappings.get(key), dict) and "name" in mappings[key]}
    spelled: dict[str, str] = {}
    for written in (found["key"] for argument in arguments if (found := _override(argument))):
        if spelled.setdefault(renamed_key(written, command), written) != written:
            raise given_twice(written)
    return [_present(command, argument, named) for argument in arguments]


def _override(argument: str) -> re.Match[str] | None:
    return None if argument.startswith("-") else _ARGUMENT.fullmatch(argument)


def _present(command: str, argument: str, named: set[str]) -> str:
    found = _override(argument)
    if found is None:
        return argument
    sign, package, rest = (found[part] or "" for part in ("sign", "package", "rest"))
    key = renamed_key(found["key"], command)
    rest = _WORD.sub(lambda word: str(renamed_value(key, word[0], command)), rest)
    if rest.startswith("={"):
        rest = _present_mapping(command, found["key"], rest)
    if key in GROUPS and not rest.startswith("={"):
        rest = _WORD.sub(lambda name: registry().present_name(GROUPS[key], name[0]), rest)
        if key in named and rest and not sign and not package:
            key += ".name"
    return f"{sign}{key}{package}{rest}"


def _present_mapping(command: str, key: str, rest: str) -> str:
    """``rest``, the ``={…}`` after ``key``, with present names."""
    override = OverridesParser.create().parse_override(key + rest)
    value = override._value
    if not isinstance(value, dict) or (present := renamed_keys(value, key, command)) == value:
        return rest
    return f"={dataclasses.replace(override, _value=present).get_value_element_as_str()}"


def settle(command: str, config: DictConfig, overrides: Sequence[str]) -> None:
    """Move what configuration files give under former names to the present ones, unless ``overrides`` give those."""
    given = {override.partition("=")[0].lstrip("+") for override in overrides}
    held: Any = OmegaConf.to_container(config)
    with open_dict(config):
        for path, present_path, value in list(former_keys(held, command)):
            key = ".".join(map(str, present_path))
            if key not in given:
                OmegaConf.update(config, key, value, force_add=True)
            parent = OmegaConf.select(config, ".".join(map(str, path[:-1]))) if path[1:] else config
            del parent[path[-1]]


def search_path(arguments: Sequence[str]) -> list[str]:
    """The folders of configuration that ``--config-dir`` and ``hydra.searchpath=[…]`` name."""
    folders = [after for flag, after in pairwise(arguments) if flag in ("--config-dir", "-cd")]
    folders += [argument.partition("=")[2] for argument in arguments if argument.startswith("--config-dir=")]
    named = [argument for argument in arguments if argument.startswith("hydra.searchpath=[")]
    values: list[Any] = [override.value() for override in OverridesParser.create().parse_overrides(named)]
    return [f"file://{os.path.abspath(folder)}" for folder in folders] + [str(f) for value in values for f in value]


# ---- unknown options --------------------------------------------------------------------------------------------------


def refuse_unknown(command: str, overrides: Sequence[str]) -> None:
    """Raise :class:`ConfigurationError` for options that are added (``+``) where nothing reads them, or left out (``~``).

    Options of a part pass, since they are checked when it is created. Needs an initialized Hydra.
    """
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    odd = [o for o in parsed if not o.is_hydra_override() and (o.is_add() or o.is_force_add() or o.is_delete())]
    if not odd:
        return
    rest = [str(o.input_line) for o in parsed if o not in odd]
    config, choices = _composed(command, rest)
    for override in odd:
        key = str(override.key_or_group)
        if override.is_delete():
            if not takes_more(command, config, key.split(".")[:-1]):
                raise ConfigurationError(f"forehand {command} needs {key}: ~ leaves out options of a part only.")
        elif _is_group(override):
            more, _ = _composed(command, [*rest, str(override.input_line)])
            added = set(_keys(more)) - set(_keys(config))
            if not all(_known(command, config, choices, path.split(".")) for path in added):
                raise ConfigurationError(f"forehand {command} has no choice {key!r}. {nearest(key, choices)}")
        elif not _known(command, config, choices, key.split(".")):
            raise ConfigurationError(unknown(command, config, key))


def unknown(command: str, config: Mapping[str, Any], key: str) -> str:
    """The error for a dotted ``key`` that the configuration of ``command`` does not have."""
    node: Any = config
    path = key.split(".")
    while len(path) > 1 and isinstance(node, Mapping) and isinstance(node.get(path[0]), Mapping):
        node = node[path.pop(0)]
    name, parents = path[0], key.split(".")[: -len(path)]
    elsewhere = [k for k in _keys(config) if k.rpartition(".")[2] == name] if not parents else []
    known = [str(k) for k in node] if isinstance(node, Mapping) else []
    where = f" in {'.'.join(parents)}" if parents else ""
    hint = f"Did you mean {' or '.join(map(repr, elsewhere))}?" if elsewhere else nearest(name, known)
    more = f"; to give one that the part takes, write +{key}=…" if takes_more(command, config, parents) else ""
    return f"forehand {command} has no option {name!r}{where}. {hint}\nforehand {command} --help lists them{more}"


def takes_more(command: str, config: Mapping[str, Any], path: Path) -> bool:
    """Whether the mapping at ``path`` holds the options of a part, or is below one that does."""
    if command in ("convert", "import"):  # every option that is not the command's is the part's
        return True
    if command in ("env make", "env lock"):
        return list(path) == ["options"]
    if not path or path[0] not in GROUPS or path[0] not in config:
        return False
    part = config[path[0]]
    apart = "options" in default_of(path[0], "") or (isinstance(part, Mapping) and "options" in part)
    if apart:
        return "options" in path[1:2]
    return path[0] in SEVERAL.values() or (isinstance(part, Mapping) and "name" in part)


def _known(command: str, config: Mapping[str, Any], choices: Mapping[str, str], path: Path) -> bool:
    if takes_more(command, config, path[:-1]):
        return True
    node: Any = config
    for key in path:
        if not isinstance(node, Mapping) or key not in node:
            break
        node = node[key]
    else:
        return True
    return len(path) > 1 and path[0] in choices and path[1] in default_of(path[0], "")


def _is_group(override: Override) -> bool:
    loader = GlobalHydra.instance().config_loader()
    return not isinstance(override.value(), dict) and bool(loader.get_group_options(str(override.key_or_group)))


def _composed(command: str, overrides: Sequence[str]) -> tuple[dict[str, Any], dict[str, str]]:
    """The configuration of ``command`` as it is written, and what is chosen in each group."""
    config = compose(configuration_name(command), overrides=list(overrides), return_hydra_config=True)
    plain: Any = OmegaConf.to_container(config, resolve=False)
    choices = plain.pop("hydra")["runtime"]["choices"]
    return plain, {group: choice for group, choice in choices.items() if not group.startswith("hydra/")}


def _keys(config: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in config.items():
        yield f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _keys(value, f"{prefix}{key}.")
