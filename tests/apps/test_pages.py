"""HTML pages: words of tasks, instructions and results are shown as text, whatever they hold."""

import dataclasses
import json
import time
from html.parser import HTMLParser

import psutil
import pytest

from forehand import Camera, Contract, Episode, Field, Registry, Showcase
from forehand_apps.pages import demo as demo_page
from forehand_apps.pages import gallery as gallery_page
from forehand_apps.pages.foresight import PARTS
from forehand_apps.pages.gallery import RenderedShowcase

from .browser import PROGRAM, Browser

HOSTILE = """<script>alert('&amp;')</script>"> <img src=x onerror="alert(1)">"""


class Page(HTMLParser):
    """What a browser makes of a page: its elements, its text outside scripts and styles, and all attributes."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements, self.text, self.attributes = [], "", []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.text += "" if self.elements[-1:] in (["script"], ["style"]) else data


def test_a_gallery_shows_hostile_words_as_text(film, monkeypatch):
    parts = Registry()
    parts.add("benchmark", HOSTILE, object, summary=HOSTILE)
    monkeypatch.setattr(gallery_page, "registry", lambda: parts)
    poster = film.with_suffix(".jpg")
    poster.write_bytes(b"\xff\xd8")
    contract = Contract((Camera(HOSTILE, 32, 32),), (), (Field("position", 3),), 10.0)
    trial = [Episode(HOSTILE, HOSTILE, 0, 10)]
    showcase = Showcase(HOSTILE, HOSTILE, trial, HOSTILE, (HOSTILE, HOSTILE))
    shown = [
        RenderedShowcase(showcase, [film, poster], {HOSTILE: HOSTILE}, 10, False),
        RenderedShowcase(dataclasses.replace(showcase, section="stills", video=False), 2 * [poster], {}, 0, None),
    ]
    benchmark = type("Benchmark", (), {"tasks": (HOSTILE,)})()
    page = Page(gallery_page.write_page(film.parent, HOSTILE, benchmark, contract, shown).read_text())
    assert page.elements.count("script") == 1  # its own
    assert "onerror" not in dict(page.attributes)
    assert page.text.count(HOSTILE) == 14
    assert ("alt", f"{HOSTILE}, another camera") in page.attributes


@pytest.mark.slow
def test_a_demo_shows_hostile_words_as_text(film, browser, tmp_path):
    row = {"task": HOSTILE, "successes": 1, "n": 2, "rate": 0.5, "interval": (0.1, 0.9)}
    episode = {"video": film.name, "heard": HOSTILE, "instruction": "lift", "success": True, "steps": 10}
    for evaluation in demo_page.EVALUATIONS:
        folder = tmp_path / evaluation.folder
        folder.mkdir()
        (folder / film.name).write_bytes(film.read_bytes())
        (folder / demo_page.RESULTS).write_text(json.dumps({"table": [row, row], "episodes": [episode]}))
        (tmp_path / evaluation.policy).mkdir(exist_ok=True)
        (tmp_path / evaluation.policy / demo_page.LOG).write_text('{"step": 1, "arm": 0.5}\n')
    summary = {
        "success_rate": 0.5,
        "success_interval": (0.1, 0.9),
        "untrained_success_rate": 0.0,
        "episodes": 2,
        "demonstrations": 6,
        "recipe": {"steps": 4},
        "seconds": 90.0,
        "seed": 0,
        "evaluation_seed": 1,
        "stages": {HOSTILE: 1.0},
        "machine": HOSTILE,
        "versions": {"numpy": HOSTILE},
        "commit": None,
    }
    parts = tmp_path / "evaluation" / PARTS
    parts.mkdir()
    (parts / film.name).write_bytes(film.read_bytes())
    values = {"error": {"static": [None, 0.1]}, "unchanged": {"static": [None, 0.2]}, "attention": {"state": [1.0, None]}}
    words = {"task": HOSTILE, "instruction": HOSTILE, "given": HOSTILE, "otherwise": HOSTILE}
    about = {"trial": 3, "success": False, "then": False, "steps": 2, "rate": 10.0, "frames": 2, "horizon": 1}
    films = [{"file": film.name, "rows": ["now"], "columns": [HOSTILE]}]
    (parts / "3.json").write_text(json.dumps(values | words | about | {"apart": {"static": [0.1, None]}, "films": films}))
    demo_page.write_page(tmp_path, summary)
    page = Page((tmp_path / demo_page.PAGE).read_text())
    assert page.elements.count("script") == 2  # its own, and the episode's numbers
    assert "onerror" not in dict(page.attributes)
    assert page.text.count(HOSTILE) == 9
    assert "50% of 2 held-out episodes succeed" in page.text
    assert page.elements.count("video") == 3
    assert page.elements.count("svg") == 4
    browser.open(tmp_path / demo_page.PAGE)
    assert [browser.evaluate("document.documentElement.scrollWidth"), browser.complaints] == [390, []]


@pytest.mark.slow
@pytest.mark.skipif(PROGRAM is None, reason="there is no browser")
def test_a_browser_that_is_closed_leaves_no_process(tmp_path):
    (tmp_path / "page.html").write_text("<p>still</p>")
    browser = Browser(tmp_path / "profile", width=390)
    browser.open(tmp_path / "page.html")
    browser.close()

    def left():
        return [p for p in psutil.process_iter(["cmdline"]) if str(tmp_path) in " ".join(p.info["cmdline"] or ())]

    until = time.monotonic() + 20
    while left() and time.monotonic() < until:  # what was killed ends a moment later
        time.sleep(0.02)
    assert not left()
