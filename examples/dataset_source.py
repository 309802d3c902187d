"""Read a format of your own, here episodes in .npz files: a dataset source, checked and registered.

python examples/dataset_source.py
"""

import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from forehand import Camera, Contract, Field, registry
from forehand.conformance import assert_dataset_conforms
from forehand.data.content_digest import content_digest
from forehand.data.dataset import Dataset
from forehand.data.episode_table import EpisodeTable
from forehand.data.source import DataSource, Pictures
from forehand.data.windows import WindowDataset
from forehand.errors import DatasetError

JOINTS = (Field("joints", 3),)


@dataclass(frozen=True)
class NpzPictures(Pictures):
    """Images of the only camera: the array "top" of each file, (T, H, W, 3) uint8."""

    root: Path
    total: int
    first: tuple[int, ...]  # the first frame of each file, and behind them the number of all
    key: str = "top"

    def read(self, numbers: NDArray[np.int64]) -> NDArray[np.uint8]:
        files, file = sorted(self.root.glob("*.npz")), np.searchsorted(self.first, numbers, side="right") - 1
        images = {i: np.load(files[i])[self.key] for i in np.unique(file)}
        return np.stack([images[i][n - self.first[i]] for i, n in zip(file, numbers, strict=True)])

    def digest(self) -> str:
        return content_digest(self.root, sorted(self.root.glob("*.npz")), self.key)


class NpzSource(DataSource):
    """A file for each episode, with the arrays state, action and top, and the sentence task."""

    def __init__(self, path: str | Path) -> None:
        self.root, self.contract = Path(path), Contract((Camera("top", 48, 64),), JOINTS, JOINTS, rate=10.0)

    @cached_property
    def episodes(self) -> EpisodeTable:
        arrays = [np.load(file) for file in sorted(self.root.glob("*.npz"))]
        states, actions = [a["state"] for a in arrays], [a["action"] for a in arrays]
        return EpisodeTable.from_episodes(states, actions, [str(a["task"]) for a in arrays])

    @cached_property
    def fingerprint(self) -> str:
        return content_digest(self.root, sorted(self.root.glob("*.npz")))

    def pictures(self, camera: str) -> NpzPictures:
        if camera != "top":
            raise DatasetError(f"The dataset at {self.root} has the camera top, and no {camera!r}.")
        return NpzPictures(self.root, len(self.episodes), (0, *np.unique(self.episodes.end).tolist()))


if __name__ == "__main__":
    folder, random = Path(tempfile.mkdtemp()), np.random.default_rng(0)
    for number, length in enumerate((5, 8)):
        images = random.integers(0, 256, (length, 48, 64, 3), np.uint8)
        joints = random.normal(size=(length, 3))
        np.savez(folder / f"{number:04d}.npz", top=images, state=joints, action=joints / 10, task="lift the block")

    assert_dataset_conforms(lambda: NpzSource(folder))  # shapes, ends of episodes, images, digests, errors

    # A plugin does this in its `forehand_register` hook; then: forehand train 'dataset={name: example/npz, path: …}'
    registry().add("dataset", "example/npz", NpzSource, "episodes in .npz files")
    windows = WindowDataset(Dataset.open({"name": "example/npz", "path": folder}), history=4, chunk=3)
    print(len(windows), "windows of images", tuple(windows[0]["observation"]["images.top"].shape))
