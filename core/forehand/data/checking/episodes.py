"""Checks of episodes: duplicates, unusual lengths, and instructions."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from forehand.data.checking.findings import NOTE, WARNING, Finding, finding
from forehand.data.checking.table import FrameTable

UNUSUAL = 6.0
"""Distance of an episode's length from the median, in robust standard deviations of its logarithm."""

FEWEST = 8
"""Episodes from which on lengths are compared."""

PLACEHOLDERS = ("default", "task", "none", "null", "n/a", "unknown", "test", "todo", "instruction", "dummy", "xxx")
"""Sentences that were hardly meant as instructions."""


def check_episodes(table: FrameTable) -> Iterator[Finding]:
    """All findings about whole episodes."""
    yield from _duplicates(table)
    yield from _lengths(table)
    if table.tasks:
        yield from _instructions(table)


def episode_digests(table: FrameTable) -> list[bytes | None]:
    """A digest of the states and actions of each episode; None where they do not change, so that it says nothing."""
    found: list[bytes | None] = []
    for first, last in zip(table.starts[:-1].tolist(), table.starts[1:].tolist(), strict=True):
        states, actions = table.states[first:last], table.actions[first:last]
        if all(len(values) < 2 or (values == values[0]).all() for values in (states, actions)):
            found.append(None)
            continue
        digest = hashlib.blake2b(np.ascontiguousarray(states).tobytes(), digest_size=16)
        digest.update(np.ascontiguousarray(actions).tobytes())
        found.append(digest.digest())
    return found


def _duplicates(table: FrameTable) -> Iterator[Finding]:
    same: dict[bytes, list[int]] = defaultdict(list)
    for position, digest in enumerate(episode_digests(table)):
        if digest is not None:
            same[digest].append(position)
    groups = [positions for positions in same.values() if len(positions) > 1]
    if groups:
        copies = np.array(sorted(p for positions in groups for p in positions[1:]))
        first = [int(table.numbers[p]) for p in groups[0]]
        yield finding(
            "duplicates",
            WARNING,
            f"{len(copies)} episodes repeat the states and actions of another one exactly, such as "
            f"{' and '.join(map(str, first[:2]))}",
            "Remove the copies (lerobot-edit-dataset): they would count twice, and leak from training into validation.",
            places=table.episodes(copies),
            count=len(copies),
        )


def _lengths(table: FrameTable) -> Iterator[Finding]:
    lengths = table.lengths
    single = np.flatnonzero(lengths < 2)
    if len(single):
        yield finding(
            "short_episodes",
            WARNING,
            f"{len(single)} episodes have a single frame",
            "Leave them out: no motion can be learned from one frame.",
            places=table.episodes(single),
            count=len(single),
        )
    if len(lengths) < FEWEST:
        return
    logs = np.log(lengths)
    spread = 1.4826 * np.median(np.abs(logs - np.median(logs)))
    odd = np.flatnonzero((np.abs(logs - np.median(logs)) > UNUSUAL * max(float(spread), 0.1)) & (lengths > 1))
    if len(odd):
        yield finding(
            "unusual_lengths",
            NOTE,
            f"{len(odd)} episodes are unusually long or short: {lengths[odd].min()} to {lengths[odd].max()} frames, "
            f"where the median is {np.median(lengths):g}",
            "Look at them: a recording may have been cut, or left running.",
            places=table.episodes(odd),
            count=len(odd),
        )


def _instructions(table: FrameTable) -> Iterator[Finding]:
    said = table.instructions[table.starts[:-1]]
    silent = np.flatnonzero(np.isin(said, [i for i, task in enumerate(table.tasks) if not task.strip()]))
    if len(silent):
        everywhere = len(silent) == len(said)
        yield finding(
            "no_instruction",
            NOTE if everywhere else WARNING,
            f"{'none of the' if everywhere else f'{len(silent)} of {len(said)}'} episodes "
            f"{'has' if everywhere else 'have'} an instruction" + ("" if everywhere else " that is empty"),
            "A policy that takes language learns nothing from an empty sentence: label them, or leave them out.",
            places=table.episodes(silent),
            count=len(silent),
        )
    used = [table.tasks[i] for i in np.unique(said)]
    odd = [task for task in used if task.strip().lower().rstrip(".") in PLACEHOLDERS]
    if odd:
        positions = np.flatnonzero(np.isin(said, [table.tasks.index(task) for task in odd]))
        yield finding(
            "placeholder_instruction",
            NOTE,
            f"{len(positions)} episodes have the instruction {odd[0]!r}, which looks like a placeholder",
            "Write what is done, as it will be said to the robot.",
            places=table.episodes(positions),
            count=len(positions),
        )
    spellings: dict[str, list[str]] = defaultdict(list)
    for task in used:
        spellings[" ".join(task.lower().rstrip(" .!").split())].append(task)
    if several := [tasks for tasks in spellings.values() if len(tasks) > 1]:
        yield finding(
            "instruction_spelling",
            NOTE,
            f"{len(several)} instructions are written in several ways, such as "
            f"{' and '.join(repr(task) for task in several[0][:2])}",
            "Fine for a policy that reads sentences; counts by task and stratified splits take them for different tasks.",
        )
