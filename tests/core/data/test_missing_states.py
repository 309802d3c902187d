"""Sources without a state among others: their state is absent and masked, and never zeros that look like a reading."""

from pathlib import Path

import pytest
import torch

from forehand.data.chunk_statistics import chunk_statistics
from forehand.data.dataset import Dataset
from forehand.data.window_spec import WindowSpec
from forehand.data.windows import WindowDataset
from forehand.learning.checkpoint import build_policy

from .example_policy import example_policy, places

pytestmark = pytest.mark.usefixtures("example_parts")

POLICY = example_policy("wrist_left") | {
    "world_model": None,
    "reads": {reader: {"observation": "past"} for reader in ("observation", "action")},
}
ABSENT, MEASURED = [0, 3, 7], [9, 12, 20]
"""Windows of sources without a state, and with one."""


@pytest.fixture(params=[True, False], ids=["first", "last"])
def data(droid_like: Path, request: pytest.FixtureRequest) -> Dataset:
    """Episodes 0 and 1 of ``droid_like`` without their state, and all others with it."""
    one = {"path": droid_like, "action": {"arm": "action.joint_velocity"}}
    silent = {**one, "state": [], "episodes": "0:2"}
    joints = {**one, "state": ["observation.state.joint_position"], "episodes": "2:"}
    return Dataset.open([silent, joints] if request.param else [joints, silent])


def test_what_was_not_measured_is_marked_and_counts_for_no_statistics(data: Dataset):
    assert data.contract.state_size == 7
    assert data.episodes.has_state is not None
    assert data.episodes.has_state.sum() == data.statistics["observation.state"]["count"] == 27
    assert data.statistics["observation.state"]["min"][0] == 9
    windows = WindowDataset(data, history=3, chunk=2, image_size=8, cameras=["wrist_left"])
    observation = windows.batch(places(data, [4, 8, 9]))["observation"]
    assert observation["state_valid"].tolist() == [[False] * 3, [False] * 3, [True] * 3]
    assert not observation["state"][:2].any()
    spec = WindowSpec(observation={"state": (0,)}, target={"state": (0, 1), "action": (0,)}, image_size=8)
    batch = WindowDataset(data, spec).batch(places(data, [4, 9]))
    assert batch["observation"]["state_valid"].tolist() == [[False], [True]]
    assert batch["target"]["state_valid"].tolist() == [[False, False], [True, True]]
    assert batch["target"]["action_valid"].all()


def test_where_all_have_a_state_nothing_is_masked(droid_like: Path):
    one = {"path": droid_like, "state": ["observation.state.joint_position"], "action": ["action.gripper_position"]}
    data = Dataset.open([{**one, "episodes": [0]}, {**one, "episodes": [1]}])
    assert data.episodes.has_state is None
    windows = WindowDataset(data, history=3, chunk=2, image_size=8, cameras=["wrist_left"])
    assert "state_valid" not in windows[0]["observation"]


def test_no_part_of_a_policy_reads_a_state_that_is_absent(data: Dataset):
    torch.manual_seed(0)
    policy = build_policy(POLICY, data.contract, data.statistics)
    windows = WindowDataset(data, **policy.window)
    for chosen, read in ((ABSENT, False), (MEASURED, True)):
        batch = windows.batch(places(data, chosen))
        policy.zero_grad()
        loss, _ = policy(batch)
        loss.backward()
        assert any(p.grad is not None and p.grad.any() for p in policy.encoders["state"].parameters()) == read
        batch["observation"]["state"] += 5
        changed, _ = policy(batch)
        assert torch.equal(changed, loss) != read


def test_deltas_are_learned_only_from_states_that_were_measured(data: Dataset):
    found = chunk_statistics(data.episodes, 1, lambda actions, states: actions - states[..., None, :])
    assert found["count"] == 27
    assert found["max"][0] == -18  # of frame 9, whose joint is 9 and its action -9
