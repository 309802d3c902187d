"""Inverse-dynamics error: actions that were found between recorded frames, against those that were done. Needs torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from forehand.compose.inverse import between_frames, recover_actions
from forehand.data.dataset import Dataset
from forehand.data.frame_store import FrameStore
from forehand.data.labels import RECOVERED
from forehand.data.window_spec import WindowSpec
from forehand.data.windows import WindowDataset
from forehand.evaluation.open_loop.scores import Scores, field_scores

AT_ONCE = 8
"""Windows that are run in one batch."""

R_SQUARED = "/r_squared"


class InverseError:
    """Error and R² by field of a policy with ``inverse_dynamics``, over ``count`` windows evenly spread over a dataset.

    Every action between two frames of a window counts, once for each frame behind it from which it is found
    (:func:`forehand.compose.inverse.recover_actions`). Errors are as those of
    :class:`~forehand.learning.action_error.ActionError`, R² as in :func:`.field_scores`: 1 is exact, and a field of 0 or
    less is not recovered, since its mean would do as well. A field that never changes has none.

    window: the policy's own. cache, frames: as for :class:`~forehand.data.windows.WindowDataset`.
    """

    def __init__(
        self,
        data: Dataset,
        window: WindowSpec | Mapping[str, Any],
        count: int,
        *,
        cache: str | None = None,
        frames: FrameStore | str = "raw",
    ) -> None:
        self.contract = data.contract
        self._windows = WindowDataset(data, window, cache=cache, frames=frames)
        chosen = np.linspace(0, len(self._windows) - 1, min(count, len(self._windows))).round()
        self._moments = np.unique(chosen).astype(np.int64)

    def __call__(self, policy: Any) -> dict[str, float]:
        """Field → error, and ``<field>/r_squared`` → R²; {} where no action lies between frames of a window."""
        ours, theirs = [np.zeros((0, self.contract.action_size), np.float32)], []
        for first in range(0, len(self._moments), AT_ONCE):
            batch = self._windows.batch(self._moments[first : first + AT_ONCE])
            seen = {k: v.to(policy.device) if isinstance(v, torch.Tensor) else v for k, v in batch["observation"].items()}
            found = recover_actions(policy, seen).cpu()
            target = batch["target"]
            valid = target["valid"][..., None] & target["actions_valid"] & between_frames(target["actions_valid"])
            ours.append(found[valid].numpy())
            theirs.append(target["actions"][valid].numpy())
        predicted = np.concatenate(ours)
        if not len(predicted):
            return {}
        scores = field_scores(self.contract, Scores.of(self.contract, predicted, np.concatenate(theirs)))
        explained = {one.name + R_SQUARED: one.r2 for one in scores if one.r2 is not None}
        return {one.name: one.error for one in scores} | explained


def not_recovered(metrics: Mapping[str, float]) -> dict[str, float]:
    """The fields whose R² among ``metrics`` is below :data:`RECOVERED`, and that R²."""
    found = {name.removesuffix(R_SQUARED): value for name, value in metrics.items() if name.endswith(R_SQUARED)}
    return {name.rsplit("/", 1)[-1]: value for name, value in found.items() if not value >= RECOVERED}
