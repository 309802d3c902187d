"""A split of CALVIN: one npz file a frame, 200² and 84² pictures, and pickled indices."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tests.foreign_recordings.pictures import scene

RANGES = ((3, 12), (20, 31))
"""First and last frames, both included."""
ANNOTATED = ((22, 26, "lift the red block", "lift_red_block_table"), (5, 8, "open the drawer", "open_drawer"))


def frame(number: int) -> dict[str, NDArray]:
    """The arrays of a frame: positions follow from its number, and the third angle passes ±π."""
    yaw = (0.1 * number + 2.5 + np.pi) % (2 * np.pi) - np.pi
    pose = np.array([0.01 * number, -0.01 * number, 0.5, np.pi, 0.0, yaw])
    gripper = 1.0 if number % 2 else -1.0
    motion = np.clip(np.array([0.01 * 50, -0.01 * 50, 0, 0, 0, 0.1 * 20]), -1, 1)
    return {
        "actions": np.concatenate([pose, [gripper]]),
        "rel_actions": np.concatenate([motion, [gripper]]),
        "robot_obs": np.concatenate([pose, [0.08], np.linspace(-1, 1, 7), [gripper]]),
        "scene_obs": np.arange(24.0) + number,
        "rgb_static": scene(200, number),
        "rgb_gripper": scene(84, number),
        "rgb_tactile": np.full((160, 120, 6), number, np.uint8),
        "depth_static": np.full((200, 200), 1 + 0.1 * number, np.float32),
        "depth_gripper": np.full((84, 84), 0.5, np.float32),
        "depth_tactile": np.zeros((160, 120, 2), np.float32),
    }


def write_calvin(folder: Path, *, compressed: bool = False) -> Path:
    """Write the split, with a frame 15 that belongs to no range; returns ``folder``."""
    folder.mkdir(parents=True)
    save = np.savez_compressed if compressed else np.savez
    for number in [15, *(n for first, last in RANGES for n in range(first, last + 1))]:
        save(folder / f"episode_{number:07d}.npz", **frame(number))
    np.save(folder / "ep_start_end_ids.npy", np.array(RANGES))
    write_annotations(folder, ANNOTATED)
    np.save(folder / "scene_info.npy", {"calvin_scene_A": [0, 15], "calvin_scene_D": [16, 40]}, allow_pickle=True)
    return folder


def write_annotations(folder: Path, annotated: tuple[tuple[int, int, str, str], ...]) -> None:
    """Write ``lang_annotations/auto_lang_ann.npy``."""
    (folder / "lang_annotations").mkdir(exist_ok=True)
    content = {
        "language": {
            "ann": [sentence for _, _, sentence, _ in annotated],
            "task": [task for *_, task in annotated],
            "emb": np.zeros((len(annotated), 1, 384), np.float32),
        },
        "info": {"episodes": [], "indx": [(first, last) for first, last, *_ in annotated]},
    }
    np.save(folder / "lang_annotations" / "auto_lang_ann.npy", content, allow_pickle=True)
