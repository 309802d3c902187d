"""Linear probe of latent actions: how much of the recorded actions they say. Needs torch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from forehand.compose.delta_actions import DeltaActions
from forehand.compose.latent_actions import infer_latent_actions
from forehand.compose.parts import STATE, STATE_VALID
from forehand.contracts.contract import Contract
from forehand.data.dataset import Dataset
from forehand.data.frame_store import FrameStore
from forehand.data.windows import WindowDataset
from forehand.errors import ConfigurationError
from forehand.evaluation.open_loop.inverse import AT_ONCE, R_SQUARED
from forehand.evaluation.open_loop.scores import Scores, field_scores

FOLDS = 5
"""Parts of the episodes, each of which is predicted by a probe that was fitted to the others."""

RIDGE = 1e-3
"""Penalty on squared coefficients of standardized latent actions, as a share of the number of examples."""

Numbers = NDArray[np.float64]


class LatentActionProbe:
    """R² by field of a linear map from latent actions to the recorded actions between the same two frames.

    Of up to ``count`` moments with a recorded action, evenly spread over a dataset, the latent actions
    (:func:`forehand.compose.latent_actions.infer_latent_actions`) and all actions up to the later frame are taken. Ridge
    regression finds the latter from the former, in up to :data:`FOLDS` parts of the episodes in turn, each from the
    others (of a single episode, in parts of its time); R² is that of all, as in :func:`.field_scores`: 1 where latent
    actions say it exactly, and 0 or less where they say nothing of it, as those of other moments do. A field that never
    changes has none. Absolute actions are taken as changes of the state at the first frame, where that measures them:
    what does not change is not to be seen.

    count: None for all moments. cache, frames: as for :class:`~forehand.data.windows.WindowDataset`.
    """

    def __init__(
        self,
        data: Dataset,
        policy: Any,
        count: int | None,
        *,
        cache: str | None = None,
        frames: FrameStore | str = "raw",
    ) -> None:
        self._changes = _as_changes(data.contract)
        self.contract = replace(data.contract, action=self._changes.fields) if self._changes else data.contract
        window = policy.window | {"history": 1, "chunk": policy.world_model.horizon, "sensors": [], "targets": None}
        self._windows = WindowDataset(data, window, cache=cache, frames=frames)  # one for each frame
        recorded = np.flatnonzero(data.episodes.has_action)
        chosen = np.linspace(0, len(recorded) - 1, min(count or len(recorded), len(recorded))).round()
        self._moments = recorded[np.unique(chosen).astype(np.int64)]
        self._episodes = data.episodes.episode[self._moments]

    def __call__(self, policy: Any) -> dict[str, float]:
        """``<field>/r_squared`` → R² of ``policy``, which is in evaluation mode; {} where there is nothing to fit."""
        latent, actions, rows = self.examples(policy)
        if len(rows) < 2:
            return {}
        different, number = np.unique(self._episodes[rows], return_inverse=True)
        fold = number % FOLDS if len(different) > 1 else np.arange(len(rows)) * FOLDS // len(rows)
        predicted = cross_predicted(latent, actions.reshape(len(actions), -1), fold).astype(np.float32)
        ours, theirs = (a.reshape(-1, self.contract.action_size) for a in (predicted, actions))
        scores = field_scores(self.contract, Scores.of(self.contract, ours, theirs))
        return {one.name + R_SQUARED: one.r2 for one in scores if one.r2 is not None}

    def examples(self, policy: Any) -> tuple[Numbers, NDArray[np.float32], NDArray[np.int64]]:
        """Latent actions (N, n), the actions (N, k, A) between their frames, and their places among the moments."""
        latent, actions, rows = [], [], []
        for first in range(0, len(self._moments), AT_ONCE):
            batch = self._windows.batch(self._moments[first : first + AT_ONCE])
            moved = {
                side: {key: v.to(policy.device) if isinstance(v, torch.Tensor) else v for key, v in values.items()}
                for side, values in batch.items()
            }
            found, there = (value[:, 0].cpu() for value in infer_latent_actions(policy, moved))
            seen, target = batch["observation"], batch["target"]
            kept = there & target["actions_valid"][:, 0].all(dim=-1)
            if self._changes and STATE_VALID in seen:
                kept &= seen[STATE_VALID][:, 0]
            latent.append(found[kept].numpy().astype(np.float64))
            done = target["actions"][:, 0][kept].numpy()
            if self._changes:
                done = self._changes.to_delta(done, seen[STATE][:, 0][kept].numpy()).astype(np.float32)
            actions.append(done)
            rows.append(first + np.flatnonzero(kept.numpy()))
        return np.concatenate(latent), np.concatenate(actions), np.concatenate(rows)


def _as_changes(contract: Contract) -> DeltaActions | None:
    """A contract's absolute actions relative to the state, where that measures them; None where it measures none."""
    relative = []
    for field in (field for field in contract.action if field.mode != "delta"):
        try:
            DeltaActions(replace(contract, action=(field,)))
        except ConfigurationError:  # a gripper, or nothing in the state
            continue
        relative.append(field.name)
    absolute = [field.name for field in contract.action if field.name not in relative and field.mode != "delta"]
    return DeltaActions(contract, absolute=absolute) if relative else None


def cross_predicted(given: Numbers, wanted: NDArray[Any], fold: NDArray[np.int64]) -> Numbers:
    """What ridge regression makes of ``given`` (N, n) for ``wanted`` (N, m), each fold by a fit to the others, (N, m)."""
    predicted = np.zeros(wanted.shape, np.float64)
    for number in np.unique(fold):
        fit, rest = fold != number, fold == number
        mean, spread = given[fit].mean(0), given[fit].std(0)
        scale = np.where(spread > 0, spread, 1.0)
        x, middle = (given[fit] - mean) / scale, wanted[fit].mean(0, dtype=np.float64)
        covariance = x.T @ x + RIDGE * len(x) * np.eye(x.shape[1])
        slopes = np.linalg.solve(covariance, x.T @ (wanted[fit] - middle))
        predicted[rest] = (given[rest] - mean) / scale @ slopes + middle
    return predicted
