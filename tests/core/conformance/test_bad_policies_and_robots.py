"""The checks of policies and robots pass the plainest honest ones, and name what is wrong with each bad one."""

import sys
from dataclasses import replace

import numpy as np
import pytest
from tests.child_process import run_child

from forehand import Forecast, Observation, Policy, Prediction, Robot, Session
from forehand.conformance import assert_policy_conforms, assert_robot_conforms
from forehand.conformance.example import CONTRACT


class CountingSession(Session):
    steps = 0

    def reset(self, instruction=None):
        super().reset(instruction)
        self.steps = 0


class PlainPolicy(Policy):
    """How long it has been at it, and what it was told, in every action."""

    contract = CONTRACT

    def open(self, instruction, seed=0):
        return CountingSession(instruction, seed)

    def step(self, sessions, observations, *, forecast=False):
        answers = []
        for session, observation in zip(sessions, observations, strict=True):
            session.steps += 1
            answers.append(self.answer(session, observation, forecast))
        return answers

    def answer(self, session, observation, forecast):
        actions = np.full((2, 7), session.steps + len(session.instruction), np.float32)
        return Prediction(actions, (Forecast(1, dict(observation.images)),) if forecast else ())


class NeverForgets(PlainPolicy):
    class Session(CountingSession):
        def reset(self, instruction=None):
            Session.reset(self, instruction)

    def open(self, instruction, seed=0):
        return self.Session(instruction, seed)


class SharedHistory(PlainPolicy):
    count = 0

    def answer(self, session, observation, forecast):
        self.count += 1
        return replace(super().answer(session, observation, forecast), actions=np.full((2, 7), self.count, np.float32))


class OneForAll(PlainPolicy):
    def step(self, sessions, observations, *, forecast=False):
        return super().step(sessions, observations, forecast=forecast)[:1]


class Mixes(PlainPolicy):
    def step(self, sessions, observations, *, forecast=False):
        answers = super().step(sessions, observations, forecast=forecast)
        return [replace(a, actions=a.actions + len(answers)) for a in answers]


class DrawsAtRandom(PlainPolicy):
    def step(self, sessions, observations, *, forecast=False):
        return [
            replace(p, actions=p.actions + np.random.default_rng().random(p.actions.shape, np.float32))
            for p in super().step(sessions, observations, forecast=forecast)
        ]


class ForecastDisturbs(PlainPolicy):
    def answer(self, session, observation, forecast):
        answer = super().answer(session, observation, forecast)
        return replace(answer, actions=answer.actions + forecast)


class DoublePrecision(PlainPolicy):
    def answer(self, session, observation, forecast):
        answer = super().answer(session, observation, forecast)
        return replace(answer, actions=answer.actions.astype(np.float64))


class NoHorizon(PlainPolicy):
    def answer(self, session, observation, forecast):
        return replace(super().answer(session, observation, forecast), forecasts=(Forecast(0, dict(observation.images)),))


class DependsOnTheSeed(PlainPolicy):
    def answer(self, session, observation, forecast):
        answer = super().answer(session, observation, forecast)
        return replace(answer, actions=answer.actions + session.seed)


class Samples(DependsOnTheSeed):
    samples = True


class SamplesAlike(PlainPolicy):
    samples = True


class Scribbles(PlainPolicy):
    def answer(self, session, observation, forecast):
        observation.state[:] = 0
        return super().answer(session, observation, forecast)


class Anonymous(PlainPolicy):
    def describe(self):
        return {"policy": "anonymous"}


@pytest.mark.parametrize("policy", [PlainPolicy, Samples])
def test_plain_policy(policy):
    assert_policy_conforms(policy)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (NeverForgets, "a session that was reset must act like a new one"),
        (DrawsAtRandom, "random numbers are drawn by a seed of the session's own"),
        (SharedHistory, "a new session under the same instruction and observations must act the same"),
        (OneForAll, "1 for 2 sessions"),
        (Mixes, "sessions in one batch must act as each would alone: the actions of step 0 differ by 1"),
        (ForecastDisturbs, "a forecast must not change the actions"),
        (DoublePrecision, r"actions must be \(H, 7\) float32 .* float64"),
        (NoHorizon, r"horizons of one step or more, ascending; they are \[0\]"),
        (DependsOnTheSeed, "a policy whose samples is False must not depend on a session's seed"),
        (SamplesAlike, "a policy whose samples is True must act otherwise under another seed"),
        (Scribbles, "writes into the observations"),
        (Anonymous, "must include the policy's origin"),
        (dict, "no forehand.Policy"),
    ],
)
def test_bad_policy(bad, message):
    with pytest.raises(AssertionError, match=message):
        assert_policy_conforms(bad)


class PlainRobot(Robot):
    contract = CONTRACT

    def __init__(self):
        self.time = 0.0

    def reset(self, episode=None):
        self.time = 0.0
        return self.observe()

    def observe(self):
        images = {c.name: np.full((c.height, c.width, 3), int(self.time * 10), np.uint8) for c in self.contract.cameras}
        return Observation(images, np.full(7, self.time, np.float32), self.time)

    def act(self, action):
        if action.shape != (7,) or not np.isfinite(action).all():
            raise ValueError("seven finite numbers, please")
        self.time += 0.1
        return action.copy()

    def hold(self):
        self.time += 0.1


class Obeys(PlainRobot):
    def act(self, action):
        self.time += 0.1
        return np.zeros(7, np.float32)


class ObeysNaN(PlainRobot):
    def act(self, action):
        return super().act(np.nan_to_num(action))


class SaysNothing(PlainRobot):
    def act(self, action):
        super().act(action)


class SmallPictures(PlainRobot):
    def observe(self):
        seen = super().observe()
        return replace(seen, images={name: image[::2] for name, image in seen.images.items()})


class OneEyed(PlainRobot):
    def observe(self):
        seen = super().observe()
        return replace(seen, images={"static": seen.images["static"]})


class DoubleState(PlainRobot):
    def observe(self):
        seen = super().observe()
        return replace(seen, state=seen.state.astype(np.float64))


class OneBuffer(PlainRobot):
    buffer = np.zeros(7, np.float32)

    def observe(self):
        self.buffer[:] = self.time
        return replace(super().observe(), state=self.buffer)


class BackInTime(PlainRobot):
    def hold(self):
        self.time = 0.0


def test_plain_robot():
    assert_robot_conforms(PlainRobot)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (Obeys, "accepted an action that is one number short"),
        (ObeysNaN, "accepted an action that is not a number"),
        (SaysNothing, r"act\(\) must return the commanded action, \(7,\) float32; it returned None"),
        (SmallPictures, r"reset\(\): camera 'static' must be \(48, 48, 3\) uint8 by the contract; it is \(24, 48, 3\)"),
        (OneEyed, "camera 'wrist' must be .* it is None"),
        (DoubleState, r"state must be \(7,\) float32 by the contract; it is \(7,\) float64"),
        (OneBuffer, "return fresh arrays"),
        (BackInTime, "time must not run backwards"),
        (dict, "no forehand.Robot"),
    ],
)
def test_bad_robot(bad, message):
    with pytest.raises(AssertionError, match=message):
        assert_robot_conforms(bad)


def test_a_robot_is_closed_also_when_it_fails():
    closed = []

    class Watched(SmallPictures):
        def close(self):
            closed.append(True)

    with pytest.raises(AssertionError):
        assert_robot_conforms(Watched)
    assert closed


def test_messages_survive_optimization():
    """The checks do not rest on ``assert``, which ``python -O`` removes."""
    program = (
        "from forehand.conformance import assert_robot_conforms\n"
        "try: assert_robot_conforms(dict)\n"
        "except AssertionError: print('caught')"
    )
    done = run_child([sys.executable, "-O", "-c", program], check=True)
    assert done.stdout.strip() == "caught"


def test_datasets_robots_and_policies_are_checked_without_torch():
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "from forehand.conformance import assert_dataset_conforms, assert_policy_conforms, assert_robot_conforms\n"
        "print('fine')"
    )
    done = run_child([sys.executable, "-c", program], check=True)
    assert done.stdout.strip() == "fine"
