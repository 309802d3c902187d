"""Who drives an evaluation's trials: robots of this process, or simulators in processes of their own."""

from __future__ import annotations

import functools
import multiprocessing
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from omegaconf import DictConfig, OmegaConf

from forehand import Benchmark, Policy
from forehand.crews import Crew, ProcessCrew, ThreadCrew
from forehand.errors import ConfigurationError
from forehand.trials import Driver
from forehand.wire import PolicyServer
from forehand_apps.assembly import (
    contract_of,
    execution_factory,
    make,
    make_robot,
    make_robots,
    open_local_policy,
    open_policies,
    policy_source,
)

PATIENCE = 600.0  # seconds that a policy of this process may take: it is slow, but it is not gone


@contextmanager
def assembled(config: DictConfig, benchmark: Benchmark) -> Iterator[tuple[Crew, dict[str, Any]]]:
    """The crew that ``config`` describes, and facts about its policy.

    With several workers, or where a policy of this process is to be asked for several robots at once, it is served to
    them on loopback: simulators and policy meet as they do anywhere else.
    """
    workers = os.cpu_count() or 1 if config.workers is None else config.workers
    if workers < 1 or config.policy.batch < 1:
        raise ConfigurationError("workers and policy.batch are at least 1.")
    if workers > 1 and config.robots:
        raise ConfigurationError("robots=[…] are driven as they are; workers=… starts simulators. Choose one of them.")
    here = policy_source(config.policy) in ("checkpoint", "name")
    with ExitStack() as stack:
        if here and (workers > 1 or (len(config.robots) > 1 and config.policy.batch > 1)):
            policy = open_local_policy(config.policy, lambda: contract_of(make_robots(config)[0]))
            config = stack.enter_context(_served(policy, config))
        if workers > 1:
            (policy,) = open_policies(config.policy, [make_robot(config.robot)], benchmark)
            execution_factory(config, policy.contract)  # tried here, to fail early
            equip = functools.partial(_equip, OmegaConf.to_yaml(config, resolve=True))
            yield ProcessCrew(equip, workers), policy.describe()
        else:
            robots = make_robots(config)
            policies = open_policies(config.policy, robots, benchmark)
            execution = execution_factory(config, policies[0].contract)
            yield ThreadCrew(policies, robots, execution), policies[0].describe()


@contextmanager
def _served(policy: Policy, config: DictConfig) -> Iterator[DictConfig]:
    """The configuration of those who ask ``policy``, which is served meanwhile."""
    with PolicyServer(policy, "tcp://127.0.0.1:0", max_batch=config.policy.batch).running() as server:
        asking = {"address": server.address, "checkpoint": None, "name": None, "timeout": PATIENCE, "jpeg": None}
        merged = OmegaConf.merge(config, {"policy": asking})
        assert isinstance(merged, DictConfig)
        yield merged


def _equip(text: str) -> Driver:
    """What each worker has, by its configuration in YAML: a robot, and a client of the policy or an expert of its own."""
    config = OmegaConf.create(text)
    assert isinstance(config, DictConfig)
    robot = make_robot(config.robot)
    (policy,) = open_policies(config.policy, [robot], make("benchmark", config.benchmark))
    name = f"The robot of {multiprocessing.current_process().name}"
    return Driver(policy, robot, execution_factory(config, policy.contract), name)
