"""HDF5 files of LIBERO and of robomimic."""

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from tests.foreign_recordings.pictures import scene

CONTROLLER = {
    "type": "OSC_POSE",
    "output_max": [0.05, 0.05, 0.05, 0.5, 0.5, 0.5],
    "output_min": [-0.05, -0.05, -0.05, -0.5, -0.5, -0.5],
    "control_delta": True,
}
EE_ORI = (3.0, 0.4, -0.2)
"""A gripper that points down and is turned a little, as axis times angle."""


def env_args(**changed: Any) -> str:
    """The attribute ``env_args`` of both."""
    kwargs = {"robots": ["Panda"], "control_freq": 20, "controller_configs": CONTROLLER | changed.pop("controller", {})}
    return json.dumps({"env_name": "Lift", "type": 1, "env_kwargs": kwargs | changed})


def actions(length: int, idle: tuple[int, ...] = ()) -> np.ndarray:
    """(length, 7): a motion, with steps that command nothing; the gripper closes (1) in the second half."""
    found = np.zeros((length, 7))
    found[:, 0], found[:, 5] = 0.5, -0.25
    found[list(idle), :6] = 0
    found[:, 6] = np.where(np.arange(length) < length // 2, -1, 1)
    return found


def write_libero(
    path: Path, sentence: Any = "put both moka pots on the stove", lengths=(4, 3), idle=(), **attributes: Any
) -> Path:
    """Write a task with pictures as OpenGL leaves them: rows from bottom to top."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs["problem_info"] = json.dumps({"problem_name": "libero", "language_instruction": sentence})
        data.attrs["env_args"] = env_args()
        data.attrs["num_demos"] = len(lengths)
        for name, value in attributes.items():
            data.attrs[name] = value
        for number, length in enumerate(lengths):
            demo = data.create_group(f"demo_{number}")
            demo.attrs["num_samples"] = length
            demo["actions"] = actions(length, idle)
            demo["rewards"] = demo["dones"] = (np.arange(length) == length - 1).astype(np.uint8)
            pose = np.zeros((length, 6))
            pose[:, :3], pose[:, 3:] = (0.1 * number, 0.0, 1.0), EE_ORI
            pose[:, 1] = 0.01 * np.arange(length)
            demo["obs/ee_states"], demo["obs/ee_pos"], demo["obs/ee_ori"] = pose, pose[:, :3], pose[:, 3:]
            demo["obs/joint_states"] = np.zeros((length, 7))
            demo["obs/gripper_states"] = np.tile([0.04, -0.04], (length, 1))
            for key in ("agentview_rgb", "eye_in_hand_rgb"):
                demo[f"obs/{key}"] = np.stack([scene(128, i)[::-1] for i in range(length)])
            demo["robot_states"], demo["states"] = np.zeros((length, 9)), np.zeros((length, 20))
    return path


def write_robomimic(path: Path, lengths=(4, 3, 5), arms: int = 1, pictures: bool = True, args: str | None = None) -> Path:
    """Write demonstrations 1, 2 and 10, with masks; pictures lie upright."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs["env_args"] = env_args() if args is None else args
        data.attrs["total"] = sum(lengths)
        for number, length in zip((1, 2, 10), lengths, strict=True):
            demo = data.create_group(f"demo_{number}")
            demo.attrs["num_samples"] = length
            demo["actions"] = np.tile(actions(length), (1, arms))
            demo["actions_abs"] = np.tile(actions(length), (1, arms)) * np.tile([2, 2, 2, 2, 2, 2, 1], arms)
            demo["rewards"], demo["dones"] = np.arange(length) == 2, np.zeros(length)
            for arm in range(arms):
                demo[f"obs/robot{arm}_eef_pos"] = np.full((length, 3), number + 0.1 * arm)
                demo[f"obs/robot{arm}_eef_quat"] = np.tile([1.0, 0, 0, 0], (length, 1))
                demo[f"obs/robot{arm}_gripper_qpos"] = np.tile([0.02, -0.02], (length, 1))
            demo["obs/object"] = np.zeros((length, 10))
            if pictures:
                for key in ("agentview_image", "robot0_eye_in_hand_image"):
                    demo[f"obs/{key}"] = np.stack([scene(84, i) for i in range(length)])
        for mask, demos in {"train": [1, 10], "valid": [2], "20_percent": [10]}.items():
            file[f"mask/{mask}"] = np.array([f"demo_{d}".encode() for d in demos])
    return path
