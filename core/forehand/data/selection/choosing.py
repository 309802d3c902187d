"""Choosing: one criterion of a selection after the other leaves out episodes and frames, and says how many."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from forehand.data.episode_table import EpisodeTable
from forehand.data.selection.conditions import meets_condition, said_in_episodes
from forehand.data.selection.idle import moving_frames, used_frames
from forehand.data.selection.instructions import with_instructions
from forehand.data.selection.numbers import chosen_numbers
from forehand.data.selection.options import Selection
from forehand.data.selection.sampling import FRACTION, SPLIT, share_of, stratified_order
from forehand.data.source import DataSource, LeftOut
from forehand.errors import ConfigurationError, DatasetError

_NAMED_TASKS = 20  # that an error lists


@dataclass(frozen=True)
class Chosen:
    """What a selection leaves of a source.

    table: of the frames that are left. frames: their numbers in the source, None where all are left. episodes: the places
    of the episodes that are left. left_out: all else, by reason.
    """

    table: EpisodeTable
    frames: NDArray[np.int64] | None
    episodes: NDArray[np.int64]
    left_out: tuple[LeftOut, ...]


def choose(source: DataSource, selection: Selection) -> Chosen:
    """What ``selection`` leaves of ``source``; raises :class:`ConfigurationError`, or :class:`DatasetError` for none."""
    remaining = _Remaining(source, selection)
    _by_number(remaining, selection)
    _by_column(remaining, selection.where or {})
    _by_sentence(remaining, selection)
    _by_chance(remaining, selection)
    frames = _by_motion(remaining, selection)
    episodes, left_out = np.flatnonzero(remaining.there), tuple(remaining.left_out)
    if frames.all():
        numbered = replace(remaining.table, episode=remaining.of_frames(np.arange(len(remaining.first))))
        return Chosen(numbered, None, episodes, left_out)
    kept = np.flatnonzero(frames)
    return Chosen(_subset(remaining.table, kept, remaining.first), kept, episodes, left_out)


class _Remaining:
    """The episodes of a source that are left so far, ``there`` (E,), and what was left out, by reason.

    table: all frames, with the sentences of the selection. first, end: of each episode, (E,), one past its last frame.
    """

    def __init__(self, source: DataSource, selection: Selection) -> None:
        ends = source.episodes.end
        self.source = source
        self.first = np.flatnonzero(np.diff(ends, prepend=-1))
        self.end = ends[self.first]
        self.lengths = self.end - self.first
        self.table = with_instructions(source, selection.instructions, selection.no_instruction, self.lengths)
        self.there: NDArray[np.bool_] = np.ones(len(self.first), bool)
        self.left_out: list[LeftOut] = []

    @property
    def where(self) -> str:
        """Which dataset it is, for errors."""
        return f"the dataset at {self.source.root}"

    def of_frames[T: np.generic](self, values: NDArray[T]) -> NDArray[T]:
        """The value of each frame's episode, (N,), from those of episodes, (E,)."""
        return np.repeat(values, self.lengths)

    def keep(self, wanted: NDArray[np.bool_], reason: str) -> None:
        """Leave out all episodes that are not ``wanted`` (E,); raises :class:`DatasetError` where none is left."""
        gone = self.there & ~wanted
        if gone.any():
            self.left_out.append(LeftOut(reason, int(gone.sum()), int(self.lengths[gone].sum())))
        self.there = self.there & wanted
        if not self.there.any():
            reasons = "\n".join(f"  - {one}" for one in self.left_out)
            raise DatasetError(
                f"Nothing is left of {self.where}, of whose {len(self.there)} episodes were left out:\n{reasons}\n"
                f"Correct one of these options."
            )

    def keep_some(self, chosen: NDArray[np.int64], reason: str) -> None:
        """Keep those of the remaining episodes that are ``chosen``, by their place among these."""
        wanted = np.zeros(len(self.there), bool)
        wanted[np.flatnonzero(self.there)[chosen]] = True
        self.keep(wanted, reason)


def _by_number(remaining: _Remaining, selection: Selection) -> None:
    if selection.episodes is not None:
        numbers = remaining.table.episode[remaining.first]
        wanted = chosen_numbers(selection.episodes, numbers, f"{remaining.where}: episodes")
        remaining.keep(np.isin(numbers, wanted), f"episodes {selection.episodes}")


def _by_column(remaining: _Remaining, conditions: Mapping[str, object]) -> None:
    for column, condition in conditions.items():
        met = meets_condition(remaining.source, column, condition, remaining.end - 1)
        remaining.keep(met, f"where {column}: {condition}")


def _by_sentence(remaining: _Remaining, selection: Selection) -> None:
    table = remaining.table
    if selection.tasks is not None:
        said = said_in_episodes(table, selection.tasks, remaining.first)
        if not said.any():
            few = ", ".join(repr(task) for task in table.tasks[:_NAMED_TASKS])
            more = f", … ({len(table.tasks)} in all)" if len(table.tasks) > _NAMED_TASKS else ""
            raise ConfigurationError(
                f"{remaining.where}: tasks: no episode has {' or '.join(map(repr, selection.tasks))}. Its tasks are {few}"
                f"{more}; * stands for any text."
            )
        remaining.keep(said, f"tasks {list(selection.tasks)}")
    if selection.instruction_required:
        told = np.array([bool(task.strip()) for task in table.tasks])
        remaining.keep(np.logical_or.reduceat(told[table.instructions], remaining.first), "without an instruction")


def _by_chance(remaining: _Remaining, selection: Selection) -> None:
    """The split, and then the fraction of what is trained on; both by the sentence of an episode's first frame."""
    table = remaining.table
    sentences = {task: number for number, task in enumerate(dict.fromkeys(table.tasks))}
    tasks = np.array([sentences[task] for task in table.tasks], np.int64)[table.instructions[remaining.first]]
    if selection.split is not None:
        order = stratified_order(tasks[remaining.there], selection.seed, SPLIT)
        if len(order) < 2:
            raise ConfigurationError(
                f"{remaining.where}: split: one episode is left, and a split needs two. Choose more of them."
            )
        count = min(share_of(len(order), selection.validation_fraction), len(order) - 1)
        if selection.split == "validation":
            remaining.keep_some(order[:count], "split validation: kept for training")
            return
        remaining.keep_some(order[count:], "split train: kept for validation")
    if selection.fraction is not None:
        order = stratified_order(tasks[remaining.there], selection.seed, FRACTION)
        remaining.keep_some(order[: share_of(len(order), selection.fraction)], f"fraction {selection.fraction:g}")


def _by_motion(remaining: _Remaining, selection: Selection) -> NDArray[np.bool_]:
    """The frames that are left, (N,)."""
    if not selection.idle:
        return remaining.of_frames(remaining.there)
    reason = f"idle {dict(selection.idle)}"
    moving = moving_frames(remaining.table, remaining.source.contract, selection.idle, f"{remaining.where}: idle")
    used = used_frames(moving, remaining.first, remaining.end)
    remaining.keep(np.logical_or.reduceat(used, remaining.first), f"{reason}, in all frames")
    there = remaining.of_frames(remaining.there)
    if idle := int((there & ~used).sum()):
        remaining.left_out.append(LeftOut(reason, 0, idle))
    return there & used


def _subset(table: EpisodeTable, kept: NDArray[np.int64], first: NDArray[np.int64]) -> EpisodeTable:
    """The frames ``kept`` of a table whose episodes begin at ``first``; tasks without frames are left out."""
    _, episode = np.unique(np.searchsorted(first, kept, side="right"), return_inverse=True)
    used, instructions = np.unique(table.instructions[kept], return_inverse=True)
    return replace(
        table,
        states=table.states[kept],
        actions=table.actions[kept],
        episode=episode,
        end=np.cumsum(np.bincount(episode))[episode],
        instructions=instructions,
        tasks=tuple(table.tasks[task] for task in used),
        has_action=table.has_action[kept],
        has_state=None if table.has_state is None else table.has_state[kept],
        confidence=None if table.confidence is None else table.confidence[kept],
        action_weight=None if table.action_weight is None else table.action_weight[kept],
        action_known=None if table.action_known is None else table.action_known[kept],
        paraphrases=tuple(table.paraphrases[task] for task in used) if table.paraphrases else (),
    )
