"""What this package registers."""

from forehand import Registry, hookimpl


@hookimpl
def forehand_register(registry: Registry) -> None:
    """Register this package's parts."""
    registry.add(
        "robot", "gymnasium", "forehand_robots.environment:GymnasiumRobot", "any Gymnasium environment, by its id"
    )
    registry.add(
        "robot", "lerobot", "forehand_robots.lerobot_robot:LeRobotRobot", "any LeRobot robot, by its type and options"
    )
    registry.add("robot", "remote", "forehand_robots.remote:RemoteRobot", "a robot behind a robot host, over ZeroMQ")
    registry.add(
        "robot",
        "replay",
        "forehand_robots.replay:ReplayRobot",
        "a recorded episode: observations come from it, actions are compared with it",
    )
    registry.add(
        "robot",
        "tabletop",
        "forehand_robots.tabletop.robot:TabletopRobot",
        "the embedded simulator: a seven-joint arm, two cameras and three coloured blocks on a table",
    )
    registry.add(
        "robot",
        "tabletop-chains",
        "forehand_robots.tabletop_chains.robot:TabletopChainsRobot",
        "the embedded simulator: the same arm, with drawer, door, slider, button, switch and blocks, in four variants",
    )
    registry.add(
        "benchmark",
        "tabletop",
        "forehand_robots.tabletop.benchmark:TabletopBenchmark",
        "push, lift and stack the block that the sentence names, with scripted experts",
    )
    registry.add(
        "benchmark",
        "tabletop-chains",
        "forehand_robots.tabletop_chains.benchmark:TabletopChainsBenchmark",
        "32 tasks, and chains of five of them, in environments A to D, with scripted experts",
    )


@hookimpl
def forehand_configuration() -> str:
    """This package's Hydra configuration."""
    return "pkg://forehand_robots.conf"
