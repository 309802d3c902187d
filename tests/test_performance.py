"""The benchmarks run, at a small size; they check themselves that what they compare computes the same."""

import contextlib
import io
import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf
from tests.child_process import run_child

ROOT = Path(__file__).parent.parent
PERFORMANCE, EXPERIMENTS = ROOT / "performance", ROOT / "experiments"
SMALL = (
    "policy.image_size=32",
    "policy.history=6",
    "policy.dim=48",
    "policy.backbone={name:seer/backbone,layers:1,heads:4}",
    "policy.world_model.layers=1",
    "policy.random_shift={primary:2,wrist:1}",
    "+policy.encoders.cameras.tower={width:16,layers:1,heads:2}",
)


@pytest.fixture
def run_here(own_process, monkeypatch):
    """Runs a script in this process, with what it would start as processes of their own; gives what it printed."""

    def run(script, *options):
        sys.argv = [str(script), *map(str, options)]
        with contextlib.redirect_stdout(io.StringIO()) as said:
            runpy.run_path(str(script), run_name="__main__")
        return said.getvalue()

    monkeypatch.syspath_prepend(PERFORMANCE)
    monkeypatch.setattr(subprocess, "check_output", lambda command, text: run(*command[1:]))
    with own_process():
        yield run


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("seer_latency", ("--rounds=1", "--sessions=2"), ["full window", "fifth step", "peak memory", "foresight"]),
        ("seer_training", ("--rounds=1", "--batch=2"), ["ratio to ours", "peak memory", "backward"]),
    ],
)
def test_a_benchmark_runs(run_here, name, options, told):
    said = run_here(PERFORMANCE / f"{name}.py", *options, *SMALL)
    for words in (*told, "floor:"):
        assert words in said


@pytest.mark.slow
def test_cached_features_are_measured(run_here):
    small = (*SMALL[:-2], "+policy.towers.mae={name:seer/mae_vit,width:16,layers:1,heads:2}")
    said = run_here(PERFORMANCE / "cached_features.py", "--rounds=1", *small)
    for words in ("features computed", "features on disk", "times as fast", "an image"):
        assert words in said


@pytest.mark.slow
def test_trainings_that_keep_freed_memory_take_turns_with_those_that_do_not(run_here):
    said = run_here(
        PERFORMANCE / "freed_memory.py", "--policy=behaviour_cloning", "--batch=2", "--steps=41", "--rounds=1"
    )
    for words in ("memory returned", "memory kept", "windows/s", "times as fast"):
        assert words in said


@pytest.mark.slow
def test_a_process_of_several_trains_by_turns(own_process, slider_dataset, monkeypatch, tmp_path):
    small = (*SMALL, "policy.encoders.cameras.cameras=[static,wrist]", "policy.random_shift=null")
    small += ("policy.encoders.state=null", "policy.encoders.text=null")
    monkeypatch.setattr(sys, "stdin", io.StringIO("on\non\nstop\n"))
    options = (f"--dataset={slider_dataset}", f"--folder={tmp_path}", "--policy=seer_calvin", "--batch=2", "--steps=1")
    script = PERFORMANCE / "training_processes.py"
    monkeypatch.setattr(sys, "argv", [str(script), *options, *small])
    with own_process(), contextlib.redirect_stdout(io.StringIO()) as said:
        runpy.run_path(str(script), run_name="__main__")
    turns = said.getvalue().splitlines()
    assert [len(json.loads(turn)) for turn in turns] == [2, 2]


@pytest.mark.slow
def test_the_benchmark_of_gpus_needs_torch_numpy_and_safetensors_alone():
    """In a process that finds nothing else, as on a machine where Forehand is not installed."""
    program = f"""
import runpy, sys
import torch, numpy, safetensors, torch.utils.flop_counter, torch._dynamo
known = {{name.partition(".")[0] for name in sys.modules}} | set(sys.stdlib_module_names)
class Bare:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in known | {{"filelock", "sympy", "mpmath"}} and not top.startswith(("forehand", "plain_seer")):
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Bare())
import importlib.util
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name == "pluggy" else find(name, package)
sys.argv = ["gpu.py", "--device", "cpu", "--quick"]
runpy.run_path({str(PERFORMANCE / "gpu.py")!r}, run_name="__main__")
"""
    run = run_child([sys.executable, "-c", program])
    assert not run.returncode, run.stderr
    for words in ("a control step", "a training step", "plain, float32", "bfloat16, compiled", "TFLOP a window"):
        assert words in run.stdout


def test_the_benchmark_of_gpus_has_the_preset(monkeypatch):
    monkeypatch.syspath_prepend(PERFORMANCE)
    measured = runpy.run_path(str(PERFORMANCE / "gpu.py"))["SEER_CALVIN"]
    with initialize_config_module("forehand_seer.conf", version_base=None):
        preset = OmegaConf.to_container(compose(overrides=["+policy=seer_calvin"]).policy, resolve=True)
    assert preset.pop("name") == "composed"
    preset["encoders"]["text"] = measured["encoders"]["text"]
    del preset["encoders"]["cameras"]["tower"]["weights"]
    assert preset == measured


@pytest.mark.slow
def test_the_simulators_are_measured():
    run = run_child([sys.executable, PERFORMANCE / "simulator_speed.py", "--seconds=0.02"], check=True)
    for name in ("tabletop", "tabletop-chains"):
        (row,) = [line for line in run.stdout.splitlines() if line.startswith(f"| {name} |")]
        assert len(row.split("|")) == 8


@pytest.mark.slow
def test_hosts_are_measured_beside_the_simulator_alone():
    run = run_child([sys.executable, PERFORMANCE / "hosted_simulators.py", "--rounds=1", "--steps=2"], check=True)
    for words in ("alone ", "behind a host ", "a host costs ", "CPU time over the simulator alone", "two workers do "):
        assert words in run.stdout


def test_the_board_counts_minutes_of_training_and_has_one_row_a_commit(monkeypatch, tmp_path):
    board = runpy.run_path(str(EXPERIMENTS / "board.py"))
    (tmp_path / "training").mkdir()
    entries = [{"step": 20, "time/data": 0.5, "time/compute": 1.0}, {"step": 40, "time/data": 0.0, "time/compute": 3.0}]
    entries.insert(1, {"step": 20, "validation/loss": 1.0})
    (tmp_path / "training/training.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    assert [board["_minutes"](tmp_path, step) for step in (20, 40)] == [0.5, 1.5]
    page = tmp_path / "board.md"
    page.write_text(f"| 2026-01-01 | {board['_commit']()} | seer_small |\n")
    monkeypatch.setattr(sys, "argv", ["board.py", "--board", str(page)])
    with pytest.raises(SystemExit, match="has a row of the commit"):
        board["main"]()


@pytest.mark.slow
def test_the_experts_are_counted(tmp_path):
    options = ("--seeds=1", "--chains=1", "--variants=A", f"--results={tmp_path / 'found.jsonl'}")
    command = [sys.executable, EXPERIMENTS / "tabletop_experts.py", *options]
    first, again = (run_child(command, check=True).stdout for _ in range(2))
    assert "| open_drawer | 1/1 |" in first
    assert again == first  # from what was kept
    assert len((tmp_path / "found.jsonl").read_text().splitlines()) == 33
