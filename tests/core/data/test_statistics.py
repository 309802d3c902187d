"""Statistics of images: looked up where a policy takes them, over all datasets."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from forehand.data.dataset import Dataset
from forehand.data.lerobot.frames import open_frames
from forehand.errors import DatasetError

KEY = "observation.images.static"
Write = Callable[..., Path]


def test_images_have_statistics_that_are_those_of_the_frames(small_dataset: Path):
    frames = open_frames(small_dataset, KEY, (48, 64))[:] / 255
    found = Dataset.open(small_dataset).statistics[KEY]
    for name in ("mean", "std", "min", "max"):
        assert found[name].shape == (3,)
    np.testing.assert_allclose(found["mean"], frames.mean(axis=(0, 1, 2)), atol=0.02)
    np.testing.assert_allclose(found["std"], frames.std(axis=(0, 1, 2)), atol=0.02)
    assert found["min"].max() < 0.1
    assert found["max"].min() > 0.8


def test_only_what_is_looked_up_is_kept(small_dataset: Path):
    statistics = Dataset.open(small_dataset).statistics
    assert set(statistics) == {"observation.state", "action"}
    assert statistics.get("observation.images.front") is None
    assert statistics.get("observation.velocity") is None
    assert set(statistics) == {"observation.state", "action"}
    assert statistics[KEY] is statistics[KEY]
    assert set(statistics) == {"observation.state", "action", KEY}
    assert len(statistics) == 3


def test_those_of_several_datasets_are_those_of_all_frames(tmp_path: Path, write: Write):
    roots = [write(tmp_path / "one", lengths=(7,)), write(tmp_path / "other", lengths=(4, 6), changed_from=3)]
    stated = [{"mean": [0.2, 0.4, 0.6], "std": [0.1, 0.2, 0.3]}, {"mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2]}]
    samples = []
    for root, one, frames in zip(roots, stated, (700, 1000), strict=True):
        about = {name: np.reshape(values, (3, 1, 1)).tolist() for name, values in one.items()}
        extremes = {"min": np.zeros((3, 1, 1)).tolist(), "max": np.ones((3, 1, 1)).tolist(), "count": [frames]}
        (root / "meta/stats.json").write_text(json.dumps({KEY: about | extremes}))
        signs = np.tile([-1.0, 1.0], frames // 2)[:, None]
        samples.append(np.array(one["mean"]) + signs * np.array(one["std"]))  # of this mean and std exactly
    found = Dataset.open(roots).statistics[KEY]
    np.testing.assert_allclose(found["mean"], np.concatenate(samples).mean(axis=0))
    np.testing.assert_allclose(found["std"], np.concatenate(samples).std(axis=0))
    assert found["count"].tolist() == [1700]


@pytest.mark.parametrize(
    "stats",
    [
        None,
        {},
        {KEY: {"mean": [0.5] * 3}},
        {KEY: {name: [0.5] for name in ("mean", "std", "min", "max")} | {"count": [3]}},
        {KEY: {name: [0.5, 0.5, float("nan")] for name in ("mean", "std", "min", "max")} | {"count": [3]}},
    ],
)
def test_metadata_without_them_are_named(tmp_path: Path, write: Write, stats: object):
    root = write(tmp_path / "data", lengths=(4,))
    path = root / "meta/stats.json"
    path.unlink()
    if stats is not None:
        path.write_text(json.dumps(stats))
    statistics = Dataset.open(root).statistics
    with pytest.raises(DatasetError, match=r"image statistics of 'observation\.images\.static', but .*stats\.json"):
        statistics[KEY]
    assert set(statistics) == {"observation.state", "action"}
