"""Instantiation of robots, policies and action chunkers from their configuration."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from forehand import Benchmark, Contract, Policy, Robot, registry
from forehand.control.chunking import ActionChunker, make_chunker
from forehand.control.converted_robot import converted
from forehand.errors import ConfigurationError
from forehand.evaluation.expert_policy import Oracle
from forehand.wire import RemotePolicy

SOURCES = ("address", "checkpoint", "name", "expert")


def make(kind: str, config: DictConfig, **more: Any) -> Any:
    """The part of ``kind`` that ``config`` (``name`` and ``options``) describes, with ``more`` options."""
    return registry().create(kind, config.name, **{**_options(config), **more})


def make_robot(config: DictConfig, **more: Any) -> Robot:
    """The robot that ``config`` describes, with the conversions of its ``convert``.

    Where it names an ``environment``, it is hosted there by a process of its own, with the options of ``process``.
    """
    if config.get("environment") is None:
        robot: Robot = make("robot", config, **more)
    else:
        host = {"robot": config.name, "options": _options(config) | more, "environment": config.environment}
        robot = registry().create("robot", "hosted", **host, **plain(config.get("process")))
    return converted(robot, config.get("convert"))


def make_robots(config: DictConfig) -> list[Robot]:
    """One robot for each address in ``config.robots``; where there is none, the robot of ``config.robot``.

    Of one that has processes of its own, as many as there are workers.
    """
    if not config.robots:
        return [make_robot(config.robot) for _ in range(workers_of(config) if is_hosted(config) else 1)]
    options = _options(config.robot) if config.robot.name == "remote" else {}
    remote = OmegaConf.create({"name": "remote", "options": options, "convert": config.robot.get("convert")})
    return [make_robot(remote, address=address) for address in config.robots]


def is_hosted(config: DictConfig) -> bool:
    """Whether the robot of ``config`` runs in processes of its own, which this one starts."""
    return not config.robots and (config.robot.get("environment") is not None or config.robot.name == "hosted")


def workers_of(config: DictConfig) -> int:
    """How many simulators there are, side by side; by default one for each CPU core."""
    return os.cpu_count() or 1 if config.workers is None else int(config.workers)


def open_policies(config: DictConfig, robots: list[Robot], benchmark: Benchmark | None = None) -> list[Policy]:
    """A policy for each robot: a client each where it is served elsewhere, else one in this process for all.

    ``benchmark``: the one whose expert replaces the policy, with ``policy.expert=true``.
    """
    if benchmark is not None and policy_source(config) == "expert":
        for robot in robots:
            contract_of(robot)
        return [Oracle(benchmark, robot) for robot in robots]
    if policy_source(config) == "address":
        return [RemotePolicy(config.address, config.timeout, jpeg=config.jpeg) for _ in robots]
    return [open_local_policy(config, lambda: contract_of(robots[0]))] * len(robots)


def open_local_policy(config: DictConfig, contract: Callable[[], Contract]) -> Policy:
    """A checkpoint or a registered policy, in this process; only the latter needs ``contract``."""
    if policy_source(config) == "checkpoint":
        if isinstance(config.checkpoint, ListConfig):
            raise ConfigurationError(
                "policy.checkpoint names several. Models of inverse dynamics are judged together with dataset=…; "
                "of other policies name one, or sweep over them: -m policy.checkpoint=outputs/first,outputs/second"
            )
        from forehand.compose.acceleration import accelerate
        from forehand.learning.checkpoint import load_policy
        from forehand.learning.devices import pick_device

        device = str(pick_device(config.device))
        loaded = load_policy(
            config.checkpoint,
            device,
            rate=config.get("rate"),
            weights=config.get("weights"),
            merge_lora=bool(config.get("merge_lora")),
        )
        accelerate(loaded, precision=config.get("precision") or "float32", compile=config.get("compile"))
        return loaded
    policy: Policy = make("policy", config, contract=contract())
    return policy


def policy_source(config: DictConfig) -> str:
    """Which one of address, checkpoint and name is given; none or several is an error."""
    sources = [s for s in SOURCES if config.get(s) is not None]
    if len(sources) != 1:
        known = [f"policy.{s}" for s in SOURCES if s in config]
        found = " and ".join(f"policy.{s}" for s in sources) + " are" if sources else "none is"
        raise ConfigurationError(f"Choose the policy with one of {', '.join(known)}; {found} given.")
    return sources[0]


def contract_of(robot: Robot) -> Contract:
    """A robot's contract; it is connected for a moment where the contract is not available before."""
    if not hasattr(robot, "contract"):
        robot.connect()
        robot.close()
    return robot.contract


def chunker_factory(config: DictConfig) -> Callable[[Contract], ActionChunker]:
    """A factory of action chunkers by ``config.chunking`` and ``config.binary_gripper``; tried once, to fail early."""
    options: dict[str, Any] = plain(config.chunking)
    name = options.pop("name")
    registry().create("chunking", name, **options)
    return functools.partial(make_chunker, name=name, binary_gripper=config.binary_gripper, **options)


def _options(config: DictConfig) -> dict[str, Any]:
    return plain(config.get("options") or {})


def plain(config: Any, *, partial: bool = False) -> dict[str, Any]:
    """What ``config`` holds, resolved, in plain Python types; {} for None.

    Raises :class:`MissingMandatoryValue` where a value must be given still, unless it may be ``partial``.
    """
    if not isinstance(config, DictConfig):
        return {}
    found = OmegaConf.to_container(config, resolve=True, throw_on_missing=not partial)
    return {str(k): v for k, v in found.items()} if isinstance(found, dict) else {}
