"""``forehand env list``: environments of simulators."""

from __future__ import annotations

from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from forehand import registry
from forehand.environments.location import folder_of
from forehand.environments.made import MadeEnvironment
from forehand.environments.make import Plan


def env_list(config: DictConfig) -> None:
    """Print every registered environment with its state, versions and folder."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=240)
    table = Table("environment", "for", "state", "versions", "folder", box=None)
    for part in registry().parts("environment"):
        made = MadeEnvironment.read(folder_of(part.name, config.folder))
        plan = Plan.of(part.name, config.folder, made.options if made else None)
        versions = ", ".join(f"{name} {version}" for name, version in made.versions.items()) if made else ""
        table.add_row(part.name, part.summary, plan.state(), versions, str(plan.folder))
    if not table.rows:
        table.add_row("–", "no plugin states one", "", "", "")
    console.print(table)
