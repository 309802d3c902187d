"""Folders of single steps: JPEG files and one HDF5 file each."""

from pathlib import Path

import h5py
import numpy as np
from PIL import Image
from tests.foreign_recordings.pictures import scene

KEYS = {"pose": "tcp_pose", "gripper": "gripper_position", "action": "delta", "instruction": ["text/1", "text/2"]}


def write_step_folders(root: Path, lengths: tuple[int, ...] = (3, 12), fingers: int = 1, flipped: bool = False) -> Path:
    """Write episodes with motions of 0.01 m and 0.1 rad; returns ``root``."""
    for episode, length in enumerate(lengths):
        for step in range(length):
            folder = root / f"episodes/{episode:06d}/steps/{step:04d}"
            folder.mkdir(parents=True)
            picture = scene(224, step)
            for name in ("primary", "wrist"):
                Image.fromarray(picture[::-1] if flipped else picture).save(folder / f"image_{name}.jpg", quality=95)
            with h5py.File(folder / "other.h5", "w") as file:
                file["tcp_pose"] = [0.1 * step, 0, 0.5, 3.1, 0, 0]
                file["gripper_position"] = np.full(fingers, 0.04)
                file["delta"] = [0.01, 0, 0, 0, 0, 0.1, 1]
                file["text/1"] = "" if episode else "fold the towel"
                file["text/2"] = "make it square"
    return root
