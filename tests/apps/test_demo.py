"""The whole loop as `make demo` runs it, shortened until it is only about the plumbing."""

import json
import re
import sys

import pytest
from tests.child_process import run_child

from forehand_apps.commands.demo import set_aside

SHORT = [
    "episodes=6",
    "recipe.steps=4",
    "recipe.batch_size=4",
    "evaluation.episodes=1",
    "evaluation.num_videos=1",
    "threads=1",
]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_whole_loop_ends_in_a_page_a_record_and_one_line(forehand, tmp_path):
    command = [sys.executable, "-m", "forehand_apps", "demo", *SHORT]
    run = run_child(command, cwd=tmp_path, deadline=900, check=True)
    folder = tmp_path / "outputs/demo"
    summary = json.loads((folder / "summary.json").read_text())

    low, high = summary["success_interval"]
    assert 0 <= low <= summary["success_rate"] <= high <= 1
    assert summary["episodes"] == 1
    assert 0 <= summary["untrained_success_rate"] <= 1
    assert summary["seconds"] > 0
    assert re.fullmatch(r"[0-9a-f]{40}(-dirty)?", summary["commit"])
    last = run.stdout.strip().splitlines()[-1]
    assert last == f"success {summary['success_rate']:.2f} [{low:.2f}, {high:.2f}] n=1"

    page = (folder / "index.html").read_text()
    assert page.count("data:video/mp4;base64,") == 4  # two rollouts, and two of what was foreseen
    assert page.count("data:image/jpeg;base64,") >= 1
    assert "<svg" in page
    assert not re.search(r'(?:src|href)="(?!data:|#)', page), "the page needs nothing beside itself"
    for title in ("Seer, small", "without its world model", "ACT, small", "given another instruction", "untrained"):
        assert title in page
    for name in (
        "evaluation",
        "evaluation_without_foresight",
        "evaluation_act",
        "evaluation_other_instruction",
        "evaluation_untrained",
    ):
        assert json.loads((folder / name / "results.json").read_text())["complete"]

    # Gone on with, nothing is done twice; refused, nothing is touched.
    before = json.loads((folder / "stages.json").read_text())
    again = forehand("demo", *SHORT, "resume=true")
    assert again.returncode == 0, again.stderr[-3000:]
    assert json.loads((folder / "stages.json").read_text()) == before
    failed = forehand("demo", *SHORT, "episodes=0")
    assert failed.returncode != 0
    assert "episodes" in failed.stderr
    assert (folder / "summary.json").exists()


def test_a_demo_that_starts_anew_keeps_the_one_before(tmp_path):
    for number in (1, 2, 3):
        set_aside(tmp_path / "demo")
        (tmp_path / "demo").mkdir()
        (tmp_path / "demo/summary.json").write_text(str(number))
    assert (tmp_path / "demo.previous/summary.json").read_text() == "2"
