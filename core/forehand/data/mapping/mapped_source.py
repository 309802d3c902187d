"""Mapped source: a dataset whose columns and cameras are selected, renamed, reordered and concatenated."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forehand.contracts.contract import Camera, Field
from forehand.data.episode_table import EpisodeTable
from forehand.data.features import ACTION_KEY, IMAGE_PREFIX
from forehand.data.mapping.columns import Selected, select_columns
from forehand.data.source import DataSource, Pictures, Statistic, WrappedSource
from forehand.errors import ConfigurationError, DatasetError, nearest, no_camera

ROLES = ("static", "wrist")


class MappedSource(WrappedSource):
    """A source whose state, action and cameras are made of the columns and cameras of ``base``.

    state, action: columns, one after the other (:func:`forehand.data.mapping.columns.select_columns`); () for none, and
    None for those of ``base``. cameras: the new name of each camera that is wanted → its present name or feature, or
    ``{camera: …, role: static | wrist}``, or None for one that is absent (where no other is named, all are kept); a list
    keeps the names. What is selected is stated in the contract, a field for each column. Raises
    :class:`ConfigurationError` for columns and cameras that there are not.
    """

    def __init__(
        self,
        base: DataSource,
        *,
        state: Any = None,
        action: Any = None,
        cameras: Mapping[str, Any] | Sequence[str] | None = None,
    ) -> None:
        super().__init__(base)
        at = f"the dataset at {base.root}: "
        frames = {name: column for name, column in base.columns.items() if not column.per_episode}
        self._state = None if state is None else select_columns(state, frames, f"{at}state")
        self._action = None if action is None else select_columns(action, frames, f"{at}action")
        absent = {str(n) for n, one in cameras.items() if one is None} if isinstance(cameras, Mapping) else set[str]()
        self._absent = base.absent_cameras | absent
        self._cameras = _read_cameras(cameras, base.contract.cameras, f"{at}cameras")
        self._options = {"state": state, "action": action, "cameras": cameras}
        contract = base.contract
        self.contract = replace(
            contract,
            cameras=tuple(self._cameras),
            state=contract.state if self._state is None else _fields(self._state),
            action=contract.action if self._action is None else _fields(self._action),
        )

    @cached_property
    def episodes(self) -> EpisodeTable:
        """See :attr:`forehand.data.source.DataSource.episodes`."""
        table = self.base.episodes
        if self._state is not None:
            table = replace(table, states=self._numbers(self._state, table))
        if self._action is not None:
            actions = self._numbers(self._action, table)
            if {one.column for one in self._action} == {ACTION_KEY}:  # whatever is known of them stays
                table = replace(table, actions=actions)
            else:
                there = np.full(len(table), bool(self._action))
                table = replace(table, actions=actions, has_action=there, confidence=None, action_weight=None)
        return table

    @cached_property
    def fingerprint(self) -> str:
        """See :attr:`forehand.data.source.DataSource.fingerprint`; the options are part of it."""
        about = json.dumps(self._options, sort_keys=True, default=str)
        return hashlib.blake2b(f"{self.base.fingerprint}\0mapped\0{about}".encode(), digest_size=16).hexdigest()

    @property
    def absent_cameras(self) -> frozenset[str]:
        """See :attr:`forehand.data.source.DataSource.absent_cameras`."""
        return self._absent

    def pictures(self, camera: str) -> Pictures:
        """See :meth:`forehand.data.source.DataSource.pictures`."""
        return self.base.pictures(self._recorded(camera))

    def image_statistics(self, camera: str) -> Statistic:
        """See :meth:`forehand.data.source.DataSource.image_statistics`."""
        return self.base.image_statistics(self._recorded(camera))

    def _recorded(self, camera: str) -> str:
        for renamed, recorded in self._cameras.items():
            if renamed.name == camera:
                return recorded
        names = [renamed.name for renamed in self._cameras]
        raise DatasetError(no_camera(f"The dataset at {self.root}", camera, names))

    def _numbers(self, selected: Sequence[Selected], table: EpisodeTable) -> NDArray[np.float32]:
        """The selected elements end to end, (N, D), checked to be finite."""
        found = np.empty((len(table), sum(len(one.elements) for one in selected)), np.float32)
        read: dict[str, NDArray[Any]] = {}
        first = 0
        for one in selected:
            if one.column not in read:
                read[one.column] = self._read(one.column, table)
            values = found[:, first : first + len(one.elements)]
            with np.errstate(over="ignore"):
                values[:] = read[one.column][:, list(one.elements)]
            _require_finite(values, one, table, self.root)
            first += len(one.elements)
        return found

    def _read(self, column: str, table: EpisodeTable) -> NDArray[Any]:
        values = self.base.column(column)
        size = self.base.columns[column].size
        if values.shape != (len(table), size):
            raise DatasetError(
                f"{column!r} of the dataset at {self.root} has {values.shape[0]} rows of {values.shape[1]} numbers, and "
                f"{len(table)} of {size} are due. Fetch or copy the dataset again, whole."
            )
        return values


def _fields(selected: Sequence[Selected]) -> tuple[Field, ...]:
    return tuple(field for one in selected for field in one.fields)


def _read_cameras(given: Any, cameras: Sequence[Camera], where: str) -> dict[Camera, str]:
    """The cameras of the new contract, and the present name of each."""
    if given is None:
        return {camera: camera.name for camera in cameras}
    if isinstance(given, str) or not isinstance(given, Mapping | Sequence):
        raise ConfigurationError(f"{where} is a mapping of new names to present ones, or a list, not {given!r}.")
    if isinstance(given, Mapping) and all(one is None for one in given.values()):
        return {camera: camera.name for camera in cameras if camera.name not in given}
    known = {camera.name: camera for camera in cameras}
    found: dict[Camera, str] = {}
    for name, one in (given if isinstance(given, Mapping) else {_camera_name(g, known): g for g in given}).items():
        if one is None:
            continue
        options = {"camera": one} if isinstance(one, str) else one
        if not isinstance(options, Mapping) or "camera" not in options or set(options) - {"camera", "role"}:
            raise ConfigurationError(f"{where}.{name} is a camera, or {{camera: …, role: static}}, or null, not {one!r}.")
        recorded = _camera_name(options["camera"], known)
        if recorded not in known:
            raise ConfigurationError(
                f"{where}.{name}: there is no camera {options['camera']!r}. {nearest(recorded, known)}"
            )
        role = options.get("role", known[recorded].role)
        if role is not None and role not in ROLES:
            raise ConfigurationError(f"{where}.{name}: a role is {' or '.join(ROLES)}, not {role!r}.")
        found[replace(known[recorded], name=str(name), role=role)] = recorded
    return found


def _camera_name(given: Any, known: Mapping[str, Any]) -> str:
    """The present name of a camera that is given by that, or by its feature."""
    text = str(given)
    return text if text in known else text.removeprefix(IMAGE_PREFIX).removeprefix("observation.")


def _require_finite(values: NDArray[np.float32], selected: Selected, table: EpisodeTable, root: Any) -> None:
    bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if not len(bad):
        return
    frame, place = int(bad[0]), int(np.flatnonzero(~np.isfinite(values[bad[0]]))[0])
    episode = int(table.episode[frame])
    inside = frame - int(np.searchsorted(table.episode, episode))
    raise DatasetError(
        f"{selected.column!r} is not finite in {len(bad)} of {len(values)} frames of the dataset at {root}: element "
        f"{selected.elements[place]} is {values[frame, place]} in frame {inside} of episode {episode} (counted from 0). "
        f"Correct these values, or select other columns."
    )
