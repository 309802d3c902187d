"""Open-loop action error: what a policy predicts at recorded moments, against what was done then. Needs torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forehand.contracts.action_errors import errors_by_field
from forehand.data.dataset import Dataset
from forehand.data.frame_store import FrameStore
from forehand.data.window_spec import IMAGES, SENSORS, STATE, WindowSpec, mask_of, read_window
from forehand.data.windows import WindowDataset
from forehand.robot import Observation

MOMENTS = 8
"""Moments that are predicted in one batch."""


class ActionError:
    """Mean error of predicted chunks at ``count`` moments, evenly spread over a dataset, by field of the action.

    A session of the policy (:meth:`forehand.policy.Policy.open`) is given the frames of its history, and its chunk is
    compared with the recorded actions, as far as they exist. The error of a field is the mean absolute difference of its
    numbers, in its unit; of a rotation, the angle between the two in radians. Moments whose state or a camera of the
    policy is absent are left out.

    window: the policy's own (:attr:`.TrainablePolicy.window`), for its cameras and sensors. cache, frames: as for
    :class:`~forehand.data.windows.WindowDataset`.
    """

    def __init__(
        self,
        data: Dataset,
        policy: Any,
        window: WindowSpec | Mapping[str, Any],
        count: int,
        *,
        cache: str | None = None,
        frames: FrameStore | str = "raw",
    ) -> None:
        spec = read_window(window, data.contract)
        past = range(1 - policy.history, 1)
        there = {camera.name for camera in data.contract.cameras}
        keys = [
            STATE,
            *(IMAGES + camera for camera in spec.cameras if camera in there),
            *(SENSORS + name for name in spec.sensors),
        ]
        ahead = max((max(o) for key, o in spec.target.items() if key.startswith("action")), default=0) + 1
        recorded = WindowSpec(observation=dict.fromkeys(keys, past), target={"action": range(ahead)})
        self.contract = data.contract
        self._windows = WindowDataset(data, recorded, cache=cache, frames=frames)
        self._moments = np.unique(np.linspace(0, len(self._windows) - 1, min(count, len(self._windows))).round())

    def __call__(self, policy: Any) -> dict[str, float]:
        """Field → error of ``policy``, which is in evaluation mode; {} where there is no moment with actions."""
        found: list[NDArray[np.float64]] = []
        moments = self._moments.astype(np.int64)
        for first in range(0, len(moments), MOMENTS):
            batch = self._windows.batch(moments[first : first + MOMENTS])
            sessions, newest = [], []
            for i, instruction in enumerate(batch["observation"]["instruction"]):
                session = policy.open(instruction)
                *before, now = self._observations(batch["observation"], i)
                policy.remember(session, before)
                sessions.append(session)
                newest.append(now)
            predictions = policy.step(sessions, newest)
            done, valid = (batch["target"][key].numpy() for key in ("action", mask_of("action")))
            for key, mask in batch["observation"].items():
                if key.endswith("_valid"):  # of what is absent the policy was given zeros
                    valid = valid & mask[:, -1:].numpy()
            for i, prediction in enumerate(predictions):
                steps = min(len(prediction.actions), done.shape[1])
                kept = valid[i, :steps]
                found.append(errors_by_field(self.contract, prediction.actions[:steps][kept], done[i, :steps][kept]))
            for session in sessions:
                session.close()
        together = np.concatenate(found) if found else np.zeros((0, len(self.contract.action)))
        if not len(together):
            return {}
        means = together.mean(0).tolist()
        return {field.name: mean for field, mean in zip(self.contract.action, means, strict=True)}

    def _observations(self, held: Mapping[str, Any], i: int) -> list[Observation]:
        """The frames of window ``i`` that exist, the oldest first."""
        count = held[STATE].shape[1]
        exists = held[mask_of(STATE)][i].tolist() if mask_of(STATE) in held else [True] * count
        found = []
        for frame in (frame for frame in range(count) if exists[frame] or frame == count - 1):
            arrays = {key: held[key][i, frame].numpy() for key in held if key.startswith((IMAGES, SENSORS))}
            images = {key.removeprefix(IMAGES): a for key, a in arrays.items() if key.startswith(IMAGES)}
            sensors = {
                sensor.name: sensor.trimmed(arrays[SENSORS + sensor.name])
                for sensor in self.contract.sensors
                if SENSORS + sensor.name in arrays
            }
            state = held[STATE][i, frame].numpy().astype(np.float32)
            found.append(Observation(images=images, state=state, time=frame / self.contract.rate, sensors=sensors))
        return found
