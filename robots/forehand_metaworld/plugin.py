"""Registration of Meta-World: its environment, robot and benchmark."""

from forehand import Registry, hookimpl


@hookimpl
def forehand_register(registry: Registry) -> None:
    """Register this package's parts."""
    registry.add(
        "environment",
        "metaworld",
        "forehand_metaworld.environment:metaworld",
        "Meta-World: robot and benchmark metaworld, and its scripted experts",
    )
    registry.add(
        "robot", "metaworld", "forehand_metaworld.robot:MetaworldRobot", "Meta-World's simulated Sawyer, with two cameras"
    )
    registry.add(
        "benchmark",
        "metaworld",
        "forehand_metaworld.benchmark:MetaworldBenchmark",
        "the tasks of Meta-World (MT10, MT50 and others), with experts",
    )


@hookimpl
def forehand_configuration() -> str:
    """This package's Hydra configuration."""
    return "pkg://forehand_metaworld.conf"
