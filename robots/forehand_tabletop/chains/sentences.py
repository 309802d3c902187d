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


def sentences(task: str, split: str) -> Sequence[str]:
    """All sentences of a task; ``split``: ``train`` or ``test``."""
    if split not in SPLITS:
        raise ConfigurationError(f"There are no {split!r} sentences; there are {' and '.join(SPLITS)} sentences.")
    return _all()[task][split]


@cache
def _all() -> Mapping[str, Mapping[str, Sequence[str]]]:
    text = resources.files(__package__).joinpath("sentences.yaml").read_text(encoding="utf-8")
    written = yaml.safe_load(text)
    found = {}
    for task in TASKS:
        words = task.split("_")
        block = next((word for word in words if word in BLOCKS), "")
        family = written["_".join(word for word in words if word != block)]
        name = f"{block} {SHAPES[block]}" if block else ""
        found[task] = {split: [str(s).format(block=name) for s in family[split]] for split in SPLITS}
    return found
