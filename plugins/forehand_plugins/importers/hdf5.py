"""HDF5 demonstrations in robomimic's tree ``data/demo_i/{obs/…, actions, …}``, which LIBERO shares."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forehand.data.importing.faults import first_readable, listed
from forehand.data.importing.importer import Picture, SourceEpisode, Step
from forehand.data.importing.source_files import natural, readable
from forehand.errors import ConfigurationError, DatasetError, nearest

_FRAMES_AT_ONCE = 64  # pictures that are in memory


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """The HDF5 file at ``path``; raises :class:`DatasetError` naming it where it cannot be read within the context."""
    try:
        import h5py
    except ImportError as error:
        raise ConfigurationError(
            f"HDF5 files need {error.name}, which is not installed: pip install 'forehand[importing]'."
        ) from error
    with readable(path), h5py.File(path, "r", locking=False) as file:  # source folders may be read-only
        yield file


@contextmanager
def opened_demonstrations(path: Path) -> Iterator[Any]:
    """As :func:`opened`; raises :class:`DatasetError` for a file without demonstrations."""
    with opened(path) as file:
        if not file.get("data"):
            raise DatasetError(f"{path} has no group 'data' with demonstrations; it has {', '.join(file) or 'nothing'}.")
        yield file


def demonstrations(root: Path, files: Sequence[Path], actions: str = "actions") -> list[SourceEpisode]:
    """All demonstrations of ``files`` by the number in their names, with their lengths where these can be read.

    A file that cannot be read stands for one, by its name alone, with the fault.
    """

    def of(path: Path, file_name: str) -> Iterator[SourceEpisode]:
        with opened_demonstrations(path) as file:
            for name in sorted(file["data"], key=natural):
                length = _length(file["data"][name], actions)
                yield SourceEpisode(f"{file_name}/{name}", length, (str(path), name))

    names = {path: path.relative_to(root).as_posix() for path in files}
    return [e for path, name in names.items() for e in listed(name, (str(path), ""), partial(of, path, name))]


def readable_demonstration[Value](files: Sequence[Path], read: Callable[[Any], Value]) -> tuple[Path, Value]:
    """The file of the first demonstration that ``read`` can read, and what it makes of that.

    Raises the error of the first one where there is none.
    """

    def of(path: Path) -> Value:
        with opened_demonstrations(path) as file:
            return first_readable(file["data"], lambda name: _read(path, file["data"], name, read))[1]

    return first_readable(files, of)


def _read[Value](path: Path, data: Any, name: str, read: Callable[[Any], Value]) -> Value:
    with readable(path):
        return read(data[name])


def demonstration(file: Any, name: str) -> Any:
    """A demonstration of an open file; raises :class:`DatasetError` where it is no group, or its numbers disagree.

    ``num_samples`` is the length that the file itself states of it.
    """
    demo = member(file["data"], name)
    if not hasattr(demo, "keys"):
        raise DatasetError(f"{file.filename}: {demo.name} is an array, and a demonstration is a group of several.")
    stated, there = demo.attrs.get("num_samples"), _length(demo, "actions")
    if stated is not None and there is not None and int(stated) != there:
        raise DatasetError(
            f"{file.filename}: {demo.name} has {there} actions, and its attribute num_samples says {int(stated)}. Copy "
            f"the file again, whole, or correct the attribute."
        )
    return demo


def _length(demo: Any, actions: str) -> int | None:
    """How many actions a demonstration has; None where there are none to count."""
    found: Any = demo.get(actions) if hasattr(demo, "get") else None
    return int(found.shape[0]) if getattr(found, "shape", ()) else None


def json_attribute(data: Any, name: str) -> Mapping[str, Any]:
    """The mapping that an attribute holds as JSON; {} where there is no such attribute."""
    text = data.attrs.get(name)
    if text is None:
        return {}
    found = json.loads(text)
    if not isinstance(found, dict):
        raise DatasetError(f"{data.file.filename} has an attribute {name!r} that is no mapping.")
    return found


def picture_size(demo: Any, key: str) -> tuple[int, int]:
    """Height and width of the pictures ``obs/<key>`` (T, H, W, 3) uint8; :class:`DatasetError` where they are not so."""
    pictures = member(demo, "obs", key)
    if hasattr(pictures, "keys"):
        raise DatasetError(f"{demo.file.filename}: obs/{key} is a group, and pictures are an array (T, H, W, 3).")
    if pictures.dtype != np.uint8 or pictures.ndim != 4 or pictures.shape[-1] != 3:
        raise DatasetError(
            f"{demo.file.filename}: obs/{key} is {pictures.dtype} {pictures.shape}; pictures are uint8 (T, H, W, 3)."
        )
    return int(pictures.shape[1]), int(pictures.shape[2])


def member(demo: Any, *path: str) -> Any:
    """A dataset of a demonstration; raises :class:`DatasetError` that names what there is instead."""
    node = demo
    for i, name in enumerate(path):
        if not hasattr(node, "keys"):
            raise DatasetError(
                f"{demo.file.filename}: {node.name} is an array {node.dtype} {node.shape}, and a group with "
                f"{path[i]!r} is due."
            )
        if name not in node:
            raise DatasetError(f"{demo.file.filename} has no {'/'.join(path)!r} in {demo.name}. {nearest(name, node)}")
        node = node[name]
    return node


def vectors(demo: Any, keys: Sequence[str]) -> NDArray[np.float64]:
    """The columns ``obs/<key>`` of a demonstration side by side, (T, S)."""
    parts = [numbers(demo, "obs", key) for key in keys]
    return np.concatenate([part.reshape(len(part), math.prod(part.shape[1:])) for part in parts], axis=1)


def numbers(demo: Any, *path: str) -> NDArray[np.float64]:
    """A dataset of a demonstration, (T, …); raises :class:`DatasetError` for one that does not hold numbers by step."""
    found = member(demo, *path)
    if getattr(found, "dtype", np.dtype("O")).kind not in "fiub" or not found.shape:
        what = f"{found.dtype} {found.shape}" if hasattr(found, "dtype") else "a group"
        raise DatasetError(f"{demo.file.filename}: {found.name} is {what}; numbers (T, …) are due.")
    return np.asarray(found, np.float64)


def success(demo: Any) -> dict[str, bool]:
    """``{"success": …}``: whether any step of a demonstration was rewarded; {} where rewards are not stored."""
    return {"success": bool((demo["rewards"][:] > 0).any())} if "rewards" in demo else {}


def robot(env_args: Mapping[str, Any]) -> str | None:
    """The names of the robots, in small letters, by ``env_args``."""
    names = (env_args.get("env_kwargs") or {}).get("robots")
    return None if not names else "_".join([names] if isinstance(names, str) else names).lower()


def steps(
    demo: Any, cameras: Mapping[str, str], states: NDArray[Any], actions: NDArray[Any], kept: Sequence[int]
) -> Iterator[Step]:
    """The steps ``kept`` of a demonstration; cameras: name → key of ``obs``. Pictures are read in blocks."""
    pictures = {name: member(demo, "obs", key) for name, key in cameras.items()}
    lengths = {"state": len(states), **{f"obs/{key}": len(member(demo, "obs", key)) for key in cameras.values()}}
    if wrong := {name: n for name, n in lengths.items() if n != len(actions)}:
        raise DatasetError(f"{demo.file.filename}{demo.name} has {len(actions)} actions, but {wrong}.")
    wanted = set(kept)
    for first in range(0, len(actions), _FRAMES_AT_ONCE):
        blocks = {name: pixels[first : first + _FRAMES_AT_ONCE] for name, pixels in pictures.items()}
        for i in range(first, min(first + _FRAMES_AT_ONCE, len(actions))):
            if i in wanted:
                images: dict[str, Picture] = {name: block[i - first] for name, block in blocks.items()}
                yield Step(images, states[i], actions[i])
