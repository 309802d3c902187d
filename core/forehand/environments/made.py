"""Made environment: a folder with a Python, and the record of what is in it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from forehand.environments.specification import normal_name
from forehand.errors import ConfigurationError
from forehand.utils.files import replacing
from forehand.utils.reading import read_json

RECORD = "environment.json"


@dataclass(frozen=True)
class MadeEnvironment:
    """An environment that is complete.

    name and options: of its specification; python: version; packages: distribution in its normal form → version, of all
    that is installed; decisive: names of those that belong to every result; asked: what it was made
    from, which decides whether it is up to date.
    """

    folder: Path
    name: str
    python: str
    packages: Mapping[str, str]
    options: Mapping[str, Any] = field(default_factory=dict)
    decisive: tuple[str, ...] = ()
    asked: Mapping[str, Any] = field(default_factory=dict)

    @property
    def executable(self) -> Path:
        """Its Python interpreter."""
        return executable(self.folder)

    @property
    def versions(self) -> dict[str, str]:
        """Versions that belong to every result: of Python, and of the distributions that the simulator consists of."""
        names = self.decisive or tuple(self.packages)
        return {"python": self.python} | {name: self.packages.get(normal_name(name), "missing") for name in names}

    def write(self) -> None:
        """Keep the record in the folder."""
        record = {key: value for key, value in asdict(self).items() if key != "folder"}
        with replacing(self.folder / RECORD) as staging:
            staging.write_text(json.dumps({"format": 1, **record}, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> MadeEnvironment | None:
        """The environment in ``folder``; None where there is none, or one that was not made to its end."""
        try:
            record = read_json(folder / RECORD)
        except FileNotFoundError:
            return None
        try:
            record.pop("format")
            record["decisive"] = tuple(record["decisive"])
            return cls(folder=folder, **record)
        except (KeyError, TypeError) as error:
            raise ConfigurationError(
                f"{folder / RECORD} is no record of an environment ({error}); remove the folder and make it again."
            ) from error


def executable(folder: Path) -> Path:
    """The Python interpreter of the virtual environment in ``folder``."""
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
