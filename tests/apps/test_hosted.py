"""``forehand eval`` with simulators in host processes: outcomes, restarts, deaths, and that nothing is left behind."""

import json
import os
import signal
import time
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not Path("/proc").exists(), reason="reads /proc")]

PLUGIN = Path(__file__).parents[1] / "data/slider"
PLUGINS = {"FOREHAND_PLUGINS": "slider,stock,robots", "PYTHONPATH": str(PLUGIN)}
SLIDER = ("eval", "benchmark=slider", "policy.name=random", "seed=3", "num_videos=0", "workers=1")
HOSTED = ("robot=hosted", "robot.options.robot=slider")


@pytest.fixture
def judge(forehand):
    def run(*arguments, status=0):
        done = forehand(*SLIDER, *arguments, **PLUGINS)
        assert done.returncode == status, done.stderr
        return done

    return run


def results(folder):
    return json.loads((folder / "results.json").read_text())


def outcomes(folder):
    return [{k: v for k, v in e.items() if k not in ("seconds", "repeated")} for e in results(folder)["episodes"]]


def processes(of):
    """Ids of the living processes that were started by ``of`` or by one of these; also when ``of`` is no more."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            except (OSError, ValueError):
                continue
            if state != "Z":
                parents[int(entry.name)] = int(parent)
    found, new = set(), {of}
    while new:
        new = {p for p, parent in parents.items() if parent in new} - found
        found |= new
    return found


def gone(ids):
    """Wait until none of the processes lives; the test's own time limit is the only one."""
    while any(Path(f"/proc/{i}").exists() and "\nState:\tZ" not in Path(f"/proc/{i}/status").read_text() for i in ids):
        time.sleep(0.02)


def test_outcomes_are_those_of_a_robot_in_this_process(judge, tmp_path):
    before = processes(os.getpid())
    judge("robot=slider", "episodes=5", "output=here")
    judge(*HOSTED, "episodes=5", "workers=2", "robot.options.restart_episodes=2", "output=hosted")
    assert outcomes(tmp_path / "hosted") == outcomes(tmp_path / "here")
    assert processes(os.getpid()) <= before


def test_a_trial_whose_simulator_died_is_repeated_once_and_that_is_said(judge, tmp_path):
    judge("robot=slider", "episodes=3", "output=here")
    done = judge(*HOSTED, f"+robot.options.options.crash={tmp_path / 'crashed'}", "episodes=3", "output=hosted")
    assert outcomes(tmp_path / "hosted") == outcomes(tmp_path / "here")
    assert [e.get("repeated", False) for e in results(tmp_path / "hosted")["episodes"]] == [True, False, False]
    assert "1 of 3 trials repeated: the simulator died" in done.stdout
    assert "1 of 3 trials repeated" in (tmp_path / "hosted/table.md").read_text()
    assert "the simulator is out of memory" in (tmp_path / "hosted/eval.log").read_text()


def test_one_that_dies_again_ends_the_evaluation_with_its_last_words(judge, tmp_path):
    before = processes(os.getpid())
    done = judge(*HOSTED, "+robot.options.options.broken=true", "episodes=3", "output=o", status=2)
    assert "OSError: the cable came loose" in done.stderr
    assert "0 of 3 finished episodes are kept" in done.stderr
    done = judge("robot=hosted", "robot.options.robot=glider", "output=p", status=2)
    assert "could not be connected" in done.stderr
    assert "No plugin offers a robot called 'glider'" in done.stderr
    assert processes(os.getpid()) <= before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_no_process_is_left_behind(begun, tmp_path, number):
    process = begun(
        *SLIDER, *HOSTED, "+robot.options.options.delay=0.02", "episodes=1000", "workers=2", "output=o", **PLUGINS
    )
    while not (tmp_path / "o/results.json").exists() or not outcomes(tmp_path / "o"):
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.02)
    started = processes(process.pid)
    assert len(started) == 2
    process.send_signal(number)
    process.communicate()
    gone(started)
    assert process.returncode == (130 if number != signal.SIGKILL else -signal.SIGKILL)
