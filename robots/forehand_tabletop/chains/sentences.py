"""Instruction sentences per task: for training, and held out for testing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources

import yaml

from forehand.errors import ConfigurationError
from forehand_tabletop.chains.dimensions import BLOCKS, SHAPES
from forehand_tabletop.chains.tasks import TASKS

SPLITS = ("train", "test")
VAGUE = "vague"  # option of an episode: its sentence names no block, and with any of them it is accomplished


def sentences(task: str, split: str, *, vague: bool = False) -> Sequence[str]:
    """All sentences of a task; ``split``: ``train`` or ``test``. vague: of a block they say no more than ``a block``."""
    if split not in SPLITS:
        raise ConfigurationError(f"There are no {split!r} sentences; there are {' and '.join(SPLITS)} sentences.")
    block = block_of(task)
    return [s.replace(f"the {_name(block)}", "a block") if vague and block else s for s in _all()[task][split]]


def block_of(task: str) -> str:
    """The block that a task is about, "" where it names none."""
    return next((word for word in task.split("_") if word in BLOCKS), "")


def alternatives(task: str) -> tuple[str, ...]:
    """The tasks that a vague sentence of ``task`` may mean: the same with each of the blocks."""
    return tuple(task.replace(block, other) for other in BLOCKS) if (block := block_of(task)) else (task,)


@cache
def _all() -> Mapping[str, Mapping[str, Sequence[str]]]:
    text = resources.files(__package__).joinpath("sentences.yaml").read_text(encoding="utf-8")
    written = yaml.safe_load(text)
    found = {}
    for task in TASKS:
        block = block_of(task)
        family = written["_".join(word for word in task.split("_") if word != block)]
        found[task] = {split: [str(s).format(block=_name(block)) for s in family[split]] for split in SPLITS}
    return found


def _name(block: str) -> str:
    return f"{block} {SHAPES[block]}" if block else ""
