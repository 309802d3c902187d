"""Conformance checks for policies. No torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from forehand.conformance.example import observation, require
from forehand.contracts.contract import Contract
from forehand.policy import Policy, Prediction, Session
from forehand.registry import indefinite
from forehand.robot import Observation

STEPS = 6
INSTRUCTIONS = ("lift the red block", "push the green block to the left")


REPEATABLE = (
    "a new session under the same instruction and observations must act the same (random numbers are drawn by a seed of "
    "the session's own, and sessions share nothing)"
)


def assert_policy_conforms(factory: Callable[[], Policy], tolerance: float = 1e-4) -> None:
    """Drive one policy through sessions of random observations.

    ``tolerance``: how far (relative, and absolute in the action's units) two ways to the same actions may lie apart.
    """
    policy = factory()
    require(
        isinstance(policy, Policy), f"the factory makes {indefinite(type(policy).__name__)}, which is no forehand.Policy"
    )
    contract = policy.contract
    require(isinstance(contract, Contract), f"contract is {indefinite(type(contract).__name__)}, not a forehand.Contract")
    generator = np.random.default_rng(0)
    streams = [[observation(contract, generator, i / contract.rate) for i in range(STEPS)] for _ in INSTRUCTIONS]
    before = [[_copy(o) for o in stream] for stream in streams]

    require(policy.step([], []) == [], "step([], []) must answer nothing, with []")
    alone = [_run(policy, [policy.open(t)], [s])[0] for t, s in zip(INSTRUCTIONS, streams, strict=True)]
    for stream, originals in zip(streams, before, strict=True):
        for given, original in zip(stream, originals, strict=True):
            require(_same_observation(given, original), "step() writes into the observations it was given")
    for predictions in alone:
        for prediction in predictions:
            _check_prediction(prediction, contract)
    require(
        len({p.actions.shape for predictions in alone for p in predictions}) == 1,
        "the length of the action chunk must not change from step to step",
    )

    def same(ours: Sequence[Prediction], theirs: Sequence[Prediction], promise: str) -> None:
        for step, (a, b) in enumerate(zip(ours, theirs, strict=True)):
            gap = np.abs(a.actions - b.actions).max()
            near = np.allclose(a.actions, b.actions, rtol=tolerance, atol=tolerance)
            require(near, f"{promise}: the actions of step {step} differ by {gap:.2g}")

    again = _run(policy, [policy.open(INSTRUCTIONS[0])], streams[:1])[0]
    same(again, alone[0], REPEATABLE)
    other = _run(policy, [policy.open(INSTRUCTIONS[0], seed=1)], streams[:1])[0]
    if policy.samples:
        differ = any(not np.array_equal(a.actions, b.actions) for a, b in zip(other, alone[0], strict=True))
        require(differ, "a policy whose samples is True must act otherwise under another seed")
    else:
        same(other, alone[0], "a policy whose samples is False must not depend on a session's seed")

    together = _run(policy, [policy.open(t) for t in INSTRUCTIONS], streams)
    for ours, theirs in zip(together, alone, strict=True):
        same(ours, theirs, "sessions in one batch must act as each would alone")

    session = policy.open(INSTRUCTIONS[1])
    _run(policy, [session], [streams[1]])
    session.reset(INSTRUCTIONS[0])
    require(session.instruction == INSTRUCTIONS[0], "reset(instruction) must change the session's instruction")
    same(_run(policy, [session], streams[:1])[0], alone[0], "a session that was reset must act like a new one")

    foreseen = _run(policy, [policy.open(INSTRUCTIONS[0])], streams[:1], forecast=True)[0]
    same(foreseen, alone[0], "a forecast must not change the actions")
    for prediction in foreseen:
        _check_prediction(prediction, contract)

    staggered = [policy.open(t) for t in INSTRUCTIONS]
    first = policy.step(staggered[:1], [streams[0][0]])
    both = [policy.step(staggered, [streams[0][i + 1], streams[1][i]]) for i in range(STEPS - 1)]
    same([*first, *(b[0] for b in both)], alone[0], "sessions of different ages in one batch must not disturb each other")
    same([b[1] for b in both], alone[1][:-1], "sessions of different ages in one batch must not disturb each other")

    require(isinstance(policy.describe(), dict), "describe() must return a dictionary of facts")
    policy.origin = {"checkpoint": "somewhere"}
    promise = "describe() must include the policy's origin, so that evaluations of different weights can be separated"
    require(policy.describe().get("checkpoint") == "somewhere", promise)


def _run(
    policy: Policy, sessions: Sequence[Session], streams: Sequence[Sequence[Observation]], forecast: bool = False
) -> list[list[Prediction]]:
    """Predictions session by session, step by step."""
    answers = []
    for observations in zip(*streams, strict=True):
        predictions = policy.step(sessions, list(observations), forecast=forecast)
        require(
            len(predictions) == len(sessions),
            f"step() must return a prediction for every session: {len(predictions)} for {len(sessions)} sessions",
        )
        answers.append(predictions)
    return [list(row) for row in zip(*answers, strict=True)]


def _check_prediction(prediction: Prediction, contract: Contract) -> None:
    require(isinstance(prediction, Prediction), f"step() must return Predictions, not {type(prediction).__name__}")
    actions = prediction.actions
    require(
        isinstance(actions, np.ndarray)
        and actions.ndim == 2
        and len(actions) >= 1
        and actions.shape[1] == contract.action_size
        and actions.dtype == np.float32,
        f"actions must be (H, {contract.action_size}) float32 by the contract; they are "
        f"{getattr(actions, 'shape', None)} {getattr(actions, 'dtype', type(actions).__name__)}",
    )
    require(np.isfinite(actions).all(), "the actions hold numbers that are not finite")
    horizons = [forecast.horizon for forecast in prediction.forecasts]
    require(
        all(h >= 1 for h in horizons) and horizons == sorted(set(horizons)),
        f"forecasts need horizons of one step or more, ascending; they are {horizons}",
    )
    cameras = {c.name for c in contract.cameras}
    for forecast in prediction.forecasts:
        for name, picture in forecast.images.items():
            require(name in cameras, f"the forecast has a camera {name!r} that the contract lacks: {sorted(cameras)}")
            require(
                isinstance(picture, np.ndarray) and picture.ndim == 3 and picture.shape[2:] == (3,),
                f"the forecast of {name!r} must be (h, w, 3) uint8",
            )
            require(picture.dtype == np.uint8, f"the forecast of {name!r} must be (h, w, 3) uint8")
        for name, features in forecast.features.items():
            camera = name.partition(".")[2]
            require(camera in cameras, f"forecast features are called <tower>.<camera>, not {name!r}")
            require(
                isinstance(features, np.ndarray) and features.ndim == 3 and features.dtype == np.float32,
                f"the features of {name!r} must be (h, w, W) float32",
            )


def _copy(o: Observation) -> Observation:
    images, sensors = ({name: a.copy() for name, a in arrays.items()} for arrays in (o.images, o.sensors))
    return Observation(images, o.state.copy(), o.time, o.success, sensors)


def _same_observation(a: Observation, b: Observation) -> bool:
    ours, theirs = {**a.images, **a.sensors}, {**b.images, **b.sensors}
    return np.array_equal(a.state, b.state) and all(np.array_equal(ours[n], theirs[n], equal_nan=True) for n in theirs)
