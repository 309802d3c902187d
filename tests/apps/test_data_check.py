"""``forehand data check``: bare words are paths, findings are printed and written, and errors make the exit status 1."""

import json
import shutil

import pytest

from forehand.data.features import INFO_FILE, STATS_FILE


@pytest.fixture
def copy(slider_dataset, tmp_path):
    return shutil.copytree(slider_dataset, tmp_path / "it's a copy, x=1")


def test_a_sound_dataset_passes(forehand, slider_dataset):
    done = forehand("data", "check", str(slider_dataset))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{slider_dataset}\n  3 episodes, ")
    assert "images of 3 episodes decoded" in done.stdout
    assert "0 errors, 0 warnings" in done.stdout
    assert "state.position" in done.stdout


def test_what_is_wrong_is_printed_and_written(forehand, slider_dataset, copy, tmp_path):
    (copy / STATS_FILE).unlink()
    info = copy / INFO_FILE
    info.write_text(info.read_text().replace('"total_episodes": 3', '"total_episodes": 4'))
    done = forehand("data", "check", copy.name, "json=found/check.json", "videos=none", "columns=false")
    assert done.returncode == 0, done.stderr
    assert "warning meta/info.json has total_episodes 4, and the tables have 3" in done.stdout
    assert "state.position" not in done.stdout
    found = json.loads((tmp_path / "found/check.json").read_text())
    assert (found["errors"], found["warnings"], found["datasets"][0]["frames"] > 0) == (0, 1, True)
    assert {"totals", "no_statistics"} <= {one["check"] for one in found["datasets"][0]["findings"]}
    assert forehand("data", "check", copy.name, "strict=true", "videos=none").returncode == 1


def test_a_dataset_that_is_not_there_does_not_hide_the_others(forehand, slider_dataset, copy):
    done = forehand("data", "check", "nowhere", str(slider_dataset), copy.name, "json=-", "videos=none")
    assert done.returncode == 1, done.stderr
    found = json.loads(done.stdout)
    assert [dataset["errors"] for dataset in found["datasets"]] == [1, 0, 0]
    assert [one["check"] for one in found["together"]] == ["duplicates"]
    assert "Traceback" not in done.stderr


def test_a_dataset_may_be_written_as_for_training(forehand, slider_dataset):
    done = forehand("data", "check", f"path={{name: lerobot, path: {slider_dataset}}}", "videos=none")
    assert done.returncode == 0, done.stderr
    done = forehand("data", "check", f"path={{arm: {slider_dataset}, other: {slider_dataset}}}", "videos=none")
    assert done.returncode == 0, done.stderr
    assert "3 episodes of " in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("data", "chekc", "x"), "There is no command 'data chekc'. Did you mean 'data check'"),
        (("data", "check"), "path must be given: forehand data check path=…"),
        (("data", "check", "x", "videos=some"), "videos is one of all, sample, none, not 'some'"),
        (("data", "check", "x", "vidoes=all"), "forehand data check has no option 'vidoes'"),
        (("data", "check", "path={name: lerobto, path: x}"), "lerobto"),
    ],
)
def test_mistakes_are_explained(forehand, arguments, words):
    done = forehand(*arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_actions_and_their_help(forehand):
    assert "forehand data check  examine datasets" in forehand("data").stdout
    manual = forehand("data", "check", "--help").stdout
    assert "forehand data check [key=value …]" in manual
    assert "videos: sample  # which images are decoded" in manual
