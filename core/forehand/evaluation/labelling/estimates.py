"""Estimates of actions: what models of inverse dynamics find in every window of an episode, as one action a frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from forehand.compose.inverse import action_offsets, between_frames, recover_actions
from forehand.compose.parts import FRAMES, INSTRUCTION, STATE
from forehand.contracts.action_errors import fields_of
from forehand.contracts.contract import Contract
from forehand.contracts.rotations import form
from forehand.control.chunking.rotations import absolute_rotations, nearest_rotation, rotation_matrix
from forehand.data.dataset import Dataset
from forehand.data.frame_store import FrameStore
from forehand.data.merging.labelled import EpisodeLabels
from forehand.data.windows import WindowDataset
from forehand.evaluation.open_loop.scores import ROUNDING

AT_ONCE = 32
"""Windows that are run in one batch."""

FORMULA = (
    "mean over the fields that change of max(0, R²) · max(0, 1 − spread / variance): R² of the field in the models' "
    "validation (1 where none was measured), spread the variance of its estimates over windows and models, variance that "
    "of the recorded actions that the models were trained on"
)

_SQUARES = {3: 2.0, 4: 8.0, 6: 1.5}
"""Squared difference of two rotation matrices, by that of the numbers of a form of so many, for small differences."""

_MOST_VARIANCE = 3.0
"""Variance of the matrices of evenly distributed rotations."""


@dataclass(frozen=True)
class Model:
    """One model of inverse dynamics.

    name, fingerprint: of its checkpoint. policy: in evaluation mode. variance: (A,), of each number of the actions that
    it was trained on. r_squared: of each field in its validation, None where that was not measured.
    """

    name: str
    fingerprint: str
    policy: Any
    variance: NDArray[np.float64]
    r_squared: Mapping[str, float] | None = None

    @property
    def contract(self) -> Contract:
        """What it sees, and the actions that it finds."""
        contract: Contract = self.policy.contract
        return contract


@dataclass(frozen=True)
class Average:
    """Means of the estimates of each action of an episode.

    actions: (T, A). spread: (T, D), variance over the estimates of each number, with the matrices of absolute rotations
    behind them. known: (T,), which actions have an estimate.
    """

    actions: NDArray[np.float32]
    spread: NDArray[np.float64]
    known: NDArray[np.bool_]


class Estimator:
    """Actions of whole episodes of ``data`` by ``models`` of one contract, each with windows of its own.

    What frozen vision towers make of the frames is computed once and kept, as for a training with cached features.
    An action is the mean of all its estimates: from every window that holds the frames before and behind it, at every
    distance that the model's chunk has, by every model. Absolute rotations have the chordal mean
    (:mod:`forehand.control.chunking.rotations`). Its confidence is :data:`FORMULA`. The action of an episode's last
    frame, behind which nothing was seen, is the one before it, with confidence 0. cache, frames: as for
    :class:`~forehand.data.windows.WindowDataset`.
    """

    def __init__(
        self,
        models: Sequence[Model],
        data: Dataset,
        *,
        cache: str | None = None,
        frames: FrameStore | str = "raw",
    ) -> None:
        self.models, self.data = models, data
        self.contract = models[0].contract
        self._rotations = absolute_rotations(self.contract)
        self._windows = [WindowDataset(data, model.policy.window, cache=cache, frames=frames) for model in models]
        for model, windows in zip(models, self._windows, strict=True):
            windows.add_features(model.policy.frozen_features(), cache)
        self.starts = data.episodes.starts

    def __len__(self) -> int:
        return len(self.starts) - 1

    def label(self, position: int) -> EpisodeLabels:
        """The actions of the episode at ``position``; raises :class:`DatasetError` for damaged images."""
        found = self.average(position)
        actions, known = found.actions.copy(), found.known
        if known.any():  # what is not known repeats the nearest that is
            nearest = np.abs(np.flatnonzero(known)[None] - np.flatnonzero(~known)[:, None]).argmin(1)
            actions[~known] = actions[known][nearest]
        confidence = np.where(known, self._confidence(found.spread), 0)
        return EpisodeLabels(actions, confidence.astype(np.float32))

    def average(self, position: int) -> Average:
        """The estimates of each action of the episode at ``position`` together; raises :class:`DatasetError`."""
        first, end = int(self.starts[position]), int(self.starts[position + 1])
        size = self.contract.action_size + 9 * len(self._rotations)
        count, total, squares = np.zeros(end - first), np.zeros((end - first, size)), np.zeros((end - first, size))
        for model, windows in zip(self.models, self._windows, strict=True):
            for begin in range(first, end, AT_ONCE):
                anchors = np.arange(begin, min(begin + AT_ONCE, end))
                where, found = self._estimates(model, windows, anchors)
                numbers = self._numbers(found)
                np.add.at(count, where - first, 1)
                np.add.at(total, where - first, numbers)
                np.add.at(squares, where - first, numbers**2)
        mean = total / np.maximum(count, 1)[:, None]
        spread = np.maximum(squares / np.maximum(count, 1)[:, None] - mean**2, 0)
        actions = mean[:, : self.contract.action_size].astype(np.float32)
        for i, (part, name, unit) in enumerate(self._rotations):
            matrices = mean[:, self.contract.action_size + 9 * i :][:, :9].reshape(-1, 3, 3)
            for row in np.flatnonzero(count):
                if (rotation := nearest_rotation(matrices[row])) is not None:
                    actions[row, part] = form(name)[1](rotation) / unit
        return Average(actions, spread, count > 0)

    def _estimates(
        self, model: Model, windows: WindowDataset, anchors: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The frames whose actions windows find, (n,), as often as they do, and these actions, (n, A)."""
        batch = windows.batch(anchors)
        policy = model.policy
        seen = {k: v.to(policy.device) if isinstance(v, torch.Tensor) else v for k, v in batch["observation"].items()}
        shown = anchors[:, None] + np.arange(seen[STATE].shape[1])
        if len(set(seen[INSTRUCTION])) == 1:  # these windows overlap, and what they see of a frame is the same
            seen[FRAMES] = torch.from_numpy(shown).to(policy.device)
        found = recover_actions(policy, seen).cpu().numpy()
        valid = batch["target"]["valid"][..., None] & between_frames(batch["target"]["actions_valid"])
        frames = shown[..., None] + np.array(action_offsets(found.shape[2]))
        return frames[valid.numpy()], found[valid.numpy()]

    def _numbers(self, actions: NDArray[np.float32]) -> NDArray[np.float64]:
        """Actions (n, A) with the matrices of their absolute rotations behind them."""
        columns = [actions.astype(np.float64)]
        for part, name, unit in self._rotations:
            matrices = np.array([rotation_matrix(name, unit, row[part]) for row in actions])
            columns.append(matrices.reshape(len(actions), 9))
        return np.concatenate(columns, 1)

    def _confidence(self, spread: NDArray[np.float64]) -> NDArray[np.float64]:
        """:data:`FORMULA`, (T,), of the variances of numbers over the estimates of each action, (T, D)."""
        variance = np.mean([model.variance for model in self.models], axis=0)
        still = ROUNDING**2 * variance.max(initial=0.0)
        matrices = {part.start: i for i, (part, _, _) in enumerate(self._rotations)}
        units = {part.start: unit for part, _, unit in self._rotations}
        shares = []
        for field, part in fields_of(self.contract):
            theirs, ours = variance[part].sum(), spread[:, part].sum(1)
            if (i := matrices.get(part.start)) is not None and field.size:
                scale = units[part.start] ** 2 if field.size == 3 else 1.0
                theirs = min(theirs * scale * _SQUARES[field.size], _MOST_VARIANCE)
                ours = spread[:, self.contract.action_size + 9 * i :][:, :9].sum(1)
            if theirs > still:
                shares.append(max(0.0, r_squared(self.models, field.name)) * np.maximum(0, 1 - ours / theirs))
        return np.mean(shares, axis=0) if shares else np.ones(len(spread))


def r_squared(models: Sequence[Model], field: str) -> float:
    """Mean R² of a field in the validations of models, 1 where none has measured it; at most 1."""
    known = [model.r_squared[field] for model in models if model.r_squared and field in model.r_squared]
    return min(1.0, float(np.mean(known))) if known else 1.0
