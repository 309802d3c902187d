"""Plugin hook specifications.

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
    """Register parts: call ``registry.add(kind, name, factory, summary)`` once for each.

    Each can be chosen by its name, as ``robot=gantry``, unless a configuration file of that name comes first.
    """


@hookspec
def forehand_configuration() -> str:
    """Return a folder of Hydra configuration as ``"pkg://package.conf"``; it is laid beside Forehand's own.

    A file ``<group>/<name>.yaml`` lists a part's options, which then need no ``+`` on the command line. Groups are the
    kinds of parts, ``adapters`` in the plural.
    """
    raise NotImplementedError
