"""Robots, policies and executions from their configuration, by name through the registry."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from omegaconf import DictConfig, OmegaConf

from forehand import Benchmark, Contract, Policy, Robot, registry
from forehand.converted import ConvertedRobot
from forehand.errors import ConfigurationError
from forehand.execution import Execution, make_execution
from forehand.oracle import Oracle
from forehand.wire import RemotePolicy

SOURCES = ("address", "checkpoint", "name", "expert")


def make(kind: str, config: DictConfig, **more: Any) -> Any:
    """The part of ``kind`` that ``config`` (``name`` and ``options``) describes, with ``more`` options."""
    return registry().create(kind, config.name, **{**_options(config), **more})


def make_robot(config: DictConfig, **more: Any) -> Robot:
    """The robot that ``config`` describes, speaking through the conversions of its ``convert``."""
    robot: Robot = make("robot", config, **more)
    return ConvertedRobot(robot, list(config.convert)) if config.get("convert") else robot


def make_robots(config: DictConfig) -> list[Robot]:
    """One robot for each address in ``config.robots``; the robot of ``config.robot`` where there is none."""
    if not config.robots:
        return [make_robot(config.robot)]
    options = _options(config.robot) if config.robot.name == "remote" else {}
    remote = OmegaConf.create({"name": "remote", "options": options, "convert": config.robot.get("convert")})
    return [make_robot(remote, address=address) for address in config.robots]


def open_policies(config: DictConfig, robots: list[Robot], benchmark: Benchmark | None = None) -> list[Policy]:
    """A policy for each robot: a client each where it is served elsewhere, else one in this process for all.

    ``benchmark``: whose expert takes the policy's place, where the configuration asks for that.
    """
    if benchmark is not None and policy_source(config) == "expert":
        for robot in robots:
            contract_of(robot)
        return [Oracle(benchmark, robot) for robot in robots]
    if policy_source(config) == "address":
        return [RemotePolicy(config.address, config.timeout, jpeg=config.jpeg) for _ in robots]
    return [open_local_policy(config, lambda: contract_of(robots[0]))] * len(robots)


def open_local_policy(config: DictConfig, contract: Callable[[], Contract]) -> Policy:
    """A checkpoint or a registered policy, in this process; the latter works on ``contract``, asked for only then."""
    if policy_source(config) == "checkpoint":
        from forehand.checkpoint import load_policy
        from forehand.devices import pick_device

        return load_policy(config.checkpoint, str(pick_device(config.device)))
    policy: Policy = make("policy", config, contract=contract())
    return policy


def policy_source(config: DictConfig) -> str:
    """Which one of address, checkpoint and name is given; none or several is an error."""
    sources = [s for s in SOURCES if config.get(s) is not None]
    if len(sources) != 1:
        known = [f"policy.{s}" for s in SOURCES if s in config]
        found = " and ".join(f"policy.{s}" for s in sources) + " are" if sources else "none is"
        raise ConfigurationError(f"Say which policy, with one of {', '.join(known)}; {found} given.")
    return sources[0]


def contract_of(robot: Robot) -> Contract:
    """A robot's contract; one in another process is asked for it."""
    if not hasattr(robot, "contract"):
        robot.connect()
        robot.close()
    return robot.contract


def execution_factory(config: DictConfig, contract: Contract) -> Callable[[], Execution]:
    """Makes executions as ``config.execution`` and ``config.binary_gripper`` say; tried once now, to fail early."""
    options: dict[str, Any] = _plain(config.execution)
    name = options.pop("name")

    def make_one() -> Execution:
        return make_execution(contract, name, binary_gripper=config.binary_gripper, **options)

    make_one()
    return make_one


def _options(config: DictConfig) -> dict[str, Any]:
    return _plain(config.get("options") or {})


def _plain(config: Any) -> dict[str, Any]:
    plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True) if isinstance(config, DictConfig) else {}
    return {str(k): v for k, v in plain.items()} if isinstance(plain, dict) else {}
