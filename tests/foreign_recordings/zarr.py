"""zarr stores in the layouts of Diffusion Policy and UMI."""

from pathlib import Path
from typing import Any

import numpy as np
from tests.foreign_recordings.pictures import scene


def write_pusht(
    path: Path, lengths: tuple[int, ...] = (3, 4), version: int = 2, white: float = 255.0, **created: Any
) -> Path:
    """96² pictures of floats up to ``white``, 5 numbers of state; ``path`` may end in ``.zip``."""
    import zarr

    total = sum(lengths)
    step = np.arange(total, dtype=np.float32)
    arrays = {
        "img": np.stack([scene(96, i) for i in range(total)]).astype(np.float32) * (white / 255),
        "state": np.stack([step, step + 100, step + 200, step + 300, step / 10], axis=1),
        "action": np.stack([step + 10, step + 110], axis=1),
    }
    _write(zarr, path, arrays, lengths, version, {"img": (4, 96, 96, 3)}, created)
    return path


def write_umi(path: Path, lengths: tuple[int, ...] = (4, 3)) -> Path:
    """224² pictures as JPEG XL, one a chunk; poses and width of a handheld gripper."""
    import zarr
    from imagecodecs.numcodecs import Jpegxl, register_codecs

    register_codecs(verbose=False)
    total = sum(lengths)
    step = np.arange(total, dtype=np.float32)
    arrays = {
        "camera0_rgb": np.stack([scene(224, i) for i in range(total)]),
        "robot0_eef_pos": np.repeat(0.01 * step[:, None], 3, 1),
        "robot0_eef_rot_axis_angle": np.repeat(0.02 * step[:, None], 3, 1),
        "robot0_gripper_width": 0.08 - 0.001 * step[:, None],
    }
    _write(
        zarr,
        path,
        arrays,
        lengths,
        2,
        {"camera0_rgb": (1, 224, 224, 3)},
        {"camera0_rgb": {"compressors": Jpegxl(level=99, numthreads=1)}},
    )
    return path


def _write(
    zarr: Any,
    path: Path,
    arrays: dict[str, Any],
    lengths: tuple[int, ...],
    version: int,
    chunks: dict[str, Any],
    created: dict[str, Any],
) -> None:
    store = zarr.storage.ZipStore(path, mode="w") if path.suffix == ".zip" else zarr.storage.LocalStore(path)
    root = zarr.open_group(store, mode="w", zarr_format=version)
    data, meta = root.create_group("data"), root.create_group("meta")
    for key, values in arrays.items():
        options = {"chunks": chunks.get(key, values.shape), **created.get(key, {})}
        data.create_array(key, shape=values.shape, dtype=values.dtype, **options)[:] = values
    meta.create_array("episode_ends", shape=(len(lengths),), dtype="int64", chunks=(len(lengths),))[:] = np.cumsum(
        lengths
    )
    store.close()
