"""Seer, at full size and through its released face, computes what the released implementation computes, to 1e-5."""

import json

import pytest
import torch

from forehand_seer.mae_vit import MaskedAutoencoderViT
from forehand_seer.released import build, predict, stream

CASES = ("calvin_seer", "libero_seer", "libero_action_only", "pretrain_seer", "pretrain_seer_large")


@pytest.fixture(autouse=True)
def _each_image_is_encoded_once(monkeypatch):
    """A case shows its images twice, and most of its time is the frozen vision transformer's."""
    encode, known = MaskedAutoencoderViT._encode, {}

    def once(tower, images):
        key = images.contiguous().numpy().tobytes()
        if key not in known:
            known[key] = encode(tower, images)
        return known[key]

    monkeypatch.setattr(MaskedAutoencoderViT, "_encode", once)


def assert_same(ours, theirs):
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.timeout(1800)  # a minute on two idle cores
@pytest.mark.parametrize("case", CASES)
def test_agrees_with_the_released_implementation(case, golden, seer):
    about, wanted = golden(case)
    flags, steps, future = json.loads(about["config"]), int(about["sequence_length"]), int(about["future_steps"])
    policy = seer.fill(build(sequence_length=steps, future_steps=future, **flags))
    width = flags.get("gripper_width", False)

    answer = predict(policy, **seer.inputs(case, steps, width))
    assert_same(answer.arm_action, wanted["arm_action"])
    assert_same(answer.gripper_action, wanted["gripper_action"])
    assert (answer.foresight is None) == ("foresight_slice" not in wanted)
    if answer.foresight is not None:
        assert_same(answer.foresight[..., ::28, ::64], wanted["foresight_slice"])
        assert_same(answer.foresight.mean(dim=(-2, -1)), wanted["foresight_mean"])
        assert_same(answer.foresight.std(dim=(-2, -1)), wanted["foresight_std"])

    with torch.no_grad():
        total, terms = policy(seer.window(case, steps, future, policy.action_head.chunk, width))
    losses = [terms["arm"], terms["gripper"], terms.get("foresight", torch.zeros(())), total]
    assert_same(torch.stack(losses), wanted["loss"])


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_streams_as_the_released_implementation_does(golden, seer):
    case = "stream_calvin_seer"
    about, wanted = golden(case)
    policy = seer.fill(build(sequence_length=int(about["history"]), **json.loads(about["config"])))
    given = seer.inputs(case, int(about["steps"]), width=False)
    text = given.pop("text_feature")
    running = stream(policy, ensemble=about["ensemble"] == "True")
    steps = [
        running.step(**{name: values[0, t] for name, values in given.items()}, text_feature=text)
        for t in range(int(about["steps"]))
    ]
    assert_same(torch.stack([chunk for chunk, _ in steps]), wanted["chunks"])
    assert_same(torch.stack([action for _, action in steps]), wanted["actions"])
