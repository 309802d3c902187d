"""``forehand compare``: arms by their folders' names, of success and of open loop."""

import json
import shutil
from pathlib import Path

import pytest

from forehand import Episode
from forehand.evaluation.results import EpisodeResult, Evaluation, ResultsFile, trial_plan
from forehand.learning.checkpoint import PROVENANCE
from forehand_apps.commands.compare import NOT_STATED, arm_and_seed, training_seed

from .browser import PROGRAM, Browser
from .test_pages import Page


def write(folder, successes):
    trials = [(Episode("lift", "lift it", seed, 10),) for seed in range(len(successes))]
    results = [EpisodeResult(i, "lift", "lift it", "lift it", i, bool(s), 5, 1.0) for i, s in enumerate(successes)]
    plan = trial_plan(trials, lambda episode: episode.instruction)
    ResultsFile(folder, plan, {"seed": 3, "policy": {"name": folder.name}}).write(Evaluation(tuple(results)), {})


def test_arms_are_compared_and_what_is_not_finished_is_refused(forehand, tmp_path):
    for seed in range(6):
        write(tmp_path / f"bc/{seed}", [0, 0, 1, 0] * 5)
        write(tmp_path / f"seer/{seed}", [1, 1, 1, 0] * 5)
    runs = [f"{arm}/{seed}" for arm in ("bc", "seer") for seed in range(6)]
    done = forehand("compare", *runs, "output=found.json", "page=found.html")
    assert done.returncode == 0, done.stderr
    page = Page((tmp_path / "found.html").read_text())
    assert [page.elements.count("svg"), page.elements.count("rect"), "10 scenes flip" in page.text] == [1, 6, True]
    if PROGRAM is not None:
        browser = Browser(tmp_path / "browser", width=390)
        browser.open(tmp_path / "found.html")
        width, complaints = browser.evaluate("document.documentElement.scrollWidth"), browser.complaints
        browser.close()
        assert [width, complaints] == [390, []]
    said = "The difference is larger than chance explains. 10 scenes flip: 60 times for seer, 0 times for bc."
    assert said in done.stdout
    found = json.loads((tmp_path / "found.json").read_text())
    assert [arm["mean"] for arm in found["arms"]] == [0.25, 0.75]
    short = json.loads((tmp_path / "bc/0/results.json").read_text())
    (tmp_path / "bc/0/results.json").write_text(json.dumps(short | {"episodes": short["episodes"][:2]}))
    refused = forehand("compare", *runs)
    assert [refused.returncode, "trials [2, 3, 4" in refused.stderr] == [2, True]


def test_the_checkpoint_says_the_training_seed_where_it_is_at_hand(tmp_path):
    write(tmp_path / "bc_3", [1, 0])
    checkpoint = tmp_path / "run/checkpoints/step_0000005"
    checkpoint.mkdir(parents=True)
    (checkpoint / PROVENANCE).write_text(json.dumps({"seed": 7}))
    results = tmp_path / "bc_3/results.json"
    record = json.loads(results.read_text())
    for place, seed in ((checkpoint, 7), (tmp_path / "run", 7), (tmp_path / "moved", 3), (None, 3)):
        results.write_text(json.dumps(record | {"setup": {"policy": {"checkpoint": place and str(place)}}}))
        assert training_seed(tmp_path / "bc_3", 3) == seed


@pytest.mark.slow
def test_scenes_that_flip_are_shown_with_both_films_or_the_command_that_makes_them(forehand, browser, film, tmp_path):
    write(tmp_path / "bc", [0, 1, 0])
    write(tmp_path / "seer", [1, 1, 1])
    done = forehand("compare", "bc", "seer", "page=found.html")
    assert done.returncode == 0, done.stderr
    said = Page((tmp_path / "found.html").read_text()).text
    assert all(f"forehand eval replay={arm} 'trials=[0,2]' output={arm}/replay" in said for arm in ("bc", "seer"))

    for arm, successes in (("bc", [0, 1, 0]), ("seer", [1, 1, 1])):
        (tmp_path / arm / "replay/videos").mkdir(parents=True)
        shutil.copy(film, tmp_path / arm / "replay/videos/0.mp4")
        write(tmp_path / arm / "replay", successes)
        results = tmp_path / arm / "replay/results.json"
        record = json.loads(results.read_text())
        record["episodes"][0]["video"] = "videos/0.mp4"
        results.write_text(json.dumps(record))
    assert forehand("compare", "bc", "seer", "page=found.html").returncode == 0
    page = Page((tmp_path / "found.html").read_text())
    assert page.elements.count("video") == 2
    assert "forehand eval replay=bc 'trials=[2]'" in page.text
    browser.open(tmp_path / "found.html")
    assert browser.evaluate("document.documentElement.scrollWidth") == 390
    ended = browser.evaluate(
        "new Promise(done => { const films = [...document.querySelectorAll('video')]; let left = films.length;"
        " films.forEach(film => film.addEventListener('ended', () => --left || done(films.map(f => f.currentTime > 0))));"
        " document.querySelector('.flip button').click(); })"
    )
    assert ended == [True, True]
    assert browser.complaints == []


@pytest.mark.slow
def test_open_loop_errors_are_compared(forehand, slider_dataset):
    for arm in ("a", "b"):
        options = ("policy.name=random", f"output={arm}", "open_loop.shown=0")
        assert forehand("eval", f"dataset={slider_dataset}", *options).returncode == 0
    done = forehand("compare", "a", "b", "output=found.json")
    assert done.returncode == 0, done.stderr
    assert "error of position in m; 3 scenes" in done.stdout


@pytest.mark.parametrize("name", ["bc/0", "bc/seed=0", "bc/recipe.seed=0", "bc/recipe.seed-0", "bc_0", "bc-seed0"])
def test_folders_say_their_arm_and_seed(name):
    assert arm_and_seed(Path("outputs") / name) == ("bc", 0)
    assert arm_and_seed(Path("outputs/first")) == ("first", NOT_STATED)
