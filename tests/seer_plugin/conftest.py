"""Seer's presets at full size with generated weights, as the golden files of the released implementation want them."""

import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_module
from safetensors import safe_open

from forehand import Camera, Contract, Field
from forehand.checkpoint import build_policy
from forehand.compose import ComposedPolicy
from forehand_seer.released_names import our_name

DATA = Path(__file__).parent.parent / "data" / "seer"
CAMERAS = ("primary", "wrist")


def noise(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Normal numbers that follow from a name."""
    generator = np.random.RandomState(zlib.crc32(name.encode()) & 0xFFFFFFFF)
    return generator.standard_normal(shape).astype(np.float32)


def weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """A weight of a generated model, by its released name and shape."""
    values = noise(name, shape)
    if len(shape) > 1:
        return values / np.float32(np.sqrt(values.size / shape[0]))
    return 1 + np.float32(0.1) * values if name.endswith("weight") else np.float32(0.1) * values


def fill(policy: ComposedPolicy) -> None:
    """Generate all weights of a policy; every one of its own names must be reached from a released name."""
    keys = json.loads((DATA / "state_dict_keys.json").read_text())
    released = {**keys["seer_calvin"], **{f"vision_encoder.{k}": s for k, s in keys["mae_vit_base"].items()}}
    left = {name: tensor for name, tensor in policy.state_dict().items() if not name.startswith("normalize_")}
    with torch.no_grad():
        for name, shape in released.items():
            ours = our_name(name, CAMERAS)
            if ours in left:
                tensor = left.pop(ours)
                leading = (1,) * (len(shape) - tensor.ndim)
                tensor.copy_(torch.from_numpy(weight(name, (*leading, *tensor.shape))).view_as(tensor))
    assert not left


@dataclass
class Golden:
    """One golden case: the policy, a batch of one window, and what the released implementation makes of it."""

    policy: ComposedPolicy
    batch: dict[str, dict[str, Any]]
    outputs: dict[str, torch.Tensor]


def seer_contract(fingers: int) -> Contract:
    """State and action as the released models have them."""
    state = (Field("arm", 6), Field("gripper", fingers, gripper="open"))
    return Contract(
        cameras=tuple(Camera(name, 224, 224) for name in CAMERAS),
        state=state,
        action=(Field("arm", 6), Field("gripper", 1, gripper="open")),
        rate=30.0,
    )


def preset(name: str, *overrides: str) -> Any:
    """A policy configuration of this package."""
    with initialize_config_module("forehand_seer.conf", version_base=None):
        return compose(overrides=[f"+policy={name}", *overrides]).policy


def window(
    case: str, steps: int, horizon: int, chunk: int, width: bool, image_size: int = 224
) -> dict[str, dict[str, Any]]:
    """The generated inputs of a case, as a batch of one window."""
    shape = (1, steps + horizon, 3, image_size, image_size)
    images = {camera: torch.from_numpy(noise(f"{case}/image_{camera}", shape)).movedim(2, -1) for camera in CAMERAS}
    arm = np.tanh(noise(f"{case}/arm_state", (1, steps, 6)))
    if width:
        gripper = np.float32(0.04) * np.abs(noise(f"{case}/gripper_state", (1, steps, 2)))
    else:
        gripper = (noise(f"{case}/gripper_state", (1, steps, 1)) > 0).astype(np.float32)
    labels = noise(f"{case}/actions", (1, steps + horizon, 7))
    actions = torch.from_numpy(np.concatenate([np.tanh(labels[..., :6]), labels[..., 6:] > 0], axis=-1))
    return {
        "observation": {
            **{f"images.{camera}": frames[:, :steps] for camera, frames in images.items()},
            "state": torch.from_numpy(np.concatenate([arm, gripper], axis=-1)),
            "instruction": torch.from_numpy(noise(f"{case}/text_feature", (1, 512))),
        },
        "target": {
            **{f"future.{camera}": frames[:, horizon:] for camera, frames in images.items()},
            "actions": torch.stack([actions[:, i : i + steps] for i in range(chunk)], dim=2),
            "valid": torch.ones(1, steps, dtype=torch.bool),
            "future_valid": torch.ones(1, steps, dtype=torch.bool),
            "actions_valid": torch.ones(1, steps, chunk, dtype=torch.bool),
        },
    }


@pytest.fixture
def seer() -> SimpleNamespace:
    """What makes full-size policies: presets, the released contract, generated windows, released names and shapes."""
    released = json.loads((DATA / "state_dict_keys.json").read_text())
    return SimpleNamespace(preset=preset, contract=seer_contract, window=window, released=released, cameras=CAMERAS)


@pytest.fixture
def golden() -> Callable[..., Golden]:
    """Case and preset → :class:`Golden`."""

    def make(case: str, name: str, *overrides: str) -> Golden:
        with safe_open(DATA / f"{case}.safetensors", "pt") as file:
            about, outputs = file.metadata(), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        width = bool(json.loads(about["config"]).get("gripper_width"))
        config = preset(name, f"policy.history={about['sequence_length']}", *overrides)
        policy = build_policy(config, seer_contract(2 if width else 1), {}).eval()
        fill(policy)
        batch = window(case, policy.history, int(about["future_steps"]), policy.action_head.chunk, width)
        return Golden(policy, batch, outputs)

    return make
