"""``forehand eval dataset=…``: one page, JSON, shards, and policies that are served."""

import json
import re

import pytest

from forehand.data.dataset import Dataset
from forehand.wire import PolicyServer

from .test_pages import Page


@pytest.fixture
def judged(forehand, slider_dataset, tmp_path):
    """Runs the command on the slider's dataset; returns its process and its JSON."""

    def run(*arguments, output="judged", status=0):
        done = forehand("eval", f"dataset={slider_dataset}", f"output={output}", *arguments)
        assert done.returncode == status, done.stderr
        path = tmp_path / output / "open_loop.json"
        return done, json.loads(path.read_text()) if path.exists() else None

    return run


@pytest.mark.slow
def test_errors_are_printed_written_and_shown_beside_the_film(judged, tmp_path):
    done, found = judged("policy.name=random", "open_loop.shown=2")
    assert "no success rate" in done.stdout
    assert [found["complete"], found["kind"], len(found["episodes"])] == [True, "open_loop", 3]
    assert [one["name"] for one in found["fields"]] == ["position"]
    assert set(found["by_task"]) == {one["task"] for one in found["episodes"]}
    page = (tmp_path / "judged/open_loop.html").read_text()
    assert not re.search(r'(?:src|href)="(?!data:|#)', page), "the page needs nothing beside itself"
    assert Page(page).elements.count("video") == 2
    assert found["warning"] in Page(page).text
    _, later = judged("policy.name=random", "open_loop.shown=2")
    assert later["fields"] == found["fields"]
    _, refused = judged("policy.name=random", "open_loop.every=2", status=2)
    assert refused == later


@pytest.mark.slow
def test_a_served_policy_is_judged_as_one_here(judged, slider_dataset):
    from forehand import registry

    _, here = judged("policy.name=random", output="here")
    policy = registry().create("policy", "random", contract=Dataset.open(slider_dataset).contract)
    with PolicyServer(policy, "tcp://127.0.0.1:0").running() as server:
        _, served = judged(f"policy.address={server.address}", output="served")
    assert served["fields"] == here["fields"]
    assert "not known" in " ".join(served["notes"])


@pytest.mark.slow
def test_shards_are_merged_into_what_one_process_writes(judged, forehand, tmp_path):
    _, whole = judged("policy.name=random", output="whole")
    for shard in "12":
        judged("policy.name=random", f"shard={shard}/2", output=f"shards/{shard}")
        if shard == "1":
            short = forehand("results", "merge", "merged", "shards")
            assert [short.returncode, "1 of 3 episodes were not judged: [1]" in short.stderr] == [2, True]
    done = forehand("results", "merge", "merged", "shards")
    assert done.returncode == 0, done.stderr
    merged = json.loads((tmp_path / "merged/open_loop.json").read_text())
    parts = ("fields", "by_step", "by_task", "by_seen", "episodes", "complete")
    assert [merged[part] for part in parts] == [whole[part] for part in parts]
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "merged/episodes").iterdir()}
    judged("policy.name=random", output="merged")
    assert times == {path: path.stat().st_mtime_ns for path in (tmp_path / "merged/episodes").iterdir()}


@pytest.mark.slow
def test_what_cannot_be_judged_is_said(judged):
    done, _ = judged("policy.expert=true", status=2)
    assert "leave out replay, trials and policy.expert" in done.stderr
    done, _ = judged("policy.name=random", "shard=1/9", status=2)
    assert "only 3 episodes" in done.stderr
    done, _ = judged("policy.name=random", "open_loop.shown=[7]", status=2)
    assert "[7] are not judged here" in done.stderr


@pytest.mark.slow
def test_a_browser_shows_the_page_on_a_narrow_screen(judged, tmp_path, browser):
    judged("policy.name=random", "open_loop.shown=1")
    browser.open(tmp_path / "judged/open_loop.html")
    assert browser.evaluate("document.documentElement.scrollWidth") == 390
    moved = """(() => {
        const slider = document.querySelector('article input');
        slider.value = slider.max; slider.dispatchEvent(new Event('input'));
        return document.querySelector('.cursor').getAttribute('x1');
    })()"""
    assert browser.evaluate(moved) == "1000"
    assert browser.complaints == []
