"""Mixtures of datasets: one file, several sources, their options and weights."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from forehand.data.dataset import Dataset
from forehand.data.embodiments import EmbodimentDatasets, open_datasets
from forehand.data.mixtures import known_mixtures, read_mixture
from forehand.data.specification import SourceSpec, by_embodiment, read_sources
from forehand.data.windows import WindowDataset
from forehand.errors import ConfigurationError

OPTIONS: dict[str, Any] = {"history": 1, "chunk": 1, "image_size": 8}

MIXTURE = """
sources:
  - path: {droid}
    weight: 3
    cameras: {{static: exterior_1_left, wrist: wrist_left}}
    state: ["observation.state.joint_position[0:3]", observation.state.gripper_position]
    action: ["action.joint_velocity[0:3]"]
    fraction: 0.5
    rate: null
  - path: blocks
    weight: 1
seed: 2
"""


@pytest.fixture
def mixture(droid_like: Path, small_dataset: Path, tmp_path: Path) -> Path:
    """A mixture of two datasets, one of which lies beside it, at one rate."""
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared/blocks").symlink_to(small_dataset)
    file = tmp_path / "shared/mixture.yaml"
    file.write_text(MIXTURE.format(droid=droid_like).replace("    rate: null\n", ""))
    return file


def two(droid: Path, small: Path) -> dict[str, dict[str, Any]]:
    """The same datasets as two embodiments, since their rates differ."""
    columns = {"state": ["observation.state.joint_position"], "action": ["action.gripper_position"]}
    return {
        "franka": {"path": str(droid), "embodiment": "franka", "cameras": {"static": "exterior_1_left"}, **columns},
        "blocks": {"path": str(small), "embodiment": "blocks", "cameras": ["static"]},
    }


def test_a_mixture_is_its_file_its_name_or_its_content(mixture: Path, droid_like: Path, monkeypatch: pytest.MonkeyPatch):
    read = read_sources(str(mixture))
    assert [spec.weight for spec in read if isinstance(spec, SourceSpec)] == [3, 1]
    assert [spec.options["path"] for spec in read] == [str(droid_like), str(mixture.parent / "blocks")]
    assert [spec.selection for spec in read] == [{"fraction": 0.5, "seed": 2}, {"seed": 2}]
    assert read_sources({"mixture": str(mixture)}) == read
    written = read_mixture(str(mixture), "dataset")
    assert read_sources(written) == read
    monkeypatch.setattr("forehand.data.mixtures._folders", lambda: [mixture.parent])
    assert known_mixtures() == {"mixture": mixture}
    assert read_sources({"mixture": "mixture"}) == read
    other = read_sources({"mixture": "mixture", "seed": 5, "split": "train"})
    assert other[1].selection == {"seed": 5, "split": "train"}


def test_windows_are_drawn_by_the_weights_of_their_sources(droid_like: Path, write, tmp_path: Path):
    one = {"path": droid_like, "state": ["observation.state.joint_position"], "action": ["action.gripper_position"]}
    sources = [{**one, "episodes": [0, 1], "weight": 3}, {**one, "episodes": [7], "weight": 1.0}]
    windows = WindowDataset(Dataset.open({"sources": sources}), cameras=["wrist_left"], **OPTIONS)
    weights = windows.sample_weights(None, 1)
    assert weights is not None
    assert np.allclose(weights, [3 / 9] * 9 + [1 / 5] * 5)
    with pytest.raises(ConfigurationError, match=r"sources state weights, and recipe\.dataset_weights were given"):
        windows.sample_weights([1, 1], 1)
    with pytest.raises(ConfigurationError, match=r"1 of 2 sources have a weight: 3\. Give one for each"):
        Dataset.open([sources[0], one])
    with pytest.raises(ConfigurationError, match="2 of 2 sources have a weight: 0, 0"):
        Dataset.open([{**one, "weight": 0}, {**one, "weight": 0}])


def test_sources_of_several_embodiments_have_weights_inside_and_across(droid_like: Path, small_dataset: Path):
    franka, blocks = two(droid_like, small_dataset).values()
    sources = [
        {**franka, "episodes": [0], "weight": 1},
        {**blocks, "weight": 2},
        {**franka, "episodes": [7], "weight": 3},
    ]
    data = open_datasets({"sources": sources})
    assert isinstance(data, EmbodimentDatasets)
    assert list(data.datasets) == ["franka", "blocks"]
    assert data.datasets["franka"].contract.rate == 15
    assert data.datasets["blocks"].contract.rate == 20
    windows = data.windows(**OPTIONS)
    weights = windows.sample_weights(None, 1)
    assert weights is not None
    shares = [weights[:5].sum(), weights[5:10].sum(), weights[10:].sum()]
    assert np.allclose(np.array(shares) / weights.sum(), [1 / 6, 3 / 6, 2 / 6])
    across = windows.sample_weights([1, 1], 1)  # inside as stated
    assert across is not None
    assert np.allclose([across[:5].sum(), across[5:10].sum(), across[10:].sum()], [0.25, 0.75, 1])
    batch = windows.batch([0, 10], step=3, seed=1)
    assert set(batch) == {"franka", "blocks"}
    assert set(data.left_out) == {str(droid_like)}


def test_sources_without_weights_count_by_their_windows(droid_like: Path, small_dataset: Path):
    data = open_datasets({"sources": list(two(droid_like, small_dataset).values())})
    assert isinstance(data, EmbodimentDatasets)
    assert data.windows(**OPTIONS).sample_weights(None, 1) is None


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("nowhere.yaml", "there is no mixture .*nowhere.yaml: no such file"),
        ({"mixture": "nothing"}, "there is no mixture 'nothing'"),
        ({"mixture": 3}, r"dataset\.mixture is a file or the name of a mixture, not 3"),
        ({"mixture": "a", "sources": []}, "a mixture and sources were given"),
        ({"sources": [{"path": "a", "embodiment": "x"}, "b"]}, "1 of 2 sources state an embodiment"),
        (
            {"sources": [{"path": "a", "weight": -1}]},
            r"dataset\.sources\[0\]\.weight is a number from 0 to 1e\+09, not -1",
        ),
        ([{"path": "a", "weight": float("nan")}], r"dataset\[0\]\.weight is a number from 0 to 1e\+09, not nan"),
        ([{"path": "a", "weight": 1e308}], r"dataset\[0\]\.weight is a number from 0 to 1e\+09"),
        ([{"path": "a", "weight": True}], r"dataset\[0\]\.weight is a number"),
        ({"arm": {"sources": [{"path": "a", "embodiment": "x"}]}}, "sources with an embodiment cannot stand among"),
    ],
)
def test_what_is_no_mixture_is_named(written: Any, message: str):
    with pytest.raises(ConfigurationError, match=message):
        open_datasets(written)


@pytest.mark.parametrize(
    ("text", "message"), [("a: [", "cannot be read"), ("a: 1", "has no list of sources"), ("- a", "has")]
)
def test_a_file_that_is_no_mixture_is_named(text: str, message: str, tmp_path: Path):
    (tmp_path / "mixture.yaml").write_text(text)
    with pytest.raises(ConfigurationError, match=rf"mixture\.yaml {message}"):
        open_datasets(str(tmp_path / "mixture.yaml"))


def test_the_mixtures_that_come_along_can_be_read():
    found = known_mixtures()
    assert "droid" in found
    for name in found:
        mixture = {"mixture": name}
        groups = by_embodiment(mixture)
        specs = [spec for given in (groups.values() if groups else [mixture]) for spec in read_sources(given)]
        for spec in specs:
            assert isinstance(spec, SourceSpec)
            assert set(spec.options) <= {"path", "revision"}
            assert spec.options["path"].count("/") == 1  # a repository on the hub
