"""Marks: messages that say when an episode begins and ends, and its sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from forehand.errors import DatasetError
from forehand_plugins.importers.mcap.bag import Bag, header_time


@dataclass(frozen=True)
class Interval:
    """From ``begin`` to before ``end``, in ns; words: the text that began it."""

    begin: int
    end: int
    words: str


def intervals(bag: Bag, topic: str, header: bool) -> list[Interval]:
    """The intervals that the messages of ``topic`` begin: a true value, a number or a text; and end: another one.

    A false value, 0 or an empty text ends an interval and begins none; one that is repeated changes nothing.
    """
    found: list[Interval] = []
    begin, current = 0, None
    bag.require([topic])
    for _, time, decode in bag.messages([topic]):
        message = decode()
        value = getattr(message, "data", None)
        if not isinstance(value, bool | int | float | str):
            raise DatasetError(f"{bag.path}: messages of {topic} hold no single value in a field 'data'.")
        if header and hasattr(message, "header"):
            time = header_time(bag.path, topic, message)
        if value == current:
            continue
        if current:
            found.append(Interval(begin, time, _words(current)))
        begin, current = time, value
    if current:
        found.append(Interval(begin, 2**62, _words(current)))
    return found


def sentence_at(words: Sequence[Interval], time: int) -> str:
    """The text that holds at ``time``, or the first that follows where none was said before; "" where there is none."""
    holding = [w.words for w in words if w.begin <= time < w.end]
    if holding:
        return holding[-1]
    return next((w.words for w in words if w.begin > time), "") if not any(w.begin <= time for w in words) else ""


def _words(value: Any) -> str:
    return value if isinstance(value, str) else ""
