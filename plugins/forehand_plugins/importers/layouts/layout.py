"""Layout: cameras, state, action, rate and sentences of a source, by a preset, a YAML file or options."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forehand import Contract
from forehand.data.importing.importer import Picture, Step
from forehand.data.importing.statements import OPTION, Statements
from forehand.errors import ConfigurationError, DatasetError, nearest
from forehand.utils.reading import Unreadable, read_yaml
from forehand_plugins.importers.layouts.columns import CameraColumn, Column, camera_columns, number_columns

KEYS = ("cameras", "state", "action", "rate")
"""What every layout states. ``action`` may be several, by name, of which an option chooses one."""


@dataclass(frozen=True)
class Layout:
    """What is taken of a source. more: the entries beside :data:`KEYS` that its format has."""

    cameras: tuple[CameraColumn, ...]
    state: tuple[Column, ...]
    action: tuple[Column, ...]
    rate: float
    more: Mapping[str, Any]

    @property
    def orientation(self) -> dict[str, str]:
        """Camera → how its pictures lie in the source."""
        return {camera.name: camera.orientation for camera in self.cameras}

    def columns(self) -> list[str]:
        """The keys of all columns of numbers, each once."""
        return list(dict.fromkeys(column.key for column in (*self.state, *self.action)))

    def contract(self, picture_size: Callable[[str], tuple[int, int]], size: Callable[[str], int]) -> Contract:
        """The contract, for pictures and columns of the sizes that these say by their keys."""
        return Contract(
            tuple(camera.camera(*picture_size(camera.key)) for camera in self.cameras),
            tuple(column.field(size(column.key)) for column in self.state),
            tuple(column.field(size(column.key)) for column in self.action),
            self.rate,
        )

    def steps(
        self,
        numbers: Mapping[str, NDArray[Any]],
        pictures: Mapping[str, Iterable[Picture]],
        annotations: Mapping[str, str] | None = None,
        ahead: int = 0,
    ) -> Iterator[Step]:
        """The steps of an episode. numbers: column → (T, …). pictures: camera → T of them. ahead: the action of a step
        is what its columns hold so many rows later; the last rows then are none."""
        states, actions = side_by_side(self.state, numbers), side_by_side(self.action, numbers)[ahead:]
        streams = [iter(pictures[camera.name]) for camera in self.cameras]
        for i, action in enumerate(actions):
            images = dict(zip([c.name for c in self.cameras], (next(s) for s in streams), strict=True))
            yield Step(images, states[i], action, annotations=annotations or {})


def side_by_side(columns: Sequence[Column], numbers: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
    """The numbers of ``columns`` (T, size). Raises :class:`DatasetError` where they differ in length."""
    lengths = {key: len(numbers[key]) for key in dict.fromkeys(column.key for column in columns)}
    if len(set(lengths.values())) > 1:
        raise DatasetError(f"The columns of an episode differ in length: {lengths}.")
    return np.concatenate([np.asarray(column.take(numbers[column.key]), np.float64) for column in columns], axis=1)


def read_layout(
    statements: Statements,
    layout: str | None,
    presets: Path,
    options: Mapping[str, Any],
    asked: Mapping[str, tuple[str, Any]],
    known: Collection[str] = (),
) -> Layout:
    """The layout that ``layout`` names, a preset in the folder ``presets`` or a YAML file, with ``options`` over it.

    options: entries of a layout; those that are None are not given. asked: entry beside :data:`KEYS` that must be there →
    its meaning and its choices. known: more entries that may be there. Raises :class:`ConfigurationError` that lists what
    is missing, and for what is not known.
    """
    name, entries = _named(layout, presets)
    given = {key: value for key, value in options.items() if value is not None}
    if unknown := [key for key in entries if key not in (*KEYS, *asked, *known)]:
        raise ConfigurationError(f"The layout {name} has {unknown[0]!r}. {nearest(unknown[0], (*KEYS, *asked, *known))}")
    choices = entries.get("action")
    if isinstance(given.get("action"), str) or (isinstance(choices, Mapping) and "action" not in given):
        _choose_action(statements, entries, given)
    merged = {**entries, **given}

    def note(key: str, value: Any) -> None:
        statements.know(key, value, OPTION if key.split(".")[0] in given else f"the layout {name}")

    cameras = camera_columns(statements, merged.get("cameras"), note)
    state = number_columns(statements, "state", merged.get("state"), note)
    action = number_columns(statements, "action", merged.get("action"), note)
    there = f"; presets of a layout: {', '.join(_presets(presets))}" if layout is None and _presets(presets) else ""
    for key, meaning in (
        ("cameras", f"camera → {{key: …, orientation: …, role: …}}{there}"),
        ("state", "a list of {name: …, key: …, part: [0, 3], unit: …, mode: …}"),
        ("action", "a list as for state"),
    ):
        if merged.get(key) is None and not (key == "action" and isinstance(choices, Mapping)):
            statements.ask(key, None, meaning)
    for key, (meaning, values) in {"rate": ("control steps a second, in Hz", None), **asked}.items():
        if merged.get(key) is None or (values is not None and merged[key] not in values):
            statements.ask(key, merged.get(key), meaning, values)
        else:
            note(key, merged[key])
    statements.require()
    if not (cameras and state and action):
        raise ConfigurationError("A layout has at least one camera, one field of state, and one of action.")
    return Layout(cameras, state, action, float(merged["rate"]), {key: merged.get(key) for key in (*asked, *known)})


def _choose_action(statements: Statements, entries: dict[str, Any], given: dict[str, Any]) -> None:
    """Put the action that an option chooses by its name in its place."""
    several, chosen = entries.pop("action", None), given.pop("action", None)
    if not isinstance(several, Mapping):
        raise ConfigurationError(f"action={chosen} chooses among several, and the layout has not several.")
    statements.ask("action", chosen, "which quantity the action is", tuple(several))
    if chosen is not None:
        entries["action"] = several[chosen]


def _named(layout: str | None, presets: Path) -> tuple[str, dict[str, Any]]:
    if layout is None:
        return "", {}
    path = presets / f"{layout}.yaml"
    if not path.is_file():
        path = Path(layout).expanduser()
    if not path.is_file():
        raise ConfigurationError(
            f"There is no layout {layout!r}, neither a YAML file nor a preset. {nearest(layout, _presets(presets))}"
        )
    try:
        entries = read_yaml(path)
    except (OSError, Unreadable) as error:
        raise ConfigurationError(f"The layout {path} cannot be read: {error}.") from error
    if not isinstance(entries, dict):
        raise ConfigurationError(f"The layout {path} is no mapping of cameras, state, action and rate.")
    return layout, entries


def _presets(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.glob("*.yaml"))
