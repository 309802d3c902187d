"""Splits of a dataset specification: the same sources, of which other episodes are used. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from forehand.data.mixtures import SOURCES, read_mixture
from forehand.data.specification import is_embodiments
from forehand.errors import ConfigurationError

SPLIT = "split"
TRAIN, VALIDATION = "train", "validation"


def with_split(given: Any, split: str) -> Any:
    """What is written for ``dataset`` with ``split`` in each source; those that state ``train`` get it instead.

    Raises :class:`ConfigurationError` for a source that states another split, or is open already.
    """
    if is_embodiments(given):
        return {name: with_split(of, split) for name, of in given.items()}
    given = read_mixture(given, "dataset")
    if isinstance(given, Mapping) and SOURCES in given:
        return {**given, SOURCES: [with_split(one, split) for one in given[SOURCES]]}
    if isinstance(given, str | Path):
        return {"path": str(given), SPLIT: split}
    if isinstance(given, Mapping):
        if given.get(SPLIT) not in (None, TRAIN):
            raise ConfigurationError(
                f"validation: the dataset states split={given[SPLIT]!r}, and training needs another part than "
                f"validation. Leave it out, or give validation.dataset."
            )
        return {**given, SPLIT: split}
    if isinstance(given, Sequence):
        return [with_split(one, split) for one in given]
    raise ConfigurationError(f"validation: {given!r} cannot be split. Give validation.dataset.")
