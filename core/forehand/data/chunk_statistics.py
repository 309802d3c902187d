"""Statistics of action chunks, as a policy predicts them: over all steps of a chunk, or for each step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forehand.data.episode_table import EpisodeTable, column_statistics
from forehand.errors import DatasetError
from forehand.utils.progress import progress

MOST_NUMBERS = 2**25
"""Numbers that are held in memory for exact quantiles; of more, chunks at even distances are taken."""

BLOCK = 2**14

Predicted = Callable[[NDArray[np.float32], NDArray[np.float32]], NDArray[np.floating]]
"""Chunks of actions (n, H, A) and the states (n, S) at their start → what is predicted of them, (n, H, A')."""


def chunk_statistics(
    episodes: EpisodeTable, chunk: int, predicted: Predicted | None = None, *, per_step: bool = False
) -> dict[str, NDArray[np.float64]]:
    """Statistics of the chunks of ``chunk`` = H actions that begin at every frame, as far as their episodes go.

    predicted: what is made of them; None: the actions themselves. The result is that of
    :func:`~forehand.data.episode_table.column_statistics`, (A',) each, or with ``per_step`` (H, A') each. Raises
    :class:`DatasetError` where no episode has an action at some step of a chunk.
    """
    offsets, described = np.arange(chunk), episodes.described
    size = (predicted or _same)(episodes.actions[:1].repeat(chunk, axis=0)[None], episodes.states[:1]).shape[-1]
    stride = -(-len(episodes) * chunk * size // MOST_NUMBERS)
    frames = np.arange(0, len(episodes), stride)
    values = np.empty((len(frames), chunk, size), np.float32)
    exists = np.empty((len(frames), chunk), bool)
    with progress("statistics of action chunks", len(frames), transient=True) as show:
        for first in range(0, len(frames), BLOCK):
            block = slice(first, first + BLOCK)
            start = frames[block]
            where = start[:, None] + offsets
            inside = np.minimum(where, episodes.end[start][:, None] - 1)
            values[block] = (predicted or _same)(episodes.actions[inside], episodes.states[start])
            exists[block] = (where == inside) & described[inside]
            if predicted is not None and episodes.has_state is not None:
                exists[block] &= episodes.has_state[start][:, None]
            show(first + len(start))
    if not per_step:
        return column_statistics(values[exists])
    if missing := np.flatnonzero(~exists.any(axis=0)).tolist():
        raise DatasetError(
            f"No episode has as many actions as a chunk of {chunk}: there are none at its step {missing[0] + 1}. Predict "
            f"shorter chunks, or take statistics over all steps (per_step=false)."
        )
    steps = [column_statistics(values[exists[:, k], k]) for k in range(chunk)]
    return {name: np.stack([step[name] for step in steps]) for name in steps[0]}


def _same(actions: NDArray[Any], states: NDArray[Any]) -> NDArray[Any]:
    return actions
