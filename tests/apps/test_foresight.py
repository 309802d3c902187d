"""Whether actions read what was foreseen (``forehand eval foresight=…``), and how it looks (``forehand view``)."""

import json
import re
from pathlib import Path

import pytest

PLUGIN = Path(__file__).parents[1] / "data/slider"
PLUGINS = {"FOREHAND_PLUGINS": "slider,stock,seer,robots,tabletop", "PYTHONPATH": str(PLUGIN)}
FORESEES = (
    "policy.world_model={name: pixels, cameras: [static], queries: 1, width: 8}",
    "+policy.reads.foresight={observation: past}",
    "+policy.reads.action.foresight=same",
)
RECIPE = ("recipe.steps=1", "recipe.batch_size=2", "device=cpu")
JUDGE = ("eval", "robot=slider", "benchmark=slider", "seed=3", "num_videos=0", "episodes=3", "policy.device=cpu")


@pytest.fixture(scope="module")
def judged(command_in, slider_dataset, tmp_path_factory):
    """A folder with a policy that foresees a little, ``seer``, and its evaluation, ``own``."""
    folder = tmp_path_factory.mktemp("foresight")
    command_in(folder, "train", f"dataset={slider_dataset}", "policy=tiny", *FORESEES, *RECIPE, "output=seer", **PLUGINS)
    command_in(folder, *JUDGE, "policy.checkpoint=seer", "output=own", **PLUGINS)
    return folder


@pytest.fixture
def run(forehand):
    """Runs a command with the slider's plugin."""

    def command(*arguments, status=0):
        done = forehand(*arguments, **PLUGINS)
        assert done.returncode == status, done.stderr
        return done

    return command


@pytest.mark.slow
def test_interventions_are_evaluations_of_their_own_that_compare_says_the_meaning_of(
    run, judged, slider_dataset, tmp_path
):
    learned = (*JUDGE, f"policy.checkpoint={judged}/seer")
    run(*learned, "foresight=zero", "workers=2", "output=zero")  # which are served the same policy
    run(*learned, "foresight=other_task", f"foresight_bank={slider_dataset}", "output=other")
    places = (judged / "own", tmp_path / "zero", tmp_path / "other")
    setups = [json.loads((folder / "results.json").read_text())["setup"] for folder in places]
    assert [setup["foresight"] for setup in setups] == [None, "zero", "other_task"]
    assert setups[2]["foresight_bank"][0]["name"] == "slider"
    said = run("compare", str(judged / "own"), "zero", "output=found.json").stdout
    reading = json.loads((tmp_path / "found.json").read_text())["contrasts"][0]["reading"]
    assert reading in said
    assert "with foresight=zero the mean changes by " in reading

    refused = run(*JUDGE, "policy.expert=true", "foresight=zero", "output=refused", status=2)
    assert "the policy of policy.expert is not computed here" in refused.stderr
    refused = run(*learned, "foresight=other_scene", "output=refused", status=2)
    assert "foresight_bank=DATASET" in refused.stderr


@pytest.mark.slow
def test_an_oracle_is_for_policies_that_read_the_future_and_one_simulator(run, judged, slider_dataset, tmp_path):
    refused = run(*JUDGE, f"policy.checkpoint={judged}/seer", "foresight=oracle", "output=refused", status=2)
    assert "foresight tokens, which no picture gives" in refused.stderr
    run("train", f"dataset={slider_dataset}", "policy=tiny", "+policy.reads.action.static=+1", *RECIPE, "output=reader")
    learned = (*JUDGE, "policy.checkpoint=reader", "episodes=1")
    run(*learned, "foresight=oracle", "output=oracle")
    assert json.loads((tmp_path / "oracle/results.json").read_text())["setup"]["foresight"] == "oracle"
    refused = run(*learned, "foresight=oracle", "workers=2", "output=refused", status=2)
    assert "it takes one simulator in this process" in refused.stderr


@pytest.mark.slow
def test_trials_are_driven_again_into_a_page_that_is_drawn_once(run, judged, browser, tmp_path):
    view = ("view", str(judged / "own"), f"policy.checkpoint={judged}/seer", "policy.device=cpu", "output=seen")
    run(*view, "episodes=2", "otherwise=slide up", "image_height=64")
    page = tmp_path / "seen/foresight.html"
    assert not re.search(r'(?:src|href)="(?!data:|#)', page.read_text()), "the page needs nothing beside itself"
    parts = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "seen/foresight").iterdir()}
    assert len(parts) == 2 * 3
    first = json.loads(next((tmp_path / "seen/foresight").glob("*.json")).read_text())
    then = {e["index"]: e for e in json.loads((judged / "own/results.json").read_text())["episodes"]}[first["trial"]]
    assert [first["success"], first["steps"]] == [then["success"], then["steps"]]
    horizon, values = first["horizon"], first["error"]["static"]
    assert values[:horizon] == [None] * horizon
    assert all(value > 0 for value in values[horizon:])
    for frame in range(first["frames"] - 1):
        assert sum(of[frame] for of in first["attention"].values()) == pytest.approx(1)
    assert {"state", "static", "foresight"} <= set(first["attention"])

    run(*view, "episodes=2", "otherwise=slide up", "image_height=64")
    assert {p.name: p.stat().st_mtime_ns for p in (tmp_path / "seen/foresight").iterdir()} == parts
    browser.open(page)
    assert browser.evaluate("document.documentElement.scrollWidth") == 390
    moved = browser.evaluate(
        "new Promise(done => { const a = document.querySelector('article'), slider = a.querySelector('input');"
        " const film = a.querySelector('video'), plot = a.querySelector('.cursor');"
        " film.addEventListener('seeked', () => done([a.querySelector('.controls output').textContent.slice(0, 7),"
        " plot.getAttribute('x1') > 0, film.currentTime > 0, film.getBoundingClientRect().width > 300]));"
        " slider.value = 4; slider.dispatchEvent(new Event('input')); })"
    )
    assert moved == ["frame 4", True, True, True]
    assert browser.complaints == []
    refused = run("view", str(judged / "own"), "trials=[7]", status=2)
    assert "7" in refused.stderr
