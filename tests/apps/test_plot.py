"""``forehand plot``: curves of trainings over each other."""

import json
import re

import pytest

from forehand.errors import ConfigurationError
from forehand.learning.training_log import LOG
from forehand_apps.training.curves import choose_metrics, draw, read_runs, smoothed


def write(folder, entries, end=""):
    folder.mkdir(parents=True)
    (folder / LOG).write_text("".join(json.dumps(entry) + "\n" for entry in entries) + end)


@pytest.fixture
def runs(tmp_path):
    """Two runs of a sweep, one of them judged, validated, and still being written."""
    clock = {"windows_per_second": 9.0, "time/data": 0.1, "memory/peak": 1}
    plain = [{"step": step, "loss": 1 / step, **clock} for step in (5, 10, 15)]
    judged = [{"step": step, "loss": 2 / step, **clock, "validation/loss": 3 / step} for step in (5, 10)]
    late = {"evaluation/success_rate": 0.5, "evaluation/low": 0.2, "evaluation/high": 0.8, "evaluation/n": 4}
    judged += [{"step": 10, "evaluation/step": 8, **late}, {"step": 10, "evaluation/step": 3, **late}]
    write(tmp_path / "sweep/0", plain)
    write(tmp_path / "sweep/1", judged, end='{"step": 15, "lo')
    return tmp_path


def test_metrics_have_a_panel_each_with_the_curves_of_all_runs(runs):
    both = read_runs([runs / "sweep"])
    assert [run.name for run in both] == ["0", "1"]
    metrics = choose_metrics(both, None)
    assert metrics == ["loss", "evaluation/success_rate"]
    figure = draw(both, metrics)
    loss, rate = figure.axes
    assert [line.get_xydata().tolist() for line in loss.lines if len(line.get_xdata())] == [
        [[5, 1 / 5], [10, 1 / 10], [15, 1 / 15]],
        [[5, 2 / 5], [10, 2 / 10]],
        [[5, 3 / 5], [10, 3 / 10]],
    ]
    assert loss.lines[-1].get_linestyle() == "--"
    assert rate.lines[1].get_xdata().tolist() == [3, 8]  # the steps of the checkpoints, not those of their entries
    assert [text.get_text() for text in loss.get_legend().get_texts()] == ["0", "1"]
    assert choose_metrics(both, ["time/*", "loss"]) == ["time/data", "loss"]
    assert smoothed([1, 0, 0], 0.5) == [1, 0.5, 0.25]


def test_a_page_that_needs_nothing_beside_itself_and_a_picture(in_process, runs):
    page, picture = runs / "plots/page.html", runs / "curves.png"
    done = in_process("plot", str(runs / "sweep/0"), str(runs / "sweep/1"), f"output={page}")
    assert done.returncode == 0, done.stderr
    assert re.findall(r'(?:src|href)="(?!data:)', page.read_text()) == []
    assert "0, 15 steps · 1, 10 steps" in page.read_text()
    done = in_process("plot", str(runs / "sweep"), f"output={picture}", "metrics=[loss]", "smooth=0.9")
    assert done.returncode == 0, done.stderr
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_what_cannot_be_drawn_is_named(in_process, runs):
    for words, message in (
        ([str(runs / "nothing")], "is no run of forehand train"),
        ([str(runs / "sweep"), "output=a.gif"], "output ends in .html, .png"),
        ([str(runs / "sweep"), "metrics=[lose]"], "no run has 'lose'. There are step, loss"),
        ([str(runs / "sweep"), "smooth=1"], "smooth is a number from 0 to below 1"),
    ):
        done = in_process("plot", *words)
        assert done.returncode == 2
        assert message in " ".join(done.stderr.split())
    write(runs / "broken", [{"step": 1}], end="loss\n")
    with pytest.raises(ConfigurationError, match="line 2 is no entry of a log"):
        read_runs([runs / "broken"])
