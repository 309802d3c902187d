import json
from pathlib import Path

import pytest

from forehand import Camera, Contract, Field
from forehand.data.features import derive_contract, read_contract, read_info, to_features, write_contract
from forehand.data.recording.tables import read_stats
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


@pytest.mark.parametrize("rate", [0, -20, float("nan")])
def test_a_dataset_without_a_rate_says_so(small_dataset: Path, rate):
    with pytest.raises(DatasetError, match=r"meta/info\.json has fps="):
        derive_contract({**read_info(small_dataset), "fps": rate})


@pytest.mark.parametrize("name", ["meta/info.json", "meta/stats.json"])
@pytest.mark.parametrize(("content", "reason"), [("[" * 1_000_000, "not JSON"), ("[]", "holds no mapping")])
def test_a_file_that_is_no_mapping_is_named(tmp_path: Path, name, content, reason):
    (tmp_path / "meta").mkdir()
    (tmp_path / name).write_text(content)
    read = {"meta/info.json": read_info, "meta/stats.json": read_stats}[name]
    with pytest.raises(DatasetError, match=f"{name}.*{reason}"):
        read(tmp_path)


def test_a_contract_of_boundless_size_is_refused(tmp_path: Path):
    about = CONTRACT.to_dict()
    about["state"][1]["size"] = 10**12
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta/forehand_contract.json").write_text(json.dumps(about))
    with pytest.raises(DatasetError, match=r"forehand_contract\.json: .*a whole number from 0 to 65536"):
        read_contract(tmp_path)
    (tmp_path / "meta/forehand_contract.json").unlink()
    features = to_features(CONTRACT) | {"observation.state": {"dtype": "float32", "shape": [10**12]}}
    features["observation.images.static"]["shape"] = [48, 64, 3]
    info = {"fps": 10, "total_episodes": 1, "total_frames": 1, "features": features}
    (tmp_path / "meta/info.json").write_text(json.dumps(info))
    with pytest.raises(DatasetError, match=r"info\.json: .*a whole number from 0 to 65536"):
        read_contract(tmp_path)


def test_an_unreadable_contract_is_named(tmp_path: Path):
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta/forehand_contract.json").write_text(json.dumps(CONTRACT.to_dict())[:-5])
    with pytest.raises(DatasetError, match=r"forehand_contract\.json cannot be read"):
        read_contract(tmp_path)


@pytest.mark.parametrize(
    "names",
    [
        {"axes": ["height", "width", "channels"]},
        {"height": 0, "width": 1, "channels": 2},
        ["height", "width", "channels"],
        None,
        [],
        [0, 1, 2],
    ],
)
def test_names_may_be_in_a_dictionary(small_dataset: Path, names: object):
    info = read_info(small_dataset)
    for key in ("observation.state", "observation.images.static"):
        info["features"][key]["names"] = names
    assert derive_contract(info).cameras[0] == Camera("static", 48, 64)


def test_channels_are_found_first_in_a_dictionary_too(small_dataset: Path):
    info = read_info(small_dataset)
    image = {"shape": [3, 48, 64], "names": {"axes": ["channels", "height", "width"]}}
    info["features"]["observation.images.static"] |= image
    assert derive_contract(info).cameras[0] == Camera("static", 48, 64)


def feature(key: str, **changes: object) -> dict[str, object]:
    return {"features": {key: {"dtype": "float32", "shape": [3], "names": None} | changes}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features": None}, "it has no features"),
        ({"fps": 0}, "fps is 0, not a positive number"),
        ({"fps": None}, "fps is None"),
        ({"total_frames": "21"}, "total_frames is '21', not a whole number"),
        (feature("action", dtype=None), "the feature 'action' has no dtype"),
        (feature("action", shape=[]), r"the feature 'action' has the shape \[\]"),
        (feature("action", shape=["a"]), r"the feature 'action' has the shape \['a'\]"),
        (feature("observation.images.static", dtype="video"), r"'observation\.images\.static' has the shape \[3\]"),
        (feature("/", dtype="video"), "the feature '/' cannot be a folder's name"),
        (feature("observation.images.../../x", dtype="video"), "cannot be a folder's name"),
    ],
)
def test_an_info_that_says_nothing_useful_is_refused_by_name(
    small_dataset: Path, tmp_path: Path, changes: dict[str, object], message: str
):
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta/info.json").write_text(json.dumps(read_info(small_dataset) | changes))
    with pytest.raises(DatasetError, match=rf"meta/info\.json cannot be used: .*{message}"):
        read_info(tmp_path)
