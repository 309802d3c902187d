"""Instructions: the sentences of an episode, and the one of them that is drawn for a window."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from forehand.data.draws import hashes
from forehand.data.episode_table import EpisodeTable
from forehand.data.source import DataSource
from forehand.errors import ConfigurationError, nearest

TASK = "task"
"""What the dataset's own sentences are called among columns of words."""


def with_instructions(
    source: DataSource, columns: Sequence[str] | None, no_instruction: str | None, lengths: NDArray[np.int64]
) -> EpisodeTable:
    """The episodes of ``source`` with the sentences of ``columns``, or its own, and a sentence where there are none.

    lengths: of each episode, (E,). A text of white space is none. Raises :class:`ConfigurationError` for a column that is
    none of words.
    """
    table = source.episodes
    if columns is None and (no_instruction is None or all(task.strip() for task in table.tasks)):
        return table
    texts: Sequence[tuple[str, ...]] = table.paraphrases or [(task,) for task in table.tasks]
    numbers = table.instructions
    if columns is not None:
        numbers, texts = _combine([_read(source, name, table, lengths) for name in columns])
    said = [tuple(dict.fromkeys(text for text in options if text.strip())) for options in texts]
    said = [options or (no_instruction or "",) for options in said]
    places = {options: place for place, options in enumerate(dict.fromkeys(said))}
    return replace(
        table,
        instructions=np.array([places[options] for options in said], np.int64)[numbers],
        tasks=tuple(options[0] for options in places),
        paraphrases=tuple(places) if any(len(options) > 1 for options in places) else (),
    )


def draw_instructions(table: EpisodeTable, frames: NDArray[np.int64], seed: int, step: int) -> list[str]:
    """The sentence said at each of ``frames`` (B,): of several one at random, which follows from seed, step and frame."""
    tasks = table.instructions[frames]
    if not table.paraphrases:
        return [table.tasks[task] for task in tasks]
    drawn = hashes(frames.astype(np.uint64), seed, step)
    return [
        (said := table.paraphrases[t])[int(number % np.uint64(len(said)))] for t, number in zip(tasks, drawn, strict=True)
    ]


def _read(
    source: DataSource, name: str, table: EpisodeTable, lengths: NDArray[np.int64]
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    columns = source.columns
    if name == TASK and name not in columns:
        return table.instructions, table.tasks
    words = [key for key, column in columns.items() if column.size == 0]
    if name not in words:
        kind = "holds numbers" if name in columns else "does not exist"
        raise ConfigurationError(
            f"the dataset at {source.root}: instructions: the column {name!r} {kind}. {nearest(name, [*words, TASK])}"
        )
    numbers, texts = source.words(name)
    return np.repeat(numbers, lengths) if columns[name].per_episode else numbers, texts


def _combine(
    columns: Sequence[tuple[NDArray[np.int64], tuple[str, ...]]],
) -> tuple[NDArray[np.int64], list[tuple[str, ...]]]:
    """The combinations of texts that occur, and which of them each frame has."""
    numbers = columns[0][0]
    combined: list[tuple[str, ...]] = [(text,) for text in columns[0][1]]
    for more, texts in columns[1:]:
        pairs, numbers = np.unique(numbers * max(len(texts), 1) + more, return_inverse=True)
        combined = [(*combined[pair // len(texts)], texts[pair % len(texts)]) for pair in pairs.tolist()]
    return numbers, combined
