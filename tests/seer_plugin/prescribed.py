"""What Seer's protocol has its model see, computed from a simulator's raw readings, apart from Forehand's own code.

Pictures: CLIP's transform (bicubic to 224, middle, CLIP's mean and deviation) by torchvision. State: position and
extrinsic xyz Euler angles by SciPy, and the gripper. Sentence: CLIP's byte-pair encoding.
"""

import gzip
import importlib.util
import itertools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from scipy.spatial.transform import Rotation
from torchvision import transforms

CLIP = transforms.Compose(
    [
        transforms.Resize(224, transforms.InterpolationMode.BICUBIC),
        transforms.CenterCrop(224),
        transforms.ToTensor(),
        transforms.Normalize((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    ]
)


def picture(raw: np.ndarray) -> torch.Tensor:
    """(H, W, 3) uint8 → (224, 224, 3)."""
    return CLIP(Image.fromarray(raw)).permute(1, 2, 0)


def libero(raw: Mapping[str, np.ndarray], frame: int) -> dict[str, Any]:
    """Pictures as they are drawn; both finger positions as the gripper."""
    angles = Rotation.from_quat(raw["robot0_eef_quat"][frame]).as_euler("xyz")
    return {
        "pictures": [picture(raw[f"{name}_image"][frame]) for name in ("agentview", "robot0_eye_in_hand")],
        "arm": np.concatenate([raw["robot0_eef_pos"][frame], angles]),
        "gripper": raw["robot0_gripper_qpos"][frame],
    }


def calvin(raw: Mapping[str, np.ndarray], frame: int) -> dict[str, Any]:
    """Pictures as they are; the gripper closed (1, 0) or open (0, 1), by its last command."""
    state = raw["robot_obs"][frame]
    return {
        "pictures": [picture(raw[f"rgb_{name}"][frame]) for name in ("static", "gripper")],
        "arm": state[:6],
        "gripper": [0, 1] if state[14] >= 1 else [1, 0],
    }


def tokens(sentence: str) -> list[int]:
    """The 77 token numbers of a sentence of lower-case words and full stops."""
    package = importlib.util.find_spec("open_clip")
    assert package is not None
    file = Path(package.submodule_search_locations[0]) / "bpe_simple_vocab_16e6.txt.gz"
    merges = [tuple(line.split()) for line in gzip.decompress(file.read_bytes()).decode().split("\n")[1:48895]]
    rank = {pair: i for i, pair in enumerate(merges)}
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [chr(code) for code in shown] + [chr(256 + i) for i in range(256 - len(shown))]
    names = [*letters, *(f"{letter}</w>" for letter in letters), *map("".join, merges)]
    number = {name: i for i, name in enumerate(names)}
    found = [49406]
    for word in re.findall(r"[a-z]+|[.,]", sentence):
        parts = [*word[:-1], f"{word[-1]}</w>"]
        while known := [pair for pair in itertools.pairwise(parts) if pair in rank]:
            first = min(known, key=rank.__getitem__)
            at = next(i for i in range(len(parts)) if tuple(parts[i : i + 2]) == first)
            parts[at : at + 2] = ["".join(first)]
        found += [number[part] for part in parts]
    return [*found, 49407] + [0] * (76 - len(found))
