"""Several processes train as one: the same losses and weights, from any checkpoint on, and from any death."""

import os
import sys
from pathlib import Path

import pytest
import torch
from tests.child_process import run_child

from forehand.learning.checkpoint import latest_checkpoint, read_tensors
from forehand.learning.trainer import TRAINING_STATE
from forehand.learning.weights import AVERAGED_WEIGHTS

from .distributed_runs import one_process
from .runs import assert_same_run, log

ROOT = Path(__file__).parents[3]
PARTS = ROOT / "tests/data/parts"
WEIGHTS = "model.safetensors"

pytestmark = pytest.mark.slow


def run_distributed(processes: int, folder: Path, *arguments: object) -> None:
    """Run distributed_runs by so many processes."""
    folder.mkdir(exist_ok=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "FOREHAND_PLUGINS": "example"}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT / "tests/core"), str(PARTS)])
    command = [sys.executable, "-m", "learning.distributed_runs", *map(str, (processes, folder, *arguments))]
    run_child(command, cwd=ROOT, env=environment, check=True)


def assert_same_training(folder: Path, other: Path) -> None:
    """Losses, weights, their averages and the optimizer's state agree to 1e-5."""
    for ours, theirs in zip(log(folder), log(other), strict=True):
        assert ours.keys() == theirs.keys()
        assert ours == pytest.approx(theirs, rel=1e-5, abs=1e-7), ours["step"]
    a, b = latest_checkpoint(folder), latest_checkpoint(other)
    assert a.name == b.name == "step_0000006"
    for name in (WEIGHTS, AVERAGED_WEIGHTS, TRAINING_STATE):
        ours, theirs = read_tensors(a / name), read_tensors(b / name)
        assert ours.keys() == theirs.keys()
        for key in ours.keys() - {"rng"}:
            torch.testing.assert_close(ours[key], theirs[key], rtol=1e-5, atol=1e-5)


@pytest.fixture(scope="module")
def alone(example_parts, slider_dataset, tmp_path_factory) -> Path:
    """The folder of trainings by one process; nobody may change it."""
    folder = tmp_path_factory.mktemp("alone")
    for name in ("ddp", "ddp_accumulated", "ddp_validated"):
        one_process(folder, slider_dataset, name, folder)
    return folder


def test_two_processes_train_as_one(alone, slider_dataset, tmp_path):
    names = ["ddp", "fsdp", "ddp_accumulated", "fsdp_accumulated", "ddp_validated"]
    (tmp_path / "alone").symlink_to(alone)
    run_distributed(2, tmp_path, slider_dataset, *names, "random", "fsdp+alone/ddp", "random+random")
    for name in names:
        assert_same_training(tmp_path / name, alone / name.replace("fsdp", "ddp"))
    assert_same_training(tmp_path / "fsdp+alone_ddp", alone / "ddp")  # begun by one process, gone on with by two
    assert ["validation/action_error/position" in e for e in log(tmp_path / "ddp_validated")] == [False, True] * 3
    assert_same_run(tmp_path / "random+random", tmp_path / "random")  # to the bit, with all that is drawn at random

    run_distributed(4, tmp_path / "four", slider_dataset, "fsdp", "ddp+../fsdp")
    assert_same_training(tmp_path / "four/fsdp", alone / "ddp")
    assert_same_training(tmp_path / "four/ddp+.._fsdp", alone / "ddp")  # begun by two processes, sharded
