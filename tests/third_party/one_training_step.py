"""Composes the policy that the example plugin's configuration describes, and takes one training step with it."""

import numpy as np
import torch
from hydra import compose, initialize_config_module

from forehand import Camera, Contract, Field, Observation
from forehand.learning.checkpoint import build_policy
from forehand_apps.cli.execution import prepare

CONTRACT = Contract(
    cameras=(Camera("static", 32, 32, "static"), Camera("wrist", 32, 32, "wrist")),
    state=(Field("position", 3), Field("gripper", 1, gripper="open")),
    action=(
        Field("position", 3, low=(-1.0,) * 3, high=(1.0,) * 3),
        Field("gripper", 1, gripper="open", low=(-1.0,), high=(1.0,)),
    ),
    rate=10.0,
)
STATISTICS = {"observation.state": {"mean": [0.0] * 4, "std": [1.0] * 4}}

prepare()
with initialize_config_module("forehand_apps.conf", version_base="1.3"):
    config = compose("train", ["policy=example_small", "policy.image_size=32", "policy.dim=32", "dataset=none"]).policy

torch.manual_seed(0)
policy = build_policy(config, CONTRACT, STATISTICS)
window = policy.window
B, T, size = 2, window["history"], window["image_size"]


def images(*shape: int) -> torch.Tensor:
    return torch.randint(0, 256, (*shape, size, size, 3), dtype=torch.uint8)


batch = {
    "observation": {
        **{f"images.{camera}": images(B, T) for camera in window["cameras"]},
        "state": torch.randn(B, T, 4),
        "instruction": ["lift the red block"] * B,
    },
    "target": {
        "valid": torch.ones(B, T, dtype=torch.bool),
        **{f"future.{camera}": images(B, T) for camera in window["cameras"]},
        "future_valid": torch.ones(B, T, dtype=torch.bool),
        "actions": torch.rand(B, T, window["chunk"], 4) * 2 - 1,
        "actions_valid": torch.ones(B, T, window["chunk"], dtype=torch.bool),
    },
}
optimizer = torch.optim.AdamW(policy.parameters(), lr=1e-2)
foreign = policy.encoders["plain_state"].project.weight
before = foreign.detach().clone()
loss, _ = policy.train()(batch)
loss.backward()
optimizer.step()
print("the foreign encoder learned:", not torch.equal(before, foreign))

observation = Observation(
    {camera: np.zeros((32, 32, 3), np.uint8) for camera in window["cameras"]}, np.zeros(4, np.float32), 0.0
)
(prediction,) = policy.eval().step([policy.open("lift the red block")], [observation])
print("actions:", prediction.actions.shape)
