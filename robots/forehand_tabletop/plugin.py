"""Registration of the tabletop robots and benchmarks."""

from forehand import Registry, hookimpl


@hookimpl
def forehand_register(registry: Registry) -> None:
    """Register this package's parts."""
    registry.add(
        "robot",
        "tabletop",
        "forehand_tabletop.blocks.robot:TabletopRobot",
        "the embedded simulator: a seven-joint arm, two cameras and three coloured blocks on a table",
    )
    registry.add(
        "robot",
        "tabletop-chains",
        "forehand_tabletop.chains.robot:TabletopChainsRobot",
        "the embedded simulator: the same arm, with drawer, door, slider, button, switch and blocks, in four variants",
    )
    registry.add(
        "benchmark",
        "gymnasium",
        "forehand_robots.own_episodes:GymnasiumBenchmark",
        "the own episodes of a Gymnasium environment, judged by its success or return",
    )
    registry.add(
        "benchmark",
        "tabletop",
        "forehand_tabletop.blocks.benchmark:TabletopBenchmark",
        "push, lift and stack the block that the sentence names, with scripted experts",
    )
    registry.add(
        "benchmark",
        "tabletop-chains",
        "forehand_tabletop.chains.benchmark:TabletopChainsBenchmark",
        "32 tasks, and chains of five of them, in environments A to D, with scripted experts",
    )


@hookimpl
def forehand_configuration() -> str:
    """This package's Hydra configuration."""
    return "pkg://forehand_tabletop.conf"
