"""Converted source: a dataset whose states and actions are brought into other units, senses, ranges and rotations."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from forehand.contracts.conversion import FieldConversion, parse
from forehand.data.episode_table import EpisodeTable
from forehand.data.source import DataSource, WrappedSource
from forehand.errors import ConfigurationError


class ConvertedSource(WrappedSource):
    """A source with its fields converted, one after the other, by names such as ``action.gripper:open``.

    convert: conversions of :mod:`forehand.contracts.conversion`, those that a robot would need, too; cameras and sensors
    are not converted. Raises :class:`ConfigurationError` for one that the contract does not allow.
    """

    def __init__(self, base: DataSource, convert: Sequence[str] | str) -> None:
        super().__init__(base)
        where = f"the dataset at {base.root}: convert"
        if not isinstance(convert, Sequence):
            raise ConfigurationError(f"{where} is a list of conversions, as [action.gripper:open], not {convert!r}.")
        names = [convert] if isinstance(convert, str) else list(convert)
        if wrong := [name for name in names if not (isinstance(name, str) and name.startswith(("state.", "action.")))]:
            raise ConfigurationError(f"{where}: {wrong[0]!r} is not about a field: state.FIELD:… or action.FIELD:….")
        try:
            steps, self.contract = parse(names, base.contract)
        except ConfigurationError as error:
            raise ConfigurationError(f"{where}: {error}") from error
        self._steps = [step for step in steps if isinstance(step, FieldConversion)]
        self._names = names

    @cached_property
    def episodes(self) -> EpisodeTable:
        """See :attr:`forehand.data.source.DataSource.episodes`."""
        table = self.base.episodes
        return replace(table, states=self._convert("state", table.states), actions=self._convert("action", table.actions))

    @cached_property
    def fingerprint(self) -> str:
        """See :attr:`forehand.data.source.DataSource.fingerprint`; the conversions are part of it."""
        about = "\0".join([self.base.fingerprint, "converted", *self._names])
        return hashlib.blake2b(about.encode(), digest_size=16).hexdigest()

    def _convert(self, side: str, values: NDArray[np.float32]) -> NDArray[np.float32]:
        for step in self._steps:
            if step.side == side:
                last = step.first + step.old.size
                part = values[:, step.first : last].astype(np.float64)
                turned = step.old.rotation != step.new.rotation
                new = np.apply_along_axis(step.forward, 1, part) if turned and len(part) else step.forward(part)
                values = np.concatenate([values[:, : step.first], new.astype(np.float32), values[:, last:]], axis=1)
        return values
