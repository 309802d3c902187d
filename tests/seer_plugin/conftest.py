"""Seer with generated weights and inputs, as the golden files of the released implementation want them."""

import functools
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_module

from forehand import Camera, Contract, Field
from forehand.compose import ComposedPolicy
from forehand_seer.contracts import CAMERAS
from forehand_seer.released import load, released_weights
from forehand_seer.released_names import released_shape

DATA = Path(__file__).parent.parent / "data" / "seer"


def noise(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Normal numbers that follow from a name."""
    generator = np.random.RandomState(zlib.crc32(name.encode()) & 0xFFFFFFFF)
    return generator.standard_normal(shape).astype(np.float32)


def weight(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """A weight of a generated model, by its released name and shape."""
    values = noise(name, shape)
    if len(shape) > 1:
        return torch.from_numpy(values / np.float32(np.sqrt(values.size / shape[0])))
    return torch.from_numpy((1 if name.endswith("weight") else 0) + np.float32(0.1) * values)


vision_weight = functools.cache(weight)  # the same in every case, unlike the rest


def generated(policy: ComposedPolicy) -> dict[str, torch.Tensor]:
    """All weights of a released model of the policy's sizes, the vision encoder's included."""
    made = {}
    for name, tensor in released_weights(policy).items():
        make = vision_weight if name.startswith("vision_encoder.") else weight
        made[name] = make(name, released_shape(name, tensor.shape))
    return made


def fill(policy: ComposedPolicy) -> ComposedPolicy:
    """The policy, with generated weights."""
    load(policy, generated(policy))
    return policy


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


def inputs(case: str, steps: int, width: bool, future: int = 0, image_size: int = 224) -> dict[str, torch.Tensor]:
    """The generated inputs of a case, as the released model takes them; images go on for ``future`` steps."""
    shape = (1, steps + future, 3, image_size, image_size)
    arm = np.tanh(noise(f"{case}/arm_state", (1, steps, 6)))
    if width:
        gripper = np.float32(0.04) * np.abs(noise(f"{case}/gripper_state", (1, steps, 2)))
    else:
        gripper = (noise(f"{case}/gripper_state", (1, steps, 1)) > 0).astype(np.float32)
    return {
        **{f"image_{camera}": torch.from_numpy(noise(f"{case}/image_{camera}", shape)) for camera in CAMERAS},
        "state": torch.from_numpy(np.concatenate([arm, gripper], axis=-1)),
        "text_feature": torch.from_numpy(noise(f"{case}/text_feature", (1, 512))),
    }


def window(
    case: str, steps: int, horizon: int, chunk: int, width: bool, image_size: int = 224
) -> dict[str, dict[str, Any]]:
    """The generated inputs and labels of a case, as a batch of one window."""
    given = inputs(case, steps, width, horizon, image_size)
    images = {camera: given[f"image_{camera}"].movedim(2, -1) for camera in CAMERAS}
    labels = noise(f"{case}/actions", (1, steps + horizon, 7))
    actions = torch.from_numpy(np.concatenate([np.tanh(labels[..., :6]), labels[..., 6:] > 0], axis=-1))
    return {
        "observation": {
            **{f"images.{camera}": frames[:, :steps] for camera, frames in images.items()},
            "state": given["state"],
            "instruction": given["text_feature"],
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
    """Presets, the released contract, generated weights and inputs, released names and shapes."""
    released = json.loads((DATA / "state_dict_keys.json").read_text())
    return SimpleNamespace(
        preset=preset,
        contract=seer_contract,
        inputs=inputs,
        window=window,
        weight=weight,
        generated=generated,
        fill=fill,
        released=released,
        cameras=CAMERAS,
    )


@pytest.fixture
def golden() -> Callable[[str], tuple[dict[str, str], dict[str, torch.Tensor]]]:
    """Case → what its golden file says of it, and its outputs."""
    from safetensors import safe_open

    def read(case: str) -> tuple[dict[str, str], dict[str, torch.Tensor]]:
        with safe_open(DATA / f"{case}.safetensors", "pt") as file:
            return file.metadata(), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118

    return read
