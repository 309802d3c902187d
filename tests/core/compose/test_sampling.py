"""Action heads that sample: noise is the session's own, and the context is computed once however often it is read."""

import numpy as np
import pytest
import torch

from forehand.conformance import assert_policy_conforms, example
from forehand.conformance.example import CONTRACT
from forehand.errors import ConfigurationError

SAMPLED = {"action_head": {"name": "example/sampled"}}
DENOISED = {"action_head": {"name": "example/denoised"}}
WORDS = {"encoders.text": {"name": "example/words"}}


@pytest.mark.parametrize("changes", [SAMPLED, DENOISED, {**DENOISED, **WORDS}, {**DENOISED, "world_model": None}])
def test_seeded_sessions_act_the_same_alone_and_together(make_policy, changes):
    policy = make_policy(changes)
    assert policy.samples
    assert policy.describe()["samples"] is True
    assert_policy_conforms(lambda: make_policy(changes))


def act(policy, steps, *, backbone=None, seed=3):
    policy.backbone = backbone or policy.backbone
    generator = np.random.default_rng(0)
    session = policy.open("lift the red block", seed)
    seen = [example.observation(CONTRACT, generator, 0.0) for _ in range(steps)]
    return np.stack([policy.step([session], [o])[0].actions for o in seen])


@pytest.mark.parametrize("changes", [DENOISED, {**DENOISED, **WORDS}, {**DENOISED, "reads.action.foresight": None}])
def test_a_cached_context_reads_as_the_whole_sequence_does(make_policy, changes):
    class WithoutCache(torch.nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, tokens, timesteps, mask):
            return self.inner(tokens, timesteps, mask)

    policy = make_policy(changes)
    cached = act(policy, 6)
    whole = act(policy, 6, backbone=WithoutCache(policy.backbone))
    np.testing.assert_allclose(cached, whole, rtol=1e-5, atol=1e-5)
    assert np.abs(cached).max() > 0.01


def test_each_pass_computes_the_tokens_of_the_head_alone(make_policy):
    policy = make_policy(DENOISED)
    runs = []
    policy.backbone.norm.register_forward_pre_hook(lambda _, given: runs.append(given[0].shape[1]))
    act(policy, 2)
    assert runs == [8, 2, 2, 2] * 2  # 6 of the observation and 2 of foresight; the head has 2, and reads three times


def test_noise_begins_anew_with_an_episode(make_policy):
    policy, seen = make_policy(SAMPLED), example.observation(CONTRACT, np.random.default_rng(0), 0.0)
    session = policy.open("lift the red block", 3)
    first, second = (policy.step([session], [seen])[0].actions for _ in range(2))
    session.reset()
    again = policy.step([session], [seen])[0].actions
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, second)


@pytest.mark.parametrize(
    "reads", [{"reads.action.action": "past"}, {"reads.foresight.action": "same"}, {"reads.observation.action": "past"}]
)
def test_nothing_else_may_read_tokens_that_each_pass_makes_anew(make_policy, reads):
    with pytest.raises(ConfigurationError, match="makes its tokens anew for each pass"):
        make_policy({**DENOISED, **reads})


@pytest.mark.parametrize("changes", [SAMPLED, DENOISED])
def test_it_learns_a_window(make_policy, window, changes):
    policy = make_policy(changes).train()
    window["target"]["actions"] = torch.full_like(window["target"]["actions"], 0.5)
    optimizer = torch.optim.Adam(policy.parameters(), lr=1e-2)
    torch.manual_seed(0)
    losses = []
    for _ in range(60):
        loss, _ = policy(window)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-10:]) < 0.4 * np.mean(losses[:5])
    assert all(p.grad is not None for name, p in policy.named_parameters() if name != "world_model.canvas")
