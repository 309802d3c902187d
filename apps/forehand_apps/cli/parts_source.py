"""Hydra config source for registered parts without a config file, as in ``robot=arm``."""

from __future__ import annotations

import builtins
from typing import Any

from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigResult, ConfigSource
from omegaconf import OmegaConf

from forehand import registry
from forehand.registry import KINDS

ADAPTERS = "adapters"
SEVERAL = {"adapter": ADAPTERS, "logger": "loggers"}
"""Kinds of which several parts may be chosen, as a mapping of names to options, and the groups they are chosen in."""
AT_TOP = ("converter", "importer")
"""Groups whose options stand beside those of the command."""


def group_of(kind: str) -> str:
    """The configuration group in which parts of ``kind`` are chosen."""
    return SEVERAL.get(kind, kind)


GROUPS = {group_of(kind): kind for kind in KINDS if kind not in ("dataset", "environment")}
"""Group → kind; datasets are chosen by a path, environments by the name of a robot's."""


def default_of(group: str, name: str) -> dict[str, Any]:
    """The configuration of a part without a configuration file: its name, and empty options."""
    if group in SEVERAL.values():
        return {name: {}}
    if group in AT_TOP:
        return {group: name}
    apart: dict[str, dict[str, Any]] = {
        "robot": {"options": {}, "convert": [], "environment": None},
        "benchmark": {"options": {}},
    }
    return {"name": name, **apart.get(group, {})}


class PartsSource(ConfigSource):
    """The default configuration of every part; last on the search path, so that files come before it."""

    @staticmethod
    def scheme() -> str:
        """What its path on the search path begins with."""
        return "parts"

    def load_config(self, config_path: str) -> ConfigResult:
        """The default configuration of a part."""
        group, _, name = config_path.partition("/")
        header = {"package": "_global_" if group in AT_TOP else None}
        return ConfigResult(self.provider, self.full_path(), OmegaConf.create(default_of(group, name)), header)

    def available(self) -> bool:
        """Always."""
        return True

    def is_group(self, config_path: str) -> bool:
        """Whether parts are chosen there."""
        return bool(_names(config_path))

    def is_config(self, config_path: str) -> bool:
        """Whether it is a group and a part's name."""
        group, _, name = config_path.removesuffix(".yaml").partition("/")
        return name in _names(group)

    def list(self, config_path: str, results_filter: ObjectType | None) -> builtins.list[str]:
        """The names of a group's parts."""
        return [] if results_filter == ObjectType.GROUP else _names(config_path)


def _names(group: str) -> list[str]:
    kind = GROUPS.get(group)
    return [part.name for part in registry().parts(kind)] if kind else []
