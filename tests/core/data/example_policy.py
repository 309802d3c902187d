"""A policy of example parts, with a world model, and windows by their frames in the dataset that it learns from."""

import numpy as np

from forehand.data.dataset import Dataset


def example_policy(*cameras: str) -> dict:
    """The configuration of a small policy that sees and forecasts ``cameras``."""
    return {
        "name": "composed",
        "dim": 16,
        "history": 3,
        "image_size": 16,
        "encoders": {
            "text": {"name": "example/text"},
            "state": {"name": "example/state"},
            "cameras": {"name": "example/images", "cameras": list(cameras)},
        },
        "backbone": {"name": "example/transformer"},
        "world_model": {"name": "example/colour", "cameras": list(cameras)},
        "action_head": {"name": "example/regression", "chunk": 2},
        "reads": {reader: {"observation": "past"} for reader in ("observation", "foresight", "action")},
        "normalization": {"state": "mean_std", "action": "min_max"},
    }


def places(data: Dataset, windows: list[int]) -> list[int]:
    """Windows by their frame of ``droid_like``, wherever its parts stand."""
    frames = data.episodes.actions[:, 0].round().astype(int)
    return [int(np.flatnonzero(frames == -window)[0]) for window in windows]
