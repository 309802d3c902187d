"""``forehand env check``: whether environments work."""

from __future__ import annotations

from omegaconf import DictConfig

from forehand import registry
from forehand.environments.location import folder_of
from forehand.environments.made import MadeEnvironment
from forehand.environments.make import Plan, check
from forehand.environments.uv import EnvironmentFailed
from forehand.errors import ConfigurationError


def env_check(config: DictConfig) -> None:
    """Check the environment ``config.name``, or every one that is made; status 1 where one fails."""
    names = [part.name for part in registry().parts("environment")] if config.name is None else [str(config.name)]
    made = {name: MadeEnvironment.read(folder_of(name, config.folder)) for name in names}
    if config.name is not None and made[names[0]] is None:
        raise ConfigurationError(f"The environment {config.name!r} is not made. Make it: forehand env make {config.name}")
    failed = False
    for name, environment in made.items():
        if environment is None:
            continue
        plan = Plan.of(name, config.folder, environment.options)
        try:
            check(environment, plan.spec)
            state = plan.state()
            remedy = "" if state == "ready" else f": forehand env make {name}"
            print(f"ok    {name}: works, {state}{remedy}")
        except EnvironmentFailed as failure:
            failed = True
            print(f"fail  {name}: {failure}\n      Make it again: forehand env make {name}")
    if not any(made.values()):
        print("no environment is made")
    if failed:
        raise SystemExit(1)
