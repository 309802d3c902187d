"""Findings of dataset checks: severity, what is wrong, where, and what to do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

ERROR, WARNING, NOTE = "error", "warning", "note"
SEVERITIES = (ERROR, WARNING, NOTE)
"""From the worst: damage; what probably harms training; what is worth a look."""

MOST_PLACES = 100
"""Places that a finding lists; it counts all."""

_NAMED_PLACES = 3


@dataclass(frozen=True)
class Place:
    """Place in a dataset: an episode by its number, and its frames from ``frame`` to ``last``, counted from 0.

    Without frames it is the whole episode.
    """

    episode: int
    frame: int | None = None
    last: int | None = None

    def __str__(self) -> str:
        if self.frame is None:
            return f"episode {self.episode}"
        if self.last is None or self.last == self.frame:
            return f"episode {self.episode} frame {self.frame}"
        return f"episode {self.episode} frames {self.frame} to {self.last}"


@dataclass(frozen=True)
class Finding:
    """Result of one check.

    check: its name, such as ``jumps``; severity: one of :data:`SEVERITIES`; message: what was found; remedy: what to do;
    column: an element of the state or action, or a camera, where it is about one; places: the first
    :data:`MOST_PLACES`; count: of all places.
    """

    check: str
    severity: str
    message: str
    remedy: str = ""
    column: str | None = None
    places: tuple[Place, ...] = ()
    count: int = 0

    def where(self, most: int = _NAMED_PLACES) -> str:
        """The first few places in words, or an empty text."""
        named = ", ".join(map(str, self.places[:most]))
        more = self.count - min(most, len(self.places))
        return f"{named}, and {more} more" if more > 0 and named else named

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def finding(
    check: str,
    severity: str,
    message: str,
    remedy: str = "",
    column: str | None = None,
    places: Sequence[Place] = (),
    count: int | None = None,
) -> Finding:
    """A :class:`Finding` of all ``places``, of which it lists the first ones; ``count``: where there are more."""
    listed = tuple(places[:MOST_PLACES])
    return Finding(check, severity, message, remedy, column, listed, len(places) if count is None else count)


def count_severities(findings: Iterable[Finding]) -> dict[str, int]:
    """The number of findings of each severity."""
    counts = dict.fromkeys(SEVERITIES, 0)
    for one in findings:
        counts[one.severity] += 1
    return counts


def by_severity(findings: Iterable[Finding]) -> list[Finding]:
    """The findings, the worst first, otherwise in their order."""
    return sorted(findings, key=lambda one: SEVERITIES.index(one.severity))
