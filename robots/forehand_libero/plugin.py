"""Registration of LIBERO: its environment, robot and benchmark."""

from forehand import Registry, hookimpl


@hookimpl
def forehand_register(registry: Registry) -> None:
    """Register this package's parts."""
    registry.add(
        "environment", "libero", "forehand_libero.environment:libero", "LIBERO and LIBERO-PRO: robot and benchmark libero"
    )
    registry.add("robot", "libero", "forehand_libero.robot:LiberoRobot", "LIBERO's simulated Panda, with two cameras")
    registry.add(
        "benchmark",
        "libero",
        "forehand_libero.benchmark:LiberoBenchmark",
        "the suites of LIBERO and LIBERO-PRO, by the protocols of Seer, OpenVLA and LeRobot",
    )


@hookimpl
def forehand_configuration() -> str:
    """This package's Hydra configuration."""
    return "pkg://forehand_libero.conf"
