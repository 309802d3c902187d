"""``forehand serve``: a policy, offered to robots."""

from __future__ import annotations

from omegaconf import DictConfig

from forehand.wire import PolicyServer
from forehand_apps.assembly import contract_of, make, open_local_policy


class _AnnouncedServer(PolicyServer):
    """Says on standard output when it answers; a script waits for that line."""

    title: str

    def start_work(self) -> None:
        super().start_work()
        print(f"serving {self.title} on {self.address}", flush=True)


def serve(config: DictConfig) -> None:
    """Serve until Ctrl-C."""
    policy = open_local_policy(config.policy, lambda: contract_of(make("robot", config.robot)))
    server = _AnnouncedServer(
        policy,
        config.address,
        session_timeout=config.session_timeout,
        max_sessions=config.max_sessions,
        max_batch=config.max_batch,
    )
    server.title = str(config.policy.checkpoint or config.policy.name)
    server.run()
    print("stopped", flush=True)
