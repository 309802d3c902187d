"""``forehand robot``: a robot host for clients in other processes."""

from __future__ import annotations

from omegaconf import DictConfig

from forehand.control.rest import HoldUnknown
from forehand.wire import RobotHost
from forehand.wire.metrics import PrometheusMetrics
from forehand_apps.cli.instantiate import make_robot


class _AnnouncedHost(RobotHost):
    """Prints a line on standard output when the robot is connected, for scripts to wait for."""

    title: str

    def start_work(self) -> None:
        super().start_work()
        print(f"robot {self.title} on {self.address}", flush=True)
        if isinstance(self.metrics, PrometheusMetrics):
            print(f"metrics on {self.metrics.address}", flush=True)


def robot(config: DictConfig) -> None:
    """Host the robot until Ctrl-C."""
    host = _AnnouncedHost(
        make_robot(config.robot),
        config.address,
        watchdog=config.watchdog,
        stop=config.stop,
        lease_timeout=config.lease_timeout,
        insecure=config.insecure,
        metrics=PrometheusMetrics(config.metrics) if config.metrics else None,
    )
    host.title = config.robot.name
    host.run()
    if not host.at_rest:
        raise HoldUnknown(f"The robot {host.title} was not brought to rest: whether it holds is unknown. Look after it.")
    print("stopped", flush=True)
