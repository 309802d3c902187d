"""Tasks of CALVIN: what each needs and changes in the symbolic state of the scene, and which belong to one category.

Source: Mees et al. 2022, the long-horizon evaluation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

BLOCKS = ("red_block", "blue_block", "pink_block")
KEYS = ("led", "lightbulb", "slider", "drawer", *BLOCKS, "grasped")
"""Of a symbolic state, in their order. A block is on the ``table``, in the ``drawer``, at ``slider_left`` or
``slider_right`` in the cabinet, ``grasped``, ``stacked_top`` or ``stacked_bottom``."""

State = Mapping[str, str | int]
_CABINET = ("slider_right", "slider_left")


@dataclass(frozen=True)
class Change:
    """One way to accomplish a task: key → the values that the state may have before, and key → its value afterwards."""

    before: Mapping[str, tuple[str | int, ...]]
    after: Mapping[str, str | int]


@dataclass(frozen=True)
class Task:
    """A task; no chain has two of one ``category``."""

    name: str
    category: str
    changes: tuple[Change, ...]

    def results(self, state: State) -> list[State]:
        """The states that it may lead to from ``state``; none where it is not possible."""
        return [
            dict(state) | dict(change.after)
            for change in self.changes
            if all(state[key] in values for key, values in change.before.items())
        ]


def _change(before: dict[str, Any], after: dict[str, Any], grasped: int = 0) -> Change:
    values = {key: value if isinstance(value, tuple) else (value,) for key, value in before.items()}
    return Change(values | {"grasped": (grasped,)}, after)


def _tasks() -> Iterator[Task]:
    """In the order of the benchmark's generator, which its chains depend on."""
    for verb in ("rotate", "push"):
        for block in BLOCKS:
            for side in ("right", "left"):
                stays = _change({block: "table"}, {block: "table"})
                yield Task(f"{verb}_{block}_{side}", "move a block", (stays,))
    for key, value, other, name in (
        ("slider", "left", "right", "move_slider_left"),
        ("slider", "right", "left", "move_slider_right"),
        ("drawer", "open", "closed", "open_drawer"),
        ("drawer", "closed", "open", "close_drawer"),
    ):
        yield Task(name, key, (_change({key: other}, {key: value}),))
    for block in BLOCKS:
        held = {block: "grasped", "grasped": 1}
        yield Task(f"lift_{block}_table", "lift from the table", (_change({block: "table"}, held),))
        cabinet = (
            _change({block: "slider_left", "slider": "right"}, held),
            _change({block: "slider_right", "slider": "left"}, held),
        )
        yield Task(f"lift_{block}_slider", "lift from the cabinet", cabinet)
        drawer = _change({block: "drawer", "drawer": "open"}, held)
        yield Task(f"lift_{block}_drawer", "lift from the drawer", (drawer,))
    put = [
        _change({block: "grasped", "slider": side}, {block: f"slider_{side}", "grasped": 0}, grasped=1)
        for block in BLOCKS
        for side in ("right", "left")
    ]
    yield Task("place_in_slider", "place", tuple(put))
    put = [_change({b: "grasped", "drawer": "open"}, {b: "drawer", "grasped": 0}, grasped=1) for b in BLOCKS]
    yield Task("place_in_drawer", "place", tuple(put))
    pairs = [(top, bottom) for top in BLOCKS for bottom in BLOCKS if top != bottom]
    built = [
        _change({t: "grasped", b: "table"}, {t: "stacked_top", b: "stacked_bottom", "grasped": 0}, grasped=1)
        for t, b in pairs
    ]
    yield Task("stack_block", "stack", tuple(built))
    taken = [_change({t: "stacked_top", b: "stacked_bottom"}, {t: "table", b: "table"}) for t, b in pairs]
    yield Task("unstack_block", "unstack", tuple(taken))
    for light in ("lightbulb", "led"):
        yield Task(f"turn_on_{light}", "light", (_change({light: 0}, {light: 1}),))
        yield Task(f"turn_off_{light}", "light", (_change({light: 1}, {light: 0}),))
    pushed = [
        _change(
            {block: "table", "drawer": "open"} | {other: _CABINET for other in BLOCKS if other != block},
            {block: "drawer", "grasped": 0},
        )
        for block in BLOCKS
    ]
    yield Task("push_into_drawer", "push into the drawer", tuple(pushed))


TASKS: Mapping[str, Task] = MappingProxyType({task.name: task for task in _tasks()})
"""The 34 tasks by name, in the order of the benchmark's generator."""
