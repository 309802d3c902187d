"""``forehand eval benchmark=libero`` on the stand-in: what the protocol prescribes, and what the command line changes."""

import json

import pytest

TASK = "tasks=[turn on the stove and put the moka pot on it]"


@pytest.fixture
def judge(in_process, standin, tmp_path):
    """Runs it with a simulator in this process; gives what was printed, and the results."""

    def run(*arguments, status=0):
        options = ("robot.environment=null", "policy.name=zero_action", "num_videos=0", "workers=1", "output=o")
        plugins = {"FOREHAND_PLUGINS": "libero,stock,robots", "PYTHONPATH": str(standin), "MUJOCO_GL": "egl"}
        plugins["FOREHAND_ENVIRONMENTS"] = str(tmp_path / "none")
        done = in_process("eval", "benchmark=libero", *options, *arguments, **plugins)
        assert done.returncode == status, done.stderr
        return done, json.loads((tmp_path / "o/results.json").read_text()) if status == 0 else None

    return run


def test_the_protocol_prescribes_what_is_not_given(judge):
    done, results = judge(TASK, "benchmark.options.max_steps=2")
    assert results["config"]["chunking"] == {"name": "temporal_ensemble", "decay": 0.01}
    assert results["config"]["binary_gripper"] is True
    assert [(e["options"]["state"], e["max_steps"]) for e in results["plan"]] == [(state, 2) for state in range(20)]
    assert "libero_10 by the protocol seer: 20 fixed states a task" in done.stdout
    assert "not as the protocol: max_steps=2, where it has 600" in done.stdout


def test_the_command_line_has_the_last_word_and_departures_are_in_the_table(judge, tmp_path):
    chosen = ("protocol=openvla", "suite=libero_object_swap", "episodes=3", "chunking=receding_horizon", "render=fast")
    _, results = judge(*chosen, "robot.options.image_size=32", "binary_gripper=false", "benchmark.options.max_steps=1")
    assert (results["config"]["chunking"]["name"], results["config"]["binary_gripper"]) == ("receding_horizon", False)
    assert len(results["plan"]) == 3
    table = (tmp_path / "o/table.md").read_text()
    assert "- libero_object_swap by the protocol openvla: 50 fixed states a task" in table
    assert "- not as the protocol: render=fast, where it has standard" in table
    assert "- not as the protocol: image_size=32, where it has 256" in table


def test_without_an_environment_it_says_how_to_make_it(judge):
    done, _ = judge(TASK, "robot.environment=libero", status=2)
    assert "forehand env make libero" in done.stderr
