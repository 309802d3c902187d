"""What a model sees of a dataset: windows of consecutive frames, with what comes after them kept apart.

A window starts at any frame of an episode and runs for T timesteps. One that runs past the episode's end is padded
there and says so in ``valid``; nothing is ever padded in front, because at run time a history grows from one frame, and
a causal model learns every length from one window.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
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

    Where something does not exist the episode's last frame stands in its place, and zeros for an action in a dataset
    without any; where nothing was said the instruction is "". Images come from a cache that is decoded
    once (:func:`forehand.data.frames.open_frames`).

    sources: folders or hub repository ids; several are concatenated, and must fit the contract of the first that has
    actions. Those without actions are compared by all else.
    horizon: how far ahead ``future`` looks; None leaves it out. cameras: names, default all of the contract's.
    image_size: (height, width) or the side of a square. resize: how images are brought to it
    (:func:`forehand.data.images.resize`). episodes: numbers counted over all sources, default all.
    """

    def __init__(
        self,
        sources: Source | Sequence[Source],
        *,
        history: int,
        chunk: int,
        horizon: int | None,
        image_size: int | Size,
        resize: str = "area",
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
        self._frames = [
            _camera_maps(r, self.cameras, self.image_size, Path(cache) if cache else None, resize) for r in roots
        ]
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
            "actions_valid": torch.from_numpy((reach < end[..., None]) & numbers.acts[start][:, None, None]),
        }
        if self.horizon is not None:
            future = steps + self.horizon
            target |= {f"future.{c}": self._images(c, np.minimum(future, end - 1)) for c in self.cameras}
            target["future_valid"] = torch.from_numpy(future < end)
        return {"observation": observation, "target": target}

    def weights(self, shares: Sequence[float] | None, gripper_events: float) -> NDArray[np.float64] | None:
        """How often each window is to be drawn, relative to the others; None where all count the same.

        shares: of the draws that go to each source. gripper_events: how many times as often windows are drawn in whose
        timesteps the gripper's command changes sides.
        """
        if shares is None and gripper_events == 1:
            return None
        weights = np.ones(len(self))
        if gripper_events != 1:
            weights[self._changes_grip()] = gripper_events
        if shares is not None:
            sources = len(self._first_frames) - 1
            if len(shares) != sources:
                raise DatasetError(f"{len(shares)} shares were given for {sources} datasets; give one for each.")
            source = np.searchsorted(self._first_frames, self._starts, side="right") - 1
            for number, share in enumerate(shares):
                if (here := source == number).any():
                    weights[here] *= share / weights[here].sum()
        return weights

    def _changes_grip(self) -> NDArray[np.bool_]:
        """Whether the gripper's command changes sides within a window, window by window."""
        fields = np.repeat([f.gripper is not None for f in self.contract.action], [f.size for f in self.contract.action])
        if not fields.any():
            raise DatasetError("gripper_events: the contract of the data names no gripper in the action; use 1.")
        numbers = self._episodes
        middle = (numbers.actions[numbers.acts].max(axis=0) + numbers.actions[numbers.acts].min(axis=0)) / 2
        side = numbers.actions[:, fields] > middle[fields]
        changes = np.zeros(len(numbers) + 1, np.int64)
        changes[1:-1] = (side[1:] != side[:-1]).any(axis=1) & (numbers.episode[1:] == numbers.episode[:-1])
        until = changes.cumsum()  # changes before a frame and at it
        last = np.minimum(self._starts + self.history, numbers.end[self._starts]) - 1
        return np.asarray(until[last] > until[self._starts])

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
    contracts = [read_contract(root) for root in roots]
    first = next((i for i, contract in enumerate(contracts) if contract.action), 0)
    for root, contract in zip(roots, contracts, strict=True):
        needed = contracts[first] if contract.action else replace(contracts[first], action=())
        require_fit(needed, contract, f"the dataset {roots[first]}", f"the dataset {root}")
    return contracts[first]


def _statistics(episodes: Episodes) -> Statistics:
    found = {STATE: statistics(episodes.states)}
    return found | {ACTION: statistics(episodes.actions[episodes.acts])} if episodes.acts.any() else found


def _camera_maps(
    root: Path, cameras: Sequence[str], size: Size, cache: Path | None, resize: str
) -> dict[str, NDArray[np.uint8]]:
    keys = camera_keys(read_info(root)["features"])
    if missing := [c for c in cameras if c not in keys]:
        raise DatasetError(f"The dataset at {root} has no camera {missing[0]!r}; its cameras are {sorted(keys)}.")
    return {camera: open_frames(root, keys[camera], size, cache, resize) for camera in cameras}


def _concatenate(parts: list[Episodes]) -> Episodes:
    frames = np.cumsum([0, *(len(p) for p in parts)])
    episodes = np.cumsum([0, *(np.unique(p.episode).size for p in parts)])
    tasks = tuple(dict.fromkeys(t for p in parts for t in p.tasks))
    size = max(p.actions.shape[1] for p in parts)
    return Episodes(
        states=np.concatenate([p.states for p in parts]),
        actions=np.concatenate([p.actions if p.acts.any() else np.zeros((len(p), size), np.float32) for p in parts]),
        episode=np.concatenate(
            [np.unique(p.episode, return_inverse=True)[1] + e for p, e in zip(parts, episodes, strict=False)]
        ),
        end=np.concatenate([p.end + f for p, f in zip(parts, frames, strict=False)]),
        instructions=np.concatenate([np.array([tasks.index(t) for t in p.tasks])[p.instructions] for p in parts]),
        tasks=tasks,
        acts=np.concatenate([p.acts for p in parts]),
    )


def _combined_fingerprint(roots: Sequence[Path]) -> str:
    if len(roots) == 1:
        return fingerprint(roots[0])
    return hashlib.blake2b("\0".join(fingerprint(r) for r in roots).encode(), digest_size=16).hexdigest()
