"""Seeded episodes on one robot or several, kept as they finish."""

import json
import threading
from contextlib import contextmanager
from dataclasses import replace

import av
import numpy as np
import pytest

from forehand import Policy, Prediction, Session
from forehand.control.chunking import RecedingHorizon
from forehand.errors import ConfigurationError
from forehand.evaluation.evaluate import EvaluationStopped, evaluate, evaluate_with, spread_over_tasks
from forehand.evaluation.results import EpisodeResult, Evaluation, read_record
from forehand.evaluation.runners import EpisodeRunner
from forehand.running.rollout import Outcome, rollout


class Unlucky:
    """Wraps a robot that fails at its ``n``-th reset."""

    def __new__(cls, robot, n):
        reset = robot.reset

        def failing(episode=None):
            if robot.calls.count("reset") + 1 == n:
                raise OSError("the cable came off")
            return reset(episode)

        robot.reset = failing
        return robot


class RandomWalkSession(Session):
    generator = None


class RandomWalk(Policy):
    """Random actions; each session has a generator of its own, seeded by its first state. It forecasts nothing."""

    def __init__(self, contract):
        self.contract = contract

    def open(self, instruction, seed=0):
        return RandomWalkSession(instruction, seed)

    def step(self, sessions, observations, *, forecast=False):
        for session, observation in zip(sessions, observations, strict=True):
            if session.generator is None:
                session.generator = np.random.default_rng(observation.state.view(np.uint32))
        return [Prediction(s.generator.uniform(-1, 1, (2, 1)).astype(np.float32)) for s in sessions]


def outcomes(evaluation):
    return [(e.index, e.task, e.seed, e.success, e.steps) for e in evaluation.episodes]


def test_a_rollout_ends_with_success_and_the_robot_holds(cart, line, listener):
    (episode,) = line.episodes(1, seed=0)
    outcome = rollout(cart, listener, episode, RecedingHorizon())
    assert outcome.success
    assert outcome.steps == cart.calls.count("act") <= 4
    assert cart.calls[-1] == "hold"


def test_a_rollout_ends_when_its_steps_are_used_up(cart, line, listener):
    (episode,) = line.episodes(1, seed=0)
    outcome = rollout(cart, listener, episode, RecedingHorizon(), instruction="go right")
    assert (outcome.success, outcome.steps) == (False, 8)


def test_the_last_step_may_be_the_one_that_succeeds(cart, line, listener):
    (episode,) = line.episodes(1, seed=0)
    needed = rollout(cart, listener, episode, RecedingHorizon()).steps
    assert rollout(cart, listener, replace(episode, max_steps=needed), RecedingHorizon()).success
    assert not rollout(cart, listener, replace(episode, max_steps=needed - 1), RecedingHorizon()).success


def test_whoever_watches_sees_every_step_and_the_end(cart, line, listener):
    (episode,) = line.episodes(1, seed=0)
    moments = []
    outcome = rollout(cart, listener, episode, RecedingHorizon(2), forecast=True, on_step=moments.append)
    assert [m.step for m in moments] == list(range(outcome.steps + 1))
    assert [m.prediction is not None for m in moments[:-1]] == [i % 2 == 0 for i in range(outcome.steps)]
    assert moments[0].prediction.forecast_horizon == 3
    assert moments[-1].action is None
    assert moments[-1].observation.success


def test_the_robot_holds_when_the_policy_fails(cart, line, listener):
    (episode,) = line.episodes(1, seed=0)
    listener.step = lambda *_, **__: 1 / 0
    with pytest.raises(ZeroDivisionError):
        rollout(cart, listener, episode, RecedingHorizon())
    assert cart.calls == ["reset", "hold"]


def test_a_robot_that_cannot_tell_success_is_refused(cart, line, listener):
    (episode,) = line.episodes(1, seed=0)
    observe = cart.observe
    cart.observe = lambda: replace(observe(), success=None)
    with pytest.raises(ConfigurationError, match="Cart has no success signal for 'left'"):
        rollout(cart, listener, episode, RecedingHorizon())
    cart.observe = lambda: replace(observe(), success=None, episode_return=2.5, ended=True)
    assert rollout(cart, listener, episode, RecedingHorizon()) == Outcome(None, 0, 2.5)


def test_returns_are_counted_by_task_beside_successes_that_are_known():
    episodes = [
        EpisodeResult(i, task, task, task, i, success, 3, 0.1, episode_return=float(rewards))
        for i, (task, success, rewards) in enumerate([("a", True, 1), ("a", False, 3), ("b", None, 8)])
    ]
    evaluation = Evaluation(tuple(episodes))
    assert [(row.task, row.n, row.mean) for row in evaluation.returns] == [("a", 2, 2.0), ("b", 1, 8.0), ("all", 3, 4.0)]
    assert evaluation.returns[0].interval == (1.0, 3.0)
    assert (evaluation.total.n, evaluation.total.successes) == (2, 1)
    assert [EpisodeResult.from_dict(episode.to_dict()) for episode in episodes] == episodes
    unjudged = replace(evaluation, episodes=tuple(replace(episode, success=None) for episode in episodes))
    assert "mean return" in unjudged.table()
    assert "successes" not in unjudged.table()
    assert Evaluation(tuple(replace(e, episode_return=None) for e in episodes)).returns == []


def test_it_counts_by_task(cart, line, listener):
    evaluation = evaluate(listener, [cart], line.episodes(5, seed=0))
    assert [(t.task, t.n, t.successes) for t in evaluation.tasks] == [("left", 3, 3), ("right", 2, 2)]
    assert evaluation.total.rate == 1
    assert "| left | 3 | 3 | 1.00 | [0.44, 1.00] |" in evaluation.table()
    assert (cart.calls[0], cart.calls[-1]) == ("connect", "close")


def test_success_is_judged_on_the_episode_whatever_the_policy_hears(cart, line, listener):
    evaluation = evaluate(listener, [cart], line.episodes(4, seed=0), instruction_given=line.counterfactual_instruction)
    assert evaluation.total.successes == 0
    assert [(e.instruction, e.instruction_given) for e in evaluation.episodes[:2]] == [
        ("go left", "go right"),
        ("go right", "go left"),
    ]


@pytest.mark.parametrize("shared", [True, False])
def test_the_result_does_not_depend_on_the_number_of_robots(carts, line, shared):
    episodes = [replace(e, max_steps=30) for e in line.episodes(12, seed=5)]

    def policy():
        return RandomWalk(carts(1)[0].contract)

    alone = evaluate(policy(), carts(1), episodes)
    together = evaluate(policy() if shared else [policy() for _ in range(4)], carts(4), episodes)
    assert outcomes(together) == outcomes(alone)
    assert {e.success for e in alone.episodes} == {True, False}  # so that there was something to differ in


def test_it_writes_everything_one_needs_to_repeat_it(cart, line, listener, tmp_path):
    evaluate(listener, [cart], line.episodes(3, seed=7), folder=tmp_path, setup={"seed": 7})
    written = json.loads((tmp_path / "results.json").read_text())
    assert written["complete"] is True
    assert written["setup"] == {"seed": 7}
    assert written["provenance"]["versions"]["forehand"]
    assert written["success_rate"] == 1.0
    assert written["success_interval"] == pytest.approx([0.4385, 1.0], abs=1e-4)
    assert written["episodes"][1] | {"seconds": 0} == {
        "index": 1,
        "task": "right",
        "instruction": "go right",
        "heard": "go right",
        "seed": 8,
        "success": True,
        "steps": written["episodes"][1]["steps"],
        "seconds": 0,
        "video": None,
        "position": 0,
    }
    assert (tmp_path / "table.md").read_text().startswith("| task | n |")


def test_a_robot_that_dies_loses_no_finished_episode_and_the_rest_can_follow(carts, line, listener, tmp_path):
    episodes = line.episodes(6, seed=0)
    whole = evaluate(listener, carts(1), episodes)
    dying = Unlucky(carts(1)[0], n=4)
    with pytest.raises(EvaluationStopped) as caught:
        evaluate(listener, [dying], episodes, folder=tmp_path)
    message = str(caught.value)
    assert "Episode 3 (right, seed 3) was interrupted: OSError: the cable came off" in message
    assert f"3 of 6 finished episodes are kept in {tmp_path}" in message
    assert dying.calls[-2:] == ["hold", "close"]
    kept = json.loads((tmp_path / "results.json").read_text())
    assert (len(kept["episodes"]), kept["complete"]) == (3, False)

    (fresh,) = carts(1)
    seen: list[Evaluation] = []
    evaluation = evaluate(listener, [fresh], episodes, folder=tmp_path, progress=seen.append)
    assert outcomes(evaluation) == outcomes(whole)
    assert fresh.calls.count("reset") == 3
    assert [len(e.episodes) for e in seen] == [3, 4, 5, 6]
    assert json.loads((tmp_path / "results.json").read_text())["complete"] is True


@pytest.mark.parametrize("method", ["connect", "reset", "act", "hold"])
def test_a_driver_that_would_end_its_thread_stops_the_evaluation(carts, line, listener, method):
    def leave(*_):
        raise SystemExit(0)

    (cart,) = carts(1)
    setattr(cart, method, leave)
    with pytest.raises(EvaluationStopped, match=r"failed with SystemExit: 0\)?\n0 of 2 episodes"):
        evaluate(listener, [cart], line.episodes(2, seed=0))


def test_a_driver_that_would_end_its_thread_as_it_closes_loses_no_result(carts, line, listener):
    def leave():
        raise SystemExit(0)

    (cart,) = carts(1)
    cart.close = leave
    assert len(evaluate(listener, [cart], line.episodes(2, seed=0)).episodes) == 2


def test_a_policy_that_would_end_its_thread_stops_the_evaluation(carts, line, listener):
    def leave(*_, **__):
        raise SystemExit(0)

    listener.step = leave
    with pytest.raises(EvaluationStopped, match=r"interrupted: .* failed with SystemExit: 0"):
        evaluate(listener, carts(1), line.episodes(2, seed=0))


def test_an_evaluation_without_all_of_its_trials_is_not_complete(line):
    class Forgetful(EpisodeRunner):
        @contextmanager
        def run(self, trials):
            yield iter([])

    with pytest.raises(EvaluationStopped, match=r"\[0, 1\] were not driven to their end"):
        evaluate_with(Forgetful(), line.episodes(2, seed=0))


def test_other_robots_finish_their_episode_when_one_dies(carts, line, listener):
    healthy, dying = carts(2)
    Unlucky(dying, n=1)
    tried, fail, reset = threading.Event(), dying.reset, healthy.reset
    dying.reset = lambda episode=None: (tried.set(), fail(episode))[1]
    healthy.reset = lambda episode=None: (tried.wait(60), reset(episode))[1]  # or it could finish them all before
    with pytest.raises(EvaluationStopped, match="the cable came off"):
        evaluate(listener, [dying, healthy], line.episodes(4, seed=0))
    assert healthy.calls[-1] == "close"


def test_a_finished_evaluation_moves_nothing_again(carts, line, listener, tmp_path):
    episodes = line.episodes(2, seed=0)
    first = evaluate(listener, carts(1), episodes, folder=tmp_path)
    (idle,) = carts(1)
    assert outcomes(evaluate(listener, [idle], episodes, folder=tmp_path)) == outcomes(first)
    assert idle.calls == []


def test_an_evaluation_under_former_names_goes_on(carts, line, listener, tmp_path):
    episodes, (idle,) = line.episodes(2, seed=0), carts(1)
    evaluate(listener, carts(1), episodes, folder=tmp_path, setup={"instruction": "other"})
    evaluate(listener, [idle], episodes, folder=tmp_path, setup={"instruction": "counterfactual"})
    assert idle.calls == []


def test_another_evaluation_in_the_folder_is_refused(cart, line, listener, tmp_path):
    evaluate(listener, [cart], line.episodes(2, seed=0), folder=tmp_path, setup={"policy": "a"})
    with pytest.raises(ConfigurationError, match="another evaluation: policy differ"):
        evaluate(listener, [cart], line.episodes(2, seed=0), folder=tmp_path, setup={"policy": "b"})
    with pytest.raises(ConfigurationError, match="episodes differ"):
        evaluate(listener, [cart], line.episodes(2, seed=1), folder=tmp_path, setup={"policy": "a"})
    for content in ("{}", "[]", "[" * 1_000_000):
        (tmp_path / "results.json").write_text(content)
        with pytest.raises(ConfigurationError, match="not an evaluation's results"):
            evaluate(listener, [cart], line.episodes(2, seed=0), folder=tmp_path)


def test_a_record_s_configuration_is_read_literally(cart, line, listener, tmp_path, monkeypatch):
    evaluate(listener, [cart], line.episodes(2, seed=0), folder=tmp_path)
    written = json.loads((tmp_path / "results.json").read_text())
    monkeypatch.setenv("A_SECRET", "swordfish")
    (tmp_path / "results.json").write_text(json.dumps(written | {"config": {"robot": {"name": "${oc.env:A_SECRET}"}}}))
    with pytest.raises(ConfigurationError, match=r"config\.robot\.name holds an interpolation") as raised:
        read_record(tmp_path)
    assert "swordfish" not in str(raised.value)


def test_ctrl_c_keeps_what_is_finished_and_lets_go_of_the_robots(carts, line, listener, tmp_path):
    def press_ctrl_c(evaluation):
        if len(evaluation.episodes) >= 2:
            raise KeyboardInterrupt

    robots = carts(2)
    with pytest.raises(KeyboardInterrupt, match=r"Interrupted\. \d+ of 40 finished episodes are kept"):
        evaluate(listener, robots, line.episodes(40, seed=0), folder=tmp_path, progress=press_ctrl_c)
    assert [robot.calls[-1] for robot in robots] == ["close", "close"]
    assert len(json.loads((tmp_path / "results.json").read_text())["episodes"]) == 2


def test_contracts_are_compared_before_anything_moves(cart, line, listener):
    cart.contract = replace(cart.contract, rate=50.0)
    with pytest.raises(EvaluationStopped, match="control rate") as caught:
        evaluate(listener, [cart], line.episodes(1, seed=0))
    assert "Nothing was moved" in str(caught.value)
    assert cart.calls == ["connect", "close"]


def test_videos_are_spread_over_the_tasks_and_play(cart, line, listener, tmp_path):
    evaluation = evaluate(listener, [cart], line.episodes(6, seed=0), folder=tmp_path, videos=2)
    filmed = [e for e in evaluation.episodes if e.video]
    assert [e.task for e in filmed] == ["left", "right"]
    assert filmed[0].video == "videos/0000_go-left_success.mp4"
    with av.open(str(tmp_path / filmed[0].video)) as video:
        frames = [f.to_ndarray(format="rgb24") for f in video.decode(video=0)]
        assert (video.streams.video[0].codec_context.name, video.streams.video[0].average_rate) == ("h264", 10)
    assert len(frames) == filmed[0].steps + 5  # and half a second of the end
    height, width = frames[0].shape[:2]
    assert (height, width) == (2 * (256 + 28), 256 + 512)
    foreseen = [frame[-200:-50, 20:200].mean() for frame in frames]
    assert foreseen[0] == pytest.approx(18, abs=6)  # nothing foreseen for the first steps
    assert foreseen[3] == pytest.approx(100, abs=6)  # what was foreseen three steps ago


def test_a_policy_without_forecasts_is_filmed_in_one_row(cart, line, tmp_path):
    policy = RandomWalk(cart.contract)
    evaluation = evaluate(policy, [cart], line.episodes(1, seed=0), folder=tmp_path, videos=1)
    with av.open(str(tmp_path / evaluation.episodes[0].video)) as video:
        frame = next(video.decode(video=0)).to_ndarray(format="rgb24")
    assert frame.shape == (256 + 28, 256 + 512, 3)
    assert np.ptp(frame[:28]) > 100  # the instruction is written there


def test_videos_go_to_each_task_in_turn(line):
    episodes = line.episodes(3, 0, ["left"]) + line.episodes(3, 0, ["right"])
    assert spread_over_tasks(episodes, 3) == {0, 3, 1}
    assert spread_over_tasks(episodes, 0) == set()
    assert spread_over_tasks(episodes, 99) == set(range(6))


def test_what_cannot_be_is_refused(cart, carts, line, listener):
    with pytest.raises(ConfigurationError, match="at least one robot"):
        evaluate(listener, [], line.episodes(1, 0))
    with pytest.raises(ConfigurationError, match="output folder"):
        evaluate(listener, [cart], line.episodes(1, 0), videos=1)
    with pytest.raises(ConfigurationError, match="3 robots need one policy, or one each"):
        evaluate([listener, listener], carts(3), line.episodes(1, 0))


def chains(line, count, length=3):
    """Chains that go left and right in turn; the cart goes on where it is."""
    return [
        tuple(replace(e, max_steps=20, continues=i > 0) for i, e in enumerate(line.episodes(length, seed)))
        for seed in range(count)
    ]


def test_a_chain_ends_with_its_first_failure(cart, line, listener):
    def instruction_given(episode):
        return (
            line.counterfactual_instruction(episode) if episode.seed == 1 and episode.continues else episode.instruction
        )

    evaluation = evaluate(listener, [cart], chains(line, 2), instruction_given=instruction_given)
    assert [(e.index, e.position, e.success) for e in evaluation.episodes] == [
        (0, 0, True),
        (0, 1, False),
        (1, 0, True),
        (1, 1, True),
        (1, 2, True),
    ]
    assert evaluation.lengths == [1, 3]
    assert [(row.length, row.n, row.successes) for row in evaluation.chains] == [(1, 2, 2), (2, 2, 1), (3, 2, 1)]
    assert evaluation.average_length == 2
    assert "| average length | 2 | | 2.00 |" in evaluation.table()


def test_chains_do_not_depend_on_the_number_of_robots_and_can_be_driven_again(carts, line, listener, tmp_path):
    alone = evaluate(listener, carts(1), chains(line, 6), folder=tmp_path)
    assert read_record(tmp_path).trials == chains(line, 6)
    assert outcomes(evaluate(listener, carts(3), read_record(tmp_path).trials)) == outcomes(alone)
    written = json.loads((tmp_path / "results.json").read_text())
    assert (written["complete"], written["average_length"]) == (True, 3)
    (idle,) = carts(1)
    evaluate(listener, [idle], chains(line, 6), folder=tmp_path)
    assert idle.calls == []


def test_a_chain_that_was_broken_off_begins_anew(carts, line, listener, tmp_path):
    with pytest.raises(EvaluationStopped, match="1 of 3 finished episodes"):
        evaluate(listener, [Unlucky(carts(1)[0], n=5)], chains(line, 3), folder=tmp_path)
    (fresh,) = carts(1)
    evaluation = evaluate(listener, [fresh], chains(line, 3), folder=tmp_path)
    assert evaluation.lengths == [3, 3, 3]
    assert fresh.calls.count("reset") == 6


def warnings(caplog, robot, policy, line, **trained):
    policy.describe = lambda: trained
    evaluate(policy, [robot], line.episodes(3, seed=0))
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


def test_numbers_unlike_those_of_training_are_warned_of_once(cart, listener, line, caplog):
    size = cart.contract.state_size
    elsewhere = {"min": [1000.0] * size, "max": [1001.0] * size}
    found = warnings(caplog, cart, listener, line, trained_on=elsewhere)
    assert len(found) == size
    assert all("where the policy never was in training" in message for message in found)


def test_trained_actions_beyond_those_of_the_robot_are_warned_of(cart, listener, line, caplog):
    found = warnings(caplog, cart, listener, line, trained_to_do={"min": [-50.0], "max": [50.0]})
    assert any("trained to do what this robot does not allow" in message for message in found)


def test_numbers_like_those_of_training_pass_without_warning(cart, listener, line, caplog):
    size = cart.contract.state_size
    assert warnings(caplog, cart, listener, line, trained_on={"min": [-9.0] * size, "max": [9.0] * size}) == []


def test_a_record_of_before_is_read_and_written_with_the_same_keys(cart, line, listener, tmp_path):
    evaluation = evaluate(listener, [cart], line.episodes(2, seed=0), folder=tmp_path)
    assert {"heard"} == {key for key in json.loads((tmp_path / "results.json").read_text())["plan"][0] if "hea" in key}
    assert tuple(read_record(tmp_path).episodes) == evaluation.episodes
    assert [episode.instruction_given for episode in evaluation.episodes] == ["go left", "go right"]
