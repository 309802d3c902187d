"""Parts by kind and name, and the plugins they came from.

A plugin that cannot be loaded is listed as broken with its reason and takes nothing else down. The environment variable
``FOREHAND_PLUGINS`` limits loading to the entry points it names (comma-separated; empty means none).
"""

from __future__ import annotations

import difflib
import functools
import os
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any

import pluggy

from forehand import hookspecs
from forehand.errors import BrokenPlugin, ConfigurationError, UnknownName

ENTRY_POINT_GROUP = "forehand"
LIMIT_VARIABLE = "FOREHAND_PLUGINS"

KINDS: Mapping[str, str] = {
    "encoder": "turns one modality of one timestep into tokens",
    "vision_tower": "turns images into features of their patches and of the whole",
    "backbone": "runs all tokens of all timesteps under one mask",
    "world_model": "owns query tokens and turns what they read into a forecast, with its target and its loss",
    "action_head": "owns query tokens and turns what they read into a chunk of actions, with its loss",
    "policy": "maps observations to action chunks, one session for each robot",
    "execution": "turns chunks of actions into one action for every control step",
    "door": "lets clients of another project's policy server in to ours",
    "converter": "brings weights from another project's files into a checkpoint folder, and back",
    "robot": "a body: something that observes and acts, real or simulated",
    "benchmark": "offers seeded episodes, says when one succeeded, and may show how it is done",
}


@dataclass(frozen=True)
class Part:
    """One registered part. ``factory`` is a callable, or ``"module:attribute"`` to be imported on first use."""

    kind: str
    name: str
    factory: Callable[..., Any] | str
    summary: str
    plugin: str

    def load(self) -> Callable[..., Any]:
        """The factory itself, imported now if it was given by name."""
        if callable(self.factory):
            return self.factory
        try:
            loaded: Callable[..., Any] = pkgutil.resolve_name(self.factory)
        except ImportError as error:
            raise BrokenPlugin(
                f"{self.kind} {self.name!r} of plugin {self.plugin!r} could not be imported: {error}. "
                f"Install what it needs (for our own parts: pip install 'forehand[all]')."
            ) from error
        return loaded


@dataclass(frozen=True)
class Plugin:
    """One plugin found through its entry point; ``error`` says why it is broken, and is None when it works."""

    name: str
    distribution: str
    version: str
    error: str | None = None
    configuration: str | None = None


def nearest(name: str, known: Iterable[str]) -> str:
    """A sentence that points from an unknown name to what there is."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.4)
    if close:
        return f"Did you mean {' or '.join(map(repr, close))}?"
    return f"Known: {', '.join(names) or 'none'}."


@dataclass
class Registry:
    """Every part that plugins registered, and every plugin that was found."""

    _parts: dict[tuple[str, str], Part] = field(default_factory=dict)
    _plugins: dict[str, Plugin] = field(default_factory=dict)
    _registering: str = "direct"

    def add(self, kind: str, name: str, factory: Callable[..., Any] | str, summary: str) -> None:
        """Register one part.

        ``factory`` makes the part from keyword options. Give it as ``"module:attribute"`` to keep heavy imports (torch)
        out of the way until someone asks for the part. ``summary`` is one sentence for ``forehand plugins``.
        """
        if kind not in KINDS:
            raise UnknownName(f"There is no kind of part called {kind!r}. {nearest(kind, KINDS)}")
        if taken := self._parts.get((kind, name)):
            raise ConfigurationError(
                f"{kind} {name!r} is registered twice: by plugin {taken.plugin!r} and by {self._registering!r}. "
                f"Rename one, or limit loading with {LIMIT_VARIABLE}."
            )
        self._parts[kind, name] = Part(kind, name, factory, summary, self._registering)

    def parts(self, kind: str | None = None) -> list[Part]:
        """All parts, or those of one kind, by kind and name."""
        return sorted((p for p in self._parts.values() if kind in (None, p.kind)), key=lambda p: (p.kind, p.name))

    def part(self, kind: str, name: str) -> Part:
        """One part; an unknown name is answered with the nearest ones and with the plugins that are broken."""
        if kind not in KINDS:
            raise UnknownName(f"There is no kind of part called {kind!r}. {nearest(kind, KINDS)}")
        if found := self._parts.get((kind, name)):
            return found
        broken = [f"{p.name} ({p.error})" for p in self.plugins() if p.error]
        hint = f" Broken plugins that may have held it: {'; '.join(broken)}." if broken else ""
        elsewhere = sorted(k for k, n in self._parts if n == name)
        kinds = f" There is a {' and a '.join(elsewhere)} of that name." if elsewhere else ""
        raise UnknownName(
            f"No plugin offers a {kind} called {name!r}. {nearest(name, (p.name for p in self.parts(kind)))}{kinds}{hint}"
        )

    def create(self, kind: str, name: str, /, **options: Any) -> Any:
        """Make the part ``name`` of ``kind`` with these options."""
        factory = self.part(kind, name).load()
        try:
            return factory(**options)
        except TypeError as error:
            if "argument" not in str(error):
                raise
            raise ConfigurationError(f"{kind} {name!r} was given options it cannot take: {error}.") from error

    def plugins(self) -> list[Plugin]:
        """Every plugin found, working or broken, by name."""
        return sorted(self._plugins.values(), key=lambda p: p.name)

    def load_plugin(self, entry_point: metadata.EntryPoint) -> None:
        """Load one plugin and let it register its parts; a failure is recorded, not raised."""
        distribution = entry_point.dist.name if entry_point.dist else "unknown"
        version = entry_point.dist.version if entry_point.dist else "unknown"
        before = dict(self._parts)
        self._registering = entry_point.name
        try:
            manager = pluggy.PluginManager(hookspecs.PROJECT)
            manager.add_hookspecs(hookspecs)
            manager.register(entry_point.load(), entry_point.name)
            manager.check_pending()
            manager.hook.forehand_register(registry=self)
            folders: list[str] = manager.hook.forehand_configuration()
            plugin = Plugin(entry_point.name, distribution, version, configuration=folders[0] if folders else None)
        except Exception as error:  # a foreign plugin may fail in any way, and must not take the others down
            self._parts = before
            reason = f"{type(error).__name__}: {error}"
            plugin = Plugin(entry_point.name, distribution, version, error=reason)
        finally:
            self._registering = "direct"
        self._plugins[plugin.name] = plugin

    @classmethod
    def discover(cls) -> Registry:
        """A registry with every installed plugin, or those that ``FOREHAND_PLUGINS`` names."""
        found = cls()
        limit = os.environ.get(LIMIT_VARIABLE)
        wanted = None if limit is None else {name.strip() for name in limit.split(",") if name.strip()}
        entry_points = sorted(metadata.entry_points(group=ENTRY_POINT_GROUP), key=lambda e: e.name)
        for entry_point in entry_points:
            if wanted is None or entry_point.name in wanted:
                found.load_plugin(entry_point)
        missing = (wanted or set()) - {e.name for e in entry_points}
        for name in sorted(missing):
            error = f"named in {LIMIT_VARIABLE}, but not installed. {nearest(name, (e.name for e in entry_points))}"
            found._plugins[name] = Plugin(name, "unknown", "unknown", error=error)
        return found


@functools.cache
def registry() -> Registry:
    """The registry of this process, discovered on first use."""
    return Registry.discover()
