"""At its end a robot holds, or it is said that nobody knows."""

import numpy as np
import pytest

from forehand import Episode
from forehand.control.chunking import RecedingHorizon
from forehand.control.rest import HoldUnknown, at_rest_afterwards, hold
from forehand.errors import ForehandError, afterwards, describe
from forehand.evaluation.evaluate import EvaluationStopped, evaluate
from forehand.running.rollout import Stopped, rollout

from ..running.conftest import Scripted, Ticker, timetable

EPISODE = Episode("task", "do it", seed=0, max_steps=3)


class Loose(Ticker):
    """Never confirms a hold."""

    def observe(self):
        seen = super().observe()
        return type(seen)(seen.images, seen.state, seen.time, False)

    def hold(self):
        super().hold()
        raise OSError("the brake does not answer")


def test_a_hold_that_fails_is_unknown_and_says_why():
    with pytest.raises(HoldUnknown, match=r"whether the robot holds is unknown\..*OSError: the brake does not answer"):
        hold(Loose())


def test_a_driver_that_would_end_the_program_at_its_hold_is_an_unknown_hold():
    class Leaving(Ticker):
        def hold(self):
            raise SystemExit(0)

    with pytest.raises(HoldUnknown, match=r"hold\(\) failed with SystemExit: 0"):
        hold(Leaving())


def test_ctrl_c_during_a_hold_stays_ctrl_c():
    class Interrupted(Ticker):
        def hold(self):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        hold(Interrupted())


def test_what_ended_a_block_goes_first_and_notes_what_is_known():
    with pytest.raises(ForehandError) as caught, at_rest_afterwards(Loose()) as rest:
        raise ForehandError("the cable came off")
    assert not rest.known
    assert describe(caught.value).startswith("the cable came off\nNo confirmation of the hold: whether the robot holds")
    robot = Ticker()
    with at_rest_afterwards(robot) as rest:
        pass
    assert rest.known
    assert robot.calls == ["hold"]


def test_what_fails_afterwards_is_an_error_of_its_own_or_a_note():
    with pytest.raises(KeyboardInterrupt) as caught, afterwards(lambda: 1 / 0):
        raise KeyboardInterrupt
    assert "ZeroDivisionError" in describe(caught.value)
    with pytest.raises(ZeroDivisionError), afterwards(lambda: 1 / 0):
        pass


def test_no_episode_ends_well_with_a_robot_that_may_not_hold():
    with pytest.raises(HoldUnknown):
        rollout(Loose(), Scripted(timetable(1)), EPISODE, RecedingHorizon())
    with pytest.raises(EvaluationStopped, match=r"interrupted: No confirmation of the hold"):
        evaluate(Scripted(timetable(1)), [Loose()], [EPISODE])


def test_an_episode_that_is_given_up_tells_it_too():
    with pytest.raises(Stopped) as caught:
        rollout(Loose(), Scripted(timetable(1)), EPISODE, RecedingHorizon(), stop=lambda: True)
    assert "whether the robot holds is unknown" in describe(caught.value)


def test_the_robot_holds_before_the_session_is_closed():
    robot, policy = Ticker(), Scripted(lambda _: [np.nan])
    robot.hold = lambda: robot.calls.append(f"hold {policy.closed}")
    with pytest.raises(ForehandError):
        rollout(robot, policy, EPISODE, RecedingHorizon())
    assert robot.calls[-1] == "hold 0"
    assert policy.closed == 1
