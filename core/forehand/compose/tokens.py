"""Token groups, the reads table, and the attention mask derived from it. Needs numpy only.

The table has a row for each reader and, in it, a rule for each group that the reader reads::

    observation: {observation: past}                 # every timestep <= t
    foresight:   {observation: past, state: +4}      # and the state four steps ahead (training only)
    action:      {observation: past, foresight: same}

A key is the name of a group or one of its tags. What no rule allows is hidden, also from the group itself. A group whose
scope is the episode stands once, in front of all timesteps: every rule but ``+k`` reaches it, and it reads groups of its
own scope only. Reading is transitive over layers: above, in all layers but the first, the state four steps ahead depends
on the images of its own timestep (as in Seer's pre-training). Give it a row of its own to prevent that.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forehand.errors import ConfigurationError, nearest

FORESIGHT = "foresight"
ACTION = "action"
OBSERVATION = "observation"

FRAME, EPISODE = "frame", "episode"
"""Scopes of token groups: made at every timestep, or once an episode."""

BEFORE = -1
"""The timestep of tokens whose scope is the episode."""

Rule = str | int | None
Reads = Mapping[str, Mapping[str, Rule] | None]


@dataclass(frozen=True)
class TokenGroup:
    """``count`` tokens that a part makes at every timestep; rules find them by ``name`` or by one of ``tags``.

    scope: ``frame``, or ``episode`` for tokens of the instruction that stand once, in front of all timesteps; a backbone
    with a cache computes them once an instruction.
    """

    name: str
    count: int
    tags: tuple[str, ...] = ()
    scope: str = FRAME

    def __post_init__(self) -> None:
        if self.scope not in (FRAME, EPISODE):
            raise ValueError(f"the scope of token group {self.name!r} is {FRAME} or {EPISODE}, not {self.scope!r}")

    def matches(self, key: str) -> bool:
        """Whether a rule's key means this group."""
        return key == self.name or key in self.tags


@dataclass(frozen=True)
class TokenBlock:
    """One group at one timestep, and where its tokens stand in the sequence."""

    group: TokenGroup
    timestep: int
    start: int

    @property
    def stop(self) -> int:
        """One past the last token."""
        return self.start + self.group.count


class Layout:
    """The sequence of tokens: timestep-major, groups in their given order, queries at ``query_steps`` only.

    Groups whose scope is the episode stand in front, at timestep :data:`BEFORE`.
    """

    def __init__(
        self, groups: Sequence[TokenGroup], queries: Sequence[TokenGroup], steps: int, query_steps: Iterable[int]
    ) -> None:
        self.steps = steps
        wanted = set(query_steps)
        prefix = [(g, BEFORE) for g in groups if g.scope == EPISODE]
        frame = [g for g in groups if g.scope == FRAME]
        self._arrange([*prefix, *((g, t) for t in range(steps) for g in [*frame, *(queries if t in wanted else ())])])

    def _arrange(self, members: Iterable[tuple[TokenGroup, int]]) -> None:
        self.blocks: list[TokenBlock] = []
        self.length = 0
        for group, timestep in members:
            self.blocks.append(TokenBlock(group, timestep, self.length))
            self.length += group.count

    def needed(self, reads: Reads, wanted: Mapping[str, Iterable[int]]) -> Layout:
        """The layout of the blocks that ``wanted`` (group name → timesteps) depends on, directly or through others."""
        allowed = _block_mask(self.blocks, reads)
        at = {name: set(steps) for name, steps in wanted.items()}
        needed = np.array([block.timestep in at.get(block.group.name, ()) for block in self.blocks], dtype=bool)
        while (grown := needed | allowed[needed].any(axis=0)).sum() > needed.sum():
            needed = grown
        part = Layout((), (), self.steps, ())
        part._arrange((block.group, block.timestep) for block, kept in zip(self.blocks, needed, strict=True) if kept)
        return part

    def timesteps(self) -> NDArray[np.int64]:
        """The timestep of every token, (L,), :data:`BEFORE` for those of the episode."""
        return np.repeat([b.timestep for b in self.blocks], [b.group.count for b in self.blocks]).astype(np.int64)

    def positions(self, name: str) -> NDArray[np.int64]:
        """Where the tokens of one group stand, timestep by timestep, (steps it occurs at, count)."""
        return np.array([np.arange(b.start, b.stop) for b in self.blocks if b.group.name == name], dtype=np.int64)


def lookahead(rule: Rule) -> int:
    """How many steps into the future a rule reaches: 0 unless it is ``+k``, which YAML reads as the number k."""
    return int(rule) if rule and re.fullmatch(r"\+?[1-9]\d*", str(rule)) else 0


def allows(rule: Rule, reader_step: int, read_step: int) -> bool:
    """Whether ``rule`` lets a token at ``reader_step`` read one at ``read_step``."""
    if rule is None:
        return False
    if BEFORE in (reader_step, read_step) and rule in ("past", "same"):
        return read_step == BEFORE
    if rule == "past":
        return read_step <= reader_step
    if rule == "same":
        return read_step == reader_step
    if ahead := lookahead(rule):
        return BEFORE not in (reader_step, read_step) and read_step == reader_step + ahead
    raise ConfigurationError(
        f"reads: unknown rule {rule!r}. Use 'past', 'same', '+k' (k steps ahead), or null for nothing."
    )


def check_reads(reads: Reads, groups: Sequence[TokenGroup]) -> None:
    """Raise :class:`ConfigurationError` for keys that mean no group and for groups that could read nothing.

    ``foresight`` and ``action`` may be absent from a policy: rules about them are then without effect.
    """
    check_keys("reads", reads, groups)
    for row in reads.values():
        for rule in (row or {}).values():
            allows(rule, 0, 0)
    names = [group.name for group in groups]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ConfigurationError(f"two parts of this policy make tokens called {min(twice)!r}; leave one of them out.")
    for group in groups:
        readable = [r for r in _rules(reads, group, groups) if not lookahead(r)]
        if not readable:
            raise ConfigurationError(
                f"reads: {group.name!r} may read nothing, so it could not be computed. Give it a row, for example "
                f"{group.name}: {{observation: past}}."
            )


def check_keys(table: str, rows: Mapping[str, Mapping[str, Any] | None], groups: Sequence[TokenGroup]) -> None:
    """Raise :class:`ConfigurationError` for keys of ``table``, a mapping of reader to read, that mean no group."""
    known = {FORESIGHT, ACTION, *(g.name for g in groups), *(tag for g in groups for tag in g.tags)}
    for reader, row in rows.items():
        for key in [reader, *(row or {})]:
            if key not in known:
                raise ConfigurationError(f"{table}: {key!r} is no group or tag of this policy. {nearest(key, known)}")


def _rules(reads: Reads, reader: TokenGroup, groups: Sequence[TokenGroup]) -> list[Rule]:
    return [
        rule
        for key, row in reads.items()
        if reader.matches(key)
        for read, rule in (row or {}).items()
        if rule is not None and any(g.matches(read) for g in groups)
    ]


def read_mask(layout: Layout, reads: Reads) -> NDArray[np.bool_]:
    """The attention mask, (L, L) bool: row i, column j is True where token i may read token j."""
    allowed = _block_mask(layout.blocks, reads)
    counts = [b.group.count for b in layout.blocks]
    return np.repeat(np.repeat(allowed, counts, axis=0), counts, axis=1)


def _block_mask(blocks: Sequence[TokenBlock], reads: Reads) -> NDArray[np.bool_]:
    allowed = np.zeros((len(blocks), len(blocks)), dtype=bool)
    for i, reader in enumerate(blocks):
        rows = [row or {} for key, row in reads.items() if reader.group.matches(key)]
        for j, read in enumerate(blocks):
            allowed[i, j] = any(
                allows(rule, reader.timestep, read.timestep)
                for row in rows
                for key, rule in row.items()
                if read.group.matches(key)
            )
    return allowed
