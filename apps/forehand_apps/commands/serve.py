"""``forehand serve``: a policy, offered to robots."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from forehand import registry
from forehand.errors import ConfigurationError
from forehand.wire import PolicyServer
from forehand.wire.adapters import KeyMap, ProtocolAdapter
from forehand.wire.clients import ClientQuotas
from forehand.wire.metrics import PrometheusMetrics
from forehand_apps.cli.instantiate import contract_of, make_robot, open_local_policy


class _AnnouncedServer(PolicyServer):
    """Prints a line on standard output for itself and each adapter when they accept clients, for scripts to wait for."""

    title: str
    adapters: Sequence[ProtocolAdapter] = ()

    def start_work(self) -> None:
        super().start_work()
        for adapter in self.adapters:
            adapter.open()
        print(f"serving {self.title} on {self.address}", flush=True)
        if isinstance(self.metrics, PrometheusMetrics):
            print(f"metrics on {self.metrics.address}", flush=True)
        for adapter in self.adapters:
            print(f"{adapter.protocol} clients are answered on {adapter.address}", flush=True)

    def finish_work(self) -> None:
        for adapter in self.adapters:
            adapter.close()
        super().finish_work()


def serve(config: DictConfig) -> None:
    """Serve until Ctrl-C."""
    title = str(config.policy.checkpoint or config.policy.name)
    print(f"loading {title}: clients are answered once this says 'serving'", file=sys.stderr, flush=True)
    policy = open_local_policy(config.policy, lambda: contract_of(make_robot(config.robot)))
    if not policy.acts:
        raise ConfigurationError(f"{title} predicts no actions, so there is nothing to serve. Serve a policy that acts.")
    metrics = PrometheusMetrics(config.metrics) if config.metrics else None
    server = _AnnouncedServer(
        policy,
        config.address,
        session_timeout=config.session_timeout,
        max_sessions=config.max_sessions,
        disconnect_timeout=config.disconnect_timeout,
        max_batch=config.max_batch,
        latency_budget=config.latency_budget,
        warm_up=config.warm_up,
        insecure=config.insecure,
        limits=ClientQuotas(**config.limits),
        metrics=metrics,
    )
    server.title = title
    server.adapters = [_make_adapter(name, options, server) for name, options in config.adapters.items()]
    server.run()
    print("stopped", flush=True)


def _make_adapter(name: str, config: DictConfig, server: PolicyServer) -> ProtocolAdapter:
    options: dict[str, Any] = dict(OmegaConf.to_container(config, resolve=True))  # type: ignore[arg-type]
    try:
        key_map = KeyMap(**options.pop("key_map"))
    except (KeyError, TypeError) as error:
        raise ConfigurationError(f"adapters.{name}.key_map does not say which keys are which: {error}.") from error
    adapter: ProtocolAdapter = registry().create("adapter", name, server=server, key_map=key_map, **options)
    return adapter
