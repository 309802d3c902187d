"""``forehand robot``: a robot, offered to whoever drives it."""

from __future__ import annotations

from omegaconf import DictConfig

from forehand.wire import RobotHost
from forehand.wire.meter import PrometheusMeter
from forehand_apps.assembly import make_robot


class _AnnouncedHost(RobotHost):
    """Says on standard output when the robot is connected; a script waits for that line."""

    title: str

    def start_work(self) -> None:
        super().start_work()
        print(f"robot {self.title} on {self.address}", flush=True)
        if isinstance(self.meter, PrometheusMeter):
            print(f"metrics on {self.meter.address}", flush=True)


def robot(config: DictConfig) -> None:
    """Host the robot until Ctrl-C."""
    host = _AnnouncedHost(
        make_robot(config.robot),
        config.address,
        watchdog=config.watchdog,
        stop=config.stop,
        release=config.release,
        insecure=config.insecure,
        meter=PrometheusMeter(config.metrics) if config.metrics else None,
    )
    host.title = config.robot.name
    host.run()
    print("stopped", flush=True)
