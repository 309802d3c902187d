"""``forehand eval benchmark=calvin`` on the stand-in."""

import json

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture
def judge(in_process, standin, tmp_path):
    """Runs it with a simulator in this process; gives what was printed, and the results."""

    def run(*arguments, status=0):
        options = (
            "robot.environment=null",
            f"robot.options.checkout={standin}",
            "policy.name=zero_action",
            "num_videos=0",
        )
        plugins = {"FOREHAND_PLUGINS": "calvin,stock,robots", "FOREHAND_ENVIRONMENTS": str(tmp_path / "none")}
        done = in_process("eval", "benchmark=calvin", *options, "workers=1", "output=o", *arguments, **plugins)
        assert done.returncode == status, done.stderr
        return done, json.loads((tmp_path / "o/results.json").read_text()) if status == 0 else None

    return run


def test_chains_by_seer_s_protocol_with_what_departs_from_it(judge):
    done, results = judge("protocol=seer", "episodes=3", "benchmark.options.max_steps=2", "renderer=cpu")
    assert results["config"]["chunking"] == {"name": "receding_horizon", "steps": 1}
    assert results["config"]["binary_gripper"] is True
    assert [entry["continues"] for entry in results["plan"]] == [False, True, True, True, True] * 3
    assert len(results["episodes"]) == 3  # each chain ended with its first task
    assert "calvin_env at commit" in done.stdout
    assert "not as the protocol: max_steps=2, where it has 360" in done.stdout
    assert "not as the protocol: renderer=cpu, where it has egl" in done.stdout


def test_single_tasks_in_another_scene_with_sentences_of_the_data(judge):
    _, results = judge(
        "tasks=[open_drawer]", "episodes=2", "scene=B", "sentences=training", "benchmark.options.max_steps=1"
    )
    assert [episode["task"] for episode in results["episodes"]] == ["open_drawer"] * 2
    assert all(episode["options"]["scene"] == "B" for episode in results["plan"])


def test_without_an_environment_it_says_how_to_make_it(judge):
    done, _ = judge("robot.environment=calvin", "episodes=1", status=2)
    assert "forehand env make calvin" in done.stderr
