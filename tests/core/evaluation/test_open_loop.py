"""Open-loop judgement: what is compared with what, and what its numbers are."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest

from forehand.contracts.contract import Contract, Field
from forehand.contracts.rotations import form
from forehand.data.dataset import Dataset
from forehand.data.dataset_facts import dataset_facts
from forehand.errors import ConfigurationError
from forehand.evaluation.open_loop.judge import judge
from forehand.evaluation.open_loop.record import OpenLoopRecord, PlannedEpisode, read_open_loop
from forehand.evaluation.open_loop.recorded import RecordedEpisodes
from forehand.evaluation.open_loop.scores import NO_BETTER, NO_VARIANCE, Scores, field_scores
from forehand.evaluation.open_loop.trained_on import trained_on
from forehand.policy import Policy, Prediction

GUIDE = Path(__file__).parents[3] / "docs/guides/open_loop.md"
FIELDS = (Field("arm", 2, unit="m"), Field("turn", 3, unit="rad", rotation="axis_angle"), Field("gripper", 1))
CONTRACT = Contract((), (), FIELDS, rate=10.0)


class Noting(Policy):
    """Answers a chunk of three times the state, and notes what it was given."""

    def __init__(self, contract):
        self.contract, self.given, self.batches = contract, [], []

    def step(self, sessions, observations, *, forecast=False):
        self.batches.append(len(sessions))
        self.given += [("step", s.instruction, o) for s, o in zip(sessions, observations, strict=True)]
        return [Prediction(np.repeat(o.state[None], 3, 0)) for o in observations]

    def remember(self, session, observations):
        self.given += [("remember", session.instruction, o) for o in observations]


@pytest.fixture
def episodes(slider_dataset):
    data = Dataset.open(slider_dataset)
    return RecordedEpisodes(data, data.contract)


def random_actions(count, seed):
    return np.random.default_rng(seed).normal(0, 0.3, (count, CONTRACT.action_size)).astype(np.float32)


def test_scores_of_parts_are_those_of_the_whole():
    done, noise = random_actions(60, 0) + np.float32(5), random_actions(60, 1)
    predicted = done + noise * np.float32(0.5)
    parts = [Scores.of(CONTRACT, predicted[a:b], done[a:b]) for a, b in ((0, 7), (7, 7), (7, 50), (50, 60))]
    arm, turn, gripper = field_scores(CONTRACT, Scores.total(parts))
    for score, part in ((arm, slice(0, 2)), (gripper, slice(5, 6))):
        ours, theirs = predicted[:, part].astype(float), done[:, part].astype(float)
        assert score.error == pytest.approx(np.abs(ours - theirs).mean())
        r2 = 1 - ((ours - theirs) ** 2).sum() / ((theirs - theirs.mean(0)) ** 2).sum()
        assert score.r2 == pytest.approx(r2)
    to_matrix = form("axis_angle")[0]
    ours, theirs = (np.array([to_matrix(v) for v in a[:, 2:5]]).reshape(-1, 9) for a in (predicted, done))
    assert turn.r2 == pytest.approx(1 - ((ours - theirs) ** 2).sum() / ((theirs - theirs.mean(0)) ** 2).sum())
    assert [arm.unit, turn.unit, list(arm.elements)] == ["m", "rad", ["arm.0", "arm.1"]]


def test_fields_without_variance_or_worse_than_their_mean_are_named():
    done = random_actions(40, 0)
    done[:, 5] = 0.7
    done[:, 1] = 0.1
    predicted = done.copy()
    predicted[:, 2:5] = -predicted[:, 2:5]
    arm, turn, gripper = field_scores(CONTRACT, Scores.of(CONTRACT, predicted, done))
    assert [gripper.r2, gripper.problem] == [None, NO_VARIANCE]
    assert [arm.r2, arm.elements] == [pytest.approx(1), {"arm.0": pytest.approx(1), "arm.1": None}]
    assert "arm.1" in arm.problem
    assert turn.r2 < 0
    assert turn.problem == NO_BETTER


def test_the_policy_is_given_each_recorded_frame_in_order_and_its_chunks_meet_later_actions(episodes):
    policy = Noting(episodes.data.contract)
    (judged,) = judge(policy, episodes, [1], every=2)
    rows, table = episodes.rows(1), episodes.data.episodes
    states, actions = table.states[rows], table.actions[rows]
    assert [how for how, _, _ in policy.given] == [["step", "remember"][i % 2] for i in range(len(states))]
    assert {words for _, words, _ in policy.given} == {episodes.task(1)}
    np.testing.assert_array_equal([o.state for _, _, o in policy.given], states)
    source = episodes.data.sources[0]
    frames = np.arange(rows.start, rows.stop)
    for camera in ("static", "wrist"):
        shown = np.stack([o.images[camera] for _, _, o in policy.given])
        np.testing.assert_array_equal(shown, source.pictures(camera).read(frames))
    np.testing.assert_array_equal(judged.frames, np.arange(0, len(states), 2))
    for step in range(3):
        asked = judged.frames[judged.frames + step < len(states)]
        error = np.abs(states[asked].astype(float) - actions[asked + step]).mean(1)
        assert judged.scores.count[step] == len(asked)
        assert judged.scores.error[step, 0] == pytest.approx(error.sum())


def test_episodes_side_by_side_are_judged_as_alone(episodes):
    together = Noting(episodes.data.contract)
    both = list(judge(together, episodes, [0, 1, 2], together=2))
    assert max(together.batches) == 2
    for one in both:
        (alone,) = judge(Noting(episodes.data.contract), episodes, [one.position])
        np.testing.assert_array_equal(alone.predicted, one.predicted)
        np.testing.assert_array_equal(alone.scores.error, one.scores.error)


def test_episodes_of_the_training_are_recognized_whatever_was_selected_of_them(slider_dataset, episodes):
    def provenance(given):
        return {"dataset": given, "data": dataset_facts(Dataset.open(given))}

    chosen = provenance({"path": str(slider_dataset), "episodes": [0, 2]})
    assert trained_on(episodes, chosen).seen == (True, False, True)
    held = Dataset.open({"path": str(slider_dataset), "episodes": [1, 2]})
    assert trained_on(RecordedEpisodes(held, held.contract), chosen).seen == (False, True)
    moved = {**chosen, "dataset": {"path": "/nowhere", "episodes": [0, 2]}}
    assert trained_on(episodes, moved).seen == (True, False, True)
    other = {**chosen, "data": [{**chosen["data"][0], "fingerprint": "0"}]}
    assert trained_on(episodes, other).seen == (None, None, None)
    assert "not known" in trained_on(episodes, other).notes[0]
    assert trained_on(episodes, None).seen == (None, None, None)


def test_what_was_judged_is_kept_and_another_evaluation_refused(episodes, tmp_path):
    plan = [PlannedEpisode(p, 0, p, episodes.task(p), 5, p == 0) for p in range(3)]
    record = OpenLoopRecord(tmp_path / "whole", episodes.data.contract, {"policy": "a"}, plan, {"notes": []})
    with record.locked():
        record = record.continued()
        record.write()
        for judged in judge(Noting(episodes.data.contract), episodes, [0, 2]):
            record.keep(judged)
    again = read_open_loop(tmp_path / "whole")
    assert again.finished == [0, 2]
    assert record.continued().started == record.started
    with pytest.raises(ConfigurationError, match="setup differ"):
        dataclasses.replace(record, setup={"policy": "b"}).continued()
    with pytest.raises(ConfigurationError, match="no part of the evaluation"):
        dataclasses.replace(record, setup={"policy": "b"}).take_over(again)
    found = record.write()
    assert [found["complete"], list(found["by_seen"])] == [False, ["trained_on", "held_out"]]
    assert ["fields" in one for one in found["episodes"]] == [True, False, True]
    record._path(2).write_bytes(b"half")
    with pytest.raises(ConfigurationError, match="Remove it"):
        record.write()


def test_the_guide_runs(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    exec(compile(code, "open_loop.md", "exec"), {})
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("position m 0.01 0.99")
    assert said[1].startswith(f"gripper  0.01 None {NO_VARIANCE}")
