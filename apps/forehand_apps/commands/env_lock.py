"""``forehand env lock``: exact versions of an environment."""

from __future__ import annotations

from omegaconf import DictConfig

from forehand.environments.make import Plan, write_lock
from forehand_apps.cli.instantiate import plain


def env_lock(config: DictConfig) -> None:
    """Write the lock of the environment ``config.name`` into its plugin."""
    plan = Plan.of(str(config.name), options=plain(config.options))
    print(f"{write_lock(plan)} versions in {plan.spec.lock}")
