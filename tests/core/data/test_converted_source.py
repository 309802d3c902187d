"""Fields of a dataset in other units, senses, ranges and rotations, so that sources fit each other."""

from pathlib import Path

import numpy as np
import pytest

from forehand.conformance import assert_dataset_conforms
from forehand.contracts.rotations import from_axis_angle, from_euler
from forehand.data.dataset import Dataset
from forehand.data.specification import read_sources
from forehand.errors import ConfigurationError, ContractMismatch

JOINTS = "observation.state.joint_position"
STATE = {
    "position": {"column": f"{JOINTS}[0:3]", "unit": "m"},
    "rotation": {"column": f"{JOINTS}[3:6]", "unit": "rad", "rotation": "euler_xyz_extrinsic"},
}
CLOSED = {"gripper": {"column": "action.gripper_position", "gripper": "closed", "low": 0, "high": 1}}


def test_fields_become_what_a_conversion_says(droid_like: Path):
    one = {"path": droid_like, "state": STATE, "action": CLOSED}
    plain = Dataset.open(one)
    changes = ["state.position:cm", "state.rotation:quaternion_xyzw", "state.rotation:axis_angle", "action.gripper:open"]
    data = Dataset.open({**one, "convert": changes})
    assert [(f.name, f.size, f.unit) for f in data.contract.state] == [("position", 3, "cm"), ("rotation", 3, "rad")]
    assert data.contract.action[0].gripper == "open"
    before, after = plain.episodes, data.episodes
    np.testing.assert_allclose(after.states[:, :3], 100 * before.states[:, :3], rtol=1e-6)
    for old, new in zip(before.states[::7, 3:], after.states[::7, 3:], strict=True):
        np.testing.assert_allclose(from_axis_angle(new), from_euler(old), atol=1e-5)
    assert np.array_equal(after.actions, 1 - before.actions)
    assert data.fingerprint != plain.fingerprint


def test_sources_of_opposite_senses_fit_each_other_once_one_is_converted(droid_like: Path):
    one = {"path": droid_like, "state": STATE, "action": CLOSED, "episodes": [0]}
    other = {**one, "action": {"gripper": {**CLOSED["gripper"], "gripper": "open"}}}
    with pytest.raises(ContractMismatch, match="needed 'open', offered 'closed'"):
        Dataset.open([other, one])
    both = Dataset.open([other, {**one, "convert": "action.gripper:open"}]).episodes
    assert np.array_equal(both.actions[:5], 1 - both.actions[5:])


@pytest.mark.parametrize(
    ("convert", "message"),
    [
        (["camera.static:front"], "convert: 'camera.static:front' is not about a field"),
        (["state.positon:cm"], "convert: .* has no 'positon'. Did you mean 'position'"),
        (["action.gripper:rad"], "convert: 'action.gripper:rad'"),
        ([3], "convert: 3 is not about a field"),
        (3, "convert is a list of conversions"),
    ],
)
def test_what_cannot_be_converted_is_named(convert, message, droid_like: Path):
    with pytest.raises(ConfigurationError, match=message):
        Dataset.open({"path": droid_like, "state": STATE, "action": CLOSED, "convert": convert})


def test_a_source_with_all_options_keeps_the_promises_of_a_source(droid_like: Path):
    options = {
        "path": str(droid_like),
        "state": STATE,
        "action": CLOSED,
        "cameras": {"static": "exterior_1_left"},
        "convert": ["action.gripper:open"],
        "where": {"is_episode_successful": True},
        "fraction": 0.6,
        "instructions": ["language_instruction", "language_instruction_2"],
        "no_instruction": "No language instruction.",
    }
    assert_dataset_conforms(lambda: read_sources(options)[0].open())
