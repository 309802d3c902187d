"""Variance explained by field: R² of open-loop evaluations as runs that can be compared, in all or by task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from forehand.contracts.action_errors import fields_of
from forehand.contracts.contract import Contract
from forehand.evaluation.comparison.arms import Run
from forehand.evaluation.comparison.statistics import Outcomes
from forehand.evaluation.open_loop.record import read_open_loop
from forehand.evaluation.open_loop.scores import Scores, sums_by_field

R_SQUARED = "R²"


@dataclass(frozen=True)
class Judged:
    """What an open-loop evaluation, ``run``, compared.

    contract: of the data; scores: of its E episodes; squared: (E, F), of each field the sum of squared errors.
    """

    run: Run
    contract: Contract
    scores: Sequence[Scores]
    squared: Outcomes

    @property
    def fields(self) -> list[str]:
        """The names of the action's fields, F."""
        return [field.name for field, _ in fields_of(self.contract)]

    def explained(self, field: str, task: str | None = None) -> Run | None:
        """The run with values whose mean is the R² of ``field``, over all episodes or those of a ``task``.

        An episode's value is 1 - E · Σ|predicted - recorded|² / Σ|recorded - mean|², with the first sum over its frames
        and the second over those of all E. None where what is recorded never changes.
        """
        number = self.fields.index(field)
        chosen = [i for i, of in enumerate(self.run.tasks) if task in (None, of)]
        spread = sums_by_field(self.contract, Scores.total(self.scores[i] for i in chosen))[1][number]
        if not spread:
            return None
        return replace(
            self.run,
            measure=f"{R_SQUARED} of {field}",
            lower=False,
            scenes=tuple(self.run.scenes[i] for i in chosen),
            tasks=tuple(self.run.tasks[i] for i in chosen),
            values=1 - len(chosen) * self.squared[chosen, number] / spread,
        )


def read_judged(run: Run) -> Judged:
    """The sums behind ``run``, an open-loop evaluation; raises :class:`ConfigurationError` where they are damaged."""
    record = read_open_loop(run.folder)
    found = [record.judged(position).scores for position in record.finished]
    scores = [one for one in found if one.count.any()]
    squared = np.stack([sums_by_field(record.contract, one)[0] for one in scores])
    return Judged(run, record.contract, scores, squared)
