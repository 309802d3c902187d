"""Files of a source: what there is, in a fixed order, and errors that name the one that cannot be read."""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from forehand.errors import DatasetError, ForehandError


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Raise :class:`DatasetError` naming ``path`` where it is missing, damaged or lacks something within the context."""
    try:
        yield
    except ForehandError:
        raise
    except FileNotFoundError as error:
        raise DatasetError(f"{path} is missing. Fetch or copy the source again, whole.") from error
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        words = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
        raise DatasetError(f"{path} cannot be read ({words}). Fetch or copy it again, whole.") from error


def source_path(source: str | Path) -> Path:
    """The file or folder of that name; raises :class:`DatasetError` where there is none."""
    path = Path(source).expanduser()
    if not path.exists():
        raise DatasetError(f"There is no source {path.absolute()}: no such file or folder. Correct source=….")
    return path


def source_files(source: str | Path, pattern: str) -> tuple[Path, list[Path]]:
    """The folder of a source, and its files: ``source`` itself, or those of a glob ``pattern`` anywhere below it.

    Numbers in names are ordered as numbers. Raises :class:`DatasetError` where there is none.
    """
    path = source_path(source)
    if path.is_file():
        return path.parent, [path]
    files = sorted((p for p in path.rglob(pattern) if p.is_file()), key=lambda p: natural(p.relative_to(path).as_posix()))
    if not files:
        raise DatasetError(f"There is no {pattern} in {path.absolute()} or below it. Correct source=….")
    return path, files


def natural(name: str) -> list[tuple[int, str]]:
    """Sorting key that orders the numbers in names by their value: ``demo_2`` before ``demo_10``."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]
