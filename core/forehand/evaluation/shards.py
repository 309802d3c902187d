"""Evaluation shard: the trials of one process among several, chosen so that all of them take about as long."""

from __future__ import annotations

import heapq
import re
from collections.abc import Sequence
from dataclasses import dataclass

from forehand.errors import ConfigurationError
from forehand.robot import Episode


@dataclass(frozen=True)
class Shard:
    """Shard ``index``, from 1, of ``count``; written ``1/4``. Raises :class:`ConfigurationError` for no such shard."""

    index: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.index <= self.count:
            raise ConfigurationError(f"shard: {self} is none; of {self.count} shards the first is 1/{self.count}.")

    @classmethod
    def parse(cls, text: str) -> Shard:
        """The shard that is written as ``text``; raises :class:`ConfigurationError`."""
        if not (found := re.fullmatch(r"(\d+)/(\d+)", str(text).strip())):
            raise ConfigurationError(f"shard must be written as 1/4, the first of four, and not {str(text)!r}.")
        return cls(int(found[1]), int(found[2]))

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    def part(self, trials: Sequence[Sequence[Episode]], chosen: Sequence[int]) -> list[int]:
        """Of the numbers ``chosen`` among ``trials``, those of this shard, in their order.

        All shards together have each trial once. Trials go to the shard with the fewest control steps so far, the longest
        ones first and each task's one after the other, so that tasks, too, are spread evenly. Raises
        :class:`ConfigurationError` where there are more shards than trials.
        """
        if self.count > len(chosen):
            raise ConfigurationError(
                f"shard={self}: there are only {len(chosen)} trials. Choose at most {len(chosen)} shards."
            )
        steps = {i: sum(episode.max_steps for episode in trials[i]) for i in chosen}
        order = sorted(chosen, key=lambda i: (-steps[i], [episode.task for episode in trials[i]], i))
        loads = [(0, shard) for shard in range(1, self.count + 1)]
        mine = set()
        for i in order:
            load, shard = loads[0]
            heapq.heapreplace(loads, (load + steps[i], shard))
            if shard == self.index:
                mine.add(i)
        return [i for i in chosen if i in mine]
