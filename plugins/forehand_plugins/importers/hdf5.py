"""HDF5 demonstrations in robomimic's tree ``data/demo_i/{obs/…, actions, …}``, which LIBERO shares."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

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


def demonstrations(root: Path, files: Sequence[Path]) -> list[SourceEpisode]:
    """All demonstrations of ``files`` by the number in their names, with their lengths."""
    found = []
    for path in files:
        with opened_demonstrations(path) as file:
            for name in sorted(file["data"], key=natural):
                length = len(file["data"][name]["actions"])
                found.append(SourceEpisode(f"{path.relative_to(root).as_posix()}/{name}", length, (str(path), name)))
    return found


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
    if pictures.dtype != np.uint8 or pictures.ndim != 4 or pictures.shape[-1] != 3:
        raise DatasetError(
            f"{demo.file.filename}: obs/{key} is {pictures.dtype} {pictures.shape}; pictures are uint8 (T, H, W, 3)."
        )
    return int(pictures.shape[1]), int(pictures.shape[2])


def member(demo: Any, *path: str) -> Any:
    """A dataset of a demonstration; raises :class:`DatasetError` that names what there is instead."""
    node = demo
    for name in path:
        if name not in node:
            raise DatasetError(f"{demo.file.filename} has no {'/'.join(path)!r} in {demo.name}. {nearest(name, node)}")
        node = node[name]
    return node


def vectors(demo: Any, keys: Sequence[str]) -> NDArray[np.float64]:
    """The columns ``obs/<key>`` of a demonstration side by side, (T, S)."""
    parts = [np.asarray(member(demo, "obs", key), np.float64) for key in keys]
    return np.concatenate([part.reshape(len(part), -1) for part in parts], axis=1)


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
