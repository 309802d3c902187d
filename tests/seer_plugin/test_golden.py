"""Seer, at full size, computes what the released implementation computes, to 1e-5 in float32."""

import pytest
import torch

CASES = {
    "calvin_seer": ("seer_calvin",),
    "libero_seer": ("seer_libero",),
    "libero_action_only": ("seer_libero", "policy.world_model=null", "policy.backbone.layers=6"),
    "pretrain_seer": ("seer_calvin_pretraining",),
    "pretrain_seer_large": ("seer_large_calvin_pretraining",),
}


def assert_same(ours, theirs):
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.timeout(1800)  # a minute on two idle cores
@pytest.mark.parametrize("case", CASES)
def test_agrees_with_the_released_implementation(case, golden):
    about = golden(case, *CASES[case])
    policy, wanted = about.policy, about.outputs
    with torch.no_grad():
        readouts = policy.readouts(about.batch["observation"])
        total, terms = policy.losses(readouts, about.batch["target"])
        actions = policy.action_head(readouts["action"])
        forecast = policy.world_model(readouts["foresight"]) if policy.world_model else None

    assert_same(actions[..., :6], wanted["arm_action"])
    assert_same((actions[..., 6:] + 1) / 2, wanted["gripper_action"])
    if forecast is not None:
        assert_same(forecast[..., ::28, ::64], wanted["foresight_slice"])
        assert_same(forecast.mean(dim=(-2, -1)), wanted["foresight_mean"])
        assert_same(forecast.std(dim=(-2, -1)), wanted["foresight_std"])
    assert ("foresight_slice" in wanted) == (forecast is not None)
    losses = [terms["arm"], terms["gripper"], terms.get("foresight", torch.zeros(())), total]
    assert_same(torch.stack(losses), wanted["loss"])
