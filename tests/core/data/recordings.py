"""Recordings for tests; imports neither torch nor LeRobot, so that processes which are killed start soon."""

from pathlib import Path

import numpy as np

from forehand import Camera, Contract, Field, Observation
from forehand.data.recording.recorder import Recorder
from forehand.utils.video import Encoding

CONTRACT = Contract(
    cameras=(Camera("static", 48, 64, "static"), Camera("wrist", 32, 32, "wrist")),
    state=(Field("position", 3, unit="m"), Field("gripper", 1, gripper="open")),
    action=(Field("gripper", 1, low=(-1.0,), high=(1.0,)),),
    rate=20.0,
)
ROWS, COLUMNS = np.mgrid[:48, :64]


def observation(episode: int, step: int) -> Observation:
    """A smooth picture that is another one for every step of every episode."""
    static = np.stack([ROWS * 3 + step * 5, COLUMNS * 2 + episode * 7, ROWS + COLUMNS], -1).astype(np.uint8)
    return Observation(
        images={"static": static, "wrist": static[:32, :32][::-1]},
        state=np.array([episode, step, episode * step, 1], np.float32),
        time=step / 20,
    )


def length(episode: int) -> int:
    return 6 + episode % 3


def record(root: Path, *episodes: int, encoding: Encoding | None = None, contract: Contract = CONTRACT) -> None:
    """Save these episodes, without putting them together."""
    recorder = Recorder(root, contract, encoding)
    for episode in episodes:
        for step in range(length(episode)):
            recorder.add(observation(episode, step), np.array([step / 10], np.float32))
        recorder.save(episode, f"task {episode % 2}", seed=100 + episode, task="some")
