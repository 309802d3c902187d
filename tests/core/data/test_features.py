import json
from pathlib import Path

import pytest

from forehand import Camera, Contract, Field
from forehand.data.features import derive_contract, read_contract, read_info, to_features, write_contract
from forehand.errors import DatasetError

CONTRACT = Contract(
    cameras=(Camera("static", 48, 64, "static"),),
    state=(Field("position", 3, unit="m", low=(-1.0, -1.0, 0.0), high=(1.0, 1.0, 1.0)), Field("gripper", 1)),
    action=(Field("position", 3, mode="delta"),),
    rate=20.0,
)


def test_features_name_every_element_of_the_vectors():
    features = to_features(CONTRACT)
    assert features["observation.images.static"]["shape"] == (48, 64, 3)
    assert features["observation.state"]["names"] == ["position.0", "position.1", "position.2", "gripper"]
    assert features["action"]["shape"] == (3,)


def test_a_contract_survives_its_file(tmp_path: Path):
    write_contract(tmp_path, CONTRACT)
    assert read_contract(tmp_path) == CONTRACT


def test_of_a_foreign_dataset_only_sizes_and_rate_are_known(small_dataset: Path):
    contract = read_contract(small_dataset)
    assert contract.cameras == (Camera("static", 48, 64), Camera("wrist", 48, 64))
    assert (contract.state, contract.action) == ((Field("state", 4),), (Field("action", 3),))
    assert contract.rate == 20.0


def test_channels_first_images_and_depth_maps_are_understood(small_dataset: Path):
    info = read_info(small_dataset)
    image = info["features"].pop("observation.images.static")
    info["features"]["observation.image"] = image | {"shape": [3, 48, 64], "names": ["channels", "height", "width"]}
    info["features"]["observation.images.wrist"]["info"]["is_depth_map"] = True
    assert derive_contract(info).cameras == (Camera("image", 48, 64),)


def test_an_unreadable_contract_is_named(tmp_path: Path):
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta/forehand_contract.json").write_text(json.dumps(CONTRACT.to_dict())[:-5])
    with pytest.raises(DatasetError, match=r"forehand_contract\.json is not JSON"):
        read_contract(tmp_path)
