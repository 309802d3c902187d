"""``forehand env make``: the environment of a simulator."""

from __future__ import annotations

import sys

from omegaconf import DictConfig

from forehand.environments.made import MadeEnvironment
from forehand.environments.make import Plan, check, make
from forehand.environments.uv import EnvironmentFailed
from forehand_apps.instantiate import plain


def env_make(config: DictConfig) -> None:
    """Make it, unless it is there, up to date and works."""
    plan, again = plan_of(config), bool(config.again)
    made = MadeEnvironment.read(plan.folder)
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


def plan_of(config: DictConfig) -> Plan:
    """The environment that ``config`` names."""
    return Plan.of(str(config.name), config.folder, plain(config.options))


def say(words: str) -> None:
    """Print what is being done, on standard error."""
    print(f"env: {words}", file=sys.stderr, flush=True)
