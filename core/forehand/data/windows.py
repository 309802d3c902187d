"""Window dataset: frames around an anchor frame as model input, and others as targets.

A window has its anchor at any frame of an episode, or only where all of it lies inside the episode
(:mod:`forehand.data.whole_windows`). What would lie before the episode's first frame or behind its last is
padded with the nearest frame, and marked by a mask. The windows of a causal model begin at their anchor and run for T
timesteps: nothing is padded in front, because at run time a history grows from one frame, and such a model learns every
length from one window.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset as TorchDataset
from torch.utils.data import default_collate

from forehand.contracts.sensor import Sensor
from forehand.data.absent_frames import AbsentFrames
from forehand.data.dataset import Dataset
from forehand.data.draws import uniform
from forehand.data.frame_store import FrameRequest, FrameStore, OpenedFrames, open_frame_store
from forehand.data.frozen_features import FrozenFeatures
from forehand.data.gripper_events import event_windows, gripper_changes
from forehand.data.selection.instructions import draw_instructions
from forehand.data.source import FrameReader
from forehand.data.tower_features import open_features
from forehand.data.whole_windows import WholeWindows
from forehand.data.window_spec import (
    ACTIONS,
    FUTURE,
    IMAGES,
    STATE,
    WindowSpec,
    camera_of,
    known_of,
    mask_of,
    read_window,
    sensor_of,
)
from forehand.errors import ConfigurationError, DatasetError, nearest, no_camera

BOTH_WEIGHTS = "The sources state weights, and recipe.dataset_weights were given. Leave one of them out."

Sample = dict[str, dict[str, Any]]


class WindowDataset(TorchDataset[Sample]):
    """Windows over a :class:`~forehand.data.dataset.Dataset`; window i has its anchor at frame i (of ``episodes``).

    A sample holds the *observation* that a policy may be given, and apart from it the *target* that only a loss may see.
    For a :class:`~forehand.data.window_spec.WindowSpec` with n offsets for a key, they are ::

        images.<camera>        (n, H, W, 3) uint8
        features.<t>.<camera>  (n, P + 1, W) float16   those of a frozen tower t, once :meth:`add_features` was called
        sensors.<name>         (n, …)              what another sensor measured, in the dtype of its contract
        state                  (n, S) float32
        action                 (n, A) float32
        <key>_valid            (n,) bool           that frame or action exists; none for an observation at 0 alone
        instruction            str                 of the observation

    The windows of a causal model (:meth:`WindowSpec.causal <forehand.data.window_spec.WindowSpec.causal>`) hold, for T
    timesteps that begin with the anchor ::

        observation.images.<camera>  (T, H, W, 3) uint8    the images at the window's own timesteps, or at some of them
        observation.sensors.<name>   (T, …)                what other sensors measured, as their contract says
        observation.state            (T, S) float32        the state at the same timesteps
        observation.instruction      str
        target.valid                 (T,) bool             the timestep lies before the episode's end
        target.future.<camera>       (T, H, W, 3) uint8    each timestep's image ``horizon`` steps later
        target.future_valid          (T,) bool             that image exists
        target.actions               (T, chunk, A) float32 each timestep's action and those that follow it
        target.actions_valid         (T, chunk) bool       those actions exist
        target.actions_known         (T, chunk, A) bool    their numbers are learned from; only where some are not
        observation.state_valid      (T,) bool             the state was measured; only where some sources have none
        observation.images.<camera>_valid  (T,) bool       the camera was there; only where some sources lack it
        target.future.<camera>_valid (T,) bool             its image exists; only where some sources lack the camera

    With K > 1 horizons, ``future.<camera>`` is (T, K, H, W, 3), and ``future_valid`` and its mask (T, K).

    What does not exist is that of the episode's nearest frame, and zeros for actions of a dataset without any and for
    images of a camera that is absent; without an instruction it is "". Images come from a frame store
    (:class:`forehand.data.frame_store.FrameStore`), sensors from a cache: depth in counts, clouds that vary filled up
    with rows of NaN (:class:`forehand.contracts.sensor.Sensor`).

    window: a specification, or the options of :meth:`WindowSpec.causal <forehand.data.window_spec.WindowSpec.causal>` as
    a mapping; these may also be given by keyword (``horizon`` means ``horizons``; ``cameras`` default to all of the
    contract). All sources must have the sensors, and the cameras unless they
    are stated to be absent. episodes: numbers counted over all sources, default all.
    cache: folder of the decoded frames. frames: where images come from, a store or its name, by default ``raw``; only the
    shards of the chosen episodes are decoded. whole: only windows that lie inside their episode
    (:class:`~forehand.data.whole_windows.WholeWindows`); None: one from every frame, padded where it leaves the episode.
    gripper_event_repeats: how often windows are added once more that end at a change of the gripper's command, or one or
    two steps behind it (:mod:`forehand.data.gripper_events`).
    """

    def __init__(
        self,
        data: Dataset,
        window: WindowSpec | Mapping[str, Any] | None = None,
        *,
        episodes: Sequence[int] | None = None,
        cache: str | Path | None = None,
        frames: FrameStore | str = "raw",
        pixels: str | None = None,
        whole: WholeWindows | None = None,
        gripper_event_repeats: int = 0,
        **options: Any,
    ) -> None:
        if window is not None and options:
            raise ConfigurationError(f"A window was given, and beside it {', '.join(options)}. Give one of them.")
        self.data = data
        self.spec = read_window(options if window is None else window, data.contract)
        self.cameras = self.spec.cameras
        folder = Path(cache) if cache else None
        self.sensors = _find_sensors(data, self.spec.sensors)
        data.require_cameras(self.cameras, self.spec.sensors)
        chosen = self._select(episodes)
        self._anchors = whole.choose(self.spec, data.episodes, chosen) if whole else chosen
        if gripper_event_repeats:
            frames_held = whole.frames if whole else None
            last = self.spec.reach[1] if frames_held is None else self.spec.reach[0] + frames_held - 1
            added = event_windows(data, self._anchors, last, "gripper_event_repeats")
            self._anchors = np.concatenate([self._anchors, *[added] * gripper_event_repeats])
        store = (FrameStore(frames) if isinstance(frames, str) else frames).continued(pixels)
        self.opened_frames, self._frames = _open_cameras(
            data, self.spec, folder, store, None if episodes is None else chosen
        )
        lacking = {c for source in data.sources for c in source.absent_cameras}
        self._having = {  # by source, of cameras that some of them lack
            camera: np.array([camera not in source.absent_cameras for source in data.sources])
            for camera in self.cameras
            if camera in lacking
        }
        self._measured = [{name: source.sensor(s, folder) for name, s in self.sensors.items()} for source in data.sources]
        self._features: dict[str, tuple[str, list[FrameReader]]] = {}

    collate = staticmethod(default_collate)

    def __len__(self) -> int:
        return len(self._anchors)

    def __getitem__(self, index: int) -> Sample:
        batch = self.batch([index])
        return {side: {key: value[0] for key, value in values.items()} for side, values in batch.items()}

    def __iter__(self) -> Iterator[Sample]:
        return (self[i] for i in range(len(self)))

    @property
    def pixels(self) -> str:
        """How exact images are: ``exact``, or ``jpeg`` and its quality."""
        return self.opened_frames.pixels

    @property
    def episode_count(self) -> int:
        """Episodes in all sources, whether windows are taken from them or not."""
        return int(self.data.episodes.episode[-1]) + 1

    def add_features(self, features: Mapping[str, FrozenFeatures], cache: str | Path | None = None) -> None:
        """Let windows hold features of their images too: ``features.<tower>.<camera>``, and of the future where they do.

        They are computed once for each frame that a window holds, and kept in ``cache``
        (:func:`forehand.data.tower_features.open_features`). Processes that need the same ones share the work: each
        begins with what no other one computes.
        """
        folder, sources = Path(cache) if cache else None, range(len(self.data.sources))
        used = {frozen.camera: self._used_frames(frozen.camera) for frozen in features.values()}
        opened: dict[tuple[str, int], FrameReader] = {}
        for wait in (False, True):
            for (key, frozen), i in product(features.items(), sources):
                if (key, i) not in opened:
                    found = self._open_features(frozen, i, used[frozen.camera][i], folder, wait=wait)
                    opened |= {} if found is None else {(key, i): found}
        for key, frozen in features.items():
            self._features[key] = (frozen.camera, [opened[key, i] for i in sources])

    def _open_features(
        self, frozen: FrozenFeatures, number: int, used: NDArray[np.int64], folder: Path | None, *, wait: bool
    ) -> FrameReader | None:
        """Features of the source of this number; see :func:`forehand.data.tower_features.open_features`."""
        source, frames = self.data.sources[number], self._frames[number]
        if frozen.camera in source.absent_cameras:
            return AbsentFrames(len(source.episodes), frozen.shape, np.float16)
        return open_features(source.pictures(frozen.camera), frames[frozen.camera], frozen, folder, used, wait=wait)

    def _used_frames(self, camera: str) -> list[NDArray[np.int64]]:
        """By source, the numbers of its recorded frames whose image of ``camera`` some window holds."""
        used = np.zeros(len(self.data.episodes), bool)
        for _, key, offsets in self.spec.all_offsets():
            if camera_of(key) == camera:
                for offset in np.unique(offsets):  # one after the other, which takes less memory
                    used[self._at(self._anchors, offset)[0]] = True
        here = [np.flatnonzero(part) for part in np.split(used, self.data.first_frames[1:-1])]
        recorded = [source.frame_numbers for source in self.data.sources]
        return [rows if all is None else all[rows] for rows, all in zip(here, recorded, strict=True)]

    def batch(self, indices: Sequence[int] | NDArray[np.int64], *, step: int = 0, seed: int = 0) -> Sample:
        """The windows ``indices`` with a batch dimension in front (``instruction``: a list of B strings).

        step, seed: which of several sentences is said in a window, and which actions of a weight below 1 take part in
        its loss, follows from these and the window alone.
        """
        spec, anchor = self.spec, self._anchors[np.asarray(indices)]
        shown = self._images(anchor)
        observation: dict[str, Any] = {}
        for key, offsets in spec.observation.items():
            observation[key], exists, recorded = self._read(key, anchor, np.array(offsets), shown["observation"])
            if spec.masked(key):
                observation[mask_of(key)] = exists if recorded is None else exists & recorded
            elif recorded is not None:
                observation[mask_of(key)] = recorded
        observation["instruction"] = draw_instructions(self.data.episodes, anchor, seed, step)
        target: dict[str, Any] = {}
        if spec.timesteps is not None:
            target["valid"] = torch.from_numpy(self._at(anchor, np.arange(spec.timesteps))[1])
        for key in spec.target:
            target[key], exists, recorded = self._read(key, anchor, spec.target_offsets(key), shown["target"])
            if key in ACTIONS:
                exists = exists & self._learned_from(anchor, spec.target_offsets(key), seed, step)
                if (known := self.data.episodes.action_known) is not None:
                    frames = self._at(anchor, spec.target_offsets(key))[0]
                    target[known_of(key)] = torch.from_numpy(known[frames])
            target[mask_of(key)] = exists
            if recorded is not None:  # one camera's mask stands beside that of the future of all
                target[f"{key}_valid"] = exists & recorded
        for key, (camera, sources) in self._features.items():
            if IMAGES + camera in spec.observation:
                where = np.array(spec.observation[IMAGES + camera])
                observation[key] = self._gather(sources, self._at(anchor, where)[0])
            if FUTURE + camera in spec.target:
                target[FUTURE + key] = self._gather(sources, self._at(anchor, spec.target_offsets(FUTURE + camera))[0])
        return {"observation": observation, "target": target}

    def _at(self, anchor: NDArray[np.int64], offsets: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """The frames at ``offsets`` (…) from ``anchor`` (B,), or the episode's nearest, and which exist: (B, …)."""
        spread = (slice(None), *(None,) * offsets.ndim)
        first, end = self.data.episodes.begin[anchor][spread], self.data.episodes.end[anchor][spread]
        frames = anchor[spread] + offsets
        return np.clip(frames, first, end - 1), (frames >= first) & (frames < end)

    def _images(self, anchor: NDArray[np.int64]) -> dict[str, dict[str, torch.Tensor]]:
        """Images of all keys of both sides, (B, …, H, W, 3); what several keys hold of a camera is read together."""
        shown: dict[str, dict[str, torch.Tensor]] = {"observation": {}, "target": {}}
        for camera in self.cameras:
            wanted = [
                (side, key, self._at(anchor, offsets)[0])
                for side, key, offsets in self.spec.all_offsets()
                if camera_of(key) == camera
            ]
            together = np.concatenate([frames.ravel() for *_, frames in wanted])
            pixels = self._gather([frames[camera] for frames in self._frames], together)
            for (side, key, frames), part in zip(wanted, pixels.split([f.size for *_, f in wanted]), strict=True):
                shown[side][key] = part.view(*frames.shape, *part.shape[1:])
        return shown

    def _read(
        self, key: str, anchor: NDArray[np.int64], offsets: NDArray[np.int64], shown: Mapping[str, torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Values of ``key`` at ``offsets`` (…) from ``anchor`` (B,), (B, …, …), and which exist, (B, …).

        Behind these, which of them were recorded, (B, …), or None where all sources have the key.
        """
        frames, inside = self._at(anchor, offsets)
        exists, episodes, recorded = torch.from_numpy(inside), self.data.episodes, None
        if key in shown:
            if (having := self._having.get(camera_of(key) or "")) is not None:
                recorded = torch.from_numpy(having[self._source(frames)])
            return shown[key], exists, recorded
        if (sensor := sensor_of(key)) is not None:
            return self._gather([measured[sensor] for measured in self._measured], frames), exists, None
        if key == STATE:
            if episodes.has_state is not None:
                recorded = torch.from_numpy(episodes.has_state[frames])
            return torch.from_numpy(episodes.states[frames]), exists, recorded
        assert key in ACTIONS
        exists = torch.from_numpy(inside & episodes.has_action[frames])
        return torch.from_numpy(episodes.actions[frames]), exists, None

    def _learned_from(
        self, anchor: NDArray[np.int64], offsets: NDArray[np.int64], seed: int, step: int
    ) -> torch.Tensor | bool:
        """Which actions take part in a loss, (B, …): each in as many of its draws as its weight says."""
        weight = self.data.episodes.action_weight
        if weight is None:
            return True
        frames = self._at(anchor, offsets)[0]
        return torch.from_numpy(uniform(frames, seed + 1, step) < weight[frames])

    def _source(self, frames: NDArray[np.int64]) -> NDArray[np.int64]:
        """The number of the source of each frame."""
        return np.searchsorted(self.data.first_frames, frames, side="right") - 1

    def sample_weights(
        self, dataset_weights: Sequence[float] | None, gripper_oversampling: float
    ) -> NDArray[np.float64] | None:
        """Sampling weight of each window, (N,), relative to the others; None where all are equal.

        dataset_weights: sampling weight of each source, relative to each other; by default those that the sources state,
        if they do. gripper_oversampling: factor for windows in which the gripper's command changes sides.
        """
        if dataset_weights is not None and self.data.weights is not None:
            raise ConfigurationError(BOTH_WEIGHTS)
        dataset_weights = self.data.weights if dataset_weights is None else dataset_weights
        if dataset_weights is None and gripper_oversampling == 1:
            return None
        weights = np.ones(len(self))
        if gripper_oversampling != 1:
            weights[self.gripper_transition_mask()] = gripper_oversampling
        if dataset_weights is not None:
            sources = len(self.data.first_frames) - 1
            if len(dataset_weights) != sources:
                given = len(dataset_weights)
                raise DatasetError(f"{given} dataset_weights were given for {sources} datasets; give one for each.")
            source = self._source(self._anchors)
            for number, weight in enumerate(dataset_weights):
                if (here := source == number).any():
                    weights[here] *= weight / weights[here].sum()
            if not weights.any():
                raise ConfigurationError(
                    f"Only datasets of weight 0 have windows: the weights are {list(dataset_weights)}. Give a dataset "
                    f"with windows a larger one."
                )
        return weights

    def gripper_transition_mask(self) -> NDArray[np.bool_]:
        """Whether the gripper's command changes sides within a window's span, window by window."""
        until = gripper_changes(self.data, "gripper_oversampling").cumsum()  # changes before a frame and at it
        first, last = (self._at(self._anchors, np.array(offset))[0] for offset in self.spec.span)
        return np.asarray(until[last] > until[first])

    def _gather(self, sources: Sequence[FrameReader], where: NDArray[np.int64]) -> torch.Tensor:
        """The frames ``where`` (…) of all sources, (…, *shape); ``sources``: the frames of each, (N, *shape)."""
        recorded = [source.frame_numbers for source in self.data.sources]
        if len(sources) == 1:
            return torch.from_numpy(sources[0][where if recorded[0] is None else recorded[0][where]])
        out = np.empty((*where.shape, *sources[0].shape[1:]), sources[0].dtype)
        source = self._source(where)
        for number in np.unique(source):
            here = source == number
            frames, chosen = where[here] - self.data.first_frames[number], recorded[number]
            out[here] = sources[number][frames if chosen is None else chosen[frames]]
        return torch.from_numpy(out)

    def _select(self, episodes: Sequence[int] | None) -> NDArray[np.int64]:
        if episodes is None:
            return np.arange(len(self.data.episodes), dtype=self.data.episodes.end.dtype)
        unknown = sorted(set(episodes) - set(range(self.episode_count)))
        if unknown:
            raise DatasetError(f"there are {self.episode_count} episodes; {unknown} are not among them.")
        return np.flatnonzero(np.isin(self.data.episodes.episode, np.asarray(episodes, np.int64)))


def _find_sensors(data: Dataset, names: Sequence[str]) -> dict[str, Sensor]:
    known = {sensor.name: sensor for sensor in data.contract.sensors}
    for name in names:
        if name not in known:
            raise DatasetError(f"The dataset at {data.roots[0]} has no sensor {name!r}. {nearest(name, known)}")
    return {name: known[name] for name in names}


def _open_cameras(
    data: Dataset, spec: WindowSpec, cache: Path | None, store: FrameStore, rows: NDArray[np.int64] | None
) -> tuple[OpenedFrames, list[dict[str, FrameReader]]]:
    """The frames of all cameras, and those of each source by camera.

    rows: the frames of ``data.episodes`` that are used, None: all.
    """
    side = spec.image_size
    requests: list[FrameRequest] = []
    sizes = {camera.name: (camera.height, camera.width) for camera in data.contract.cameras}
    if side is not None:
        sizes = dict.fromkeys(spec.cameras, (side, side) if isinstance(side, int) else side)
    for number, source in enumerate(data.sources):
        pictures = {camera: source.pictures(camera) for camera in spec.cameras if camera not in source.absent_cameras}
        if missing := [camera for camera in spec.cameras if camera not in sizes]:
            raise DatasetError(no_camera(f"The dataset at {data.sources[0].root}", missing[0], sizes))
        numbers = source.frame_numbers
        if rows is not None:
            first, last = data.first_frames[number : number + 2]
            here = rows[(rows >= first) & (rows < last)] - first
            numbers = here if numbers is None else numbers[here]
        requests += [FrameRequest(its, sizes[camera], spec.resize, numbers) for camera, its in pictures.items()]
    opened = open_frame_store(requests, store, cache)
    readers = iter(opened.readers)
    by_source: list[dict[str, FrameReader]] = [
        {
            c: AbsentFrames(len(source.episodes), (*sizes[c], 3)) if c in source.absent_cameras else next(readers)
            for c in spec.cameras
        }
        for source in data.sources
    ]
    return opened, by_source
