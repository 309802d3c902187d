"""Judgement of inverse dynamics: the actions that were found between recorded frames, against those that were done."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from forehand.evaluation.labelling.estimates import Estimator
from forehand.evaluation.open_loop.judge import JudgedEpisode
from forehand.evaluation.open_loop.recorded import RecordedEpisodes
from forehand.evaluation.open_loop.scores import Scores


def judge_found(estimator: Estimator, episodes: RecordedEpisodes, positions: Sequence[int]) -> Iterator[JudgedEpisode]:
    """Judge the episodes at ``positions``: what would label them, against what is recorded.

    estimator: of the same data. Every action that has an estimate and was recorded is compared, once.
    """
    table, contract = episodes.data.episodes, episodes.data.contract
    for position in positions:
        rows, found = episodes.rows(position), estimator.average(position)
        frames = np.flatnonzero(found.known & table.recorded[rows])
        predicted, done = found.actions[frames], table.actions[rows][frames]
        yield JudgedEpisode(position, frames, predicted, done, Scores.by_step([Scores.of(contract, predicted, done)]))
