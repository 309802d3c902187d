"""Import job: what is imported from where, which shard of it, and how pictures are written."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from forehand.data.importing.importer import Importer
from forehand.data.importing.statements import Statements
from forehand.errors import ConfigurationError
from forehand.plugins import registry
from forehand.utils.plain import to_plain
from forehand.utils.video import Encoding

STOP, DROP = "stop", "drop"
DAMAGED = (STOP, DROP)

VIDEO, IMAGES = "video", "images"
PICTURES = (VIDEO, IMAGES)

_SHARD = re.compile(r"(\d+)/(\d+)")


@dataclass(frozen=True)
class Shard:
    """The ``number``-th of ``count`` parts, counted from 1: consecutive episodes, so that the parts in order are all."""

    number: int = 1
    count: int = 1

    @classmethod
    def parse(cls, text: str | None) -> Shard:
        """From ``"3/64"``; None is all of it."""
        if text is None:
            return cls()
        found = _SHARD.fullmatch(str(text))
        if not found or not 1 <= int(found[1]) <= int(found[2]):
            raise ConfigurationError(
                f"shard is {text!r}; it is written as number/count, from 1/64 to 64/64 where there are 64."
            )
        return cls(int(found[1]), int(found[2]))

    def span(self, total: int) -> range:
        """The positions of its episodes among ``total``."""
        return range(total * (self.number - 1) // self.count, total * self.number // self.count)

    def folder(self, output: Path) -> Path:
        """Where it is written: ``output`` itself where it is all, else ``<output>-00003-of-00064``."""
        return output if self.count == 1 else output.with_name(f"{output.name}-{self.number:05d}-of-{self.count:05d}")

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"


@dataclass(frozen=True)
class ImportJob:
    """One import. importer: as named in the registry, with its ``options`` (``source`` among them).

    pictures: ``video`` with this ``encoding``, or ``images``: each picture as the file that the source holds, where it
    lies upright there, else as PNG, which loses nothing. damaged: what happens to an episode that cannot be read:
    ``stop`` the import, or ``drop`` it and say so.
    """

    output: Path
    importer: str
    options: Mapping[str, Any]
    shard: Shard = field(default_factory=Shard)
    damaged: str = STOP
    pictures: str = VIDEO
    encoding: Encoding = field(default_factory=Encoding)

    def __post_init__(self) -> None:
        if self.pictures not in PICTURES:
            raise ConfigurationError(f"pictures must be {' or '.join(PICTURES)}, not {self.pictures!r}.")
        if self.damaged not in DAMAGED:
            raise ConfigurationError(f"damaged must be {' or '.join(DAMAGED)}, not {self.damaged!r}.")

    @property
    def root(self) -> Path:
        """The folder that this shard is written to."""
        return self.shard.folder(self.output.expanduser())

    def open(self) -> Importer:
        """The importer, for this process."""
        importer: Importer = registry().create("importer", self.importer, **self.options)
        return importer

    def identity(self, source: Mapping[str, Any], statements: Statements) -> dict[str, Any]:
        """What must be the same for an import to be continued.

        source: its digest, wherever it lies. statements: what is asserted of it, by whatever file or option.
        """
        return {
            "importer": self.importer,
            "source": dict(source),
            "options": {name: value for name, value in to_plain(self.options).items() if name != "source"},
            "statements": {name: to_plain(made.value) for name, made in statements.made().items()},
            "shard": str(self.shard),
            "pictures": self.pictures,
            "encoding": asdict(self.encoding) if self.pictures == VIDEO else None,
        }


def differences_of(one: Mapping[str, Any], other: Mapping[str, Any], prefix: str = "") -> Sequence[str]:
    """Lines that name what two nested mappings have different."""
    lines: list[str] = []
    for key in dict.fromkeys([*one, *other]):
        a, b = one.get(key), other.get(key)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            lines += differences_of(a, b, f"{prefix}{key}.")
        elif a != b:
            lines.append(f"{prefix}{key}: {a!r} there, {b!r} here")
    return lines
