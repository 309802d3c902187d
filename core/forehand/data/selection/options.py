"""Options of a selection: which episodes and frames of a dataset are used, and which sentences are said."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from forehand.errors import ConfigurationError, nearest

SPLITS = ("train", "validation")


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What is used of a dataset; None is no limit.

    episodes: numbers, slices such as ``"0:100"``, or a list of these. tasks: sentences or patterns such as ``"lift *"``:
    episodes in which one of them is said. where: column → condition (:mod:`forehand.data.selection.conditions`); a column
    of frames counts by its value in the episode's last frame. split: ``train`` or ``validation``: all but a
    ``validation_fraction`` of the episodes, or these. fraction: of the episodes of each task that are trained on;
    validation stays whole. idle: field of the state or action → the motion, in its unit, below which a frame is idle
    (:func:`forehand.data.selection.idle.moving_frames`). seed: of the split and the fraction.

    instructions: columns of words, of which one is said, drawn for each window; ``task`` stands for the dataset's own
    sentences. no_instruction: the sentence where nothing was said. instruction_required: leave such episodes out.

    Raises :class:`ConfigurationError` naming the option that cannot be.
    """

    episodes: Any = None
    tasks: Any = None
    where: Mapping[str, Any] | None = None
    split: str | None = None
    validation_fraction: float = 0.1
    fraction: float | None = None
    idle: Mapping[str, float] | None = None
    seed: int = 0
    instructions: Any = None
    no_instruction: str | None = None
    instruction_required: bool = False

    def __post_init__(self) -> None:
        for name in ("tasks", "instructions"):
            _set_words(self, name)
        for name, needed in (("where", Mapping), ("idle", Mapping), ("no_instruction", str)):
            if (given := getattr(self, name)) is not None and not isinstance(given, needed):
                kind = "a sentence" if needed is str else "a mapping"
                raise ConfigurationError(f"{name} is {kind}, not {given!r}.")
        if self.split not in (None, *SPLITS):
            raise ConfigurationError(f"split is {' or '.join(SPLITS)}, not {self.split!r}.")
        _require_number("fraction", self.fraction, "above 0 and at most 1", lambda x: 0 < x <= 1)
        _require_number("validation_fraction", self.validation_fraction, "between 0 and 1", lambda x: 0 < x < 1)
        for field, least in (self.idle or {}).items():
            _require_number(f"idle.{field}", least, "of at least 0", lambda x: x >= 0, optional=False)
        if not isinstance(self.seed, int) or isinstance(self.seed, bool) or self.seed < 0:
            raise ConfigurationError(f"seed is a whole number of at least 0, not {self.seed!r}.")
        if not isinstance(self.instruction_required, bool):
            raise ConfigurationError(f"instruction_required is true or false, not {self.instruction_required!r}.")
        if self.instruction_required and self.no_instruction is not None:
            raise ConfigurationError(
                "no_instruction says what is said in episodes that instruction_required leaves out. Give one of them."
            )

    @classmethod
    def read(cls, options: Mapping[str, Any]) -> Selection:
        """The selection of those options; raises :class:`ConfigurationError` for one that there is not."""
        if unknown := [name for name in options if name not in OPTIONS]:
            raise ConfigurationError(f"There is no option {unknown[0]!r}. {nearest(unknown[0], OPTIONS)}")
        return cls(**options)

    @property
    def digest(self) -> str:
        """A short name for the options."""
        about = json.dumps(asdict(self), sort_keys=True, default=str)
        return hashlib.blake2b(about.encode(), digest_size=16).hexdigest()


OPTIONS = tuple(field.name for field in fields(Selection))


def _set_words(selection: Selection, name: str) -> None:
    """Make a list of words of an option that may be a single one."""
    given = getattr(selection, name)
    if given is None:
        return
    words = [given] if isinstance(given, str) else given
    if not isinstance(words, Sequence) or not words or not all(isinstance(word, str) for word in words):
        raise ConfigurationError(f"{name} is a text or a list of texts, not {given!r}.")
    object.__setattr__(selection, name, tuple(words))


def _require_number(name: str, value: Any, what: str, holds: Any, optional: bool = True) -> None:
    if value is None and optional:
        return
    if not isinstance(value, int | float) or isinstance(value, bool) or not holds(value):
        raise ConfigurationError(f"{name} is a number {what}, not {value!r}.")
