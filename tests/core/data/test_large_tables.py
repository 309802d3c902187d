"""Tables too large for memory: read column by column, and equal to those that are kept."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from forehand.data import episode_table, many_tables, reading
from forehand.data.dataset import Dataset
from forehand.data.windows import WindowDataset
from forehand.errors import DatasetError

Write = Callable[..., Path]


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything counts as large."""
    monkeypatch.setattr(reading, "_KEPT", 0)
    monkeypatch.setattr(episode_table, "_AT_ONCE", 4)


def test_they_give_the_same_table_statistics_and_windows(small_dataset: Path, request: pytest.FixtureRequest):
    kept = Dataset.open(small_dataset)
    expected = kept.statistics
    request.getfixturevalue("large")
    read = Dataset.open(small_dataset)
    for name in ("states", "actions", "episode", "end", "instructions", "has_action", "begin"):
        assert np.array_equal(getattr(read.episodes, name), getattr(kept.episodes, name)), name
    assert read.episodes.tasks == kept.episodes.tasks
    assert isinstance(read.episodes.states, np.memmap)
    assert read.episodes.end.dtype == np.int32
    for key in ("observation.state", "action"):
        for name, value in expected[key].items():
            np.testing.assert_allclose(read.statistics[key][name], value, rtol=1e-12)
            assert read.statistics[key][name].shape == value.shape
    options: dict[str, Any] = {"history": 3, "chunk": 2, "horizon": 1, "image_size": 16, "cameras": ["static"]}
    one, other = (WindowDataset(data, **options).batch([0, 6, 11, 20]) for data in (kept, read))
    for side in one:
        for key, value in one[side].items():
            assert (value == other[side][key]) if isinstance(value, list) else value.equal(other[side][key]), key


def change(root: Path, name: str, change_values: Callable[[list[Any]], list[Any]]) -> None:
    """Change a column of the only table of frames."""
    path = next((root / "data").rglob("*.parquet"))
    table = pq.read_table(path)
    column = pa.array(change_values(table[name].to_pylist()), table.schema.field(name).type)
    pq.write_table(table.set_column(table.column_names.index(name), table.schema.field(name), column), path)


@pytest.mark.parametrize(
    ("column", "changed", "message"),
    [
        ("index", lambda rows: [*rows[:4], 9, *rows[5:]], r"row 4 of data/.* has index 9 where 4 is due"),
        ("frame_index", lambda rows: [*rows[:8], 0, *rows[9:]], r"row 8 of data/.* has frame_index 0 where 1 is due"),
        ("timestamp", lambda rows: [t * 1.1 for t in rows], r"the timestamps drift"),
        ("action", lambda rows: [*rows[:3], [1, np.nan, 2], *rows[4:]], r"'action' is not finite .* in row 3 of data/"),
        ("task_index", lambda rows: [*rows[:5], 7, *rows[6:]], r"row 5 of data/.* has the task_index 7"),
    ],
)
@pytest.mark.usefixtures("large")
def test_what_is_wrong_is_named(tmp_path: Path, write: Write, column: str, changed: Any, message: str):
    root = write(tmp_path / "data")
    change(root, column, changed)
    with pytest.raises(DatasetError, match=message):
        Dataset.open(root)


LENGTHS = (3, 2, 0, 5, 4)


def small_tables(root: Path, **changed: Any) -> reading.Rows:
    """Tables of :data:`LENGTHS` rows, read as many; ``changed``: columns of the fourth, None for none."""
    (root / "data").mkdir(parents=True)
    first = 0
    for number, length in enumerate(LENGTHS):
        index = np.arange(first, first + length)
        columns: dict[str, Any] = {
            "index": index,
            "state": pa.array([[float(i), 0.5] for i in index], pa.list_(pa.float32())),
            "word": pa.array([f"word {i % 2}" for i in index], pa.string()),
        }
        if number == 3:
            columns = {name: values for name, values in (columns | changed).items() if values is not None}
        pq.write_table(pa.table(columns), root / f"data/file-{number}.parquet")
        first += length
    return reading.Rows(root, "data", ["index", "state", "word"])


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything counts as large, and two tables as many."""
    monkeypatch.setattr(reading, "_KEPT", 0)
    monkeypatch.setattr(reading, "_MANY", 2)
    monkeypatch.setattr(many_tables, "_ROWS", 4)


@pytest.mark.usefixtures("many")
def test_many_small_tables_are_read_as_few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    rows = small_tables(tmp_path)
    monkeypatch.setattr(reading, "read_table", None)  # no file is opened again
    assert rows.large
    assert len(list(rows.matrices("index"))) == 3
    np.testing.assert_array_equal(rows.integers("index"), np.arange(14))
    np.testing.assert_array_equal(rows.vectors("state", 2), [[i, 0.5] for i in range(14)])
    numbers, words = rows.words("word")
    assert [words[n] for n in numbers] == [f"word {i % 2}" for i in range(14)]
    assert rows.describe_rows(5, 6) == "rows 0, 1 of data/file-3.parquet"


@pytest.mark.usefixtures("many")
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"state": pa.array([[1.0], *[[1.0, 2.0]] * 4], pa.list_(pa.float32()))}, r"file-3\.parquet cannot .*: the rows"),
        ({"state": pa.array([None, *[[1.0, 2.0]] * 4], pa.list_(pa.float32()))}, r"file-3\.parquet cannot be .* missing"),
        ({"state": pa.array([[np.nan, 1.0], *[[1.0, 2.0]] * 4], pa.list_(pa.float32()))}, r"row 0 of data/file-3\.parq"),
        ({"state": pa.array(["x"] * 5)}, r"file-3\.parquet cannot be read: values of type string"),
        ({"state": None}, r"file-3\.parquet"),
    ],
)  # fmt: skip
def test_one_of_many_small_tables_that_is_wrong_is_named(tmp_path: Path, changed: dict[str, Any], message: str):
    with pytest.raises(DatasetError, match=message):
        small_tables(tmp_path, **changed).vectors("state", 2)
