"""Recorded episodes that an intervention draws its donors from, seeded."""

from __future__ import annotations

import functools
import random
import threading
from collections.abc import Iterable, Sequence

from forehand.contracts.contract import Contract
from forehand.data.dataset import Dataset
from forehand.errors import ConfigurationError
from forehand.evaluation.open_loop.recorded import RecordedEpisodes
from forehand.robot import Observation

KEPT = 16
"""Episodes whose frames stay in memory."""


class RecordedDonors:
    """Episodes of ``data`` as :class:`~forehand.compose.interventions.Recordings`; ``needed``: the policy's contract."""

    def __init__(self, data: Dataset, needed: Contract, seed: int) -> None:
        self._episodes, self._seed, self._lock = RecordedEpisodes(data, needed), seed, threading.Lock()
        self._positions: dict[str, list[int]] = {}
        for position in range(len(self._episodes)):
            if self._episodes.why_not_seen(position) is None:
                self._positions.setdefault(self._episodes.task(position), []).append(position)
        self._frames = functools.lru_cache(KEPT)(lambda position: list(self._episodes.observations(position)))

    def draw(self, instruction: str, seed: int, *, same_sentence: bool) -> tuple[str, Sequence[Observation]]:
        """The sentence and the frames of one episode; the same arguments draw the same one."""
        if same_sentence and instruction not in self._positions:
            raise ConfigurationError(
                f"foresight_bank: no episode is recorded under {instruction!r}. It has {_some(self._positions)}. Take a "
                f"dataset with the sentences of this evaluation, or foresight=other_task."
            )
        sentences = [s for s in self._positions if (s == instruction) == same_sentence]
        if not sentences:
            raise ConfigurationError(
                f"foresight_bank: every episode is recorded under {instruction!r}, and none is another."
            )
        drawn = random.Random(f"{self._seed} {seed} {instruction}")
        sentence = drawn.choice(sentences)
        position = drawn.choice(self._positions[sentence])
        with self._lock:  # of robots in threads
            return sentence, self._frames(position)


def _some(sentences: Iterable[str]) -> str:
    listed = [repr(sentence) for sentence in sentences]
    return ", ".join(listed[:5]) + (f" and {len(listed) - 5} others" if len(listed) > 5 else "")
