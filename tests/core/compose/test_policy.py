"""A composed policy: what may influence what, in training and in sessions."""

import copy
import dataclasses

import numpy as np
import pytest
import torch

from forehand.compose.parts import Pretrained
from forehand.errors import ConfigurationError, NotFinite

GOAL = {"reads.foresight.state": "+2", "reads.action": {"images": "same", "foresight": "same"}}
STATES_ALONE = {"reads.state": {"state": "past"}, "reads.text": {"text": "past"}}


@torch.no_grad()
def read(policy, window):
    return policy.readouts(window["observation"])


def with_other_frames(window, key, first):
    """A copy of ``window`` in which ``key`` is another from timestep ``first`` on."""
    other = copy.deepcopy(window)
    values = other["observation"][key]
    values[:, first:] = values[:, first:].flip(1).flip(0) + 1
    return other


@pytest.mark.parametrize("key", ["images.static", "images.wrist", "state"])
@pytest.mark.parametrize("changes", [{}, {"reads.action": {"images": "same", "foresight": "same"}}])
def test_the_future_never_reaches_an_earlier_step(make_policy, window, key, changes):
    policy = make_policy(changes)
    before, after = read(policy, window), read(policy, with_other_frames(window, key, 2))
    for name in ("foresight", "action"):
        assert torch.equal(before[name][:, :2], after[name][:, :2])
    assert not torch.equal(before["foresight"][:, 2], after["foresight"][:, 2])


@pytest.mark.parametrize(
    ("changes", "images_come_too"),
    [
        (GOAL, True),  # as published: in the second layer, the goal's state has read the goal's images
        ({**GOAL, "backbone.layers": 1}, False),
        ({**GOAL, "reads.observation": None, "reads.images": {"observation": "past"}, **STATES_ALONE}, False),
    ],
)
def test_a_goal_brings_along_what_it_has_read_itself(make_policy, window, changes, images_come_too):
    policy = make_policy(changes)
    before = read(policy, window)["foresight"][:, :2]
    images = read(policy, with_other_frames(window, "images.static", 2))["foresight"][:, :2]
    state = read(policy, with_other_frames(window, "state", 2))["foresight"][:, :2]
    assert torch.equal(before, images) != images_come_too
    assert not torch.allclose(before, state, atol=1e-5)


def test_actions_listen_to_the_instruction_unless_the_table_says_otherwise(make_policy, window):
    other = copy.deepcopy(window)
    other["observation"]["instruction"] = other["observation"]["instruction"][::-1]
    deaf = {"reads.action": {"images": "same"}, "reads.images": {"images": "past"}, "reads.observation": None}
    for changes, listens in (({}, True), ({**deaf, **STATES_ALONE}, False)):
        policy = make_policy(changes)
        before, after = read(policy, window)["action"], read(policy, other)["action"]
        assert torch.equal(before, after) != listens


def test_what_has_no_goal_gives_no_loss(make_policy, window):
    policy = make_policy(GOAL)
    window["target"]["valid"][1, 3] = False  # the second episode ends: its step 1 has no goal either
    other = copy.deepcopy(window)
    for row, step in ((0, 2), (0, 3), (1, 1), (1, 2), (1, 3)):
        other["target"]["actions"][row, step] *= -1
        other["target"]["future.static"][row, step] += 100
    with torch.no_grad():
        assert torch.equal(policy(window)[0], policy(other)[0])
        other["target"]["actions"][1, 0] *= -1
        assert not torch.equal(policy(window)[0], policy(other)[0])


def test_a_window_no_longer_than_the_goal_gives_no_loss(make_policy, window):
    with torch.no_grad():
        assert make_policy({"reads.foresight.state": "+5"})(window)[0] == 0


def test_a_session_acts_as_the_newest_step_of_its_window(make_policy, frames):
    policy = make_policy()
    session = policy.open("lift the red block")
    for newest in range(len(frames)):  # the window grows over four frames, then slides
        (prediction,) = policy.step([session], [frames[newest]], forecast=True)
        seen = frames[max(0, newest - 3) : newest + 1]
        observation = {
            **{f"images.{c}": torch.stack([_resized(f.images[c], policy) for f in seen])[None] for c in seen[0].images},
            "state": torch.stack([torch.from_numpy(f.state) for f in seen])[None],
            "instruction": ["lift the red block"],
        }
        with torch.no_grad():
            readouts = policy.readouts(observation)
            actions = policy.action_head(readouts["action"][:, -1])[0]
            now = {c: observation[f"images.{c}"][:, -1] for c in policy.world_model.cameras}
            pictures = policy.world_model.decode_images(readouts["foresight"][:, -1], now)
        torch.testing.assert_close(torch.from_numpy(prediction.actions), actions, rtol=1e-5, atol=1e-5)
        for camera, picture in prediction.forecast.items():
            difference = pictures[camera][0].int() - torch.from_numpy(picture).int()
            assert difference.abs().max() <= 1  # of 255
        assert prediction.forecast_horizon == 2


def _resized(image, policy):
    from forehand.utils.images import resize

    return torch.from_numpy(resize(image[None], policy.image_size)[0])


def test_only_what_the_actions_read_is_computed_in_a_session(make_policy, frames):
    lengths = {}
    for name, changes in {"looks": {}, "does not look": {"reads.action.foresight": None}}.items():
        policy = make_policy(changes)
        policy.backbone.norm.register_forward_pre_hook(
            lambda _, given, name=name: lengths.update({name: given[0].shape[1]})
        )
        policy.step([policy.open("lift")], frames[:1])
    assert lengths == {"looks": 6 + 2 + 2, "does not look": 6 + 2}


@pytest.mark.parametrize(
    ("changes", "terms"),
    [
        ({}, {"foresight", "arm", "gripper"}),
        ({"world_model": None}, {"arm", "gripper"}),
        ({"reads.action.foresight": None}, {"foresight", "arm", "gripper"}),
        ({"action_head": None}, {"foresight"}),
        ({"encoders.state": None}, {"foresight", "arm", "gripper"}),
        (
            {"random_shift": {"static": 3}, "token_dropout": {"action": {"foresight": 0.5}}},
            {"foresight", "arm", "gripper"},
        ),
    ],
)
def test_ablations_train(make_policy, window, changes, terms):
    policy = make_policy(changes).train()
    optimizer = torch.optim.AdamW(policy.parameters(), 1e-2)
    first = last = None
    for _ in range(5):
        last, found = policy(window)
        first = last if first is None else first
        optimizer.zero_grad()
        last.backward()
        optimizer.step()
    assert set(found) == terms
    assert last < first
    assert all(p.grad is not None for p in policy.parameters())


def test_the_loss_is_the_weighted_sum_of_its_terms(make_policy, window):
    policy = make_policy({"world_model.weight": 0.3, "action_head.gripper_weight": 0.2})
    with torch.no_grad():
        total, terms = policy(window)
    torch.testing.assert_close(total, terms["arm"] + 0.2 * terms["gripper"] + 0.3 * terms["foresight"])


def test_a_policy_without_an_action_head_says_that_it_cannot_act(make_policy, frames):
    policy = make_policy({"action_head": None})
    with pytest.raises(ConfigurationError, match="no action head"):
        policy.step([policy.open("lift")], frames[:1])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"world_model": None, "action_head": None}, "nothing to learn"),
        ({"encoders.again": {"name": "example/state"}}, "two parts .* 'state'"),
        ({"random_shift": {"statik": 3}}, "Did you mean 'static'"),
        ({"token_dropout": {"actoin": {"foresight": 0.5}}}, "token_dropout: 'actoin' .* Did you mean 'action'"),
        ({"backbone": {"layers": 2}}, "without a name"),
        ({"action_head.chnk": 3}, "chnk"),
    ],
)
def test_what_cannot_be_composed_is_refused_with_a_reason(make_policy, changes, message):
    with pytest.raises(ConfigurationError, match=message):
        make_policy(changes)


def test_training_goes_on_after_a_session_ran(make_policy, window, frames):
    policy = make_policy({"history": 1})
    policy.step([policy.open("lift")], frames[:1])
    short = {
        side: {k: v[:, :1] if isinstance(v, torch.Tensor) else v for k, v in values.items()}
        for side, values in window.items()
    }
    policy.train()(short)[0].backward()
    assert all(p.grad is not None for p in policy.parameters())


def test_images_are_shifted_in_training_only(make_policy, window):
    policy = make_policy({"random_shift": {"static": 5}})
    with torch.no_grad():
        assert torch.equal(policy(window)[0], policy(window)[0])
        policy.train()
        torch.manual_seed(0)
        assert not torch.equal(policy(window)[0], policy(window)[0])


@pytest.mark.parametrize("ask", ["step", "remember"])
def test_a_state_that_is_not_finite_is_refused_and_not_remembered(make_policy, frames, ask):
    policy = make_policy()
    session, untouched = policy.open("push"), policy.open("push")
    for one in (session, untouched):
        policy.step([one], frames[:1])
    bad = dataclasses.replace(
        frames[1], state=np.where(np.arange(frames[1].state.size) == 1, np.nan, 0).astype(np.float32)
    )
    with pytest.raises(NotFinite, match=r"element 1 of '.*' is nan"):
        policy.step([untouched, session], [frames[1], bad]) if ask == "step" else policy.remember(session, [bad])
    first, second = (policy.step([one], frames[2:3])[0].actions for one in (session, untouched))
    np.testing.assert_array_equal(first, second)
    assert np.isfinite(first).all()


def test_a_state_that_overflows_costs_its_own_session_the_history_and_the_others_nothing(make_policy, frames):
    policy = make_policy()
    sessions = [policy.open("push") for _ in range(2)]
    policy.step(sessions, frames[:2])
    huge = dataclasses.replace(frames[2], state=np.full_like(frames[2].state, 3e38))
    broken, sound = policy.step(sessions, [huge, frames[3]])
    assert not np.isfinite(broken.actions).all()
    fresh, lone = policy.open("push"), policy.open("push")
    policy.step([lone], frames[1:2])
    np.testing.assert_allclose(sound.actions, policy.step([lone], frames[3:4])[0].actions, rtol=1e-4, atol=1e-5)
    again, first = policy.step([sessions[0], fresh], [frames[4], frames[4]])
    np.testing.assert_allclose(again.actions, first.actions, rtol=1e-5, atol=1e-6)
    assert np.isfinite(again.actions).all()


def test_options_that_parts_read_from_files_join_those_that_were_given(make_policy):
    policy = make_policy()
    encoders = {"text": None, "state": {"name": "state", "depth": 1}}
    given = {"dim": 32, "encoders": encoders, "backbone": {"name": "transformer"}, "action_head": {"name": "regression"}}
    assert policy.resolved_config(given) == given

    def read(part, options):
        members = {"resolved_options": options, "load_pretrained": lambda self: None}
        part.__class__ = type("Read", (type(part), Pretrained), members)

    read(policy.encoders["state"], {"width": 3})
    read(policy.backbone, {"heads": 2})
    before = copy.deepcopy(given)
    assert policy.resolved_config(given) == {
        **given,
        "encoders": {"text": None, "state": {"name": "state", "depth": 1, "width": 3}},
        "backbone": {"name": "transformer", "heads": 2},
    }
    assert given == before


@pytest.mark.parametrize("seed", [-1, 2**64, 1.5, True, "x"])
def test_a_seed_that_is_none_is_refused_before_a_batch(make_policy, seed):
    with pytest.raises(ConfigurationError, match="seed is a whole number"):
        make_policy().open("lift", seed)


def test_remembering_nothing_changes_nothing(make_policy):
    policy = make_policy()
    session = policy.open("lift")
    policy.remember(session, [])
    assert not session.frames


@pytest.mark.parametrize("name", ["type", "a.b", ""])
def test_names_that_modules_cannot_have_are_refused(make_policy, name):
    with pytest.raises(ConfigurationError, match=r"encoders: .* cannot be a name here"):
        make_policy({"encoders": {name: {"name": "example/state"}}})
