"""In training, readers do without a random part of what they read."""

import torch

from forehand.compose import Layout, TokenGroup, read_mask
from forehand.compose.token_dropout import drop_tokens

GROUPS = [TokenGroup("image", 2, ("observation",))]
FORESIGHT, ACTION = TokenGroup("foresight", 5), TokenGroup("action", 2)
LAYOUT = Layout(GROUPS, [FORESIGHT, ACTION], 3, range(3))
READS = {
    "observation": {"observation": "past"},
    "foresight": {"observation": "past"},
    "action": {"observation": "past", "foresight": "same"},
}
MASK = torch.from_numpy(read_mask(LAYOUT, READS))


def hidden(ratio):
    return MASK & ~drop_tokens(MASK, LAYOUT, {"action": {"foresight": ratio}})


def test_each_steps_actions_lose_the_same_half_of_their_foresight_rounded_down():
    lost = hidden(0.5)
    actions, foresight = LAYOUT.positions("action"), LAYOUT.positions("foresight")
    for step in range(3):
        first, second = lost[actions[step]]
        assert torch.equal(first, second)
        assert first.sum() == first[foresight[step]].sum() == 2
    assert lost.sum() == 3 * 2 * 2  # nobody else loses anything


def test_every_pass_and_every_step_hides_others():
    torch.manual_seed(0)
    passes = [hidden(0.5) for _ in range(20)]
    assert len({tuple(lost.flatten().tolist()) for lost in passes}) > 10
    actions, foresight = LAYOUT.positions("action"), LAYOUT.positions("foresight")
    by_step = [[tuple(lost[actions[s][0]][foresight[s]].tolist()) for s in range(3)] for lost in passes]
    assert any(a != b for a, b, _ in by_step)


def test_nothing_is_hidden_at_ratio_zero_and_the_given_mask_is_left_alone():
    kept = MASK.clone()
    assert not hidden(0.0).any()
    hidden(1.0)
    assert torch.equal(MASK, kept)


def test_only_training_hides(make_policy, window):
    policy = make_policy({"token_dropout": {"action": {"foresight": 0.5}}})
    with torch.no_grad():
        a, b = (policy.readouts(window["observation"])["action"] for _ in range(2))
        assert torch.equal(a, b)
        policy.train()
        torch.manual_seed(0)
        passes = [policy.readouts(window["observation"])["action"] for _ in range(8)]
    assert any(not torch.equal(passes[0], other) for other in passes[1:])
