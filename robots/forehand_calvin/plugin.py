"""Registration of CALVIN: its environment, robot and benchmark."""

from forehand import Registry, hookimpl


@hookimpl
def forehand_register(registry: Registry) -> None:
    """Register this package's parts."""
    registry.add(
        "environment", "calvin", "forehand_calvin.environment:calvin", "what calvin_env needs: robot and benchmark calvin"
    )
    registry.add("robot", "calvin", "forehand_calvin.robot:CalvinRobot", "CALVIN's simulated Panda, with two cameras")
    registry.add(
        "benchmark",
        "calvin",
        "forehand_calvin.benchmark:CalvinBenchmark",
        "the thousand chains of CALVIN's long-horizon evaluation, and single tasks",
    )


@hookimpl
def forehand_configuration() -> str:
    """This package's Hydra configuration."""
    return "pkg://forehand_calvin.conf"
