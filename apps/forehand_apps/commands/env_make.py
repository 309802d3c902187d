"""``forehand env make``: the environment of a simulator."""

from __future__ import annotations

import sys

from omegaconf import DictConfig

from forehand.environments.location import folder_of
from forehand.environments.made import MadeEnvironment
from forehand.environments.make import Plan, check, make
from forehand.environments.uv import EnvironmentFailed
from forehand_apps.cli.instantiate import plain


def env_make(config: DictConfig) -> None:
    """Make it, unless it is there, up to date and works; one that is there keeps its options unless others are given."""
    made = MadeEnvironment.read(folder_of(str(config.name), config.folder))
    options = plain(config.options) or (dict(made.options) if made else {})
    plan, again = Plan.of(str(config.name), config.folder, options), bool(config.again)
    if made is not None and plan.state() == "ready" and not again:
        try:
            check(made, plan.spec)
            print(f"{plan.folder} is up to date and works")
            return
        except EnvironmentFailed as failure:
            say(str(failure))
            again = True
    made = make(plan, say, again)
    versions = ", ".join(f"{name} {version}" for name, version in made.versions.items())
    print(f"{made.folder} works: {versions}")


def say(words: str) -> None:
    """Print what is being done, on standard error."""
    print(f"env: {words}", file=sys.stderr, flush=True)
