"""Plugin discovery: installed entry points of the group ``forehand``, loaded into the registry of this process.

A plugin that cannot be loaded is listed as broken with its reason and takes nothing else down. The environment variable
``FOREHAND_PLUGINS`` limits loading to the entry points it names (comma-separated; empty means none).
"""

from __future__ import annotations

import functools
import os
from importlib import metadata

import pluggy

from forehand import hookspecs
from forehand.errors import nearest
from forehand.registry import LIMIT_VARIABLE, Plugin, Registry

ENTRY_POINT_GROUP = "forehand"


def load_plugin(registry: Registry, entry_point: metadata.EntryPoint) -> None:
    """Load one plugin and let it register its parts; a failure is recorded, not raised."""
    distribution = entry_point.dist.name if entry_point.dist else "unknown"
    version = entry_point.dist.version if entry_point.dist else "unknown"
    try:
        with registry.registering(entry_point.name):
            manager = pluggy.PluginManager(hookspecs.PROJECT)
            manager.add_hookspecs(hookspecs)
            manager.register(entry_point.load(), entry_point.name)
            manager.check_pending()
            manager.hook.forehand_register(registry=registry)
            folders: list[str] = manager.hook.forehand_configuration()
        plugin = Plugin(entry_point.name, distribution, version, configuration=folders[0] if folders else None)
    except Exception as error:  # a plugin may fail in any way, and must not affect the others
        plugin = Plugin(entry_point.name, distribution, version, error=f"{type(error).__name__}: {error}")
    registry.add_plugin(plugin)


def discover() -> Registry:
    """A registry with every installed plugin, or those that ``FOREHAND_PLUGINS`` names."""
    found = Registry()
    limit = os.environ.get(LIMIT_VARIABLE)
    wanted = None if limit is None else {name.strip() for name in limit.split(",") if name.strip()}
    entry_points = sorted(metadata.entry_points(group=ENTRY_POINT_GROUP), key=lambda e: e.name)
    for entry_point in entry_points:
        if wanted is None or entry_point.name in wanted:
            load_plugin(found, entry_point)
    for name in sorted((wanted or set()) - {e.name for e in entry_points}):
        error = f"named in {LIMIT_VARIABLE}, but not installed. {nearest(name, (e.name for e in entry_points))}"
        found.add_plugin(Plugin(name, "unknown", "unknown", error=error))
    return found


@functools.cache
def registry() -> Registry:
    """The registry of this process, discovered on first use."""
    return discover()
