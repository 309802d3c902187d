"""Launchers of clusters, in processes of their own: make test-cluster."""

import os
import signal
import time

import pytest

from forehand.learning.checkpoint import fingerprint, latest_checkpoint
from forehand_apps.jobs.records import read_job

from .test_results import PLUGINS, SLIDER
from .test_train import arguments_in
from .test_train_processes import wait_for_lines

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def undisturbed(slider_dataset, tmp_path_factory, command_in):
    """The fingerprint of a training that nothing disturbs."""
    folder = tmp_path_factory.mktemp("undisturbed")
    command_in(folder, "train", *arguments_in(folder, slider_dataset)("run", steps=300))
    return fingerprint(latest_checkpoint(folder / "run"))


def test_a_preempted_job_is_queued_again_and_ends_as_if_undisturbed(begun, slider_dataset, tmp_path, undisturbed):
    arguments = arguments_in(tmp_path, slider_dataset)("sweep", "recipe.seed=0,1", steps=300)
    process = begun("train", "-m", *arguments, "hydra/launcher=local_jobs")
    folder = tmp_path / "sweep/recipe.seed-0"
    wait_for_lines(process, folder, 5)
    first = read_job(folder)
    assert first.state == "running"
    os.kill(first.process, signal.SIGUSR2)
    shown, said = process.communicate(timeout=600)
    assert process.returncode == 0, said
    assert shown.count("finished") == 2
    last = read_job(folder)
    assert (last.state, last.process == first.process) == ("finished", False)
    logs = [path.read_text() for path in (tmp_path / "sweep/.submitit").rglob("*_log.out")]
    assert sum("Continuing from step" in log for log in logs) == 1
    assert fingerprint(latest_checkpoint(folder)) == undisturbed


def test_a_preempted_job_of_two_processes_saves_once_and_continues(begun, slider_dataset, tmp_path):
    options = ("launch=ddp", "launch.processes=2", "recipe.batch_size=4", "recipe.seed=0")
    arguments = arguments_in(tmp_path, slider_dataset)("sweep", *options, steps=300)
    process = begun("train", "-m", *arguments, "hydra/launcher=local_jobs")
    folder = tmp_path / "sweep"
    wait_for_lines(process, folder, 5)
    os.kill(read_job(folder).process, signal.SIGUSR2)
    _, said = process.communicate(timeout=600)
    assert process.returncode == 0, said
    assert read_job(folder).state == "finished"
    (log,) = (path.read_text() for path in (folder / ".submitit").rglob("*_log.out"))
    assert log.count("Continuing from step") == 1


def test_a_job_that_is_killed_is_named_and_the_same_command_goes_on(begun, slider_dataset, tmp_path, undisturbed):
    arguments = arguments_in(tmp_path, slider_dataset)("sweep", "recipe.seed=0,1", "recipe.save_every=20", steps=300)
    command = ("train", "-m", *arguments, "hydra/launcher=local_jobs")
    process = begun(*command)
    folder = tmp_path / "sweep/recipe.seed-0"
    wait_for_lines(process, folder, 45)
    os.kill(read_job(folder).process, signal.SIGKILL)
    shown, said = process.communicate(timeout=600)
    assert process.returncode == 1, said
    assert "its process ended without a word" in shown
    until = time.monotonic() + 300
    while read_job(tmp_path / "sweep/recipe.seed-1").state != "finished":  # submitit waits for no other after a loss
        assert time.monotonic() < until
        time.sleep(0.2)
    process = begun(*command)
    _, said = process.communicate(timeout=600)
    assert process.returncode == 0, said
    assert "sweep of 2 jobs: 1 finished before, 1 to do" in said
    assert fingerprint(latest_checkpoint(folder)) == undisturbed


def test_ray_runs_the_jobs_and_a_lost_worker_is_replaced(begun, slider_dataset, tmp_path, undisturbed):
    pytest.importorskip("hydra_plugins.hydra_ray_launcher", reason="pip install 'forehand[ray]'")
    arguments = arguments_in(tmp_path, slider_dataset)("sweep", "recipe.seed=0,1", "recipe.save_every=20", steps=300)
    process = begun("train", "-m", *arguments, "hydra/launcher=ray_tasks")
    folder = tmp_path / "sweep/recipe.seed-0"
    wait_for_lines(process, folder, 45)
    first = read_job(folder).process
    os.kill(first, signal.SIGKILL)
    shown, said = process.communicate(timeout=600)
    assert process.returncode == 0, said
    assert shown.count("finished") == 2
    assert read_job(folder).process != first
    assert fingerprint(latest_checkpoint(folder)) == undisturbed


def test_shards_of_an_evaluation_are_jobs(process, tmp_path):
    sweep = ("eval", "-m", *SLIDER[1:5], "num_videos=0", "output=sweep", "shard=1/2,2/2", "episodes=3")
    done = process(*sweep, "hydra/launcher=local_jobs", **PLUGINS)
    assert done.returncode == 0, done.stderr
    merged = process("results", "merge", "merged", "sweep", **PLUGINS)
    assert merged.returncode == 0, merged.stderr
    assert "n=3" in merged.stdout


def test_shards_of_an_import_are_jobs(process, tmp_path):
    from tests.foreign_recordings.hdf5 import write_libero

    write_libero(tmp_path / "in/a_demo.hdf5", lengths=(3, 2, 4))
    command = ("import", "libero", "-m", "source=in", "output=part", "workers=1", "shard=1/2,2/2")
    done = process(*command, "hydra/launcher=local_jobs")
    assert done.returncode == 0, done.stderr
    merged = process("data", "merge", "part-00001-of-00002", "part-00002-of-00002", "output=out")
    assert merged.returncode == 0, merged.stderr
    assert "3 episodes with 9 frames of 2 datasets in out." in merged.stderr
