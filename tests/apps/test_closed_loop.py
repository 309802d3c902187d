"""Checkpoints are judged beside a training that does not wait, and the best one is kept."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from forehand.learning.checkpoint import load_policy, step_folder
from forehand.learning.trainer import LOG
from forehand_apps.cli.overrides import as_overrides
from forehand_apps.evaluation.closed_loop import ClosedLoopEvaluation

JUDGE = """\
import json, pathlib, sys
options = dict(word.split("=", 1) for word in sys.argv[2:])
checkpoint, output = pathlib.Path(options["policy.checkpoint"]), pathlib.Path(options["output"])
step = int((checkpoint / "step").read_text())
assert sys.argv[1] == "eval" and options["episodes"] == "2"
wins = {1: 1, 2: None, 3: 2, 4: 2}[step]
if wins is None:
    sys.exit("no simulator")
output.mkdir()
about = {"task": "lift", "instruction": "lift", "heard": "lift", "seed": 0, "steps": 1, "seconds": 1.0}
episodes = [{"index": i, "success": i < wins, **about} for i in range(2)]
record = {"started": "", "written": "", "provenance": {}, "plan": [], "setup": {}, "episodes": episodes}
(output / "results.json").write_text(json.dumps(record))
"""


@pytest.fixture
def train(tmp_path, monkeypatch, line_trainer):
    judge = tmp_path / "judge.py"
    judge.write_text(JUDGE)

    def run(steps=4, interrupt_at=None, first=0, **changes):
        callback = ClosedLoopEvaluation(1, ["episodes=2"], program=[sys.executable, str(judge)])
        trainer = line_trainer(tmp_path / "run", callback, steps=steps, **changes)

        def save():  # without a policy that could be built again
            trainer._save_requested = False
            folder = step_folder(trainer.folder, trainer.step)
            if not folder.exists():
                folder.mkdir(parents=True)
                (folder / "step").write_text(str(trainer.step))
                callback.on_saved(trainer, folder)

        monkeypatch.setattr(trainer, "save", save)
        trainer.step = first
        entries = []
        trainer.run(entries.append)
        return entries

    return run


def test_the_best_of_the_judged_checkpoints_is_linked_and_the_others_are_removed(train, tmp_path, caplog):
    entries = train()
    rates = {e["evaluation/step"]: e["evaluation/success_rate"] for e in entries if "evaluation/step" in e}
    assert rates == {1: 0.5, 3: 1.0, 4: 1.0}
    warned = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert [message.partition(";")[0] for message in warned] == ["The evaluation of step_0000002 failed"]
    assert "no simulator" in (tmp_path / "run/evaluations/step_0000002/eval.log").read_text()
    assert (tmp_path / "run/best/step").read_text() == "3"  # the earliest of the best
    kept = [path.parent.name for path in (tmp_path / "run/evaluations").glob("*/checkpoint")]
    assert kept == ["step_0000003"]
    logged = [json.loads(line) for line in (tmp_path / "run" / LOG).read_text().splitlines()]
    assert {e["evaluation/step"] for e in logged if "evaluation/step" in e} == {1, 3, 4}
    assert all("loss" in e for e in logged if "evaluation/step" not in e)


def test_a_resumed_training_judges_what_was_left_and_takes_back_what_was_behind(train, tmp_path):
    folder = tmp_path / "run/evaluations"
    for step in (1, 4):
        (folder / f"step_000000{step}/checkpoint").mkdir(parents=True)
        (folder / f"step_000000{step}/checkpoint/step").write_text(str(step))
    entries = train(steps=3, first=1)
    assert {e["evaluation/step"] for e in entries if "evaluation/step" in e} == {1, 3}
    assert not (folder / "step_0000004").exists()
    assert (tmp_path / "run/best/step").read_text() == "3"


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="processes are found by /proc")
def test_an_evaluation_of_a_training_that_was_killed_is_ended_first(train, tmp_path):
    folder = tmp_path / "run/evaluations/step_0000001"
    (folder / "checkpoint").mkdir(parents=True)
    (folder / "checkpoint/step").write_text("1")
    command = [sys.executable, "-c", "print(flush=True); input()", f"output={folder / 'evaluation'}"]
    left_over = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        left_over.stdout.readline()  # it runs
        (folder / "process").write_text(str(left_over.pid))
        entries = train(steps=1, first=1)
        assert left_over.wait(timeout=60) == -signal.SIGTERM
    finally:
        left_over.kill()
    assert [e["evaluation/step"] for e in entries] == [1]
    assert not (folder / "process").exists()


def test_options_are_typed_as_overrides():
    options = {"robot": "arm", "tasks": ["lift it", 3], "policy": {"device": "cpu", "rate": None}, "+robot.options": {}}
    assert as_overrides(options) == [
        "robot=arm",
        'tasks=["lift it",3]',
        "policy.device=cpu",
        "policy.rate=null",
        "+robot.options={}",
    ]


@pytest.mark.slow
def test_forehand_eval_judges_a_training_of_the_command(forehand, slider_dataset, tmp_path):
    """All that happens beside the steps, by the command."""
    from .test_train import arguments_in

    variables = {
        "PYTHONPATH": str(Path(__file__).parents[1] / "data/slider"),
        "FOREHAND_PLUGINS": "stock,seer,robots,tabletop,slider",
    }
    arguments = arguments_in(tmp_path, slider_dataset)(
        "run",
        "validation.every=2",
        "validation.windows=4",
        "validation.moments=2",
        "evaluation.every=4",
        "evaluation.options={robot: slider, benchmark: slider, episodes: 1, num_videos: 0, policy: {device: cpu}}",
        "early_stop={metric: evaluation/success_rate, mode: max, patience: 3}",
        "loggers=[tensorboard]",
        steps=4,
    )
    trained = forehand("train", *arguments, **variables)
    assert trained.returncode == 0, trained.stderr
    assert "kept for validation: 1 episodes" in trained.stderr
    assert "step 4: validation/loss" in trained.stderr
    assert "step 4: evaluation/step 4, evaluation/success_rate" in trained.stderr
    load_policy(tmp_path / "run/best")
    assert list((tmp_path / "run/tensorboard").iterdir())
    entries = [json.loads(line) for line in (tmp_path / "run" / LOG).read_text().splitlines()]
    assert entries[-1]["evaluation/n"] == 1
    assert "validation/action_error/position" in entries[1]
