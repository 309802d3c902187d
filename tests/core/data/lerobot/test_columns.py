"""Columns of LeRobotDatasets by name, in every format."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from forehand.data.dataset import Dataset
from forehand.data.lerobot.source import LeRobotSource
from forehand.errors import DatasetError


def test_the_columns_of_format_2_1_equal_what_lerobot_converts_them_to(v21: Path, twin: Path):
    old, new = LeRobotSource(v21), LeRobotSource(twin)
    assert set(old.columns) == set(new.columns)
    for name, column in new.columns.items():
        assert old.columns[name] == column
        assert np.array_equal(old.column(name), new.column(name))
    options = {"state": ["observation.state[1:3]", "timestamp"], "episodes": [2], "where": {"length": {"above": 7}}}
    chosen = [Dataset.open({"path": path, **options}).episodes for path in (v21, twin)]
    assert np.array_equal(chosen[0].states, chosen[1].states)
    assert chosen[0].states.shape == (9, 3)
    assert chosen[0].tasks == chosen[1].tasks == ("lift the red block",)


def test_what_is_said_about_episodes_in_lines_is_a_column(v21: Path, tmp_path: Path):
    root = Path(shutil.copytree(v21, tmp_path / "judged"))
    file = root / "meta/episodes.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    for number, line in enumerate(lines):
        line |= {"success": number != 1, "operator": "abc"[number]}
    file.write_text("".join(json.dumps(line) + "\n" for line in reversed(lines)))  # in any order
    source = LeRobotSource(root)
    assert source.column("success")[:, 0].tolist() == [True, False, True]
    numbers, texts = source.words("operator")
    assert [texts[number] for number in numbers] == ["a", "b", "c"]
    found = Dataset.open({"path": root, "where": {"success": True, "operator": {"not": "a"}}}).episodes
    assert sorted(set(found.states[:, 0])) == list(range(12, 21))
    with pytest.raises(DatasetError, match=r"'success' .* holds numbers, and words are needed"):
        source.words("success")
