"""Inference acceleration: bfloat16 and compiled parts answer like the policy itself."""

import numpy as np
import pytest
import torch

from forehand.compose.acceleration import Compiled, accelerate
from forehand.errors import ConfigurationError


def answers(policy, frames):
    """What a session is told while its window grows, and then slides, beside one that began a step earlier."""
    earlier, session = policy.open("push"), policy.open("lift")
    policy.step([earlier], frames[:1])
    return np.stack([[p.actions for p in policy.step([earlier, session], [frame] * 2)] for frame in frames[1:]])


def test_bfloat16_answers_nearly_the_same(make_policy, frames):
    exact, lower = make_policy(), make_policy()
    accelerate(lower, precision="bfloat16")
    found, expected = answers(lower, frames), answers(exact, frames)
    assert 0 < np.abs(found - expected).max() < 0.05
    assert {p.dtype for p in lower.action_head.parameters()} == {torch.float32}
    assert torch.bfloat16 in {p.dtype for p in lower.backbone.parameters()}
    seen = [policy.open("lift") for policy in (exact, lower)]
    for policy, session in zip((exact, lower), seen, strict=True):
        policy.remember(session, frames[:3])
    together = [p.step([s], frames[3:4], forecast=True)[0] for p, s in zip((exact, lower), seen, strict=True)]
    np.testing.assert_allclose(together[1].actions, together[0].actions, atol=0.05)
    assert together[1].forecast is not None


def test_compiled_are_the_towers_and_the_backbone(make_policy, frames, monkeypatch, caplog):
    called = set()

    def compile(function, mode):
        def compiled(*given, **named):
            called.add(function.__qualname__)
            return function(*given, **named)

        assert mode == "reduce-overhead"
        return compiled

    monkeypatch.setattr(torch, "compile", compile)
    policy = make_policy()
    accelerate(policy, compile="cuda_graphs")
    np.testing.assert_array_equal(answers(policy, frames), answers(make_policy(), frames))
    assert any("forward" in name for name in called)
    assert not [record for record in caplog.records if record.name.startswith("forehand")]


def test_what_a_graph_leaves_behind_is_copied(monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    kept = torch.zeros(2)
    compiled = Compiled(lambda x: (kept, None), mode="reduce-overhead")
    (found, nothing) = compiled(torch.ones(2))
    kept += 1
    assert found.tolist() == [0, 0]
    assert nothing is None


def test_a_part_that_cannot_be_compiled_runs_as_it_is(caplog):
    def backend(graph, _):
        raise RuntimeError("no compiler here")

    double = Compiled(lambda x: x * 2, backend=backend)
    assert [double(torch.tensor(3.0)).item() for _ in range(2)] == [6, 6]
    assert caplog.text.count("policy.compile: torch.compile failed") == 1
    assert "no compiler here" in caplog.text


def test_wrong_settings_are_named(make_policy):
    with pytest.raises(ConfigurationError, match=r"policy\.precision must be float32 or bfloat16, not 'half'"):
        accelerate(make_policy(), precision="half")
    with pytest.raises(ConfigurationError, match=r"policy\.compile must be null, default or cuda_graphs, not 'fast'"):
        accelerate(make_policy(), compile="fast")
    with pytest.raises(ConfigurationError, match="are for composed policies, and object is none"):
        accelerate(object(), compile="default")
    accelerate(object())  # nothing is asked for
