"""Language annotations and other pickled indices of CALVIN, read without executing what is pickled in them."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from forehand.data.importing.source_files import readable
from forehand.errors import DatasetError

_ALLOWED = {
    *((f"numpy.{core}.multiarray", name) for core in ("core", "_core") for name in ("_reconstruct", "scalar")),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
}


class _ArraysOnly(pickle.Unpickler):
    """Unpickler of arrays, numbers, words and their containers; anything else in a file is refused by name."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it holds {module}.{name}, and only arrays and plain values are read")
        return super().find_class(module, name)


@dataclass(frozen=True)
class Segment:
    """Frames ``first`` to ``last``, both of them included, with what was said and the name of the task."""

    first: int
    last: int
    sentence: str = ""
    task: str = ""


def read_pickled_array(path: Path) -> Any:
    """The content of an ``.npy`` file with one pickled object; :class:`DatasetError` where that is no plain value."""
    with readable(path), path.open("rb") as file:
        version = np.lib.format.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            raise DatasetError(f"{path} has version {version} of the npy format; 1.0 and 2.0 are read.")
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        _, _, dtype = read(file)
        if not dtype.hasobject:
            raise DatasetError(f"{path} holds numbers, not a pickled mapping.")
        try:
            found = _ArraysOnly(file).load()
        except (pickle.UnpicklingError, AttributeError, IndexError, TypeError) as error:
            raise DatasetError(f"{path} cannot be read: {error}.") from error
    return found.item() if isinstance(found, np.ndarray) and found.size == 1 else found


def read_annotations(path: Path) -> list[Segment]:
    """The annotated segments of ``auto_lang_ann.npy``, in its order."""
    content = read_pickled_array(path)
    try:
        sentences, spans = list(content["language"]["ann"]), list(content["info"]["indx"])
        tasks = list(content["language"].get("task") or [""] * len(sentences))
        if not len(sentences) == len(spans) == len(tasks):
            raise ValueError(f"{len(sentences)} sentences, {len(spans)} spans and {len(tasks)} tasks")
        return [
            Segment(int(first), int(last), str(sentence), str(task))
            for (first, last), sentence, task in zip(spans, sentences, tasks, strict=True)
        ]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DatasetError(
            f"{path} is no table of annotations (language.ann, language.task, info.indx): {error}."
        ) from error


def read_scenes(path: Path) -> dict[str, tuple[int, int]]:
    """``scene_info.npy``: scene → its first and last frame."""
    content = read_pickled_array(path)
    if not isinstance(content, Mapping):
        raise DatasetError(f"{path} is no table of scenes.")
    return {str(scene): (int(span[0]), int(span[1])) for scene, span in content.items()}
