"""``forehand eval`` in shards, by Hydra's launcher, and ``forehand results``."""

import json
import re
from pathlib import Path

import pytest

PLUGIN = Path(__file__).parents[1] / "data/slider"
PLUGINS = {"FOREHAND_PLUGINS": "slider,stock,seer,robots,tabletop", "PYTHONPATH": str(PLUGIN)}
SLIDER = ("eval", "robot=slider", "benchmark=slider", "seed=3", "policy.name=random", "episodes=10", "num_videos=2")
TIMES = re.compile(r'("(?:started|written)": |"seconds": )[^,\n]*')
OUTPUTS = re.compile(r'"output": "[^"]*"')


@pytest.fixture
def command(forehand):
    """Runs a command with the slider's plugin."""

    def run(*arguments, status=0):
        done = forehand(*arguments, **PLUGINS)
        assert done.returncode == status, done.stderr
        return done

    return run


def written(folder):
    """``results.json`` to the byte, but for times, the output's name, and which commands wrote it."""
    text = (folder / "results.json").read_text()
    provenance = json.dumps(json.loads(text)["provenance"], indent=2, ensure_ascii=False).replace("\n", "\n  ")
    assert provenance in text
    return OUTPUTS.sub("", TIMES.sub("", text.replace(provenance, "")))


@pytest.mark.slow
def test_a_sweep_over_shards_is_merged_into_what_one_process_writes(command, tmp_path):
    command(*SLIDER, "output=whole")
    command("eval", "--multirun", *SLIDER[1:], "shard=1/3,2/3,3/3", "output=sweep")
    parts = [json.loads((tmp_path / f"sweep/shard-{i}%2F3/results.json").read_text()) for i in (1, 2, 3)]
    assert sorted(len(part["episodes"]) for part in parts) == [3, 3, 4]
    assert [part["shard"]["index"] for part in parts] == [1, 2, 3]
    merged = command("results", "merge", "merged", "sweep")
    assert written(tmp_path / "merged") == written(tmp_path / "whole")
    assert (tmp_path / "merged/table.md").read_bytes() == (tmp_path / "whole/table.md").read_bytes()
    assert {p.name for p in (tmp_path / "merged/videos").iterdir()} == {
        p.name for p in (tmp_path / "whole/videos").iterdir()
    }
    assert "n=10" in merged.stdout
    again = command("eval", "replay=merged", "shard=2/5", "num_videos=0", "output=again")
    assert "2 of 2 trials had the same outcome" in again.stdout


def test_results_are_shown_with_what_they_are_of(command, tmp_path):
    command(*SLIDER, "shard=1/2", "output=one", "num_videos=0")
    said = " ".join(command("results", "show", "one").stdout.split())
    for words in ("policy random", "benchmark slider, seed 3", "5 of 10; shard 1/2 has 5", "95 % interval", "n=5"):
        assert words in said
    both = command("results", "show", "one", "one").stdout.splitlines()
    assert [line.startswith("one: success ") for line in both[-2:]] == [True, True]


@pytest.mark.slow
def test_what_cannot_be_merged_is_explained(command):
    command(*SLIDER, "shard=1/2", "output=one", "num_videos=0")
    command(*SLIDER, "shard=2/2", "output=two", "num_videos=0", "+robot.options.rate=10", "seed=4")
    for arguments, words in (
        (("merge", "merged", "one"), "shard 2/2 is missing: trials "),
        (("merge", "merged", "one", "two"), "seed: 3 and 4 - robot.options.rate: not there and 10"),
        (("merge", "merged"), "Nothing to merge was given"),
        (("show", "nowhere"), "There is no evaluation in nowhere"),
    ):
        complaint = command("results", *arguments, status=2).stderr
        assert words in " ".join(complaint.split())
        assert "Traceback" not in complaint
    assert "n=5" in command("results", "merge", "merged", "one", "partial=true").stdout
