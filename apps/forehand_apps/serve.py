"""``forehand serve``: a policy, offered to robots."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from forehand import registry
from forehand.errors import ConfigurationError
from forehand.wire import PolicyServer
from forehand.wire.clients import Limits
from forehand.wire.doors import Door, Keys
from forehand.wire.meter import PrometheusMeter
from forehand_apps.assembly import contract_of, make_robot, open_local_policy


class _AnnouncedServer(PolicyServer):
    """Says on standard output when it and its doors answer; a script waits for that line."""

    title: str
    doors: Sequence[Door] = ()

    def start_work(self) -> None:
        super().start_work()
        for door in self.doors:
            door.open()
        print(f"serving {self.title} on {self.address}", flush=True)
        if isinstance(self.meter, PrometheusMeter):
            print(f"metrics on {self.meter.address}", flush=True)
        for door in self.doors:
            print(f"{door.protocol} clients are answered on {door.address}", flush=True)

    def finish_work(self) -> None:
        for door in self.doors:
            door.close()
        super().finish_work()


def serve(config: DictConfig) -> None:
    """Serve until Ctrl-C."""
    policy = open_local_policy(config.policy, lambda: contract_of(make_robot(config.robot)))
    meter = PrometheusMeter(config.metrics) if config.metrics else None
    server = _AnnouncedServer(
        policy,
        config.address,
        session_timeout=config.session_timeout,
        max_sessions=config.max_sessions,
        absence=config.absence,
        max_batch=config.max_batch,
        latency_budget=config.latency_budget,
        warm_up=config.warm_up,
        insecure=config.insecure,
        limits=Limits(**config.limits),
        meter=meter,
    )
    server.title = str(config.policy.checkpoint or config.policy.name)
    server.doors = [_make_door(name, options, server) for name, options in config.doors.items()]
    server.run()
    print("stopped", flush=True)


def _make_door(name: str, config: DictConfig, server: PolicyServer) -> Door:
    options: dict[str, Any] = dict(OmegaConf.to_container(config, resolve=True))  # type: ignore[arg-type]
    try:
        keys = Keys(**options.pop("keys"))
    except (KeyError, TypeError) as error:
        raise ConfigurationError(f"doors.{name}.keys does not say which keys are which: {error}.") from error
    door: Door = registry().create("door", name, server=server, keys=keys, **options)
    return door
