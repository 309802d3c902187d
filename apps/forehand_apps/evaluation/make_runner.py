"""Creation of an evaluation's episode runner: robots in threads, or simulators in processes."""

from __future__ import annotations

import functools
import multiprocessing
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from omegaconf import DictConfig, OmegaConf

from forehand import Benchmark, Policy
from forehand.errors import ConfigurationError
from forehand.evaluation.runners import EpisodeRunner, ProcessRunner, ThreadRunner
from forehand.evaluation.trials import TrialRunner
from forehand.wire import PolicyServer
from forehand_apps.cli.instantiate import (
    chunker_factory,
    contract_of,
    is_hosted,
    make,
    make_robot,
    make_robots,
    open_local_policy,
    open_policies,
    policy_source,
    workers_of,
)
from forehand_apps.evaluation.interventions import intervened, require_local

LOCAL_POLICY_TIMEOUT = 600.0  # seconds that a policy of this process may take, which may be slow, but cannot be lost


@contextmanager
def make_runner(config: DictConfig, benchmark: Benchmark) -> Iterator[tuple[EpisodeRunner, dict[str, Any]]]:
    """The runner that ``config`` describes, and facts about its policy.

    With several workers, or where a policy of this process computes several robots' actions together, it is served on
    loopback, through the same protocol as elsewhere.
    """
    workers = workers_of(config)
    if workers > 1 and config.robots:
        raise ConfigurationError("robots=[…] are driven as they are; workers=… starts simulators. Choose one of them.")
    threads = len(config.robots)
    if is_hosted(config):
        threads, workers = workers, 1
    here = policy_source(config.policy) in ("checkpoint", "name")
    require_local(config)
    with ExitStack() as stack:
        if here and (workers > 1 or (threads > 1 and config.policy.max_batch > 1)):
            policy = open_local_policy(config.policy, lambda: contract_of(make_robots(config)[0]))
            config = stack.enter_context(_served(intervened(config, policy, benchmark, []), config))
        if workers > 1:
            (policy,) = open_policies(config.policy, [make_robot(config.robot)], benchmark)
            make_worker = functools.partial(_make_worker, OmegaConf.to_yaml(config, resolve=True))
            yield ProcessRunner(make_worker, workers), policy.describe()
        else:
            robots = make_robots(config)
            policies = open_policies(config.policy, robots, benchmark)
            intervened(config, policies[0], benchmark, [] if config.robots else robots)  # it drives all robots
            runner = ThreadRunner(policies, robots, chunker_factory(config), benchmark, latency_of(config))
            yield runner, policies[0].describe()


def latency_of(config: DictConfig) -> float:
    """The policy's latency in seconds of simulated time; 0 in the records of evaluations that had none."""
    return float(config.policy.get("latency", 0.0))


@contextmanager
def _served(policy: Policy, config: DictConfig) -> Iterator[DictConfig]:
    """The configuration of clients of ``policy``, which is served within this context."""
    with PolicyServer(policy, "tcp://127.0.0.1:0", max_batch=config.policy.max_batch).running() as server:
        client = {
            "address": server.address,
            "checkpoint": None,
            "name": None,
            "timeout": LOCAL_POLICY_TIMEOUT,
            "jpeg": None,
        }
        merged = OmegaConf.merge(config, {"policy": client, "foresight": None})
        assert isinstance(merged, DictConfig)
        yield merged


def _make_worker(text: str) -> TrialRunner:
    """The trial runner of one worker by its configuration in YAML: a robot, with a policy client or an expert."""
    config = OmegaConf.create(text)
    assert isinstance(config, DictConfig)
    robot = make_robot(config.robot)
    benchmark: Benchmark = make("benchmark", config.benchmark)
    (policy,) = open_policies(config.policy, [robot], benchmark)
    name = f"The robot of {multiprocessing.current_process().name}"
    return TrialRunner(policy, robot, chunker_factory(config), name, benchmark, latency_of(config))
