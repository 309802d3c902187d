"""Open-loop scores: sums of errors by step of the chunk and by field, which add up over episodes without loss."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forehand.contracts.action_errors import errors_by_field, fields_of
from forehand.contracts.contract import Contract, Field
from forehand.contracts.rotations import form
from forehand.data.features import element_names

Array = NDArray[np.float64]

ROUNDING = 4 * float(np.finfo(np.float32).eps)
"""Relative spread of recorded numbers below which they are taken as one and the same."""

NO_VARIANCE = "not defined: the recorded action never changes"
NO_BETTER = "not recovered: predicted no better than by its mean"


@dataclass(frozen=True)
class Scores:
    """Sums over N comparisons of predicted and recorded actions, for H steps of the chunk.

    count: (H,), how many. error: (H, F), sum of the errors of each field
    (:func:`forehand.contracts.action_errors.errors_by_field`). squared: (H, D), sum of squared differences of each number
    of the actions, rotations as the nine numbers of their matrices. mean, spread: (H, D), of the recorded numbers, and
    the sum of their squared deviations from it.
    """

    count: Array
    error: Array
    squared: Array
    mean: Array
    spread: Array

    @classmethod
    def of(cls, contract: Contract, predicted: NDArray[np.float32], done: NDArray[np.float32]) -> Scores:
        """Of one step: N predicted actions (N, A), and what was done."""
        ours, theirs = (_numbers(contract, a) for a in (predicted, done))
        mean = theirs.mean(0) if len(theirs) else np.zeros(theirs.shape[1])
        return cls(
            np.array([float(len(done))]),
            errors_by_field(contract, predicted, done).sum(0)[None],
            ((ours - theirs) ** 2).sum(0)[None],
            mean[None],
            ((theirs - mean) ** 2).sum(0)[None],
        )

    @classmethod
    def by_step(cls, steps: Iterable[Scores]) -> Scores:
        """Those of one step each as steps of a chunk."""
        parts = list(steps)
        return cls(*(np.concatenate([getattr(one, f.name) for one in parts]) for f in fields(cls)))

    @classmethod
    def total(cls, scores: Iterable[Scores]) -> Scores:
        """All added up, step by step; there is at least one."""
        return reduce(lambda a, b: a + b, scores)

    def __add__(self, other: Scores) -> Scores:
        length = max(len(self.count), len(other.count))
        a, b = self._extended(length), other._extended(length)
        return _joined(a, b)

    @property
    def together(self) -> Scores:
        """All steps as one."""
        return Scores.total(self.step(i) for i in range(len(self.count)))

    def step(self, number: int) -> Scores:
        """One step of the chunk, 0 being the action for now."""
        return Scores(*(getattr(self, f.name)[number : number + 1] for f in fields(self)))

    def arrays(self) -> dict[str, Array]:
        """By name, to be stored."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any]) -> Scores:
        """The inverse of :meth:`arrays`."""
        return cls(*(np.asarray(arrays[f.name], np.float64) for f in fields(cls)))

    def _extended(self, length: int) -> Scores:
        more = length - len(self.count)
        return Scores(
            *(np.concatenate([a, np.zeros((more, *a.shape[1:]))]) for a in (getattr(self, f.name) for f in fields(self)))
        )


def _joined(a: Scores, b: Scores) -> Scores:
    """The sums of two parts; means and spreads as Chan, Golub and LeVeque (1983) join them."""
    count = a.count + b.count
    share = np.divide(b.count, count, out=np.zeros_like(count), where=count > 0)[:, None]
    apart = b.mean - a.mean
    return Scores(
        count,
        a.error + b.error,
        a.squared + b.squared,
        a.mean + share * apart,
        a.spread + b.spread + apart**2 * a.count[:, None] * share,
    )


@dataclass(frozen=True)
class FieldScore:
    """Error of one field: mean ``error`` in ``unit``, and ``r2``, the coefficient of determination, None where undefined.

    elements: R² of each of its numbers, by name, None where undefined; none of a rotation. problem: why the field has no
    R², or what it says.
    """

    name: str
    unit: str
    error: float
    r2: float | None
    elements: Mapping[str, float | None]
    problem: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {f.name: getattr(self, f.name) for f in fields(self)} | {"elements": dict(self.elements)}


def field_scores(contract: Contract, scores: Scores) -> list[FieldScore]:
    """Of each field, over all steps of ``scores``; [] where nothing was compared.

    R² is 1 - Σ|predicted - recorded|² / Σ|recorded - mean|², of rotations over the numbers of their matrices.
    """
    whole, found = scores.together, []
    if not whole.count[0]:
        return []
    for number, (field, part) in enumerate(_numbered(contract)):
        squared, spread, still = whole.squared[0, part], whole.spread[0, part], _still(whole, part)
        each = [None if s else float(1 - q / v) for q, v, s in zip(squared, spread, still, strict=True)]
        moving = ~still
        r2 = float(1 - squared.sum() / spread[moving].sum()) if moving.any() else None
        names = element_names((field,)) if field.rotation is None and field.size > 1 else []
        elements = dict(zip(names, each, strict=True)) if names else {}
        problem = NO_VARIANCE if r2 is None else NO_BETTER if r2 <= 0 else _of_elements(elements)
        unit = "rad" if field.rotation else field.unit or ""
        found.append(FieldScore(field.name, unit, float(whole.error[0, number] / whole.count[0]), r2, elements, problem))
    return found


def sums_by_field(contract: Contract, scores: Scores) -> tuple[Array, Array]:
    """Σ|predicted - recorded|² and Σ|recorded - mean|² of each field, (F,) each, over all steps, of which R² is made."""
    whole = scores.together
    parts = [part for _, part in _numbered(contract)]
    squared = [whole.squared[0, part].sum() for part in parts]
    spread = [whole.spread[0, part][~_still(whole, part)].sum() for part in parts]
    return np.array(squared), np.array(spread)


def _numbered(contract: Contract) -> Iterator[tuple[Field, slice]]:
    """The fields of actions, and where the numbers of each are among the D."""
    first = 0
    for field, _ in fields_of(contract):
        width = field.size if field.rotation is None else 9
        yield field, slice(first, first + width)
        first += width


def _still(whole: Scores, part: slice) -> NDArray[np.bool_]:
    """Which numbers of a field were always recorded the same; rounding is that of the whole field."""
    scale = max(float(np.abs(whole.mean[0, part]).max()), float(np.finfo(np.float32).tiny))
    return np.asarray(np.sqrt(whole.spread[0, part] / max(whole.count[0], 1)) <= ROUNDING * scale)


def _of_elements(elements: Mapping[str, float | None]) -> str:
    lost = [name for name, r2 in elements.items() if r2 is not None and r2 <= 0]
    still = [name for name, r2 in elements.items() if r2 is None]
    said = [f"{', '.join(lost)} {NO_BETTER}"] if lost else []
    return "; ".join([*said, *([f"{', '.join(still)} {NO_VARIANCE}"] if still else [])])


def _numbers(contract: Contract, actions: NDArray[np.float32]) -> Array:
    """(N, D) of actions (N, A): rotations as their matrices."""
    columns = []
    for field, part in fields_of(contract):
        values = actions[:, part].astype(np.float64)
        if field.rotation is not None:
            to_matrix = form(field.rotation)[0]
            values = np.array([to_matrix(v) for v in values], np.float64).reshape(len(values), 9)
        columns.append(values)
    return np.concatenate(columns, 1) if columns else np.zeros((len(actions), 0))
