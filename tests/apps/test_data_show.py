"""``forehand data show``: one page that needs nothing beside itself, of any dataset, also in a narrow window."""

import base64
import io
import json
import re
import shutil
from collections import Counter

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rerun.chunk import RrdReader

from forehand.data.checking.checker import check_dataset
from forehand.data.features import INFO_FILE
from forehand.data.lerobot.source import LeRobotSource
from forehand.errors import DatasetError
from forehand_apps.pages.dataset import choose_episodes
from forehand_apps.pages.plots import HEIGHT, MARGIN, curves, histogram

from .test_pages import HOSTILE, Page

FIRST_JUMP = 4


@pytest.fixture(scope="module")
def odd(slider_dataset, tmp_path_factory):
    """A copy with hostile words and a state that is missing once, so that something looks odd."""
    root = shutil.copytree(slider_dataset, tmp_path_factory.mktemp("odd") / "odd")
    (path,) = (root / "data").rglob("*.parquet")
    table = pq.read_table(path)
    states = table["observation.state"].to_pylist()
    states[FIRST_JUMP] = [np.nan] * len(states[FIRST_JUMP])
    place = table.column_names.index("observation.state")
    field = table.schema.field("observation.state")
    pq.write_table(table.set_column(place, field, pa.array(states, field.type)), path)
    return root


@pytest.fixture(scope="module")
def hostile(slider_dataset, tmp_path_factory):
    """A copy whose instructions are hostile."""
    root = shutil.copytree(slider_dataset, tmp_path_factory.mktemp("hostile") / "hostile")
    path = root / "meta/tasks.parquet"
    tasks = pq.read_table(path).to_pandas()
    tasks.index = [f"{HOSTILE}{i}" for i in range(len(tasks))]
    tasks.index.name = "task"
    tasks.to_parquet(path)
    return root


def show(forehand, root, *arguments):
    done = forehand("data", "show", str(root), *arguments)
    assert done.returncode == 0, done.stderr
    return done


def test_episodes_are_shown_with_videos_curves_and_statistics(forehand, slider_dataset, slider, tmp_path):
    done = show(forehand, slider_dataset, "output=pages/slider.html", "episodes=2", "image_height=24")
    assert "Look at pages/slider.html" in done.stderr
    page = (tmp_path / "pages/slider.html").read_text()
    assert not re.search(r'(?:src|href)="(?!data:|#)', page), "the page needs nothing beside itself"
    shape = Page(page)
    assert Counter(shape.elements)["article"] == 2
    cameras = slider.Slider().contract.cameras
    videos = [base64.b64decode(data) for data in re.findall('data:video/mp4;base64,([^"]+)', page)]
    assert len(videos) == 2
    with av.open(io.BytesIO(videos[0])) as video:
        frames = list(video.decode(video=0))
    data = [json.loads(text) for text in re.findall(r'<script type="application/json">(.*?)</script>', page)]
    assert (frames[0].height, frames[0].width) == (24, 24 * len(cameras))  # side by side, scaled down
    assert [len(frames), float(data[0]["rate"])] == [data[0]["frames"], slider.Slider().contract.rate]
    fields = len(slider.Slider().contract.state) + len(slider.Slider().contract.action)
    assert [len(one["plots"]) for one in data] == [fields, fields]
    states = LeRobotSource(slider_dataset).episodes.states
    assert any(data[0]["plots"][0]["values"][0][:3] == pytest.approx(states[i : i + 3, 0], abs=1e-3) for i in range(20))
    for words in ("3 episodes, ", "Statistics", "Contract", "slide"):
        assert words in shape.text


def test_chosen_episodes_are_those_that_are_named(forehand, slider_dataset, tmp_path):
    show(forehand, slider_dataset, "episodes=[2,0]", "videos=none")
    ids = dict.fromkeys(re.findall(r'<article id="([^"]+)"', (tmp_path / "outputs/dataset.html").read_text()))
    assert list(ids) == ["episode-2", "episode-0"]
    done = forehand("data", "show", str(slider_dataset), "episodes=[7]", "videos=none")
    assert done.returncode == 2
    assert "has no episode 7; it has 3, up to 2" in done.stderr


def test_odd_episodes_are_shown_first_and_draws_are_seeded(odd, slider_dataset):
    report = check_dataset("slider", LeRobotSource(slider_dataset), "none")
    assert choose_episodes(report, 9, 0) == [0, 1, 2]
    assert {tuple(choose_episodes(report, 1, seed)) for seed in range(9)} == {(0,), (1,), (2,)}
    strange = check_dataset("odd", LeRobotSource(odd), "none")
    assert {tuple(choose_episodes(strange, 1, seed)) for seed in range(9)} == {(0,)}
    with pytest.raises(DatasetError, match="has no episode 5"):
        choose_episodes(report, [5], 0)


def test_a_damaged_dataset_is_shown_as_far_as_it_can_be_read(forehand, odd, tmp_path):
    show(forehand, odd)
    shape = Page((tmp_path / "outputs/dataset.html").read_text())
    assert ("href", "#episode-0") in shape.attributes
    assert ("data-frame", str(FIRST_JUMP)) in shape.attributes
    assert "is NaN or infinite in 1 of" in shape.text
    (tmp_path / "broken/meta").mkdir(parents=True)
    (tmp_path / "broken" / INFO_FILE).write_text("{")
    show(forehand, tmp_path / "broken")
    assert "This dataset cannot be read." in Page((tmp_path / "outputs/dataset.html").read_text()).text


def test_hostile_words_are_text(forehand, hostile, tmp_path):
    show(forehand, hostile, "videos=none", "episodes=1")
    shape = Page((tmp_path / "outputs/dataset.html").read_text())
    assert Counter(shape.elements)["script"] == 2  # the page's own, and the numbers of one episode
    assert Counter(shape.elements)["img"] == 0
    assert HOSTILE in shape.text


def test_rerun_shows_the_same(forehand, slider_dataset, tmp_path):
    show(forehand, slider_dataset, "viewer=rerun", "rerun=slider.rrd", "episodes=[0,1]", "videos=none")
    steps = Counter()
    for chunk in RrdReader(tmp_path / "slider.rrd").stream():
        if "step" in chunk.timeline_names:
            steps[chunk.entity_path.lstrip("/")] += chunk.to_record_batch().num_rows
    table = LeRobotSource(slider_dataset).episodes
    total = int(np.unique(table.end)[1])
    logged = {entity: count for entity, count in steps.items() if entity.startswith(("cameras", "state", "action"))}
    assert set(logged.values()) == {total}
    assert {entity.partition("/")[0] for entity in logged} == {"cameras", "state", "action"}
    assert not [entity for entity in steps if "foreseen" in entity or "latency" in entity]
    assert steps["events"] >= 4


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("viewer=screen",), "viewer is page or rerun, not 'screen'"),
        (("another",), "One dataset is shown at a time, and 2 were given"),
        (("episodes=0",), "episodes must be"),
        (("image_height=4",), "image_height must be"),
    ],
)
def test_mistakes_are_explained(forehand, slider_dataset, arguments, words):
    done = forehand("data", "show", str(slider_dataset), *arguments)
    assert done.returncode == 2
    assert words in done.stderr


def test_curves_have_gaps_where_values_are_missing_and_points_inside_the_drawing():
    values = np.array([[0.0], [1.0], [np.nan], [2.0], [4.0]], np.float32)
    drawn = curves(values, 0.0, 4.0)
    assert drawn.lines == [["0.0,96.0 250.0,73.0", "750.0,50.0 1000.0,4.0"]]
    assert drawn.values == [[0.0, 1.0, None, 2.0, 4.0]]
    assert drawn.zero is None
    assert curves(values, -4.0, 4.0).zero == HEIGHT / 2
    flat = curves(np.zeros((3, 1), np.float32), -1e-18, 0.0)
    assert (flat.low, flat.high, flat.lines) == (-0.5, 0.5, [["0.0,50.0 500.0,50.0 1000.0,50.0"]])
    long = curves(np.zeros((5000, 2), np.float32), 0.0, 1.0)
    assert (long.stride, len(long.values[1]), MARGIN) == (3, 1667, 4)


def test_a_histogram_has_a_bar_for_each_part_with_values():
    assert histogram(np.array([0, 0, 0, 0, 1], np.float32), 4) == [(0.0, 0.25, 1.0), (0.75, 0.25, 0.5)]
    assert histogram(np.ones(3, np.float32)) == []


def test_a_browser_shows_the_page_on_a_narrow_screen(forehand, slider_dataset, tmp_path, browser):
    show(forehand, slider_dataset, "episodes=2", "videos=none")
    browser.open(tmp_path / "outputs/dataset.html")
    assert browser.evaluate("document.documentElement.scrollWidth") == 390  # nothing is cut off
    outside = """[...document.querySelectorAll('body *')].filter(one => !one.closest('.scroll, .list, svg, head'))
        .filter(one => one.getBoundingClientRect().right > 390.5).map(one => one.outerHTML.slice(0, 80))"""
    assert browser.evaluate(outside) == []
    moved = browser.evaluate(
        """(async () => {
            const article = document.querySelector('article'), slider = article.querySelector('input');
            const film = article.querySelector('video'), cursor = article.querySelector('.cursor');
            const before = [cursor.getAttribute('x1'), article.querySelector('.controls output').textContent];
            const sought = new Promise(resolve => film.addEventListener('seeked', resolve, {once: true}));
            slider.value = slider.max; slider.dispatchEvent(new Event('input'));
            await sought;
            const reads = [...article.querySelectorAll('.legend output')].map(one => one.textContent);
            return {before, cursor: cursor.getAttribute('x1'), last: Number(slider.max), time: film.currentTime,
                words: article.querySelector('.controls output').textContent, reads, width: film.videoWidth};
        })()"""
    )
    assert moved["before"][0] == "0"
    assert moved["before"][1].startswith("frame 0 of ")
    assert moved["cursor"] == "1000"
    assert moved["words"].startswith(f"frame {moved['last']} of {moved['last']}")
    assert moved["time"] == pytest.approx((moved["last"] + 0.5) / 20)
    assert moved["width"] > 0
    assert all(re.fullmatch(r"-?[\d.]+(e-?\d+)?", text) for text in moved["reads"])
    clicked = """(() => {
        const svg = document.querySelector('.plot svg'), box = svg.getBoundingClientRect();
        svg.dispatchEvent(new MouseEvent('click', {clientX: box.left + box.width / 2, clientY: box.top + 5}));
        return Number(document.querySelector('.cursor').getAttribute('x1'));
    })()"""
    assert 350 < browser.evaluate(clicked) < 650
    played = """(async () => {
        document.querySelector('article button').click();
        const slider = document.querySelector('article input');
        while (slider.value !== slider.max) await new Promise(resolve => setTimeout(resolve, 20));
        return document.querySelector('article button').textContent;
    })()"""
    assert browser.evaluate(played) == "▶"
    searched = """(() => {
        const search = document.querySelector('input[type=search]');
        search.value = '2'; search.dispatchEvent(new Event('input'));
        return [...document.querySelectorAll('#episode-list tbody tr')].filter(row => !row.hidden).length;
    })()"""
    assert browser.evaluate(searched) >= 1
    assert browser.complaints == []


def test_a_place_leads_to_its_frame(forehand, odd, tmp_path, browser):
    show(forehand, odd, "videos=none")
    browser.open(tmp_path / "outputs/dataset.html")
    followed = f"""(() => {{
        document.querySelector('a[data-frame="{FIRST_JUMP}"]').click();
        return [location.hash, document.querySelector('#episode-0 input').value];
    }})()"""
    assert browser.evaluate(followed) == ["#episode-0", str(FIRST_JUMP)]
    assert browser.complaints == []
