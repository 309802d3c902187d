"""The whole contract between Forehand and a plugin: two hooks.

A plugin is any installed distribution with an entry point in the group ``forehand`` that names a module (or object)
with these functions, each marked ``@forehand.hookimpl``::

    [project.entry-points.forehand]
    my_parts = "my_package.plugin"
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from forehand.registry import Registry

PROJECT = "forehand"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def forehand_register(registry: Registry) -> None:
    """Register parts: call ``registry.add(kind, name, factory, summary)`` once for each."""


@hookspec
def forehand_configuration() -> str:
    """Return a folder of Hydra configuration as ``"pkg://package.conf"``; it is laid beside Forehand's own."""
    raise NotImplementedError
