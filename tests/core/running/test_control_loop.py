"""The control loop in real time: who waits for whom, and what happens when nobody comes."""

import re
import threading
from dataclasses import replace

import numpy as np
import pytest

from forehand import Episode, Prediction
from forehand.control.chunking import Asynchronous, RecedingHorizon, TemporalEnsemble
from forehand.control.rest import HoldUnknown
from forehand.errors import ContractMismatch, NotFinite, PartFailed, describe
from forehand.running import ControlLoop, PolicyUnavailable, StepObserver
from forehand.running.control_step import Step
from forehand.running.rollout import rollout
from forehand.wire import ConnectionLost, PolicyServer, RemotePolicy

from .conftest import CONTRACT, Scripted, Ticker, timetable


class Diary(StepObserver):
    def __init__(self):
        self.begun, self.moments, self.ended = [], [], []

    def on_episode_start(self, episode, instruction):
        self.begun.append((episode, instruction))

    def on_step(self, step):
        self.moments.append(step)

    def on_episode_end(self, ending, success):
        self.ended.append((ending, success))


def test_it_looks_asks_and_acts_in_every_step_and_holds_at_the_end(ticker):
    policy = Scripted(timetable(1))
    with ControlLoop(ticker, policy, RecedingHorizon()) as drive:
        ending = drive.episode("go", max_steps=5)
    assert (ending.reason, ending.success, ending.steps) == ("step limit", None, 5)
    assert ticker.done == {i: float(i) for i in range(5)}
    assert ticker.calls == ["reset", *["act"] * 5, "hold"]
    assert (policy.opened, policy.closed) == (1, 1)
    assert policy.threads == {"policy"}


def test_an_ensemble_is_asked_in_every_step(ticker):
    policy = Scripted(timetable(3))
    with ControlLoop(ticker, policy, TemporalEnsemble()) as drive:
        drive.episode("go", max_steps=4)
    assert policy.asked == [0, 1, 2, 3]
    assert ticker.done == pytest.approx({i: float(i) for i in range(4)})


def test_the_report_counts_what_happened(ticker):
    with ControlLoop(ticker, Scripted(timetable(2)), RecedingHorizon(2)) as drive:
        drive.episode("go", max_steps=4)
        drive.episode("on", max_steps=2)
    report = drive.report.to_dict()
    assert [(e["instruction"], e["steps"], e["ending"], e["holds"]) for e in report["episodes"]] == [
        ("go", 4, "step limit", True),
        ("on", 2, "step limit", True),
    ]
    assert report["steps"] == 6
    assert report["rate"]["wanted"] == 50
    assert 0 < report["rate"]["achieved"] <= 50
    assert len(drive.report.times["policy"]) == 3
    assert set(report["milliseconds"]["step"]) == {"p50", "p95", "p99", "max"}
    rows = dict(drive.report.rows())
    assert rows["episodes"] == "2"
    assert rows["limits"] == "none hit"


def test_whoever_watches_sees_every_step_and_the_end(ticker):
    diary = Diary()
    with ControlLoop(ticker, Scripted(timetable(2)), RecedingHorizon(2), forecast=True, observers=[diary]) as drive:
        drive.episode("go", max_steps=4)
    assert (diary.begun, diary.ended) == ([(0, "go")], [("step limit", None)])
    assert [m.step for m in diary.moments] == [0, 1, 2, 3, 4]
    assert [m.requested_at for m in diary.moments] == [0, None, 2, None, None]
    assert diary.moments[0].prediction.forecast_horizon == 1
    assert diary.moments[-1].action is None
    assert all(isinstance(m, Step) for m in diary.moments)


def test_a_policy_with_a_history_sees_every_frame_however_seldom_it_is_asked(ticker):
    policy = Scripted(timetable(3), history=4)
    with ControlLoop(ticker, policy, RecedingHorizon(3)) as drive:
        drive.episode("go", max_steps=7)
    assert policy.asked == [0, 3, 6]
    assert policy.seen == [0, 1, 2, 3, 4, 5, 6]


def test_an_episode_ends_with_success(ticker):
    observe = ticker.observe
    ticker.observe = lambda: replace(o := observe(), success=bool(o.state[0] >= 3))
    with ControlLoop(ticker, Scripted(timetable(1)), RecedingHorizon()) as drive:
        ending = drive.episode("go", max_steps=50)
    assert (ending.reason, ending.success, ending.steps) == ("accomplished", True, 3)


def test_an_episode_ends_at_its_own_limit_or_at_a_smaller_one(ticker):
    brief = Episode("task", "go", seed=0, max_steps=3)
    with ControlLoop(ticker, Scripted(timetable(1)), RecedingHorizon()) as drive:
        ends = [drive.episode("go", brief, limit) for limit in (None, 2, 50)]
    assert [(end.reason, end.steps) for end in ends] == [("step limit", steps) for steps in (3, 2, 3)]


@pytest.mark.parametrize("failing", [False, True])
def test_a_hold_that_is_not_confirmed_is_told_and_reported_as_unknown(ticker, failing):
    def loose():
        raise ConnectionLost("the host is gone")

    ticker.hold = loose
    diary, policy = Diary(), Scripted(lambda _: 1 / 0 if failing else [0.0])
    with (
        pytest.raises(ZeroDivisionError if failing else HoldUnknown) as caught,
        ControlLoop(ticker, policy, RecedingHorizon(), observers=[diary]) as drive,
    ):
        drive.episode("go", max_steps=2)
    assert "whether the robot holds is unknown. Look after it. (the host is gone)" in describe(caught.value)
    assert drive.report.episodes[0]["holds"] is None
    assert diary.ended == [("failed", None) if failing else ("step limit", None)]


def test_stopping_ends_the_episode_after_its_step_and_the_robot_holds(ticker):
    stop = threading.Event()

    def answer(observation):
        if observation.state[0] == 3:
            stop.set()
        return [0.0]

    with ControlLoop(ticker, Scripted(answer), RecedingHorizon(), stop=stop) as drive:
        assert drive.episode("go").reason == "stopped"
    assert ticker.calls == ["reset", *["act"] * 4, "hold"]


def test_a_policy_that_hangs_makes_the_robot_hold_and_then_go_on(ticker):
    hung = threading.Event()

    def answer(observation):
        if observation.state[0] == 2:
            hung.wait(20)
        return [observation.state[0]]

    class Waker(StepObserver):
        def on_step(self, step):
            if step.action is None:
                hung.set()

    policy = Scripted(answer, history=2)
    with ControlLoop(ticker, policy, RecedingHorizon(), policy_timeout=0.05, observers=[Waker()]) as drive:
        drive.episode("go", max_steps=20)
    acts = [c for c in ticker.calls if c != "act"]
    assert acts == ["reset", "hold", "hold"]  # once while it hung, however long, and at the end
    assert drive.report.holds == {"policy too slow": 1}
    assert drive.report.held >= 1
    assert 2.0 in ticker.done.values()  # what it said at last was carried out
    assert policy.seen == sorted(set(policy.seen))  # and it saw what happened meanwhile, each frame once


def test_a_policy_that_never_answers_is_given_up(ticker):
    release = threading.Event()

    class Releaser(Diary):
        def on_episode_end(self, ending, success):
            super().on_episode_end(ending, success)
            release.set()

    diary, policy = Releaser(), Scripted(lambda _: release.wait(20))
    options = {"policy_timeout": 0.05, "reconnect_timeout": 0.2, "observers": [diary]}
    words = r"no answer for 0\.2 s, and the robot holds"
    with (
        ControlLoop(ticker, policy, RecedingHorizon(), **options) as drive,
        pytest.raises(PolicyUnavailable, match=words),
    ):
        drive.episode("go")
    assert ticker.calls == ["reset", "hold"]
    assert drive.report.episodes[0]["ending"] == "failed"
    assert diary.ended == [("failed", None)]


def test_a_lost_server_is_asked_again_and_a_new_session_is_shown_the_last_frames(ticker):
    failures = iter([False, False, True, True, False])

    def answer(observation):
        if next(failures, False):
            raise ConnectionLost("it is gone")
        return [observation.state[0]]

    policy = Scripted(answer, history=3)
    with ControlLoop(ticker, policy, RecedingHorizon()) as drive:
        drive.episode("go", max_steps=6)
    assert ticker.done == {0: 0.0, 1: 1.0, 4: 4.0, 5: 5.0}
    assert ticker.calls == ["reset", "act", "act", "hold", "act", "act", "hold"]
    assert policy.opened == 3
    assert policy.seen == [0, 1, 2, 1, 2, 3, 2, 3, 4, 5]
    assert drive.report.holds == {"policy lost": 1}


def test_an_error_of_the_policy_ends_the_run_and_the_robot_holds(ticker):
    with pytest.raises(ZeroDivisionError), ControlLoop(ticker, Scripted(lambda _: 1 / 0), RecedingHorizon()) as drive:
        drive.episode("go")
    assert ticker.calls == ["reset", "hold"]


def test_a_policy_that_would_end_its_thread_ends_the_run_and_the_robot_holds(ticker):
    def leave(observation):
        raise SystemExit(0)

    policy = Scripted(leave)
    with (
        pytest.raises(PartFailed, match="The policy failed with SystemExit: 0"),
        ControlLoop(ticker, policy, RecedingHorizon()) as drive,
    ):
        drive.episode("go")
    assert ticker.calls == ["reset", "hold"]


def test_an_error_of_the_robot_ends_the_run(ticker):
    def fail(action):
        raise OSError("the cable came off")

    ticker.act = fail
    policy = Scripted(timetable(1))
    with pytest.raises(OSError, match="cable"), ControlLoop(ticker, policy, RecedingHorizon()) as drive:
        drive.episode("go")
    assert ticker.calls == ["reset", "hold", "hold"]  # by its limits at once, and at the end of the episode
    assert policy.closed == 1


def test_numbers_that_are_not_finite_move_nothing(ticker):
    with (
        pytest.raises(ContractMismatch, match="nothing was moved"),
        ControlLoop(ticker, Scripted(lambda _: [np.nan]), RecedingHorizon()) as drive,
    ):
        drive.episode("go")
    assert ticker.calls == ["reset", "hold"]


@pytest.mark.parametrize("time", [np.nan, np.inf, None])
def test_a_time_that_is_not_finite_is_named_where_the_age_of_an_answer_is_computed(ticker, time):
    observe = ticker.observe
    ticker.observe = lambda: replace(observe(), time=time)
    with (
        pytest.raises(NotFinite, match=f"The observation's time is not finite: {time}"),
        ControlLoop(ticker, Scripted(timetable(4)), Asynchronous()) as drive,
    ):
        drive.episode("go", max_steps=200)
    assert "act" not in ticker.calls
    assert ticker.calls[-1] == "hold"


@pytest.mark.parametrize("chunker", [RecedingHorizon, TemporalEnsemble, Asynchronous])
@pytest.mark.parametrize("shape", [(0, 1), (3, 2), (3,)])
def test_a_chunk_without_actions_or_of_another_shape_moves_nothing(ticker, chunker, shape):
    policy = Scripted(timetable(1))
    policy.step = lambda *_, **__: [Prediction(np.zeros(shape, np.float32))]
    words = rf"actions of shape {re.escape(str(shape))}; needed is a chunk \(H, 1\) of at least one"
    with pytest.raises(ContractMismatch, match=words), ControlLoop(ticker, policy, chunker()) as drive:
        drive.episode("go", max_steps=200)
    assert "act" not in ticker.calls
    assert ticker.calls[-1] == "hold"
    brief = Episode("task", "go", seed=0, max_steps=3)
    with pytest.raises(ContractMismatch, match=words):
        rollout(ticker, policy, brief, RecedingHorizon())


def test_limits_are_kept_counted_and_told():
    contract = replace(CONTRACT, action=(replace(CONTRACT.action[0], low=(-1.0,), high=(1.0,)),))
    robot, diary = Ticker(contract), Diary()
    with ControlLoop(robot, Scripted(lambda _: [3.0], contract=contract), RecedingHorizon(), observers=[diary]) as drive:
        drive.episode("go", max_steps=2)
    assert set(robot.done.values()) == {1.0}
    assert drive.report.to_dict()["limits"] == [{"field": "motion", "limit": "range", "cut": 2}]
    assert str(diary.moments[0].clippings[0]) == "motion[0]: wanted 3, allowed 1 (range)"
    assert diary.moments[0].action == 1  # what was commanded, not what was wanted


@pytest.mark.slow
def test_a_policy_slower_than_the_robot_never_keeps_it_waiting_over_real_sockets(ticker):
    """Every chunk says of each action which step it is for: what is carried out must be what that step was promised.

    The policy takes four control steps for an answer, or is still at it when the episode ends. A computer that is too
    busy for that is waited for by the observer, never by the loop: no chunk is used up before the next one comes.
    """
    changed, over, answered = threading.Condition(), threading.Event(), []

    def slow(observation):
        with changed:
            assert changed.wait_for(lambda: over.is_set() or ticker.looks >= observation.state[0] + 4, 60)
        return timetable(40)(observation)

    class Noting(RemotePolicy):
        def step(self, sessions, observations, *, forecast=False):
            predictions = super().step(sessions, observations, forecast=forecast)
            with changed:
                answered.append(observations[0].state[0])
                changed.notify_all()
            return predictions

    class Patient(StepObserver):
        def on_step(self, step):
            with changed:
                changed.notify_all()
                assert changed.wait_for(lambda: step.step < 10 or max(answered, default=-1) >= step.step - 10, 60)

        def on_episode_end(self, ending, success):
            over.set()
            with changed:
                changed.notify_all()

    policy = Scripted(slow, history=30)
    with PolicyServer(policy, "tcp://127.0.0.1:0").running() as server:
        remote = Noting(server.address, 60.0, CONTRACT)
        with ControlLoop(ticker, remote, Asynchronous(blend=4), observers=[Patient()]) as drive:
            drive.episode("go", max_steps=60)
        remote.close()
    assert ticker.done == pytest.approx({step: float(step) for step in ticker.done})
    first = min(ticker.done)
    assert first >= 4  # nothing to do before the first answer
    assert list(ticker.done) == list(range(first, 60))  # and never without an action afterwards
    assert 2 <= len(policy.asked) <= 15
    assert policy.seen == list(range(len(policy.seen)))  # it saw every frame, asked or not
    assert ticker.calls == ["reset", *["act"] * len(ticker.done), "hold"]


def test_a_chunk_that_is_used_up_makes_the_robot_hold_once(ticker):
    gate = threading.Semaphore(1)

    def answer(observation):
        gate.acquire(timeout=20)
        return timetable(5)(observation)

    class Opener(StepObserver):
        def on_step(self, step):
            if step.step == 20:
                gate.release(50)

    with ControlLoop(ticker, Scripted(answer), Asynchronous(), observers=[Opener()]) as drive:
        drive.episode("go", max_steps=40)
    assert ticker.done == pytest.approx({step: float(step) for step in ticker.done})
    assert ticker.calls.count("hold") == 2  # one in between, and at the end
    assert drive.report.holds == {"chunk used up": 1}
    assert drive.report.expired == 1  # what was asked before the gate opened had passed by then


def test_a_robot_that_is_where_the_policy_never_was_is_named_before_it_moves(ticker, caplog):
    policy = Scripted(timetable(1))
    policy.origin = {"trained_on": {"min": [500.0], "max": [600.0]}}
    with ControlLoop(ticker, policy, RecedingHorizon()) as drive:
        drive.episode("go", max_steps=0)
    assert "state element 'position': needed '500 to 600', offered 0.0" in caplog.text
    assert "act" not in ticker.calls


def test_a_robot_that_does_not_allow_what_the_policy_learned_is_named_before_it_moves(caplog):
    policy = Scripted(timetable(1))
    policy.origin = {"trained_to_do": {"min": [-30.0], "max": [30.0]}}
    motion = replace(CONTRACT.action[0], low=(-0.1,), high=(0.1,))
    with ControlLoop(Ticker(replace(CONTRACT, action=(motion,))), policy, RecedingHorizon()):
        pass
    assert "action element 'motion': needed '-30 to 30', offered '-0.1 to 0.1'" in caplog.text
