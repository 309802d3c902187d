"""Numeric table of a dataset: states, actions, and episode boundaries, whatever the format it was read from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forehand.utils.mapped_pages import give_back

_AT_ONCE = 2**22  # rows whose statistics are computed together

QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}


@dataclass(frozen=True)
class EpisodeTable:
    """Every frame of a dataset in order, N in all, without its images.

    states: (N, S) float32; actions: (N, A) float32; episode: (N,) the episode of each frame; end: (N,) one past the last
    frame of that episode; instructions: the N frames' tasks, as indices (N,) into ``tasks``; has_action: (N,) bool. A
    dataset without actions has A = 0, one without language the task "".

    has_state: (N,) bool, whether a frame's state was measured, zeros where not; None: all were, or S is 0. paraphrases:
    for each of ``tasks`` all sentences that say it, itself among them; () where each is the only one.

    confidence: (N,) float32, from 0 to 1 of an action that was labelled (:mod:`forehand.data.labels`), NaN of a recorded
    one; None: all were recorded. action_weight: (N,) float32, the share of its windows in which an action is learned
    from; None: all of them. action_known: (N, A) bool, the numbers of an action that are learned from; None: all of them.
    """

    states: NDArray[np.float32]
    actions: NDArray[np.float32]
    episode: NDArray[np.int64]
    end: NDArray[np.int64]
    instructions: NDArray[np.int64]
    tasks: tuple[str, ...]
    has_action: NDArray[np.bool_]
    paraphrases: tuple[tuple[str, ...], ...] = ()
    has_state: NDArray[np.bool_] | None = None
    confidence: NDArray[np.float32] | None = None
    action_weight: NDArray[np.float32] | None = None
    action_known: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.states)

    @classmethod
    def from_episodes(
        cls,
        states: Sequence[NDArray[Any]],
        actions: Sequence[NDArray[Any]] | None = None,
        instructions: Sequence[str] | None = None,
    ) -> EpisodeTable:
        """The table of whole episodes: states and actions of each, (T, S) and (T, A), and its sentence.

        Without ``actions`` none is known, without ``instructions`` nothing was said. Raises ValueError where an episode
        has no frame, or another number of actions than of states.
        """
        lengths = np.array([len(one) for one in states])
        acts = [np.zeros((n, 0)) for n in lengths] if actions is None else actions
        words = [""] * len(states) if instructions is None else instructions
        for i, (length, act, _) in enumerate(zip(lengths, acts, words, strict=True)):
            if not length or len(act) != length:
                raise ValueError(f"episode {i} has {length} states and {len(act)} actions")
        tasks = tuple(dict.fromkeys(words))
        return cls(
            states=np.concatenate([np.asarray(one, np.float32) for one in states]),
            actions=np.concatenate([np.asarray(one, np.float32) for one in acts]),
            episode=np.repeat(np.arange(len(lengths)), lengths),
            end=np.repeat(np.cumsum(lengths), lengths),
            instructions=np.repeat([tasks.index(word) for word in words], lengths),
            tasks=tasks,
            has_action=np.full(lengths.sum(), actions is not None),
        )

    @cached_property
    def labelled(self) -> NDArray[np.bool_]:
        """(N,): which frames have an action that was not recorded, but labelled."""
        if self.confidence is None:
            return np.zeros(len(self), bool)
        return np.asarray(self.has_action & ~np.isnan(self.confidence))

    @cached_property
    def recorded(self) -> NDArray[np.bool_]:
        """(N,): which frames have an action that was recorded."""
        return self.has_action if self.confidence is None else np.asarray(self.has_action & ~self.labelled)

    @property
    def described(self) -> NDArray[np.bool_]:
        """(N,): the actions that statistics are of: recorded ones, and labelled ones only where none was recorded."""
        return self.recorded if self.recorded.any() else self.has_action

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """(E + 1,): the first frame of each episode, and N."""
        return np.concatenate([np.flatnonzero(np.diff(self.end, prepend=-1)), [len(self.end)]]).astype(np.int64)

    @cached_property
    def begin(self) -> NDArray[np.int64]:
        """(N,): the first frame of the episode of each frame."""
        return np.repeat(self.starts[:-1].astype(self.end.dtype), np.diff(self.starts))


def column_statistics(values: NDArray[Any]) -> dict[str, NDArray[np.float64]]:
    """Mean, std, min, max and quantiles of (N, D) values, each (D,), and count (1,), named as LeRobot names them.

    They are exact. LeRobot averages the quantiles of single episodes when it merges statistics, which pulls them towards
    the middle, and older datasets lack them.
    """
    if len(values) > _AT_ONCE:  # column by column, which takes less memory
        each = [_statistics_of(_column(values, i)) for i in range(values.shape[1])]
        return {name: np.concatenate([one[name] for one in each]) for name in each[0]} | {"count": each[0]["count"]}
    return _statistics_of(values.astype(np.float64))


def _column(values: NDArray[Any], number: int) -> NDArray[np.float64]:
    """A copy of one column, (N, 1); pages of a memory-mapped file that this took are given back to the system."""
    found = np.array(values[:, number : number + 1], np.float64)
    give_back(values)
    return found


def _statistics_of(wide: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """See :func:`column_statistics`."""
    return {
        "mean": wide.mean(axis=0),
        "std": wide.std(axis=0),
        "min": wide.min(axis=0),
        "max": wide.max(axis=0),
        "count": np.array([len(wide)]),
        **dict(zip(QUANTILES, np.quantile(wide, list(QUANTILES.values()), axis=0, overwrite_input=True), strict=True)),
    }
