"""Rotation averaging: chunkers that average actions average absolute rotations as such, not number by number."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from forehand.contracts.contract import Contract
from forehand.contracts.rotations import FORMS, form
from forehand.control.chunking.chunks import Action, ActionChunker, Chunk

SAME = 1e-5
"""Rotation matrices that differ by less are the same, in single precision."""


class RotationAverages(ActionChunker):
    """Another chunker, whose averages of absolute rotations are rotations between those averaged.

    Numbers of a rotation do not average: an arm that points down is turned by ±180° about x, and between 179° and -179°
    is not 0°. The chunker inside sees the matrix of each rotation beside its numbers, and averages both. Where the two
    disagree, the action has the chordal mean (Hartley et al., *Rotation Averaging*, IJCV 2013), the rotation nearest to
    the averaged matrix; elsewhere it is the chunker's to the bit. Actions of the ``mode`` delta are small turns, and
    stay.
    """

    def __init__(self, chunker: ActionChunker, contract: Contract) -> None:
        self.chunker = chunker
        self.asynchronous = chunker.asynchronous
        self._size = contract.action_size
        self._rotations = absolute_rotations(contract)

    @property
    def needs_prediction(self) -> bool:
        """That of the chunker inside."""
        return self.chunker.needs_prediction

    def add(self, chunk: Chunk, age: int = 0) -> None:
        """Hand the chunk on, with the matrices of its rotations."""
        numbers = np.asarray(chunk, np.float32)
        matrices = [[rotation_matrix(name, unit, row[where]) for row in numbers] for where, name, unit in self._rotations]
        columns = [np.asarray(its, np.float32).reshape(len(numbers), 9) for its in matrices]
        self.chunker.add(np.concatenate([numbers, *columns], axis=1), age)

    def next_action(self) -> Action | None:
        """The action of the chunker inside, with rotations that are means of rotations."""
        if (inside := self.chunker.next_action()) is None:
            return None
        action, matrices = np.array(inside[: self._size], np.float32), inside[self._size :].reshape(-1, 3, 3)
        for (where, name, unit), averaged in zip(self._rotations, matrices, strict=True):
            mean = nearest_rotation(averaged)
            if mean is not None and np.abs(mean - rotation_matrix(name, unit, action[where])).max() > SAME:
                action[where] = form(name)[1](mean) / unit
        return action

    def reset(self) -> None:
        """Reset the chunker inside."""
        self.chunker.reset()


def absolute_rotations(contract: Contract) -> list[tuple[slice, str, float]]:
    """Where an action's absolute rotations are, the form of each, and what 1 is in rad of a form of three numbers."""
    found, start = [], 0
    for field in contract.action:
        where = slice(start, start := start + field.size)
        name = str(field.rotation)
        if name in FORMS and field.mode != "delta" and len(form(name)[1](np.eye(3))) == field.size:
            found.append((where, name, np.pi / 180 if field.unit == "deg" and field.size == 3 else 1.0))
    return found


def rotation_matrix(name: str, unit: float, numbers: NDArray[np.floating]) -> NDArray[np.float64]:
    """The matrix of a rotation's ``numbers`` in the form ``name``, of which 1 is ``unit`` rad."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return form(name)[0](numbers.astype(np.float64) * unit)


def nearest_rotation(matrix: NDArray[np.floating]) -> NDArray[np.float64] | None:
    """The rotation with the smallest distance to ``matrix``, by its singular values; None where there is none."""
    if not np.isfinite(matrix).all():
        return None
    left, sizes, right = np.linalg.svd(matrix.astype(np.float64))
    if sizes[1] < SAME:  # opposite rotations cancel out
        return None
    mirrored = np.sign(np.linalg.det(left @ right))
    return np.asarray(left @ np.diag([1.0, 1.0, mirrored]) @ right)
