"""A plugin whose simulator lives in an environment of its own: the package ``tiny-simulator``, which a test makes."""

import os
from pathlib import Path

from forehand import Registry, hookimpl
from forehand.environments import EnvironmentSpec


def tiny(number: int = 5) -> EnvironmentSpec:
    """The environment; number: what its check expects."""
    return EnvironmentSpec(
        requirements=("tiny-simulator==1.0",),
        lock=Path(os.environ["TINY_LOCK"]),
        check=f"import tiny_simulator; assert tiny_simulator.NUMBER == {number}, 'the number is another'",
        versions=("tiny-simulator",),
    )


@hookimpl
def forehand_register(registry: Registry) -> None:
    registry.add("environment", "tiny", tiny, "a simulator of one number")
