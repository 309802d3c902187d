"""Features of a frozen tower are computed once a frame, and training with them is training without, but for rounding."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from forehand.compose.towers import SharedTowers
from forehand.data.dataset import Dataset
from forehand.data.embodiments import EmbodimentDatasets
from forehand.data.frozen_features import FrozenFeatures
from forehand.data.windows import WindowDataset
from forehand.evaluation.labelling.estimates import Estimator, Model
from forehand.learning.checkpoint import build_cross_embodiment, build_policy

CAMERAS = ["static", "wrist"]
POLICY = {
    "name": "composed",
    "dim": 16,
    "history": 2,
    "image_size": 32,
    "towers": {"eyes": {"name": "example/patches"}},
    "encoders": {
        "state": {"name": "example/state"},
        "cameras": {"name": "example/features", "cameras": CAMERAS, "tower": "eyes"},
    },
    "backbone": {"name": "example/transformer"},
    "world_model": {"name": "example/future_features", "cameras": CAMERAS, "horizon": [1, 2], "tower": "eyes"},
    "action_head": {"name": "example/regression", "chunk": 2},
    "reads": {
        "observation": {"observation": "past"},
        "foresight": {"observation": "past"},
        "action": {"observation": "past", "foresight": "same"},
    },
    "normalization": {"state": "none", "action": "none"},
}


def build(data, **changes):
    torch.manual_seed(0)
    return build_policy(POLICY | changes, data.contract, data.statistics)


@pytest.fixture
def data(slider_dataset):
    return Dataset.open(slider_dataset)


def test_windows_with_features_give_the_loss_that_they_give_without(data, tmp_path):
    policy = build(data).eval()
    plain, cached = (WindowDataset(data, policy.window, cache=tmp_path) for _ in range(2))
    cached.add_features(policy.frozen_features(), tmp_path)
    last = len(plain) - 1
    with torch.no_grad():
        loss, terms = policy(plain.batch([0, 3, last]))
        runs = policy.towers.towers["eyes"].runs
        again, same = policy(cached.batch([0, 3, last]))
    assert policy.towers.towers["eyes"].runs == runs
    torch.testing.assert_close(again, loss, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(same, terms, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(
        cached.batch([2])["observation"]["features.eyes.static"][0].float(),
        policy.towers.of("features.eyes.static", plain.batch([2])["observation"]["images.static"][0]),
        rtol=1e-3,
        atol=1e-3,
    )


def test_processes_that_need_the_same_features_share_the_work(data, tmp_path):
    policy = build(data).eval()
    done, busy, relieved = set(), threading.Event(), threading.Event()

    def by(worker: str) -> WindowDataset:
        def encode(frozen, frames):
            done.add((worker, frozen.camera))
            if worker == "first":
                busy.set()
                assert relieved.wait(60), "the other one waits"
            else:
                relieved.set()
            return frozen.encode(frames)

        windows = WindowDataset(data, policy.window, cache=tmp_path)
        windows.add_features(
            {k: replace(one, encode=partial(encode, one)) for k, one in policy.frozen_features().items()}, tmp_path
        )
        return windows

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(by, "first")
        assert busy.wait(60)
        second = by("second")
    assert done == {("first", "static"), ("second", "wrist")}
    ours, theirs = (windows.batch([1])["observation"] for windows in (first.result(), second))
    for camera in CAMERAS:
        assert torch.equal(ours[f"features.eyes.{camera}"], theirs[f"features.eyes.{camera}"])


def test_a_labelling_runs_a_frozen_tower_once_a_frame(data, tmp_path, monkeypatch):
    inverse = {
        "world_model": None,
        "inverse_dynamics": True,
        "history": 3,
        "encoders": {"cameras": POLICY["encoders"]["cameras"]},
    }
    reads = {"observation": {"observation": "past"}, "action": {"observation": "past"}}
    policy = build(data, **inverse, reads=reads).eval()
    model = Model("inverse", "", policy, np.ones(2))
    estimator = Estimator([model], data, cache=tmp_path)
    runs = policy.towers.towers["eyes"].runs
    found = [estimator.average(position) for position in range(len(estimator))]
    assert policy.towers.towers["eyes"].runs == runs, "its features are known"
    monkeypatch.setattr(WindowDataset, "add_features", lambda *_: None)
    for position, average in enumerate(found):
        torch.testing.assert_close(
            *(
                torch.from_numpy(of.actions)
                for of in (average, Estimator([model], data, cache=tmp_path).average(position))
            ),
            rtol=1e-3,
            atol=1e-3,
        )
    assert policy.towers.towers["eyes"].runs > runs


def test_they_are_computed_once_for_the_same_weights(data, tmp_path):
    for runs in (True, False):
        policy = build(data)
        windows = WindowDataset(data, policy.window, cache=tmp_path)
        windows.add_features(policy.frozen_features(), tmp_path)
        assert bool(policy.towers.towers["eyes"].runs) == runs
    frames = len(list((tmp_path / "frames").glob("*.npy")))
    other = build(data)
    other.towers.towers["eyes"].register_buffer("gain", torch.ones(1))
    WindowDataset(data, other.window, cache=tmp_path).add_features(other.frozen_features(), tmp_path)
    assert len(list((tmp_path / "frames").glob("*.npy"))) == frames + len(CAMERAS)


def test_only_frames_of_windows_are_computed_and_an_interruption_loses_none(slider_dataset, tmp_path, monkeypatch):
    def encode(images):
        if limit[0] < len(images):
            raise KeyboardInterrupt
        limit[0] -= len(images)
        return images.mean(axis=(1, 2, 3))[:, None]

    def read(limited, **choice):
        limit[0] = limited
        data = Dataset.open({"path": slider_dataset, **choice})
        windows = WindowDataset(data, history=2, chunk=1, cache=tmp_path, cameras=["static"])
        windows.add_features({"features.t.static": FrozenFeatures("static", (1,), "mean", encode)}, tmp_path)
        held = windows.batch(range(len(windows)))["observation"]
        torch.testing.assert_close(
            held["features.t.static"][..., 0].float(), held["images.static"].float().mean((2, 3, 4)), atol=0.1, rtol=1e-3
        )
        return limited - limit[0]

    limit = [0]
    lengths = np.bincount(Dataset.open(slider_dataset).episodes.episode)
    assert read(1000, episodes=[1]) == lengths[1]
    assert read(1000, episodes=[1]) == 0
    monkeypatch.setattr("forehand.data.tower_features.FRAMES_AT_ONCE", 2)
    with pytest.raises(KeyboardInterrupt):
        read(2, episodes=[0, 1])
    assert read(1000) == lengths.sum() - lengths[1] - 2
    (file,) = {f for f in (tmp_path / "frames").glob("*.npy") if f.stat().st_size < 2000}
    os.truncate(file, 200)
    assert read(1000) == lengths.sum()


def test_what_learns_or_is_shifted_is_not_kept(data):
    assert build(data).frozen_features().keys() == {"features.eyes.static", "features.eyes.wrist"}
    assert build(data, random_shift={"wrist": 2}).frozen_features().keys() == {"features.eyes.static"}
    learning = build(data)
    learning.towers.towers["eyes"].scale = torch.nn.Parameter(torch.ones(1))
    assert isinstance(learning.towers, SharedTowers)
    assert not learning.frozen_features()


def test_embodiments_share_a_tower_and_have_frames_of_their_own(slider_dataset, tmp_path):
    data = EmbodimentDatasets.open({"one": slider_dataset, "other": slider_dataset})
    embodiments = data.embodiments
    embodiments["other"]["contract"] = replace(data.contract, rate=30.0)
    policy = build_cross_embodiment(POLICY, embodiments).eval()
    windows = data.windows(policy.window, cache=tmp_path)
    plain = policy(windows.batch([0, len(windows) - 1]))[0]
    windows.add_features(policy.frozen_features(), tmp_path)
    torch.testing.assert_close(policy(windows.batch([0, len(windows) - 1]))[0], plain, rtol=1e-3, atol=1e-3)
