"""A forward and an inverse model trained apart, coupled afterwards, and what then learns."""

import pytest
import torch
from tests.without_columns import without

from forehand.learning.checkpoint import load_policy
from forehand.learning.warm_start import load_pretrained_weights

from .runs import ignore

TOWERS = {"eyes": {"name": "example/patches"}}
CAMERAS = {"name": "example/features", "cameras": ["static"], "tower": "eyes"}
BACKBONE = {"name": "example/transformer", "layers": 1, "dropout": 0.0}
QUIET = {"towers": TOWERS, "random_shift": {}, "token_dropout": {}, "backbone": BACKBONE}
FORWARD = {
    **QUIET,
    "encoders": {"text": {"name": "example/text"}, "cameras": CAMERAS},
    "world_model": {"name": "example/future_features", "cameras": ["static"], "tower": "eyes", "horizon": [1, 2]},
    "action_head": None,
    "reads": {"observation": {"observation": "past"}, "foresight": {"observation": "past"}},
}
INNER = {
    "history": 3,
    "encoders": {"cameras": CAMERAS},
    "backbone": BACKBONE,
    "action_head": {"name": "example/regression", "chunk": 2},
    "reads": {"observation": {"observation": "past"}, "action": {"observation": "past"}},
}
INVERSE = {**QUIET, **INNER, "inverse_dynamics": True}


@pytest.fixture
def apart(begin, slider_dataset, tmp_path):
    """The folders of a forward model, which saw video alone, and of an inverse model."""
    video = without(slider_dataset, tmp_path / "video", "action", "observation.state")
    begin(tmp_path / "forward", sources=video, **FORWARD, steps=1).run(ignore)
    some = [{"path": str(slider_dataset), "episodes": "0:2"}]
    begin(tmp_path / "inverse", sources=some, **INVERSE, steps=1).run(ignore)
    return tmp_path / "forward", tmp_path / "inverse"


def weights(policy) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in policy.state_dict().items()}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("gradient", "frozen", "still"),
    [
        ("end_to_end", {}, ()),
        (
            "detached",
            {f"{part}.*": {"frozen": True} for part in ("encoders", "backbone", "world_model")},
            ("encoders.", "backbone.", "world_model."),
        ),
        ("end_to_end", {"inverse_model.*": {"frozen": True}}, ("inverse_model.",)),
    ],
)
def test_what_is_coupled_begins_with_both_and_what_is_frozen_stays(begin, apart, tmp_path, gradient, frozen, still):
    forward, inverse = apart
    changes = {**FORWARD, "name": "coupled", "inverse_model": INNER, "gradient": gradient}
    trainer = begin(tmp_path / "coupled", **changes, parameter_groups=frozen, steps=2)
    policy = trainer.policy
    load_pretrained_weights(policy, forward, elsewhere=["inverse_model"])
    load_pretrained_weights(policy.inverse_model, inverse, normalization=True)
    before = weights(policy)
    first, second = load_policy(forward).state_dict(), load_policy(inverse).state_dict()
    for name, value in before.items():
        ours = second if name.startswith("inverse_model.") else first
        if not name.startswith("normalize_"):
            assert torch.equal(value, ours[name.removeprefix("inverse_model.")]), name
    trainer.run(ignore)
    changed = {name for name, value in policy.state_dict().items() if not torch.equal(value, before[name])}
    assert not [name for name in changed if still and name.startswith(still)]
    learnt = {name.split(".")[0] for name in changed}
    assert learnt == {"encoders", "backbone", "world_model", "inverse_model"} - {name[:-1] for name in still}
    again = load_policy(tmp_path / "coupled")
    assert all(torch.equal(value, policy.state_dict()[name]) for name, value in again.state_dict().items())
