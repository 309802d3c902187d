"""Rows of an evaluation's tables: success rates, chains and returns, with their intervals, and the tables in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from forehand.evaluation.intervals import Interval, wilson_interval
from forehand.evaluation.probes import PROBES
from forehand.utils.markdown import markdown_table


class SuccessRate:
    """Success rate of ``successes`` among ``n`` trials."""

    n: int
    successes: int

    @property
    def rate(self) -> float:
        """Successes among n, in [0, 1]; 0 where nothing was tried."""
        return self.successes / self.n if self.n else 0.0

    @property
    def interval(self) -> Interval:
        """The Wilson 95 % interval of the rate."""
        return wilson_interval(self.successes, self.n)


@dataclass(frozen=True)
class TaskResult(SuccessRate):
    """Successes of one task, or of all together."""

    task: str
    n: int
    successes: int


@dataclass(frozen=True)
class ChainSuccess(SuccessRate):
    """How many chains began with this many successes in a row."""

    length: int
    n: int
    successes: int


@dataclass(frozen=True)
class ReturnResult:
    """Mean sum of rewards of one task, or of all together, with its bootstrap 95 % interval."""

    task: str
    n: int
    mean: float
    interval: Interval | None


@dataclass(frozen=True)
class ProbeResult:
    """The main metric of an evaluation or of one of its probes (:mod:`~forehand.evaluation.probes`).

    name: of the probe, "" for the evaluation itself; n: finished trials; metric: the average length for chains, else the
    success rate; interval: its 95 % interval.
    """

    name: str
    n: int
    metric: float
    interval: Interval


def rate_rows(rows: Sequence[SuccessRate], first: str, names: Sequence[str]) -> str:
    """Table of success rates, the rows called ``names`` below ``first``."""
    cells = [
        [name, str(row.n), str(row.successes), f"{row.rate:.2f}", str(row.interval)]
        for name, row in zip(names, rows, strict=True)
    ]
    return markdown_table([first, "n", "successes", "rate", "95 % interval"], cells, "lrrrl")


def return_rows(rows: Sequence[ReturnResult]) -> str:
    """Table of mean returns."""
    cells = [[row.task, str(row.n), f"{row.mean:.2f}", str(row.interval or "–")] for row in rows]
    return markdown_table(["task", "n", "mean return", "95 % interval"], cells, "lrrl")


def probe_cells(main: ProbeResult, probes: Mapping[str, ProbeResult]) -> list[tuple[str, str, str, str]]:
    """Name, n, metric and interval of an evaluation and every probe, measured or not."""
    rows = [("as judged", str(main.n), f"{main.metric:.2f}", str(main.interval))]
    for name, title in PROBES.items():
        found = probes.get(name)
        missing = (title, "–", "–", f"not measured: probes=[{name}]")
        rows.append(missing if found is None else (title, str(found.n), f"{found.metric:.2f}", str(found.interval)))
    return rows


def probe_rows(main: ProbeResult, probes: Mapping[str, ProbeResult], metric: str) -> str:
    """Table of an evaluation beside its probes."""
    return markdown_table(["probe", "n", metric, "95 % interval"], probe_cells(main, probes), "lrrl")
