"""Malformed configurations, observations and batches of a composed policy end in errors that name them."""

import dataclasses

import numpy as np
import pytest

from forehand.errors import ConfigurationError, ContractMismatch


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dim": "x"}, "dim must be a whole number, not 'x'"),
        ({"dim": 0}, "policy.dim must be a whole number, at least 1, not 0"),
        ({"history": "4"}, "history must be a whole number, not '4'"),
        ({"history": 0}, "policy.history must be a whole number from 1 to 4096, not 0"),
        ({"history": 10**9}, "policy.history must be a whole number from 1 to 4096, not 1000000000"),
        (
            {"history": 4096, "encoders.cameras.tokens": 8},
            r"policy.history: 4096 timesteps have .* and 32,768 are the most",
        ),
        ({"image_size": -1}, "policy.image_size must be a whole number, at least 1, not -1"),
        ({"encoders": None}, "encoders must be a mapping, not None"),
        ({"encoders.state": "state_mlp"}, "encoders.state must be a mapping or null, not 'state_mlp'"),
        ({"backbone": "transformer"}, "backbone must be a mapping, not 'transformer'"),
        ({"world_model": "pixels"}, "world_model must be a mapping or null, not 'pixels'"),
        ({"action_head": {}, "world_model": {}}, "neither a world model nor an action head"),
        ({"action_head.chunk": "x"}, "chunk must be a whole number, not 'x'"),
        ({"reads": None}, "reads must be a mapping, not None"),
        ({"reads.action": "past"}, "reads.action must be a mapping or null, not 'past'"),
        ({"reads.action": {"observation": ["past"]}}, "reads.action.observation must be text or a whole number or null"),
        ({"normalization": "none"}, "normalization must be a mapping, not 'none'"),
        (
            {"normalization": {"state": "none"}},
            "policy.normalization: the method of action is missing. Known: .*mean_std",
        ),
        ({"normalization.state": None}, "normalization.state must be text or a mapping, not None"),
        ({"towers": {"resnet": {}}}, "a vision_tower is configured without a name"),
        ({"detach": "action"}, "detach must be a list or null, not 'action'"),
        ({"share": 3}, "share: a composition, which only Python code can give, not 3"),
        ({"random_shift": 3}, "random_shift must be a mapping or null, not 3"),
        ({"random_shift": {"static": "x"}}, "random_shift.static must be a whole number or a mapping, not 'x'"),
        ({"token_dropout": {"action": 3}}, "token_dropout.action must be a mapping or null, not 3"),
        (
            {"token_dropout": {"action": {"state": 2}}},
            "policy.token_dropout.action.state must be a number from 0 to 1, not 2",
        ),
    ],
)
def test_a_malformed_configuration_is_named(make_policy, changes, message):
    with pytest.raises(ConfigurationError, match=message):
        make_policy(changes)


def without(observation, camera):
    return dataclasses.replace(observation, images={k: v for k, v in observation.images.items() if k != camera})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda o: without(o, "wrist"), r"camera 'wrist': .* it is missing or no array\. .* cameras \['static'\]"),
        (lambda o: dataclasses.replace(o, images={**o.images, "wrist": np.zeros((8, 8))}), "camera 'wrist': .* float64"),
        (lambda o: dataclasses.replace(o, state=o.state[:-1]), r"The state must be \(\d+,\) numbers .* but is float32"),
        (lambda o: dataclasses.replace(o, state=None), "The state must be .* missing or no array"),
    ],
)
def test_an_observation_that_does_not_fit_is_refused_and_not_remembered(make_policy, frames, change, message):
    policy = make_policy()
    session = policy.open("lift")
    with pytest.raises(ContractMismatch, match=message):
        policy.step([session], [change(frames[0])])
    with pytest.raises(ContractMismatch, match=message):
        policy.remember(session, [frames[0], change(frames[1])])
    assert not session.frames


def test_a_state_of_another_precision_is_taken(make_policy, frames):
    policy = make_policy()
    precise = dataclasses.replace(frames[0], state=frames[0].state.astype(np.float64))
    given, same = (policy.step([policy.open("lift")], [o])[0].actions for o in (frames[0], precise))
    np.testing.assert_array_equal(given, same)


def test_a_batch_has_one_observation_for_each_session(make_policy, frames):
    policy = make_policy()
    session, other = policy.open("lift"), policy.open("push")
    with pytest.raises(ConfigurationError, match="a session is there twice"):
        policy.step([session, other, session], frames[:3])
    with pytest.raises(ConfigurationError, match="2 sessions and 3 observations"):
        policy.step([session, other], frames[:3])
    assert not session.frames
