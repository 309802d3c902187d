"""A recorded episode as a robot: what a policy would have done, beside what was done. No torch."""

from __future__ import annotations

import logging

import numpy as np
from numpy.typing import NDArray

from forehand import Episode, Observation, Robot
from forehand.data.episodes import Episodes, read_episodes
from forehand.data.features import camera_keys, read_contract, read_info
from forehand.data.frames import open_frames
from forehand.data.locate import locate_dataset
from forehand.errors import ConfigurationError, ForehandError
from forehand_robots.statements import checked

log = logging.getLogger(__name__)


class ReplayRobot(Robot):
    """Episode ``episode`` of the LeRobotDataset ``dataset`` (a folder, or a hub repository's id).

    Observations are the recorded ones, whatever the actions are; the actions are compared with the recorded ones. The
    last observation is a success, since all that is asked is to come to the recording's end. An :class:`Episode` may
    choose another episode with its option ``episode``.
    """

    def __init__(self, dataset: str, episode: int = 0) -> None:
        self._root = locate_dataset(dataset)
        self.contract = read_contract(self._root)
        self._default = episode
        self._episodes: Episodes | None = None
        self._images: dict[str, NDArray[np.uint8]] = {}
        self._episode = episode
        self._first = self._frame = self._last = 0
        self._given: list[NDArray[np.float32]] = []

    def connect(self) -> None:
        """Read the tables, and decode the cameras' videos if nobody did before; raises :class:`DatasetError`."""
        if self._episodes is not None:
            return
        keys = camera_keys(read_info(self._root)["features"])
        for camera in self.contract.cameras:
            self._images[camera.name] = open_frames(self._root, keys[camera.name], (camera.height, camera.width))
        self._episodes = read_episodes(self._root)
        self._begin(self._default)

    @property
    def deviation(self) -> NDArray[np.float32]:
        """Actions given minus actions recorded since the last reset, (T, A) in the contract's units."""
        given = np.array(self._given, np.float32).reshape(-1, self.contract.action_size)
        start = self._frame - len(given)
        return given - self._recording.actions[start : self._frame]

    def reset(self, episode: Episode | None = None) -> Observation:
        """Go to the first frame, and tell how the actions so far compare."""
        chosen = self._default if episode is None else episode.options.get("episode", self._default)
        self._report()
        self._begin(int(chosen))
        return self.observe()

    def observe(self) -> Observation:
        """The frame that was recorded here; its time is counted from the first."""
        frame = self._frame
        images = {name: np.array(frames[frame]) for name, frames in self._images.items()}
        time = (frame - self._first) / self.contract.rate
        return Observation(images, self._recording.states[frame].copy(), time, frame == self._last)

    def act(self, action: NDArray[np.float32]) -> NDArray[np.float32]:
        """Keep ``action`` to be compared, and go to the next frame; the last one stays."""
        kept = checked(action, self.contract)
        if self._frame < self._last:
            self._given.append(kept)
            self._frame += 1
        return kept

    def hold(self) -> None:
        """Nothing: a recording stands still."""

    def close(self) -> None:
        """Tell how the actions compare, and let go of the dataset."""
        self._report()
        self._episodes, self._images = None, {}

    @property
    def _recording(self) -> Episodes:
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
        steps, total, first, told = len(deviation), self._last - self._first, 0, []
        for field in self.contract.action:
            part = deviation[:, first : first + field.size]
            told.append(f"{field.name} {part.mean():.3g} {field.unit or ''}".rstrip() + f" (at most {part.max():.3g})")
            first += field.size
        log.info(
            "episode %d: %d of %d steps replayed; mean absolute deviation from the recorded actions: %s",
            self._episode,
            steps,
            total,
            ", ".join(told),
        )
        self._given = []
