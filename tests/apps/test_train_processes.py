"""``forehand train launch=…``: a process that dies, a signal, and what is left to go on from."""

import os
import signal
import time

import psutil
import pytest

from forehand.learning.checkpoint import latest_checkpoint
from forehand.learning.trainer import LOG

from .test_train import arguments_in

pytestmark = pytest.mark.slow


def wait_for_lines(process, folder, count):
    until = time.monotonic() + 300
    while not (folder / LOG).exists() or len((folder / LOG).read_text().splitlines()) < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.05)


def test_a_death_ends_all_and_a_signal_saves_once(begun, slider_dataset, tmp_path):
    options = ["launch=ddp", "launch.processes=2", "recipe.batch_size=4", "recipe.save_every=5", "resume=true"]
    arguments = arguments_in(tmp_path, slider_dataset)("run", *options, steps=100_000)
    folder = tmp_path / "run"

    process = begun("train", *arguments)
    wait_for_lines(process, folder, 8)
    victim = psutil.Process(process.pid).children()[os.getpid() % 2]
    victim.kill()
    _, said = process.communicate(timeout=300)
    assert process.returncode == 2, said
    assert "of 2 ended, and all with it: it was ended by SIGKILL" in said
    assert "resume=true continues from the newest checkpoint" in said
    assert "Traceback" not in said
    kept = latest_checkpoint(folder)
    assert kept
    written = len((folder / LOG).read_text().splitlines())

    process = begun("train", *arguments)
    wait_for_lines(process, folder, written + 3)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 130, said
    assert said.count("everything is in") == 1
    assert str(latest_checkpoint(folder)) in " ".join(said.split())
    assert latest_checkpoint(folder).name > kept.name


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["launch.processes=0"], "launch.processes must be a positive whole number"),
        (["launch.nodes=2"], "launch.nodes=2 needs the place where they meet"),
        (["launch.nodes=2", "launch.rendezvous=a:1", "launch.node_rank=2"], "node_rank must be from 0 to 1, not 2"),
    ],
)
def test_a_launch_that_cannot_be_is_refused(forehand, slider_dataset, tmp_path, options, message):
    done = forehand("train", *arguments_in(tmp_path, slider_dataset)("run", *options))
    assert done.returncode == 2
    assert message in " ".join(done.stderr.split())
