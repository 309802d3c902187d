"""Registry of parts by kind and name, with the plugins that registered them.

A plugin that cannot be loaded is listed as broken with its reason and takes nothing else down. The environment variable
``FOREHAND_PLUGINS`` limits loading to the entry points it names (comma-separated; empty means none).
"""

from __future__ import annotations

import inspect
import os
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from forehand.errors import BrokenPlugin, ConfigurationError, UnknownName, nearest
from forehand.utils.option_types import wrong_option
from forehand.utils.renames import log_once, renamed_kind

LIMIT_VARIABLE = "FOREHAND_PLUGINS"

KINDS: Mapping[str, str] = {
    "encoder": "turns one modality of one timestep into tokens",
    "vision_tower": "turns images into features of their patches and of the whole",
    "backbone": "runs all tokens of all timesteps under one mask",
    "world_model": "owns query tokens and turns what they read into a forecast, with its target and its loss",
    "action_head": "owns query tokens and turns what they read into a chunk of actions, with its loss",
    "augmentation": "changes images at random, in training",
    "policy": "maps observations to action chunks, one session for each robot",
    "chunking": "turns chunks of actions into one action for every control step",
    "adapter": "serves clients of another project's policy server",
    "importer": "reads the episodes of recordings in another format, for a dataset with a contract",
    "converter": "brings weights from another project's files into a checkpoint folder, and back",
    "logger": "keeps the log of a training elsewhere, beside its file",
    "checkpoint_reader": "loads policies from another project's checkpoint folders as they are",
    "dataset": "reads recorded episodes in their own format: contract, tables, frames of cameras and other sensors",
    "robot": "driver of a robot, real or simulated",
    "benchmark": "seeded episodes with success conditions, and scripted experts",
    "environment": "what a simulator needs in a Python environment of its own, which forehand env makes",
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
    """One plugin found through its entry point; ``error`` is the reason why it could not be loaded, else None."""

    name: str
    distribution: str
    version: str
    error: str | None = None
    configuration: str | None = None


def limit_note() -> str:
    """The plugins that ``FOREHAND_PLUGINS`` names, in parentheses, for errors about unknown names; empty without it."""
    limit = os.environ.get(LIMIT_VARIABLE)
    if limit is None:
        return ""
    names = ", ".join(name.strip() for name in limit.split(",") if name.strip())
    return f" ({LIMIT_VARIABLE} limits plugins to {names or 'none'})"


def indefinite(noun: str) -> str:
    """The noun with its indefinite article: "a robot", "an encoder"."""
    return f"{'an' if noun[:1].lower() in set('aeiou') else 'a'} {noun}"


@dataclass
class Registry:
    """Every part that plugins registered, and every plugin that was found."""

    _parts: dict[tuple[str, str], Part] = field(default_factory=dict)
    _aliases: dict[tuple[str, str], str] = field(default_factory=dict)
    _plugins: dict[str, Plugin] = field(default_factory=dict)
    _registering: str = "direct"

    def add(
        self,
        kind: str,
        name: str,
        factory: Callable[..., Any] | str,
        summary: str,
        aliases: Iterable[str] = (),
    ) -> None:
        """Register one part.

        ``factory`` makes the part from keyword options. Give it as ``"module:attribute"`` to keep heavy imports (torch)
        out of the way until the part is created. ``summary`` is one sentence for ``forehand plugins``. ``aliases`` are
        former names, which still work in configurations and checkpoints.
        """
        kind = _check_kind(kind)
        for wanted in (name, *aliases):
            if taken := self._parts.get((kind, self.present_name(kind, wanted))):
                raise ConfigurationError(
                    f"{kind} {wanted!r} is registered twice: by plugin {taken.plugin!r} and by {self._registering!r}. "
                    f"Rename one, or limit loading with {LIMIT_VARIABLE}."
                )
        self._parts[kind, name] = Part(kind, name, factory, summary, self._registering)
        self._aliases |= {(kind, alias): name for alias in aliases}

    def present_name(self, kind: str, name: str) -> str:
        """The name that a part of ``kind`` has now, by any name that it ever had; an unknown name as it is."""
        return self._aliases.get((renamed_kind(kind), name), name)

    def is_alias(self, former: Any, name: Any) -> bool:
        """Whether ``former`` is what the part ``name``, of whatever kind, was called."""
        return any(alias == former and present == name for (_, alias), present in self._aliases.items())

    def parts(self, kind: str | None = None) -> list[Part]:
        """All parts, or those of one kind, by kind and name."""
        kind = renamed_kind(kind) if kind else None
        return sorted((p for p in self._parts.values() if kind in (None, p.kind)), key=lambda p: (p.kind, p.name))

    def part(self, kind: str, name: str) -> Part:
        """One part; an unknown name is answered with the nearest ones and with the plugins that are broken."""
        kind = _check_kind(kind)
        present = self.present_name(kind, name)
        if found := self._parts.get((kind, present)):
            if present != name:
                log_once(f"{kind} {name!r} is now called {present!r}; write that.")
            return found
        broken = [f"{p.name} ({p.error})" for p in self.plugins() if p.error]
        hint = f" Broken plugins that may have held it: {'; '.join(broken)}." if broken else ""
        elsewhere = sorted(k for k, n in self._parts if n == name)
        kinds = f" There is {' and '.join(map(indefinite, elsewhere))} of that name." if elsewhere else ""
        known = nearest(name, (p.name for p in self.parts(kind)))
        raise UnknownName(f"No plugin offers {indefinite(kind)} called {name!r}. {known}{kinds}{hint}{limit_note()}")

    def create(self, kind: str, name: str, /, **options: Any) -> Any:
        """Make the part ``name`` of ``kind`` with these options.

        Raises :class:`ConfigurationError` where the factory's signature does not take them, or states other types of them
        (:func:`~forehand.utils.option_types.wrong_option`); whatever the factory itself raises passes as it is.
        """
        factory = self.part(kind, name).load()
        require_options(f"{kind} {name!r}", factory, options)
        return factory(**options)

    def options(self, kind: str, name: str) -> tuple[str, ...] | None:
        """The names of all options of a part; None where it takes any, or does not say."""
        try:
            parameters = inspect.signature(self.part(kind, name).load()).parameters.values()
        except (TypeError, ValueError):  # some built-in callables have none
            return None
        if any(p.kind == p.VAR_KEYWORD for p in parameters):
            return None
        return tuple(p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD))

    def takes(self, kind: str, name: str, option: str) -> bool:
        """Whether the factory of a part has a parameter called ``option``."""
        return takes(self.part(kind, name).load(), option)

    def plugins(self) -> list[Plugin]:
        """Every plugin found, working or broken, by name."""
        return sorted(self._plugins.values(), key=lambda p: p.name)

    @contextmanager
    def registering(self, plugin: str) -> Iterator[None]:
        """Everything added within the ``with`` block belongs to ``plugin``; nothing stays if the block raises."""
        before = dict(self._parts), dict(self._aliases)
        self._registering = plugin
        try:
            yield
        except BaseException:
            self._parts, self._aliases = before
            raise
        finally:
            self._registering = "direct"

    def add_plugin(self, plugin: Plugin) -> None:
        """Record a plugin that was found, working or broken."""
        self._plugins[plugin.name] = plugin

    def versions(self) -> dict[str, str]:
        """Working plugin → its distribution and version, for provenance."""
        return {p.name: f"{p.distribution} {p.version}" for p in self.plugins() if not p.error}


def require_options(what: str, factory: Callable[..., Any], options: Mapping[str, Any]) -> None:
    """Raise :class:`ConfigurationError`, which calls it ``what``, where ``factory`` does not take ``options``."""
    try:
        signature = inspect.signature(factory)
    except (TypeError, ValueError):  # some built-in callables have none
        return
    try:
        signature.bind(**options)
    except TypeError as error:
        raise ConfigurationError(
            f"{what} was given options it cannot take: {_misfit(signature, options) or error}"
        ) from None
    if wrong := wrong_option(factory, options):
        raise ConfigurationError(f"{what}: {wrong}")


def takes(factory: Callable[..., Any], option: str) -> bool:
    """Whether ``factory`` has a parameter called ``option``."""
    try:
        return option in inspect.signature(factory).parameters
    except (TypeError, ValueError):  # some built-in callables have no signature
        return False


def _check_kind(kind: str) -> str:
    """The present name of a kind."""
    kind = renamed_kind(kind)
    if kind not in KINDS:
        raise UnknownName(f"There is no kind of part called {kind!r}. {nearest(kind, KINDS)}")
    return kind


def _misfit(signature: inspect.Signature, options: Mapping[str, Any]) -> str:
    """Sentences about options that a factory does not have, and about those that it lacks."""
    parameters = signature.parameters.values()
    known = [p for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)]
    names = [p.name for p in known]
    takes_any = any(p.kind == p.VAR_KEYWORD for p in parameters)
    unknown = [] if takes_any else [option for option in options if option not in names]
    missing = [p.name for p in known if p.default is p.empty and p.name not in options]
    words = [f"it has no option {option!r}. {nearest(option, names)}" for option in unknown]
    words += ["An option that another part has left behind is dropped by a ~ before its key."] if unknown else []
    words += [f"it needs {', '.join(missing)}."] if missing else []
    return " ".join(words)
