"""Checks across several datasets: copies of episodes, and contracts that do not fit."""

from __future__ import annotations

from collections.abc import Sequence

from forehand.contracts.compatibility import require_fit
from forehand.data.checking.checker import Report
from forehand.data.checking.episodes import episode_digests
from forehand.data.checking.findings import NOTE, WARNING, Finding, finding
from forehand.errors import ContractMismatch


def check_together(reports: Sequence[Report]) -> list[Finding]:
    """Findings about several datasets that are to be learned from together."""
    return [*_copies(reports), *_unfit(reports)]


def _copies(reports: Sequence[Report]) -> list[Finding]:
    first: dict[bytes, tuple[int, int]] = {}
    shared: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for number, report in enumerate(reports):
        table = report.table
        if table is None or len(reports) < 2:
            continue
        for episode, digest in zip(table.numbers.tolist(), episode_digests(table), strict=True):
            if digest is None:
                continue
            owner, other = first.setdefault(digest, (number, episode))
            if owner != number:
                shared.setdefault((owner, number), []).append((other, episode))
    return [
        finding(
            "duplicates",
            WARNING,
            f"{len(pairs)} episodes of {reports[b].name} are also in {reports[a].name}, such as {pairs[0][1]} (there "
            f"{pairs[0][0]})",
            "Leave one of them out: they would count twice, and leak from training into validation.",
            count=len(pairs),
        )
        for (a, b), pairs in shared.items()
    ]


def _unfit(reports: Sequence[Report]) -> list[Finding]:
    readable = [report for report in reports if report.source is not None]
    found = []
    for report in readable[1:]:
        one, other = (r.source.contract for r in (readable[0], report) if r.source is not None)
        try:
            require_fit(
                one,
                other,
                readable[0].name,
                report.name,
                "Train on them as several embodiments, or map one to the other.",
            )
        except ContractMismatch as error:
            found.append(finding("unfit", NOTE, str(error)))
    return found
