"""Action errors: how far actions are from others, by field of a contract."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from forehand.contracts.contract import Contract, Field
from forehand.contracts.rotations import form


def errors_by_field(contract: Contract, predicted: NDArray[np.float32], done: NDArray[np.float32]) -> NDArray[np.float64]:
    """(N, fields) errors of N actions (N, A) against others: in each field's unit, of rotations in radians.

    That of a field is the mean absolute difference of its numbers; of a rotation, the angle between the two.
    """
    columns = []
    for field, part in fields_of(contract):
        ours, theirs = (a[:, part].astype(np.float64) for a in (predicted, done))
        if field.rotation is None:
            columns.append(np.abs(ours - theirs).mean(1))
            continue
        to_matrix = form(field.rotation)[0]
        pairs = zip(ours, theirs, strict=True)
        columns.append(np.array([_angle(to_matrix(a), to_matrix(b)) for a, b in pairs], np.float64))
    return np.stack(columns, 1) if columns else np.zeros((len(done), 0))


def fields_of(contract: Contract) -> list[tuple[Field, slice]]:
    """Each field of the action, and its columns."""
    found, first = [], 0
    for field in contract.action:
        found.append((field, slice(first, first + field.size)))
        first += field.size
    return found


def _angle(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """The angle of the rotation from one matrix to another."""
    return float(np.arccos(np.clip((np.trace(a.T @ b) - 1) / 2, -1.0, 1.0)))
