"""``forehand plugins``: which plugins were found, and what they offer."""

from __future__ import annotations

from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table
from rich.text import Text

from forehand import registry
from forehand.errors import UnknownName, nearest
from forehand.registry import KINDS


def plugins(config: DictConfig) -> None:
    """Print the tables."""
    if config.kind is not None and config.kind not in KINDS:
        raise UnknownName(f"There is no kind of part called {config.kind!r}. {nearest(config.kind, KINDS)}")
    console = Console()
    if not console.is_terminal:
        # A pipe has no width to fit, and wrapped names could not be searched for.
        console = Console(width=200)
    if config.kind is None:
        _heading(console, "Plugins")
        console.print(_plugin_table())
        for plugin in registry().plugins():
            if plugin.error:
                console.print(Text(f" {plugin.name} is broken: {plugin.error}", style="red"), soft_wrap=True)
    for kind in KINDS if config.kind is None else [config.kind]:
        _heading(console, f"{kind}: {KINDS[kind]}")
        console.print(_part_table(kind))


def _plugin_table() -> Table:
    table = Table("plugin", "distribution", "version", "state", box=None)
    for plugin in registry().plugins():
        state = Text("broken", style="red") if plugin.error else Text("ok", style="green")
        table.add_row(plugin.name, plugin.distribution, plugin.version, state)
    return table


def _part_table(kind: str) -> Table:
    table = Table("name", "what it is", "plugin", box=None)
    for part in registry().parts(kind):
        table.add_row(part.name, part.summary, part.plugin)
    if not table.rows:
        table.add_row("–", "none installed", "")
    return table


def _heading(console: Console, words: str) -> None:
    console.print()
    console.print(Text(words, style="bold"), soft_wrap=True)
