"""Sources without a camera among others: its images are absent and masked, and no part of a policy reads the zeros."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch

from forehand.data.dataset import Dataset
from forehand.data.tower_features import FrozenFeatures
from forehand.data.window_spec import WindowSpec
from forehand.data.windows import WindowDataset
from forehand.errors import ContractMismatch, DatasetError
from forehand.learning.checkpoint import build_policy

from .example_policy import example_policy, places

pytestmark = pytest.mark.usefixtures("example_parts")

STATIC, WRIST = "exterior_1_left", "wrist_left"
POLICY = example_policy(STATIC, WRIST)
ABSENT, PRESENT = [0, 3, 7], [9, 12, 20]
"""Windows of sources without the wrist camera, and with it."""


@pytest.fixture
def one(droid_like: Path) -> dict:
    return {
        "path": droid_like,
        "state": ["observation.state.joint_position"],
        "action": {"arm": "action.joint_velocity"},
    }


@pytest.fixture(params=[True, False], ids=["first", "last"])
def data(one: dict, request: pytest.FixtureRequest) -> Dataset:
    """Episodes 0 and 1 of ``droid_like`` without the wrist camera, and all others with it."""
    blind = {**one, "cameras": {STATIC: STATIC, WRIST: None}, "episodes": "0:2"}
    whole = {**one, "episodes": "2:"}
    return Dataset.open([blind, whole] if request.param else [whole, blind])


def test_images_that_are_absent_are_zeros_behind_a_mask(data: Dataset):
    assert {camera.name for camera in data.contract.cameras} == {STATIC, WRIST}
    windows = WindowDataset(data, history=2, chunk=2, horizon=1, image_size=8)
    batch = windows.batch(places(data, [3, 8, 9]))
    observation, target = batch["observation"], batch["target"]
    assert observation[f"images.{WRIST}_valid"].tolist() == [[False] * 2, [False] * 2, [True] * 2]
    assert f"images.{STATIC}_valid" not in observation
    assert not observation[f"images.{WRIST}"][:2].any()
    assert observation[f"images.{WRIST}"][2].all()
    assert observation[f"images.{STATIC}"][:, 0].float().mean(dim=(1, 2, 3)).tolist() == pytest.approx([15, 40, 45])
    ahead = target["future_valid"]
    assert torch.equal(target[f"future.{WRIST}_valid"], ahead & torch.tensor([False, False, True])[:, None])
    assert ahead[0, 0]  # the future of the other camera counts
    spec = WindowSpec(
        observation={f"images.{WRIST}": (-1, 0)}, target={f"images.{WRIST}": (1,), "action": (0,)}, image_size=8
    )
    batch = WindowDataset(data, spec).batch(places(data, [4, 10]))
    assert batch["observation"][f"images.{WRIST}_valid"].tolist() == [[False] * 2, [True] * 2]
    assert batch["target"][f"images.{WRIST}_valid"].tolist() == [[False], [True]]


def test_what_all_have_is_not_masked(one: dict):
    data = Dataset.open([{**one, "episodes": [0]}, {**one, "episodes": [1]}])
    windows = WindowDataset(data, history=2, chunk=2, horizon=1, image_size=8)
    assert not [key for side in windows[0].values() for key in side if key.endswith(f"{WRIST}_valid")]


def test_a_camera_is_absent_only_where_that_is_stated(one: dict):
    data = Dataset.open([one, {**one, "cameras": [STATIC]}])
    with pytest.raises(ContractMismatch, match=f"camera '{WRIST}'(.|\n)*cameras: {{{WRIST}: null}}"):
        WindowDataset(data, history=2, chunk=2, image_size=8)
    alone = Dataset.open({**one, "cameras": {WRIST: None}})  # which keeps all others
    assert [camera.name for camera in alone.contract.cameras] == [STATIC]
    with pytest.raises(DatasetError, match=f"no camera '{WRIST}'"):
        WindowDataset(alone, history=2, chunk=2, cameras=[WRIST])
    assert alone.fingerprint != Dataset.open(one).fingerprint


def test_no_part_of_a_policy_reads_a_camera_that_is_absent(data: Dataset):
    torch.manual_seed(0)
    policy = build_policy(POLICY, data.contract, data.statistics).eval()
    windows = WindowDataset(data, **policy.window)
    for chosen, read in ((ABSENT, False), (PRESENT, True)):
        batch = windows.batch(places(data, chosen))
        changed = copy.deepcopy(batch)
        changed["observation"][f"images.{WRIST}"] += 50
        changed["target"][f"future.{WRIST}"] += 50
        policy.zero_grad()
        loss, terms = policy(batch)
        loss.backward()
        seen = policy.encoders["cameras"].project
        assert any(p.grad is not None and p.grad.any() for p in seen[WRIST].parameters()) == read
        assert any(p.grad.any() for p in seen[STATIC].parameters())
        other_loss, other_terms = policy(changed)
        assert torch.equal(other_loss, loss) != read
        assert torch.equal(other_terms["foresight"], terms["foresight"]) != read
        now, then = (policy.readouts(b["observation"]) for b in (batch, changed))
        assert torch.equal(now["action"], then["action"]) != read


def test_features_of_absent_images_are_not_computed(data: Dataset, tmp_path: Path):
    windows = WindowDataset(data, history=2, chunk=2, image_size=8, cache=tmp_path)
    asked = []

    def encode(images: np.ndarray) -> np.ndarray:
        asked.append(len(images))
        return np.ones((len(images), 2, 3), np.float32)

    windows.add_features({f"features.t.{WRIST}": FrozenFeatures(WRIST, (2, 3), "ones", encode)}, tmp_path)
    observation = windows.batch(places(data, [3, 9]))["observation"]
    assert observation[f"features.t.{WRIST}"].mean(dim=(1, 2, 3)).tolist() == [0, 1]
    assert len(asked) == 1  # of one source
