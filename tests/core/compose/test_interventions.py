"""The actions read other foresight than that of their own scene, whatever the table, and as exactly as their own."""

from collections import deque
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from forehand.compose.interventions import INTERVENTIONS, intervene
from forehand.conformance import example
from forehand.conformance.example import CONTRACT
from forehand.errors import ConfigurationError
from forehand.evaluation.open_loop.recorded_future import foreknowing
from forehand.utils.images import resize

from .test_streaming import ALL_FORESIGHT, NOW_ALONE, PRE_TRAINING, WORDS, WithoutMemory

SENTENCE = "lift the red block"
TABLES = [{}, ALL_FORESIGHT, PRE_TRAINING, NOW_ALONE, WORDS]


class Tape:
    """One recorded episode, whatever is asked for."""

    def __init__(self, frames, sentence=SENTENCE):
        self.frames, self.sentence, self.asked = frames, sentence, []

    def draw(self, instruction, seed, *, same_sentence):
        self.asked.append((instruction, seed, same_sentence))
        return self.sentence, self.frames


def scene(seed, count=6):
    generator = np.random.default_rng(seed)
    return [example.observation(CONTRACT, generator, i / CONTRACT.rate) for i in range(count)]


def actions_of(policy, frames, forecast=False):
    session = policy.open(SENTENCE, 7)
    answers = [policy.step([session], [frame], forecast=forecast)[0] for frame in frames]
    return np.stack([a.actions for a in answers]), [a.forecast for a in answers]


@pytest.mark.parametrize("table", TABLES)
def test_a_donor_that_saw_the_same_changes_nothing_and_any_other_does(make_policy, table):
    frames, policy = scene(1), make_policy(table)
    own, shown = actions_of(policy, frames, forecast=True)
    intervene(policy, "other_scene", Tape(frames))
    same, still_shown = actions_of(policy, frames, forecast=True)
    np.testing.assert_allclose(same, own, rtol=1e-5, atol=1e-5)
    assert all(np.abs(shown[0][c].astype(int) - still_shown[0][c]).max() <= 1 for c in shown[0])
    for name, tape in (("other_scene", Tape(scene(2))), ("other_task", Tape(frames, "push the green block"))):
        changed = make_policy(table)
        intervene(changed, name, tape)
        assert np.abs(actions_of(changed, frames)[0] - own).max() > 1e-4
        assert tape.asked == [(SENTENCE, 7, name == "other_scene")]


@pytest.mark.parametrize("table", TABLES)
def test_zeros_are_of_no_scene_and_a_frozen_forecast_is_that_of_the_first_frame(make_policy, table):
    frames, policy, frozen = scene(1), make_policy(table), make_policy(table)
    own, _ = actions_of(policy, frames)
    intervene(frozen, "frozen")
    still, _ = actions_of(frozen, frames)
    np.testing.assert_allclose(still[0], own[0], rtol=1e-5, atol=1e-5)
    assert np.abs(still[1:] - own[1:]).max() > 1e-4
    held = make_policy(table)
    intervene(held, "other_scene", Tape(frames[:1]))  # whose only frame stays
    np.testing.assert_allclose(still, actions_of(held, frames)[0], rtol=1e-5, atol=1e-5)
    intervene(policy, "zero")
    zero, _ = actions_of(policy, frames)
    assert np.abs(zero - own).max() > 1e-4
    with torch.no_grad():
        policy.world_model.queries.mul_(2)  # what nothing reads any more
    np.testing.assert_array_equal(actions_of(policy, frames)[0], zero)


def test_a_session_that_begins_anew_begins_a_donor_anew(make_policy):
    policy = make_policy()
    intervene(policy, "other_scene", tape := Tape(scene(2)))
    session, frames = policy.open(SENTENCE, 3), scene(1)
    first = [policy.step([session], [frame])[0].actions for frame in frames]
    session.reset()
    again = [policy.step([session], [frame])[0].actions for frame in frames]
    np.testing.assert_array_equal(first, again)
    assert len(tape.asked) == 2


@pytest.mark.parametrize("remembers", [True, False])
def test_an_oracle_reads_the_future_as_in_training(make_policy, remembers):
    changes = {"reads.action": {"observation": "past", "images": "+2"}, "world_model": None}
    policy, frames = make_policy(changes), scene(1)
    if not remembers:
        policy.backbone = WithoutMemory(policy.backbone)
    left = deque(frames)
    future = SimpleNamespace(ahead=lambda count: (left.popleft(), list(left)[:count])[1])
    blind = actions_of(policy, frames[:4])[0]
    intervene(policy, "oracle", future=lambda: future)
    foreseen = actions_of(policy, frames[:4])[0]
    assert np.abs(foreseen - blind).max() > 1e-4
    for step in range(4):
        first = max(0, step - 1)  # of a history of 4, two lie ahead
        window = window_of(policy, frames[first : step + 3])
        with torch.no_grad():
            expected = policy.action_head(policy.readouts(window)["action"][:, step - first])[0]
        np.testing.assert_allclose(foreseen[step], expected, rtol=1e-5, atol=1e-5)


AHEAD = {
    "reads": {
        "text": {"text": "same"},
        "state": {"observation": "same"},
        "images": {"images": "same"},
        "action": {"observation": "same", "images": "+2"},
    },
    "world_model": None,
    "history": 4,
    "lookahead": 3,
}


def window_of(policy, frames, timesteps=None):
    """The observation of a window of ``frames``, with the images of some of its timesteps, or all."""
    some = range(len(frames)) if timesteps is None else timesteps
    images = {c: resize(np.stack([frames[t].images[c] for t in some]), policy.image_size) for c in ("static", "wrist")}
    window = {f"images.{c}": torch.from_numpy(pictures)[None] for c, pictures in images.items()}
    return window | {"state": torch.from_numpy(np.stack([o.state for o in frames]))[None], "instruction": [SENTENCE]}


def test_a_window_of_training_holds_the_pictures_that_something_reads(make_policy):
    policy, frames = make_policy(AHEAD), scene(1)[:4]
    assert policy.window["seen"] == [0, 2]
    with torch.no_grad():
        whole = policy.readouts(window_of(policy, frames), 1)["action"]
        part = policy.readouts(window_of(policy, frames, [0, 2]), 1)["action"]
    assert torch.equal(whole, part)
    assert "seen" not in make_policy({}).window
    with pytest.raises(ConfigurationError, match=r"policy.lookahead: 4 of 4 timesteps"):
        make_policy(AHEAD | {"lookahead": 4})
    with pytest.raises(ConfigurationError, match=r"policy.beyond_end: it is null or last_frame"):
        make_policy({"beyond_end": "last"})


def test_at_an_episodes_end_the_last_frame_is_read_where_that_is_wanted(make_policy, window):
    window["target"]["valid"][:] = torch.tensor([True, True, False, False])  # the goal of the first lies behind the end
    losses = [make_policy(AHEAD | {"beyond_end": wanted})(window)[0] for wanted in (None, "last_frame")]
    assert losses[0] == 0
    assert losses[1] > 0


def test_a_recorded_future_is_read_as_in_training_up_to_the_last_frame(make_policy):
    policy, frames = make_policy(AHEAD), scene(1)[:6]
    recorded = SimpleNamespace(task=lambda position: SENTENCE, observations=lambda position: iter(frames))
    session = foreknowing(policy, recorded)(0)
    for step, frame in enumerate(frames):
        ahead = [frames[min(step + k, 5)] for k in range(4)]
        with torch.no_grad():
            expected = policy.action_head(policy.readouts(window_of(policy, ahead), 1)["action"])[0, 0]
        found = policy.step([session], [frame])[0].actions
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    with pytest.raises(ConfigurationError, match="trained to read the future itself"):
        foreknowing(make_policy({}), recorded)


def test_where_there_is_nothing_to_replace_it_says_so(make_policy):
    for changes, name, words in (
        ({"world_model": None}, "zero", "has no world model"),
        ({"reads.action.foresight": None}, "frozen", "lets its actions read no foresight"),
        ({"reads.foresight.action": "same"}, "zero", "the world model reads the actions"),
        ({}, "other_task", "foresight_bank=DATASET"),
        ({}, "frozne", "Did you mean 'frozen'"),
        ({}, "oracle", "foresight tokens, which no picture gives"),
    ):
        with pytest.raises(ConfigurationError, match=words):
            intervene(make_policy(changes), name)
    with pytest.raises(ConfigurationError, match="not a composed policy"):
        intervene(object(), INTERVENTIONS[0])
