"""What a model sees of a dataset: windows of consecutive frames, with what comes after them kept apart.

A window starts at any frame of an episode and runs for T timesteps. One that runs past the episode's end is padded
there and says so in ``valid``; nothing is ever padded in front, because at run time a history grows from one frame, and
a causal model learns every length from one window.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset, default_collate

from forehand.contract import Contract, require_fit
from forehand.data.episodes import Episodes, read_episodes, statistics
from forehand.data.features import ACTION, STATE, camera_keys, read_contract, read_info
from forehand.data.frames import open_frames
from forehand.data.images import Size
from forehand.data.locate import fingerprint, locate_dataset
from forehand.errors import DatasetError

Sample = dict[str, dict[str, Any]]
Source = str | Path
Statistics = dict[str, dict[str, NDArray[np.float64]]]


def describe(sources: Source | Sequence[Source]) -> tuple[Contract, Statistics]:
    """The contract and the statistics of ``sources``: all that a policy needs to be built. No video is decoded."""
    roots = _locate(sources)
    return _common_contract(roots), _statistics(_concatenate([read_episodes(root) for root in roots]))


class WindowDataset(Dataset[Sample]):
    """Windows over one or several LeRobotDatasets; window i starts at frame i (of those in ``episodes``).

    A sample holds, for T = ``history`` timesteps, the *observation* that a policy may be given ::

        observation.images.<camera>  (T, H, W, 3) uint8    the images at the window's own timesteps
        observation.state            (T, S) float32        the state at the same timesteps
        observation.instruction      str

    and, apart from it, the *target* that only a loss may see ::

        target.valid                 (T,) bool             the timestep lies before the episode's end
        target.future.<camera>       (T, H, W, 3) uint8    each timestep's image ``horizon`` steps later
        target.future_valid          (T,) bool             that image exists
        target.actions               (T, chunk, A) float32 each timestep's action and those that follow it
        target.actions_valid         (T, chunk) bool       those actions exist

    Where something does not exist the episode's last frame stands in its place. Images come from a cache that is decoded
    once (:func:`forehand.data.frames.open_frames`).

    sources: folders or hub repository ids; several are concatenated, and must fit the contract of the first.
    horizon: how far ahead ``future`` looks; None leaves it out. cameras: names, default all of the contract's.
    image_size: (height, width) or the side of a square. episodes: numbers counted over all sources, default all.
    """

    def __init__(
        self,
        sources: Source | Sequence[Source],
        *,
        history: int,
        chunk: int,
        horizon: int | None,
        image_size: int | Size,
        cameras: Sequence[str] | None = None,
        episodes: Sequence[int] | None = None,
        cache: str | Path | None = None,
    ) -> None:
        for name, value, least in (("history", history, 1), ("chunk", chunk, 1), ("horizon", horizon, 0)):
            if value is not None and value < least:
                raise DatasetError(f"windows need {name} ≥ {least}, not {value}.")
        roots = _locate(sources)
        self.history, self.chunk, self.horizon = history, chunk, horizon
        self.image_size: Size = (image_size, image_size) if isinstance(image_size, int) else image_size
        self.contract = _common_contract(roots)
        self.cameras = tuple(cameras) if cameras is not None else tuple(c.name for c in self.contract.cameras)
        self._frames = [_camera_maps(r, self.cameras, self.image_size, Path(cache) if cache else None) for r in roots]
        parts = [read_episodes(r) for r in roots]
        self._episodes = _concatenate(parts)
        self._first_frames = np.cumsum([0, *(len(p) for p in parts)])
        self._starts = self._select(episodes)
        self.fingerprint = _combined_fingerprint(roots)
        self.statistics = _statistics(self._episodes)

    collate = staticmethod(default_collate)

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, index: int) -> Sample:
        batch = self.batch([index])
        return {side: {key: value[0] for key, value in values.items()} for side, values in batch.items()}

    def __iter__(self) -> Iterator[Sample]:
        return (self[i] for i in range(len(self)))

    @property
    def episode_count(self) -> int:
        """Episodes in all sources, whether windows are taken from them or not."""
        return int(self._episodes.episode[-1]) + 1

    def batch(self, indices: Sequence[int] | NDArray[np.int64]) -> Sample:
        """The windows ``indices`` with a batch dimension in front (``instruction``: a list of B strings)."""
        numbers = self._episodes
        start = self._starts[np.asarray(indices)]
        end = numbers.end[start][:, None]
        steps = start[:, None] + np.arange(self.history)
        inside = np.minimum(steps, end - 1)
        observation: dict[str, Any] = {f"images.{c}": self._images(c, inside) for c in self.cameras}
        observation["state"] = torch.from_numpy(numbers.states[inside])
        observation["instruction"] = [numbers.tasks[i] for i in numbers.instructions[start]]

        reach = steps[..., None] + np.arange(self.chunk)
        target: dict[str, Any] = {
            "valid": torch.from_numpy(steps < end),
            "actions": torch.from_numpy(numbers.actions[np.minimum(reach, end[..., None] - 1)]),
            "actions_valid": torch.from_numpy(reach < end[..., None]),
        }
        if self.horizon is not None:
            future = steps + self.horizon
            target |= {f"future.{c}": self._images(c, np.minimum(future, end - 1)) for c in self.cameras}
            target["future_valid"] = torch.from_numpy(future < end)
        return {"observation": observation, "target": target}

    def _images(self, camera: str, where: NDArray[np.int64]) -> torch.Tensor:
        if len(self._frames) == 1:
            return torch.from_numpy(self._frames[0][camera][where])
        out = np.empty((*where.shape, *self.image_size, 3), np.uint8)
        source = np.searchsorted(self._first_frames, where, side="right") - 1
        for number in np.unique(source):
            here = source == number
            out[here] = self._frames[number][camera][where[here] - self._first_frames[number]]
        return torch.from_numpy(out)

    def _select(self, episodes: Sequence[int] | None) -> NDArray[np.int64]:
        if episodes is None:
            return np.arange(len(self._episodes))
        unknown = sorted(set(episodes) - set(range(self.episode_count)))
        if unknown:
            raise DatasetError(f"there are {self.episode_count} episodes; {unknown} are not among them.")
        return np.flatnonzero(np.isin(self._episodes.episode, np.asarray(episodes, np.int64)))


def _locate(sources: Source | Sequence[Source]) -> list[Path]:
    roots = [locate_dataset(s) for s in ([sources] if isinstance(sources, str | Path) else sources)]
    if not roots:
        raise DatasetError("No dataset was given.")
    return roots


def _common_contract(roots: Sequence[Path]) -> Contract:
    contract = read_contract(roots[0])
    for root in roots[1:]:
        require_fit(contract, read_contract(root), f"the dataset {roots[0]}", f"the dataset {root}")
    return contract


def _statistics(episodes: Episodes) -> Statistics:
    return {STATE: statistics(episodes.states), ACTION: statistics(episodes.actions)}


def _camera_maps(root: Path, cameras: Sequence[str], size: Size, cache: Path | None) -> dict[str, NDArray[np.uint8]]:
    keys = camera_keys(read_info(root)["features"])
    if missing := [c for c in cameras if c not in keys]:
        raise DatasetError(f"The dataset at {root} has no camera {missing[0]!r}; its cameras are {sorted(keys)}.")
    return {camera: open_frames(root, keys[camera], size, cache) for camera in cameras}


def _concatenate(parts: list[Episodes]) -> Episodes:
    frames = np.cumsum([0, *(len(p) for p in parts)])
    episodes = np.cumsum([0, *(np.unique(p.episode).size for p in parts)])
    tasks = tuple(dict.fromkeys(t for p in parts for t in p.tasks))
    return Episodes(
        states=np.concatenate([p.states for p in parts]),
        actions=np.concatenate([p.actions for p in parts]),
        episode=np.concatenate(
            [np.unique(p.episode, return_inverse=True)[1] + e for p, e in zip(parts, episodes, strict=False)]
        ),
        end=np.concatenate([p.end + f for p, f in zip(parts, frames, strict=False)]),
        instructions=np.concatenate([np.array([tasks.index(t) for t in p.tasks])[p.instructions] for p in parts]),
        tasks=tasks,
    )


def _combined_fingerprint(roots: Sequence[Path]) -> str:
    if len(roots) == 1:
        return fingerprint(roots[0])
    return hashlib.blake2b("\0".join(fingerprint(r) for r in roots).encode(), digest_size=16).hexdigest()
