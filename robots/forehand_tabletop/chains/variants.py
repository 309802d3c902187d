"""Environment variants: appearance and fixture poses, read from YAML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from forehand.errors import ConfigurationError, nearest

Colour = tuple[float, float, float]
Point = tuple[float, float]


@dataclass(frozen=True)
class Fixtures:
    """Where things stand, in m: drawer and door along the back (x), the others on the table (x, y)."""

    drawer: float
    door: float
    slider: Point
    button: Point
    switch: Point


@dataclass(frozen=True)
class Surface:
    """A pattern (one of :data:`forehand_tabletop.chains.textures.PATTERNS`) in two colours."""

    pattern: str
    colours: tuple[Colour, Colour]


@dataclass(frozen=True)
class Accents:
    """Colours of the movable parts."""

    drawer: Colour
    door: Colour
    handle: Colour


@dataclass(frozen=True)
class Light:
    """Position of the light (m), its strength, and the strength of ambient light; both in [0, 1]."""

    source: tuple[float, float, float]
    strength: float
    ambient: float


@dataclass(frozen=True)
class View:
    """The static camera: its position and the point it is aimed at (m), and its vertical field of view (degrees)."""

    eye: tuple[float, float, float]
    target: tuple[float, float, float]
    fovy: float


@dataclass(frozen=True)
class Variant:
    """One environment."""

    name: str
    fixtures: Fixtures
    table: Surface
    cabinet: Surface
    floor: Surface
    accents: Accents
    light: Light
    sky: tuple[Colour, Colour]
    camera: View


_PARTS: Mapping[str, type] = {
    "fixtures": Fixtures,
    "table": Surface,
    "cabinet": Surface,
    "floor": Surface,
    "accents": Accents,
    "light": Light,
    "camera": View,
}


@cache
def variants() -> Mapping[str, Variant]:
    """The variants that come with the package, by name."""
    text = resources.files(__package__).joinpath("variants.yaml").read_text(encoding="utf-8")
    return {name: _build(name, entry) for name, entry in yaml.safe_load(text).items()}


@cache
def load_variant(name: str) -> Variant:
    """A variant by its name, or that of a YAML file by the file's path."""
    if name in variants():
        return variants()[name]
    if not name.endswith((".yaml", ".yml")):
        raise ConfigurationError(
            f"There is no variant {name!r}. {nearest(name, list(variants()))} A variant of your own is a YAML file: "
            f"variant=mine.yaml."
        )
    try:
        found = yaml.safe_load(Path(name).expanduser().read_text(encoding="utf-8"))
        ((title, entry),) = found.items()
    except (OSError, ValueError, AttributeError, yaml.YAMLError) as error:
        raise ConfigurationError(f"{name} does not hold one variant: {error}") from error
    return _build(str(title), entry)


def _build(name: str, entry: Any) -> Variant:
    try:
        light = dict(entry["light"])
        parts = {**entry, "light": {"source": light.pop("from"), **light}}
        built = {key: _PARTS[key](**_frozen(part)) if key in _PARTS else _frozen(part) for key, part in parts.items()}
        return Variant(name=name, **built)
    except (KeyError, TypeError) as error:
        known = ", ".join(f.name for f in fields(Variant)[1:])
        raise ConfigurationError(f"Variant {name!r} is incomplete or malformed ({error}); it needs {known}.") from error


def _frozen(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _frozen(item) for key, item in value.items()}
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value
