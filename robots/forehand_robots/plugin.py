"""Registration of the robot drivers."""

from forehand import Registry, hookimpl


@hookimpl
def forehand_register(registry: Registry) -> None:
    """Register this package's parts."""
    registry.add(
        "environment",
        "gymnasium",
        "forehand_robots.gymnasium_environment:gymnasium",
        "environments of Gymnasium, by the packages that they come in: robot and benchmark gymnasium",
    )
    registry.add(
        "robot", "gymnasium", "forehand_robots.gymnasium_robot:GymnasiumRobot", "any Gymnasium environment, by its id"
    )
    registry.add(
        "robot", "lerobot", "forehand_robots.lerobot_robot:LeRobotRobot", "any LeRobot robot, by its type and options"
    )
    registry.add("robot", "remote", "forehand_robots.remote:RemoteRobot", "a robot behind a robot host, over ZeroMQ")
    registry.add(
        "robot",
        "hosted",
        "forehand_robots.hosted:HostedRobot",
        "a simulated robot in a process of its own, in the environment of its simulator",
    )
    registry.add(
        "robot",
        "replay",
        "forehand_robots.replay:ReplayRobot",
        "a recorded episode: observations come from it, actions are compared with it",
    )


@hookimpl
def forehand_configuration() -> str:
    """This package's Hydra configuration."""
    return "pkg://forehand_robots.conf"
