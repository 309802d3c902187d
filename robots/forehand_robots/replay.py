"""Replay robot: a recorded episode's observations, beside which a policy's actions are compared. No torch."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forehand import Episode, Observation, Robot, Sensor
from forehand.data.episode_table import EpisodeTable
from forehand.data.features import camera_keys, read_contract, read_info
from forehand.data.lerobot.episodes import read_episodes
from forehand.data.lerobot.frames import open_frames
from forehand.data.lerobot.locate import locate_dataset
from forehand.data.lerobot.sensors import open_sensor
from forehand.data.source import FrameReader
from forehand.errors import ConfigurationError, ForehandError
from forehand_robots.field_specs import validate_action

log = logging.getLogger(__name__)


class ReplayRobot(Robot):
    """Episode ``episode`` of the LeRobotDataset ``dataset`` (a folder, or a hub repository's id).

    Observations are the recorded ones, whatever the actions are; the actions are compared with the recorded ones.
    Success means that the recording's last frame is reached. An :class:`Episode` may choose another episode with its
    option ``episode``.
    """

    def __init__(self, dataset: str, episode: int = 0) -> None:
        self._root = locate_dataset(dataset)
        self.contract = read_contract(self._root)
        self._default = episode
        self._episodes: EpisodeTable | None = None
        self._images: dict[str, FrameReader] = {}
        self._sensors: dict[Sensor, NDArray[Any]] = {}
        self._episode = episode
        self._first = self._frame = self._last = 0
        self._given: list[NDArray[np.float32]] = []

    def connect(self) -> None:
        """Read the tables, and decode videos whose frames are not stored yet; raises :class:`DatasetError`."""
        if self._episodes is not None:
            return
        keys = camera_keys(read_info(self._root)["features"])
        episodes = read_episodes(self._root)  # which are checked before anything is decoded
        for camera in self.contract.cameras:
            self._images[camera.name] = open_frames(self._root, keys[camera.name], (camera.height, camera.width))
        self._sensors = {sensor: open_sensor(self._root, sensor) for sensor in self.contract.sensors}
        self._episodes = episodes
        self._begin(self._default)

    @property
    def deviation(self) -> NDArray[np.float32]:
        """Actions given minus actions recorded since the last reset, (T, A) in the contract's units."""
        given = np.array(self._given, np.float32).reshape(-1, self.contract.action_size)
        start = self._frame - len(given)
        return given - self._recording.actions[start : self._frame]

    def reset(self, episode: Episode | None = None) -> Observation:
        """Log the deviation of the actions so far, and go to the first frame."""
        chosen = self._default if episode is None else episode.options.get("episode", self._default)
        self._report()
        self._begin(int(chosen))
        return self.observe()

    def observe(self) -> Observation:
        """The recorded frame at this step; its time is counted from the first."""
        frame = self._frame
        images = {name: np.array(frames[frame]) for name, frames in self._images.items()}
        time = (frame - self._first) / self.contract.rate
        sensors = {s.name: s.trimmed(np.array(frames[frame])) for s, frames in self._sensors.items()}
        return Observation(images, self._recording.states[frame].copy(), time, frame == self._last, sensors)

    def act(self, action: NDArray[np.float32]) -> NDArray[np.float32]:
        """Store ``action`` (A,) for comparison, and go to the next frame, if there is one."""
        given = validate_action(action, self.contract)
        if self._frame < self._last:
            self._given.append(given)
            self._frame += 1
        return given

    def hold(self) -> None:
        """Nothing: a recording does not move between steps."""

    def close(self) -> None:
        """Log the deviation of the actions so far, and close the dataset."""
        self._report()
        self._episodes, self._images, self._sensors = None, {}, {}

    @property
    def _recording(self) -> EpisodeTable:
        if self._episodes is None:
            raise ForehandError(f"The recording {self._root} is not connected; call connect() first.")
        return self._episodes

    def _begin(self, episode: int) -> None:
        frames = np.flatnonzero(self._recording.episode == episode)
        if not len(frames):
            raise ConfigurationError(
                f"The dataset at {self._root} has no episode {episode}; it has {self._recording.episode[0]} to "
                f"{self._recording.episode[-1]}. Choose one with robot.options.episode=…"
            )
        self._episode, self._first, self._last = episode, int(frames[0]), int(frames[-1])
        self._frame, self._given = self._first, []

    def _report(self) -> None:
        if not self._given:
            return
        deviation = np.abs(self.deviation)
        steps, total, first, by_field = len(deviation), self._last - self._first, 0, []
        for field in self.contract.action:
            part = deviation[:, first : first + field.size]
            mean = f"{field.name} {part.mean():.3g} {field.unit or ''}".rstrip()
            by_field.append(f"{mean} (at most {part.max():.3g})")
            first += field.size
        log.info(
            "episode %d: %d of %d steps replayed; mean absolute deviation from the recorded actions: %s",
            self._episode,
            steps,
            total,
            ", ".join(by_field),
        )
        self._given = []
