"""Conformance checks for dataset sources. No torch."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forehand.conformance.example import require
from forehand.contracts.contract import Camera, Contract
from forehand.data.episode_table import EpisodeTable
from forehand.data.source import DataSource, Pictures
from forehand.errors import DatasetError
from forehand.registry import indefinite

READ = 5
"""Frames that are read of each camera and sensor, spread over all of them."""

TABLE = {
    "states": np.float32,
    "actions": np.float32,
    "episode": np.int64,
    "end": np.int64,
    "instructions": np.int64,
    "has_action": np.bool_,
}


def assert_dataset_conforms(factory: Callable[[], DataSource], cache: Path | None = None) -> None:
    """Open a source twice, and compare its contract, tables, images and sensors with each other.

    cache: folder of decoded frames of sensors, by default that of every command.
    """
    source, again = factory(), factory()
    require(
        isinstance(source, DataSource),
        f"the factory makes {indefinite(type(source).__name__)}, which is no forehand.data.source.DataSource",
    )
    require(isinstance(source.root, Path), f"root is {source.root!r}, not a Path")
    contract = source.contract
    require(isinstance(contract, Contract), f"contract is {indefinite(type(contract).__name__)}, not a forehand.Contract")
    require(Contract.from_json(contract.to_json()) == contract, "the contract does not survive JSON")
    require(contract == again.contract, "the contract is another one when the source is opened again")
    table = source.episodes
    _check_table(table, contract)
    for name in TABLE:
        require(
            np.array_equal(getattr(table, name), getattr(again.episodes, name)),
            f"episodes.{name} differs when the source is opened again",
        )
    require(table.tasks == again.episodes.tasks, "episodes.tasks differs when the source is opened again")
    _check_name("fingerprint", source.fingerprint, again.fingerprint)
    total = _check_numbers(source.frame_numbers, len(table))
    digests = {c.name: _check_camera(source, again, c, total) for c in contract.cameras}
    require(len(set(digests.values())) == len(digests), f"two cameras have the same digest: {digests}")
    for sensor in contract.sensors:
        _check_frames(sensor.name, source.sensor(sensor, cache), sensor.full_shape, np.dtype(sensor.dtype), total)
    _check_columns(source, len(table), len(np.unique(table.episode)))
    _check_unknown(source)


def _check_table(table: EpisodeTable, contract: Contract) -> None:
    require(isinstance(table, EpisodeTable), f"episodes is {indefinite(type(table).__name__)}, not an EpisodeTable")
    count = len(table)
    require(count > 0, "the dataset has no frame: raise DatasetError instead")
    widths = {"states": contract.state_size, "actions": contract.action_size}
    for name, dtype in TABLE.items():
        shape = (count, widths[name]) if name in widths else (count,)
        values = getattr(table, name)
        require(
            isinstance(values, np.ndarray) and values.shape == shape and values.dtype == dtype,
            f"episodes.{name} must be {shape} {np.dtype(dtype)} by the contract and the states; it is {_shape(values)}",
        )
    require(np.isfinite(table.states).all(), "episodes.states holds numbers that are not finite")
    require(np.isfinite(table.actions[table.has_action]).all(), "episodes.actions holds numbers that are not finite")
    require(contract.action_size > 0 or not table.has_action.any(), "has_action is set, and the contract has no action")
    first = np.concatenate([[0], np.flatnonzero(np.diff(table.episode)) + 1])
    require(len(first) == len(np.unique(table.episode)), "the frames of an episode must follow each other")
    due = np.repeat([*first[1:], count], np.diff([*first, count]))
    if len(wrong := np.flatnonzero(table.end != due)):
        frame = int(wrong[0])
        raise AssertionError(
            f"episodes.end is {table.end[frame]} at frame {frame}, whose episode {table.episode[frame]} ends before "
            f"frame {due[frame]}"
        )
    require(
        isinstance(table.tasks, tuple) and all(isinstance(task, str) for task in table.tasks),
        f"episodes.tasks must be a tuple of sentences, not {table.tasks!r}",
    )
    low, high = int(table.instructions.min()), int(table.instructions.max())
    require(
        low >= 0 and high < len(table.tasks),
        f"episodes.instructions goes from {low} to {high}, and there are {len(table.tasks)} tasks",
    )


def _check_numbers(numbers: NDArray[np.int64] | None, count: int) -> int | None:
    """How many frames are recorded, where that is known."""
    if numbers is None:
        return count
    require(
        numbers.shape == (count,) and np.issubdtype(numbers.dtype, np.integer) and numbers.min() >= 0,
        f"frame_numbers must be ({count},), whole numbers that are not negative; it is {_shape(numbers)}",
    )
    return None


def _check_camera(source: DataSource, again: DataSource, camera: Camera, total: int | None) -> str:
    """Compare a camera's images with each other and the contract; returns their digest."""
    name, pictures = camera.name, source.pictures(camera.name)
    require(isinstance(pictures, Pictures), f"camera {name!r}: {indefinite(type(pictures).__name__)} is no Pictures")
    if total is not None:
        require(pictures.total == total, f"camera {name!r} has {pictures.total} images, and {total} frames are due")
    numbers = _spread(pictures.total)
    images = pictures.read(numbers)
    shape = (len(numbers), camera.height, camera.width, 3)
    require(
        isinstance(images, np.ndarray) and images.shape == shape and images.dtype == np.uint8,
        f"camera {name!r}: {len(numbers)} images must be {shape} uint8 by the contract; they are {_shape(images)}",
    )
    order = np.random.default_rng(0).permutation(np.repeat(np.arange(len(numbers)), 2))
    require(
        np.array_equal(pictures.read(numbers[order]), images[order]),
        f"camera {name!r}: frames must be the same whatever the order in which they are read, and however often",
    )
    first = int(numbers[len(numbers) // 2])
    blocks = list(pictures.blocks(first, min(first + 2, pictures.total)))
    found = np.concatenate([where for where, _ in blocks])
    require(
        np.array_equal(np.sort(found), np.arange(first, min(first + 2, pictures.total))),
        f"camera {name!r}: blocks({first}, {first + 2}) gave the frames {found.tolist()}",
    )
    pixels = np.concatenate([pixels for _, pixels in blocks])[found == first][0]
    require(np.array_equal(pixels, images[len(numbers) // 2]), f"camera {name!r}: blocks() and read() differ")
    try:
        copy = pickle.loads(pickle.dumps(pictures))
    except Exception as error:
        raise AssertionError(f"camera {name!r}: its Pictures cannot be given to another process: {error}") from error
    require(np.array_equal(copy.read(numbers), images), f"camera {name!r}: its Pictures differ in another process")
    digest = pictures.digest()
    _check_name(f"the digest of camera {name!r}", digest, again.pictures(name).digest())
    _check_statistics(source, name)
    return digest


def _check_statistics(source: DataSource, camera: str) -> None:
    try:
        stated = source.image_statistics(camera)
    except DatasetError:
        return  # they need not be stated
    for name in ("mean", "std", "min", "max", "count"):
        value, shape = np.asarray(stated.get(name)), (1,) if name == "count" else (3,)
        require(
            value.shape == shape and value.dtype.kind in "fiu" and np.isfinite(value).all(),
            f"camera {camera!r}: {name} of its images must be {shape} numbers; it is {stated.get(name)!r}",
        )
    low, mean, high = (np.asarray(stated[name]) for name in ("min", "mean", "max"))
    require(
        (low <= mean).all() and (mean <= high).all() and low.min() >= 0 and high.max() <= 1,
        f"camera {camera!r}: levels go from 0 to 1, and the mean is between min and max; they are {low}, {mean}, {high}",
    )


def _check_frames(name: str, frames: Any, shape: tuple[int, ...], dtype: np.dtype[Any], total: int | None) -> None:
    require(
        total is None or (len(frames) == total and frames.shape[0] == total),
        f"sensor {name!r} has {len(frames)} frames, and {total} are due",
    )
    numbers = _spread(len(frames))
    found = np.asarray(frames[numbers])
    require(
        found.shape == (len(numbers), *shape) and found.dtype == dtype == frames.dtype,
        f"sensor {name!r}: {len(numbers)} frames must be {(len(numbers), *shape)} {dtype} by the contract; they are "
        f"{_shape(found)}",
    )


def _check_columns(source: DataSource, frames: int, episodes: int) -> None:
    for name, column in source.columns.items():
        rows = episodes if column.per_episode else frames
        if column.size:
            found: Any = source.column(name)
            require(
                found.shape == (rows, column.size),
                f"column {name!r} must be {(rows, column.size)} as columns has it; it is {_shape(found)}",
            )
            require(len(column.names) in (0, column.size), f"column {name!r} has {len(column.names)} names")
            continue
        numbers, texts = source.words(name)
        require(numbers.shape == (rows,), f"column {name!r} must have {rows} words; it has {_shape(numbers)}")
        require(not len(numbers) or int(numbers.max()) < len(texts), f"column {name!r} has only {len(texts)} texts")


def _check_unknown(source: DataSource) -> None:
    unknown = "no such name"
    calls: dict[str, tuple[Callable[[], Any], type[Exception] | tuple[type[Exception], ...]]] = {
        "pictures": (lambda: source.pictures(unknown), DatasetError),
        "image_statistics": (lambda: source.image_statistics(unknown), (DatasetError, KeyError)),
        "column": (lambda: source.column(unknown), DatasetError),
        "words": (lambda: source.words(unknown), DatasetError),
    }
    for name, (call, errors) in calls.items():
        try:
            call()
        except errors:
            continue
        except Exception as error:
            raise AssertionError(f"{name}() of an unknown name must raise DatasetError, not {error!r}") from error
        raise AssertionError(f"{name}() of an unknown name must raise DatasetError")


def _check_name(what: str, name: Any, again: Any) -> None:
    require(isinstance(name, str) and name, f"{what} must be a name, not {name!r}")
    require(name == again, f"{what} differs when the source is opened again: {name!r}, then {again!r}")


def _spread(total: int) -> NDArray[np.int64]:
    return np.unique(np.linspace(0, total - 1, READ).astype(np.int64))


def _shape(value: Any) -> str:
    return f"{value.shape} {value.dtype}" if isinstance(value, np.ndarray) else repr(value)
