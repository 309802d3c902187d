"""Datasets with and without actions or sentences, seen as one, and drawn from by weights."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from forehand.contracts.contract import Contract, Field
from forehand.data.dataset import Dataset
from forehand.data.features import ACTION_KEY, read_info, write_contract
from forehand.data.sampling import WeightedBatches
from forehand.data.window_spec import WindowSpec
from forehand.data.windows import WindowDataset
from forehand.errors import ConfigurationError, ContractMismatch, DatasetError
from forehand.learning.checkpoint import build_policy

from .example_policy import example_policy

pytestmark = pytest.mark.usefixtures("example_parts")
OPTIONS = {"history": 3, "chunk": 2, "horizon": None, "image_size": 16, "cameras": ["static"]}


def drop(root: Path, *columns: str) -> Path:
    """Take columns out of a dataset's tables."""
    for file in (root / "data").rglob("*.parquet"):
        table = pq.read_table(file)
        pq.write_table(table.drop_columns([c for c in columns if c in table.column_names]), file)
    info = read_info(root)
    info["features"] = {key: feature for key, feature in info["features"].items() if key not in columns}
    (root / "meta/info.json").write_text(json.dumps(info))
    return root


@pytest.fixture
def silent(write, tmp_path):
    """A dataset without actions and without language."""
    root = drop(write(tmp_path / "silent"), ACTION_KEY, "task_index")
    (root / "meta/tasks.parquet").unlink()
    return root


@pytest.mark.parametrize("silent_first", [True, False])
def test_samples_without_actions_or_sentences_stand_beside_others(silent_first, silent, small_dataset):
    sources = [silent, small_dataset] if silent_first else [small_dataset, silent]
    data = Dataset.open(sources)
    assert data.contract == Dataset.open(small_dataset).contract
    assert data.statistics["action"]["count"] == 21  # of the frames that have one
    assert data.statistics["observation.state"]["count"] == 42

    windows = WindowDataset(data, **OPTIONS)
    batch = windows.batch([0, 21])
    quiet, spoken = (0, 1) if silent_first else (1, 0)
    assert batch["observation"]["instruction"][quiet] == ""
    assert batch["observation"]["instruction"][spoken] == "lift the red block"
    assert not batch["target"]["actions_valid"][quiet].any()
    assert batch["target"]["actions_valid"][spoken].all()
    assert batch["target"]["valid"].all()
    assert batch["target"]["actions"].shape == (2, 3, 2, 3)
    assert torch.equal(batch["observation"]["state"][0], batch["observation"]["state"][1])


def test_actions_that_nobody_has_are_no_part_of_the_contract(silent):
    data = Dataset.open(silent)
    assert data.contract.action == ()
    assert data.contract.action_size == 0
    assert "action" not in data.statistics
    assert WindowDataset(data, **OPTIONS)[0]["target"]["actions"].shape == (3, 2, 0)


def test_all_but_the_actions_is_compared(silent, small_dataset):
    contract = Dataset.open(silent).contract
    write_contract(silent, replace(contract, state=(Field("state", 5),)))
    with pytest.raises(ContractMismatch, match="state field"):
        Dataset.open([small_dataset, silent])


POLICY = example_policy("static")


def test_actions_at_offsets_are_zeros_where_a_dataset_has_none(silent, small_dataset):
    spec = WindowSpec(observation={"images.static": (0,)}, target={"action": (-1, 0, 1)}, image_size=16)
    target = WindowDataset(Dataset.open([silent, small_dataset]), spec).batch([1, 22])["target"]
    assert target["action_valid"].tolist() == [[False] * 3, [True] * 3]
    assert target["action"][..., 0].tolist() == [[0, 0, 0], [0, 1, 2]]


def test_silent_samples_teach_foresight_and_no_actions(silent, small_dataset):
    data = Dataset.open([silent, small_dataset])
    policy = build_policy(POLICY, data.contract, data.statistics)
    windows = WindowDataset(data, **policy.window)
    for index, learned in ((0, False), (21, True)):
        policy.zero_grad()
        loss, terms = policy(windows.batch([index]))
        loss.backward()
        assert (terms["arm"] > 0) == learned
        assert terms["foresight"] > 0
        assert bool(policy.action_head.motion.weight.grad.any()) == learned
        assert policy.world_model.queries.grad.any()


def test_where_nobody_acts_foresight_is_learned_alone(silent):
    data = Dataset.open(silent)
    policy = build_policy({**POLICY, "action_head": None}, data.contract, data.statistics)
    _, terms = policy(WindowDataset(data, **policy.window).batch([0, 1]))
    assert set(terms) == {"foresight"}


# ---- how often -----------------------------------------------------------------------------------------------------


def test_all_windows_count_the_same_unless_something_is_asked(small_dataset):
    assert WindowDataset(Dataset.open(small_dataset), **OPTIONS).sample_weights(None, 1) is None


def test_each_dataset_gets_its_share(small_dataset, write, tmp_path):
    other = write(tmp_path / "other", lengths=(4,))
    windows = WindowDataset(Dataset.open([small_dataset, other]), **OPTIONS)
    weights = windows.sample_weights([3, 1], 1)
    assert weights[:21].sum() == pytest.approx(3)
    assert weights[21:].sum() == pytest.approx(1)
    assert set(np.round(weights * 84)) == {12, 21}
    with pytest.raises(DatasetError, match="3 dataset_weights were given for 2 datasets"):
        windows.sample_weights([1, 1, 1], 1)
    with pytest.raises(ConfigurationError, match=r"Only datasets of weight 0 have windows: the weights are \[0, 0\]"):
        windows.sample_weights([0, 0], 1)


def gripper_contract(contract: Contract) -> Contract:
    return Contract(contract.cameras, contract.state, (Field("arm", 2), Field("gripper", 1, gripper="open")), 20.0)


def test_windows_in_which_the_gripper_moves_come_more_often(write, tmp_path):
    root = write(tmp_path / "gripping", lengths=(8, 6))
    write_contract(root, gripper_contract(Dataset.open(root).contract))
    for file in (root / "data").rglob("*.parquet"):  # opens at frame 5 of the first episode, is open in the second
        table = pq.read_table(file)
        actions = np.array([[0, 0, frame >= 5] for frame in range(14)], np.float32)
        column = table.column_names.index(ACTION_KEY)
        changed = table.schema.field(ACTION_KEY)
        table = table.set_column(column, changed, pa.array(actions.tolist(), type=changed.type))
        pq.write_table(table, file)
    windows = WindowDataset(Dataset.open(root), **OPTIONS)
    assert windows.sample_weights(None, 10).tolist() == [1, 1, 1, 10, 10, *[1] * 9]
    with pytest.raises(DatasetError, match="names no gripper"):
        WindowDataset(Dataset.open(write(tmp_path / "armless", lengths=(4,))), **OPTIONS).sample_weights(None, 10)


def test_draws_follow_the_weights_and_from_seed_and_step_alone():
    weights = np.array([1.0, 0.0, 3.0])
    batches = WeightedBatches(weights, 1000, seed=4)
    counts = np.bincount(np.concatenate([batches.at(step) for step in range(20)]), minlength=3)
    assert counts[1] == 0
    assert counts[2] / counts[0] == pytest.approx(3, rel=0.1)
    assert np.array_equal(WeightedBatches(weights, 1000, seed=4).at(7), batches.at(7))
    assert not np.array_equal(batches.at(7), batches.at(8))
    assert not np.array_equal(WeightedBatches(weights, 1000, seed=5).at(7), batches.at(7))


@pytest.mark.parametrize("weights", [[], [0.0, 0.0], [1.0, -1.0], [np.nan, 1.0]])
def test_weights_that_mean_nothing_are_refused(weights):
    with pytest.raises(ValueError, match="weights"):
        WeightedBatches(np.array(weights), 2, seed=0)


# ---- cameras -------------------------------------------------------------------------------------------------------


@pytest.fixture
def one_eyed(write, tmp_path):
    """A dataset without the wrist camera."""
    root = write(tmp_path / "one_eyed", lengths=(4,))
    drop(root, "observation.images.wrist")
    shutil.rmtree(root / "videos/observation.images.wrist")
    return root


@pytest.mark.parametrize("first", [0, 1])
def test_only_the_cameras_that_are_used_have_to_fit(one_eyed, small_dataset, first):
    sources = [small_dataset, one_eyed] if first == 0 else [one_eyed, small_dataset]
    config = {
        **POLICY,
        "world_model": None,
        "reads": {"observation": {"observation": "past"}, "action": {"observation": "past"}},
    }
    data = Dataset.open(sources)
    policy = build_policy(config, data.contract, data.statistics)
    windows = WindowDataset(data, **policy.window)
    assert len(windows) == 25
    assert set(windows.batch([0, 24])["observation"]) == {"images.static", "state", "instruction"}


def test_a_camera_that_is_used_and_missing_is_named(one_eyed, small_dataset):
    for cameras in (["wrist"], None):
        with pytest.raises(ContractMismatch, match=r"(?s)one_eyed does not fit .*camera 'wrist': needed 'present'"):
            WindowDataset(Dataset.open([small_dataset, one_eyed]), **{**OPTIONS, "cameras": cameras})


def test_a_camera_of_another_size_does_not_keep_others_from_being_mixed(small_dataset, write, tmp_path):
    other = write(tmp_path / "other", lengths=(4,))
    contract = Dataset.open(other).contract
    write_contract(other, replace(contract, cameras=(contract.cameras[0], replace(contract.cameras[1], height=9))))
    assert len(WindowDataset(Dataset.open([small_dataset, other]), **OPTIONS)) == 25
    with pytest.raises(
        ContractMismatch, match=r"(?s)wrist' height: needed 48, offered 9.*cannot be learned from together"
    ):
        WindowDataset(Dataset.open([small_dataset, other]), **{**OPTIONS, "cameras": ["wrist"]})
