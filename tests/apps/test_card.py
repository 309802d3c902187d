"""The training command that a recording names: it works as it is printed."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_module

from forehand import Camera, Contract, Field, Observation
from forehand.data.recording.card import dataset_card
from forehand.data.recording.commit import commit_episodes, recording_lock, require_same_contract
from forehand.data.recording.recorder import Recorder
from forehand.learning.checkpoint import latest_checkpoint, load_policy
from forehand_apps.commands.train import train

STATIC, WRIST, FRONT = Camera("static", 32, 32), Camera("wrist", 32, 48), Camera("front camera", 48, 64)
ARM, HAND = Field("arm", 2), Field("hand", 1, gripper="open")
MOTION, GRIP = (
    Field("arm", 2, low=(-1.0,) * 2, high=(1.0,) * 2),
    Field("hand", 1, None, None, None, None, "open", (0.0,), (1.0,)),
)
QUICK = ["recipe.steps=1", "recipe.batch_size=2", "device=cpu", "threads=1", "output=run", "cache=cache"]
PLUGIN = "hydra.searchpath=[pkg://forehand_seer.conf]"


def record(root: Path, contract: Contract) -> None:
    random = np.random.default_rng(0)
    with recording_lock(root):
        require_same_contract(root, contract)
        recorder = Recorder(root, contract)
        for _ in range(6):
            images = {c.name: random.integers(0, 256, (c.height, c.width, 3), np.uint8) for c in contract.cameras}
            state, action = (random.random(n, np.float32) for n in (contract.state_size, contract.action_size))
            recorder.add(Observation(images, state, 0.0), action)
        recorder.save(0, "lift")
        commit_episodes(root)


@pytest.mark.parametrize(
    ("name", "cameras", "state", "action"),
    [
        ("blocks", (STATIC, WRIST), (ARM, HAND), (MOTION, GRIP)),
        ("no_gripper", (WRIST, STATIC), (ARM,), (MOTION,)),
        ("one_camera", (WRIST,), (ARM,), (MOTION, GRIP)),
        ("no_range", (STATIC, WRIST, FRONT), (ARM, HAND), (ARM, HAND)),
        ('2026_05 it\'s "mine"', (FRONT,), (ARM,), (MOTION,)),
        ("only_hand", (STATIC, WRIST), (HAND,), (GRIP,)),
    ],
)
def test_the_command_on_the_card_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, cameras: tuple, state: tuple, action: tuple
):
    record(tmp_path / name, Contract(cameras, state, action, 10.0))
    (line,) = re.findall("^forehand train .*", dataset_card(tmp_path / name, "forehand record"), re.MULTILINE)
    monkeypatch.chdir(tmp_path)
    program, command, *overrides = shlex.split(line)
    assert (program, command) == ("forehand", "train")
    with initialize_config_module("forehand_apps.conf", version_base="1.3"):
        config = compose("train", overrides=[PLUGIN, *overrides, *QUICK])
    before = torch.get_num_threads()
    train(config)
    torch.set_num_threads(before)
    checkpoint = latest_checkpoint(tmp_path / "run")
    assert checkpoint
    assert load_policy(checkpoint).window["cameras"] == sorted(c.name for c in cameras)


def test_the_default_policy_is_named_by_itself_where_it_fits(tmp_path: Path):
    record(tmp_path / "blocks", Contract((STATIC, WRIST), (ARM,), (MOTION,), 10.0))
    assert "```bash\nforehand train dataset=blocks\n```" in dataset_card(tmp_path / "blocks", "forehand record")
