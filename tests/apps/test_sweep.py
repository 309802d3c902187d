"""Sweeps: folders, what is skipped and continued, what fails; and the signals of clusters."""

import json
import os
import signal
import stat
import time
from importlib.util import find_spec

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from forehand.errors import ConfigurationError
from forehand.learning.checkpoint import fingerprint, latest_checkpoint
from forehand.learning.trainer import LOG
from forehand_apps.cli.preemption import requeue
from forehand_apps.jobs.nodes import Nodes, first_host, is_first_node, nodes_of
from forehand_apps.jobs.records import job_name, read_job

from .test_results import PLUGINS, SLIDER
from .test_train import arguments_in


@pytest.mark.parametrize(
    ("options", "name"),
    [
        (["recipe.seed=0", "policy=seer_small"], "recipe.seed-0+policy-seer_small"),
        (["shard=1/4"], "shard-1%2F4"),
        (["tasks=[lift,push]"], "tasks-%5Blift%2Cpush%5D"),
        (["note='zum Würfel'"], "note-%27zum%20Würfel%27"),
        ([], "."),
    ],
)
def test_a_job_is_called_by_what_the_sweep_varies(options, name):
    assert job_name(OverridesParser.create().parse_overrides(options)) == name


def test_long_names_of_jobs_are_told_apart():
    long = [OverridesParser.create().parse_overrides([f"words={'x' * 300}{end}"]) for end in "ab"]
    names = [job_name(overrides) for overrides in long]
    assert len(set(names)) == 2
    assert max(map(len, names)) < 255


def test_a_sweep_skips_what_is_done_and_goes_on_with_the_rest(forehand, tmp_path):
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep/.stopping").touch()  # as where one was killed while it was being stopped
    sweep = ("eval", "-m", *SLIDER[1:4], "num_videos=0", "output=sweep")
    refused = forehand(*sweep, "episodes=1,x", "policy.name=random", **PLUGINS)
    assert refused.returncode == 2
    assert "episodes must be a whole number" in refused.stderr
    assert not list(tmp_path.glob("sweep/[!.]*"))

    failed = forehand(*sweep, "episodes=1", "policy.name=nowhere,random", **PLUGINS)
    assert failed.returncode == 1
    assert "No plugin offers a policy called 'nowhere'" in failed.stderr
    assert "1 of 2 jobs have not finished" in failed.stderr
    records = {name: read_job(tmp_path / f"sweep/policy.name-{name}") for name in ("nowhere", "random")}
    assert (records["nowhere"].state, records["random"].state) == ("failed", "finished")
    assert records["random"].result.startswith("success ")

    results = tmp_path / "sweep/policy.name-random/results.json"
    before = results.stat().st_mtime_ns
    again = forehand(*sweep, "episodes=1", "policy.name=random,zero_action", **PLUGINS)
    assert again.returncode == 0, again.stderr
    assert "sweep of 2 jobs: 1 finished before, 1 to do" in again.stderr
    assert again.stdout.count("finished before") == 1
    assert results.stat().st_mtime_ns == before
    assert read_job(tmp_path / "sweep/policy.name-zero_action").state == "finished"


@pytest.mark.slow
def test_an_interrupted_sweep_of_trainings_continues_the_one_and_begins_the_other(
    forehand, begun, slider_dataset, tmp_path
):
    arguments = arguments_in(tmp_path, slider_dataset)("sweep", "recipe.save_every=50", "recipe.seed=0,1", steps=150)
    process = begun("train", "-m", *arguments, signalled=(signal.SIGUSR1, "*/checkpoints/step_*", 1))
    first = tmp_path / "sweep/recipe.seed-0"
    _, said = process.communicate(timeout=300)
    assert process.returncode == 75, said
    assert "everything is in" in said
    assert read_job(first).state == "interrupted"
    step = int(latest_checkpoint(first).name.removeprefix("step_"))
    assert step < 150

    done = forehand("train", "-m", *arguments)
    assert done.returncode == 0, done.stderr
    assert f"Continuing from step {step}" in done.stderr
    steps = [json.loads(line)["step"] for line in (first / LOG).read_text().splitlines()]
    assert steps == list(range(1, 151))
    assert fingerprint(latest_checkpoint(first)) != fingerprint(latest_checkpoint(tmp_path / "sweep/recipe.seed-1"))


@pytest.mark.slow
def test_jobs_run_side_by_side_in_processes(process, tmp_path):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher", reason="pip install 'forehand[cluster]'")
    sweep = ("eval", "-m", *SLIDER[1:5], "num_videos=0", "output=sweep", "shard=1/2,2/2", "episodes=3")
    done = process(*sweep, "hydra/launcher=parallel", **PLUGINS)
    assert done.returncode == 0, done.stderr
    records = [read_job(tmp_path / f"sweep/shard-{n}%2F2") for n in (1, 2)]
    assert [record.state for record in records] == ["finished", "finished"]
    assert os.getpid() not in {record.process for record in records}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "whom"), [(signal.SIGTERM, os.kill), (signal.SIGINT, os.killpg)], ids=["TERM", "Ctrl-C"]
)
def test_jobs_side_by_side_save_what_they_have_when_the_sweep_is_stopped(number, whom, begun, slider_dataset, tmp_path):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher", reason="pip install 'forehand[cluster]'")
    options = ("hydra/launcher=parallel", "recipe.save_every=1000000", "recipe.seed=0,1,2")
    process = begun("train", "-m", *arguments_in(tmp_path, slider_dataset)("sweep", *options, steps=1000000))
    jobs = [tmp_path / f"sweep/recipe.seed-{seed}" for seed in range(3)]
    until = time.monotonic() + 200
    while not all((job / LOG).is_file() and (job / LOG).read_text().count("\n") > 2 for job in jobs[:2]):
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.1)
    whom(process.pid, number)
    _, said = process.communicate(timeout=200)
    assert process.returncode == 130, said
    assert "Interrupted; 3 of 3 jobs have not finished. The same command goes on with them." in said
    assert [read_job(job).state for job in jobs] == ["interrupted", "interrupted", "waiting"]
    for job in jobs[:2]:
        last = json.loads((job / LOG).read_text().splitlines()[-1])["step"]
        assert latest_checkpoint(job).name == f"step_{last:07d}"
    assert not (tmp_path / "sweep/.stopping").exists()


@pytest.mark.skipif(find_spec("hydra_plugins.hydra_ray_launcher") is not None, reason="Ray's launcher is installed")
def test_a_launcher_that_is_missing_is_named_with_its_extra(forehand):
    done = forehand("eval", "-m", "hydra/launcher=ray_tasks", "seed=1,2")
    assert done.returncode == 2
    assert "pip install 'forehand[ray]'" in done.stderr


@pytest.mark.parametrize(
    ("state", "again"), [("RUNNING", True), ("CANCELLED", False)], ids=["preempted", "cancelled by its user"]
)
def test_a_job_that_slurm_takes_the_computer_from_is_queued_again(tmp_path, monkeypatch, state, again):
    program = tmp_path / "scontrol"
    program.write_text(f'#!/bin/sh\necho "JobId=$5 JobState={state} Reason=None"\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    queued = []
    before = signal.signal(signal.SIGUSR2, lambda number, frame: queued.append(number))
    try:
        requeue()
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert queued == [signal.SIGUSR2] * again


@pytest.mark.parametrize(
    ("hosts", "first"),
    [("node[03-05,09],login1", "node03"), ("a1,a2", "a1"), ("gpu[7]-ib", "gpu7-ib"), ("alone", "alone")],
)
def test_the_first_of_slurms_hosts(hosts, first):
    assert first_host(hosts) == first


def test_nodes_are_those_of_slurms_step_unless_they_are_given(monkeypatch):
    open_ones = OmegaConf.create({"nodes": None, "node_rank": None, "rendezvous": None})
    assert nodes_of(open_ones) == Nodes()
    assert is_first_node()
    for name, value in {"NUM_NODES": 2, "NUM_TASKS": 2, "NODELIST": "gpu[07-08]"}.items():
        monkeypatch.setenv(f"SLURM_STEP_{name}", str(value))
    monkeypatch.setenv("SLURM_NODEID", "1")
    monkeypatch.setenv("SLURM_JOB_ID", "12345")
    assert nodes_of(open_ones) == Nodes(2, 1, "gpu07:22345")
    assert not is_first_node()
    given = {"nodes": 4, "node_rank": 3, "rendezvous": "a:1"}
    assert nodes_of(OmegaConf.create(given)) == Nodes(4, 3, "a:1")
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "16")
    with pytest.raises(ConfigurationError, match=r"16 tasks on 2 nodes.*--ntasks-per-node=1"):
        nodes_of(open_ones)
