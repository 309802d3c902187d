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


def test_probes_are_rows_of_the_report_and_are_merged_like_all_else(judge, in_process, tmp_path):
    """The stand-in's chains all fail, so that rows are told apart by their instructions and poses."""
    options = ("episodes=4", "benchmark.options.max_steps=1")
    assert "re-drawn poses" in judge(*options)[0].stdout
    assert "not measured: probes=[blind]" in (tmp_path / "o/table.md").read_text()
    _, whole = judge(*options, "probes=[blind,redrawn]")
    assert {name: (row["n"], row["metric"]) for name, row in whole["probes"].items()} == {
        "blind": (4, 0.0),
        "redrawn": (4, 0.0),
    }
    table = (tmp_path / "o/table.md").read_text()
    assert "| language-blind: given another task's sentence | 4 | 0.00 | [" in table
    plan = {
        name: json.loads((tmp_path / "o/probes" / name / "results.json").read_text())["plan"] for name in whole["probes"]
    }
    for main, blind, redrawn in zip(whole["plan"], plan["blind"], plan["redrawn"], strict=True):
        assert main["heard"] == blind["instruction"] == redrawn["heard"] != blind["heard"]
        assert main["options"] == blind["options"] == redrawn["options"] | {"hashed": True}
        assert main["seed"] == blind["seed"] != redrawn["seed"]
    for shard in (1, 2):
        judge(*options, "probes=[blind,redrawn]", f"shard={shard}/2", f"output=parts/{shard}")
    assert in_process("results", "merge", "merged", "parts").returncode == 0
    assert (tmp_path / "merged/table.md").read_text() == table
    assert json.loads((tmp_path / "merged/results.json").read_text())["probes"] == whole["probes"]


def test_without_an_environment_it_says_how_to_make_it(judge):
    done, _ = judge("robot.environment=calvin", "episodes=1", status=2)
    assert "forehand env make calvin" in done.stderr
