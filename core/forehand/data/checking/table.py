"""Frame table: the numbers of a dataset as checks take them, also where they are damaged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forehand.contracts.contract import Contract, Field
from forehand.data.checking.findings import MOST_PLACES, Place
from forehand.data.episode_table import EpisodeTable
from forehand.data.features import element_names

STATE, ACTION = "state", "action"


@dataclass(frozen=True)
class Element:
    """One element of the state or action vector: ``vector`` and ``index`` say which; field: the contract's."""

    vector: str
    index: int
    element: int
    name: str
    field: Field

    @property
    def unit(self) -> str:
        """Its unit, or an empty text."""
        return self.field.unit or ""

    @property
    def is_gripper(self) -> bool:
        """Whether it is of a gripper, by the contract or by its name."""
        return self.field.gripper is not None or "gripper" in self.name.lower()

    @property
    def is_angle(self) -> bool:
        """Whether it may jump by a full turn."""
        rotation = self.field.rotation or ""
        return self.unit == "rad" or "euler" in rotation or "axis_angle" in rotation


def elements_of(contract: Contract, names: Mapping[str, Sequence[str]] | None = None) -> tuple[Element, ...]:
    """The columns of state and action by ``contract``; ``names``: what else calls the elements of a vector."""
    found = []
    for vector, fields in ((STATE, contract.state), (ACTION, contract.action)):
        given = list((names or {}).get(vector, ()))
        elements = [(field, i) for field in fields for i in range(field.size)]
        unnamed = len(fields) == 1 and fields[0].name == vector and len(given) == len(elements)
        words = given if unnamed else element_names(fields)
        for index, ((field, element), word) in enumerate(zip(elements, words, strict=True)):
            found.append(Element(vector, index, element, f"{vector}.{word}", field))
    return tuple(found)


@dataclass(frozen=True, eq=False)
class FrameTable:
    """Every frame in order, N in all, of E episodes; unlike an :class:`EpisodeTable`, it may hold NaN.

    states: (N, S) float32; actions: (N, A) float32; starts: (E + 1,), the first frame of each episode, and N; numbers:
    (E,), what the dataset calls each; instructions: (N,) as indices into ``tasks``, which is empty where they cannot be
    read; times: (N,) in seconds from each episode's beginning, None where there are none.
    """

    contract: Contract
    elements: tuple[Element, ...]
    states: NDArray[np.float32]
    actions: NDArray[np.float32]
    starts: NDArray[np.int64]
    numbers: NDArray[np.int64]
    instructions: NDArray[np.int64]
    tasks: tuple[str, ...]
    times: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return int(self.starts[-1])

    @property
    def rate(self) -> float:
        """Frames a second, by the contract."""
        return self.contract.rate

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Frames of each episode, (E,)."""
        return np.diff(self.starts)

    @cached_property
    def inside(self) -> NDArray[np.bool_]:
        """Whether each frame and the next one are of one episode, (N - 1,)."""
        inside = np.ones(max(len(self) - 1, 0), bool)
        inside[self.starts[1:-1] - 1] = False
        return inside

    def values(self, column: Element) -> NDArray[np.float32]:
        """One column, (N,)."""
        return (self.states if column.vector == STATE else self.actions)[:, column.index]

    def of(self, vector: str) -> tuple[Element, ...]:
        """The columns of the state, or of the action."""
        return tuple(column for column in self.elements if column.vector == vector)

    def steps(self, column: Element) -> NDArray[np.float32]:
        """The change from each frame to the next one, (N - 1,); 0 between episodes, and where a value is not finite."""
        change = np.diff(self.values(column))
        change[~self.inside | ~np.isfinite(change)] = 0
        return change

    def episode_of(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The position of the episode of each row, from 0 to E - 1."""
        return np.searchsorted(self.starts, rows, side="right") - 1

    def places(self, rows: NDArray[np.int64], lengths: NDArray[np.int64] | None = None) -> list[Place]:
        """The first :data:`MOST_PLACES` of ``rows`` as places; ``lengths``: how many frames each is long."""
        rows = rows[:MOST_PLACES]
        positions = self.episode_of(rows)
        frames = rows - self.starts[positions]
        found = []
        for i, (position, frame) in enumerate(zip(positions.tolist(), frames.tolist(), strict=True)):
            last = None if lengths is None or lengths[i] == 1 else frame + int(lengths[i]) - 1
            found.append(Place(int(self.numbers[position]), frame, last))
        return found

    def episodes(self, positions: NDArray[Any]) -> list[Place]:
        """The first :data:`MOST_PLACES` of the episodes at ``positions`` as places."""
        return [Place(int(number)) for number in self.numbers[positions[:MOST_PLACES]]]

    def runs(self, mask: NDArray[np.bool_], least: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """First row and length of every run of at least ``least`` frames that ``mask`` (N,) marks, within an episode."""
        edges = np.diff(np.concatenate([[0], mask.astype(np.int8), [0]]))
        begin, end = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
        cuts = self.starts[1:-1]
        cuts = cuts[mask[cuts] & mask[cuts - 1]] if len(cuts) else cuts  # runs that lead from one episode to the next
        begin, end = np.sort(np.concatenate([begin, cuts])), np.sort(np.concatenate([end, cuts]))
        long = end - begin >= least
        return begin[long], (end - begin)[long]


def frame_table(
    table: EpisodeTable, contract: Contract, elements: tuple[Element, ...], times: NDArray[np.float64] | None = None
) -> FrameTable:
    """The frames of a dataset that could be read; of one without actions, the columns of the state alone."""
    acts = bool(table.has_action.any()) and table.actions.shape[1] > 0
    starts = np.concatenate([[0], np.flatnonzero(np.diff(table.end)) + 1, [len(table)]])
    return FrameTable(
        contract,
        elements if acts else tuple(column for column in elements if column.vector == STATE),
        table.states,
        table.actions if acts else np.zeros((len(table), 0), np.float32),
        starts,
        table.episode[starts[:-1]],
        table.instructions,
        table.tasks,
        times,
    )
