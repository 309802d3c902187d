"""Conformance checks for robots. No torch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from forehand.conformance.example import require
from forehand.contracts.contract import Contract
from forehand.errors import ForehandError
from forehand.registry import indefinite
from forehand.robot import Episode, Observation, Robot


def assert_robot_conforms(factory: Callable[[], Robot], episode: Episode | None = None) -> None:
    """Connect, reset, observe, act, hold, stop and close one robot, and look at everything it returns.

    ``episode`` is what it is reset to. The robot moves: on hardware, stand by the emergency stop.
    """
    robot = factory()
    require(isinstance(robot, Robot), f"the factory makes {indefinite(type(robot).__name__)}, which is no forehand.Robot")
    robot.connect()
    try:
        _check(robot, episode)
    finally:
        robot.close()
    robot.close()  # harmless


def _check(robot: Robot, episode: Episode | None) -> None:
    contract = robot.contract
    require(isinstance(contract, Contract), f"contract is {indefinite(type(contract).__name__)}, not a forehand.Contract")
    require(Contract.from_json(contract.to_json()) == contract, "the contract does not survive JSON")
    require(contract.rate > 0, f"the contract's rate must be positive, not {contract.rate}")

    start = robot.reset(episode)
    _check_observation(start, contract, "reset()")
    before = {**start.images, **start.sensors}
    kept = {name: array.copy() for name, array in before.items()}, start.state.copy()

    seen = robot.observe()
    _check_observation(seen, contract, "observe()")
    action = _middle(contract)
    for call, answer in (("act()", robot.act(action)), ("act() again", robot.act(action))):
        require(
            isinstance(answer, np.ndarray) and answer.shape == action.shape and answer.dtype == np.float32,
            f"{call} must return the commanded action, ({contract.action_size},) float32; it returned {_shape(answer)}",
        )
        require(np.isfinite(answer).all(), f"{call} returned numbers that are not finite: {answer}")
    require(np.array_equal(action, _middle(contract)), "act() writes into the action it was given")

    stepped = robot.step(action)
    _check_observation(stepped, contract, "step()")
    robot.hold()
    last = robot.observe()
    _check_observation(last, contract, "observe() after hold()")
    times = [seen.time, stepped.time, last.time]
    require(times == sorted(times), f"time must not run backwards within an episode: {times}")
    require(
        all(np.array_equal(before[name], array, equal_nan=True) for name, array in kept[0].items())
        and np.array_equal(start.state, kept[1]),
        "an earlier observation changed when the robot went on: return fresh arrays",
    )

    for what, wrong in _wrong_actions(contract).items():
        try:
            robot.act(wrong)
        except Exception:  # any refusal will do
            continue
        raise AssertionError(f"act() accepted {what}; it must refuse it before anything moves")
    robot.stop()
    _check_observation(robot.reset(episode), contract, "reset() after stop()")


def _wrong_actions(contract: Contract) -> dict[str, np.ndarray]:
    action = _middle(contract)
    broken = action.copy()
    broken[0] = np.nan
    return {
        "an action that is one number short": action[:-1],
        "an action that is one number long": np.append(action, np.float32(0)),
        "a batch of actions": action[None],
        "an action that is not a number": broken,
    }


def _middle(contract: Contract) -> np.ndarray:
    """A small action: zero in a relative field, the middle of an absolute one's range."""
    parts = [
        (np.asarray(f.low) + np.asarray(f.high)) / 2 if f.mode != "delta" and f.low and f.high else np.zeros(f.size)
        for f in contract.action
    ]
    return np.concatenate(parts).astype(np.float32)


def _check_observation(observation: Observation, contract: Contract, source: str) -> None:
    require(
        isinstance(observation, Observation),
        f"{source} returned {indefinite(type(observation).__name__)}, no Observation",
    )
    for camera in contract.cameras:
        image = observation.images.get(camera.name)
        require(
            isinstance(image, np.ndarray) and image.shape == (camera.height, camera.width, 3) and image.dtype == np.uint8,
            f"{source}: camera {camera.name!r} must be ({camera.height}, {camera.width}, 3) uint8 by the contract; "
            f"it is {_shape(image)}",
        )
    for sensor in contract.sensors:
        try:
            sensor.check(observation.sensors.get(sensor.name))
        except ForehandError as error:
            raise AssertionError(f"{source}: {error}") from error
    state = observation.state
    require(
        isinstance(state, np.ndarray) and state.shape == (contract.state_size,) and state.dtype == np.float32,
        f"{source}: state must be ({contract.state_size},) float32 by the contract; it is {_shape(state)}",
    )
    require(np.isfinite(state).all(), f"{source}: the state has numbers that are not finite: {state}")
    require(np.isfinite(observation.time), f"{source}: time must be a number of seconds, not {observation.time}")


def _shape(value: object) -> str:
    return f"{value.shape} {value.dtype}" if isinstance(value, np.ndarray) else repr(value)
