"""Evaluation under a stated latency of the policy, in simulated time."""

from dataclasses import replace

import numpy as np
import pytest

from forehand import Camera, Contract, Episode, Field, Observation, Policy, Prediction, Robot
from forehand.control.chunking import Asynchronous, RecedingHorizon, TemporalEnsemble
from forehand.control.rest import rest_action
from forehand.errors import ConfigurationError
from forehand.evaluation.evaluate import evaluate
from forehand.running.rollout import rollout
from forehand.running.simulated_inference import SimulatedInference

RATE = 10.0
EPISODE = Episode("task", "go", seed=0, max_steps=8)


class Simulator(Robot):
    """Notes what each control step was: the number of the action, or "hold". Its state is the number of the step."""

    def __init__(self, mode="delta", holds_take_time=True):
        field = Field("motion", 1, mode=mode)
        self.contract = Contract((Camera("static", 4, 4),), (Field("step", 1),), (field,), RATE)
        self.holds_take_time = holds_take_time

    def reset(self, episode=None):
        self.steps = []
        return self.observe()

    def observe(self):
        picture = np.zeros((4, 4, 3), np.uint8)
        number = len(self.steps)
        return Observation({"static": picture}, np.array([number], np.float32), number / RATE, success=False)

    def act(self, action):
        self.steps.append(float(action[0]))
        return action

    def hold(self):
        if self.holds_take_time:
            self.steps.append("hold")


class Numbered(Policy):
    """A chunk whose i-th action upon the observation of step k is 10 k + i; it looks at two frames."""

    history = 2

    def __init__(self, contract, length):
        self.contract, self.length, self.asked, self.shown = contract, length, [], []

    def remember(self, session, observations):
        self.shown += [int(observation.state[0]) for observation in observations]

    def step(self, sessions, observations, *, forecast=False):
        step = int(observations[0].state[0])
        self.asked.append(step)
        return [Prediction((10 * step + np.arange(self.length, dtype=np.float32))[:, None])]


def executed(chunker, latency, length, robot=None):
    """What the control steps of an episode were, and the policy."""
    robot = robot or Simulator()
    policy = Numbered(robot.contract, length)
    rollout(robot, policy, EPISODE, chunker, latency=latency)
    steps = robot.steps
    if robot.holds_take_time:
        assert steps.pop() == "hold"  # at the end of the episode
    return steps, policy


@pytest.mark.parametrize(
    ("latency", "length", "expected"),
    [
        (0.0, 6, [0, 10, 20, 30, 40, 50, 60, 70]),
        (0.1, 6, ["hold", 1, 11, 21, 31, 41, 51, 61]),
        (0.2, 6, ["hold", "hold", 2, 3, 22, 23, 42, 43]),
        (0.15, 6, ["hold", "hold", 2, 3, 22, 23, 42, 43]),  # an answer comes between two steps, and waits for the second
        (0.2, 3, ["hold", "hold", 2, "hold", 22, "hold", 42, "hold"]),  # the chunk is used up before the next comes
        (0.2, 2, ["hold"] * 8),  # every action is past when it comes
        (0.7, 9, ["hold"] * 7 + [7]),
    ],
)
def test_an_asynchronous_chunker_skips_the_actions_that_are_past(latency, length, expected):
    assert executed(Asynchronous(blend=0), latency, length)[0] == expected


def test_an_asynchronous_chunker_blends_what_overlaps():
    steps, _ = executed(Asynchronous(blend=1), 0.2, 6)
    assert steps == ["hold", "hold", 2, 3, (4 + 22) / 2, 23, (24 + 42) / 2, 43]


@pytest.mark.parametrize(
    ("chunker", "expected"),
    [
        (RecedingHorizon(2), ["hold", "hold", 0, 1, "hold", "hold", 40, 41]),
        (TemporalEnsemble(decay=0.0), ["hold", "hold", 0, "hold", "hold", (1 + 30) / 2, "hold", "hold"]),
    ],
)
def test_a_synchronous_chunker_holds_until_the_answer_comes(chunker, expected):
    assert executed(chunker, 0.2, 6)[0] == expected


def test_the_policy_is_shown_every_observation_once_as_far_as_it_looks_back():
    _, policy = executed(Asynchronous(), 0.2, 6)
    assert policy.asked == [0, 2, 4, 6]
    assert policy.shown == [1, 3, 5]
    _, policy = executed(RecedingHorizon(3), 0.0, 6)
    assert policy.asked == [0, 3, 6]
    assert policy.shown == [2, 5]


def test_a_policy_that_looks_at_one_frame_is_shown_none_that_it_is_not_asked_about(monkeypatch):
    monkeypatch.setattr(Numbered, "history", 1)
    _, policy = executed(RecedingHorizon(3), 0.0, 6)
    assert policy.asked == [0, 3, 6]
    assert policy.shown == []


@pytest.mark.parametrize(("mode", "expected"), [("delta", [2, 0, 2, 0, 22, 0]), ("absolute", [2, 2, 2, 2, 22, 22])])
def test_a_robot_whose_holds_take_no_time_gets_an_action_that_leaves_it_where_it_is(mode, expected):
    """Until the first answer nothing moves it, so that it is in its step 0 when it is looked at for the second time."""
    robot = Simulator(mode, holds_take_time=False)
    assert executed(Asynchronous(blend=0), 0.2, 3, robot)[0] == expected


def test_a_hold_of_a_robot_with_a_velocity_limit_does_not_carry_on_towards_what_was_wanted():
    """Its velocity lets it go 0.5 in a step; the policy wants it at 2 in the third, and at 22 in the fifth."""

    class Positioned(Simulator):
        def observe(self):
            seen = super().observe()
            return replace(seen, state=np.array([len(self.steps), self.steps[-1] if self.steps else 0], np.float32))

    robot = Positioned("absolute", holds_take_time=False)
    position = Field("position", 1, unit="m", mode="absolute", max_velocity=(5.0,))
    state = (Field("step", 1), Field("position", 1, unit="m"))
    robot.contract = replace(robot.contract, state=state, action=(position,))
    steps = executed(Asynchronous(blend=0), 0.2, 3, robot)[0]
    assert steps == pytest.approx([0.5, 0.5, 1.0, 1.0, 1.5, 1.5])


def test_an_action_of_rest_repeats_what_is_absolute():
    fields = (Field("position", 2, mode="delta"), Field("gripper", 1, mode="absolute"), Field("switch", 1))
    contract = replace(Simulator().contract, action=fields)
    assert rest_action(contract, np.array([1, 2, 3, 4], np.float32)).tolist() == [0, 0, 3, 4]
    assert rest_action(contract, None).tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("make", [RecedingHorizon, lambda: RecedingHorizon(3), TemporalEnsemble, Asynchronous])
def test_without_latency_every_bit_is_that_of_a_plain_loop(make):
    robot = Simulator()
    steps, policy = executed(make(), 0.0, 5, robot)
    plain, chunker = Numbered(robot.contract, 5), make()
    session, observation, between = plain.open("go"), robot.reset(), []
    for _ in range(EPISODE.max_steps):
        if chunker.needs_prediction:
            plain.remember(session, between)
            chunker.add(plain.step([session], [observation])[0].actions)
            between = []
        else:
            between = [observation]
        observation = robot.step(chunker.next_action())
    assert steps == robot.steps
    assert (policy.asked, policy.shown) == (plain.asked, plain.shown)


def test_a_latency_does_not_make_the_result_depend_on_the_number_of_robots(carts, line, listener):
    episodes = [replace(e, max_steps=6 + i) for i, e in enumerate(line.episodes(8, seed=5))]

    def outcomes(robots, **options):
        evaluation = evaluate(listener, robots, episodes, chunking=Asynchronous, **options)
        return [(e.success, e.steps) for e in evaluation.episodes]

    alone = outcomes(carts(1), latency=0.1)
    assert outcomes(carts(4), latency=0.1) == alone
    assert outcomes(carts(1)) != alone


@pytest.mark.parametrize("latency", [-0.1, float("nan"), float("inf")])
def test_what_is_no_latency_is_refused_by_its_name(latency, listener):
    with pytest.raises(ConfigurationError, match=r"policy\.latency must be 0 or a positive number"):
        SimulatedInference(listener, RATE, latency=latency)
