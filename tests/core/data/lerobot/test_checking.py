"""Checks of datasets of formats 2.1 and 2.0, which state statistics elsewhere."""

import json
import shutil

import pytest

from forehand.data.checking.checker import check_dataset
from forehand.data.lerobot.source import LeRobotSource
from forehand.data.specification import SourceSpec


def findings(root, videos="none"):
    return {(one.check, one.message) for one in check_dataset("it", LeRobotSource(root), videos).findings}


@pytest.mark.parametrize("version", ["v21", "v20"])
def test_format_2_is_checked_as_format_3_is(request, version, small_dataset):
    root = request.getfixturevalue(version)
    mine, other = findings(root, "all"), findings(small_dataset, "all")
    keys = ("observation.state", "action") if version == "v20" else ()  # where the fixture states those of images alone
    assert mine == other | {("no_statistics", f"meta/stats.json has no complete statistics of {key!r}") for key in keys}


def test_damage_of_format_2_1(v21, tmp_path):
    root = shutil.copytree(v21, tmp_path / "copy")
    path = root / "meta/episodes_stats.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[1]["stats"]["action"]["mean"][0] += 100
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = check_dataset("it", LeRobotSource(root), "none").findings
    assert [one.column for one in found if one.check == "wrong_statistics"] == ["action.position.0"]
    next((root / "data").rglob("*.parquet")).write_bytes(b"PAR1")
    broken = check_dataset("it", SourceSpec("lerobot", {"path": root}), "none")
    assert {"unreadable", "unreadable_table", "totals"} <= {one.check for one in broken.findings}
