"""Tables that were changed by hand, copied in part or written by others: read rightly, or refused by file and row."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from forehand.data.dataset import Dataset
from forehand.data.features import ACTION_KEY, STATE_KEY, read_contract, read_info
from forehand.data.lerobot.episodes import read_episodes
from forehand.data.recording.commit import commit_episodes, recording_lock, require_same_contract
from forehand.data.recording.recorder import Recorder
from forehand.data.windows import WindowDataset
from forehand.errors import DatasetError
from forehand.robot import Observation

DATA = "data/chunk-000/file-000.parquet"
EPISODES = "meta/episodes/chunk-000/file-000.parquet"
TASKS = "meta/tasks.parquet"

Edit = Callable[[pa.Table], pa.Table]


@pytest.fixture
def copy(small_dataset: Path, tmp_path: Path) -> Path:
    """Episodes of 7, 5 and 9 frames (see conftest), to be spoilt."""
    return Path(shutil.copytree(small_dataset, tmp_path / "copy"))


def edit(root: Path, name: str, change: Edit) -> None:
    pq.write_table(change(pq.read_table(root / name)), root / name)


def set_info(root: Path, change: Callable[[dict[str, Any]], None]) -> None:
    info = read_info(root)
    change(info)
    (root / "meta/info.json").write_text(json.dumps(info))


def replaced(column: str, values: Callable[[np.ndarray], Any]) -> Edit:
    def change(table: pa.Table) -> pa.Table:
        old = table.schema.field(column)
        new = pa.array(values(table[column].to_numpy()).tolist(), type=old.type)
        return table.set_column(table.column_names.index(column), old, new)

    return change


def renumbered(column: str, row: int, value: Any) -> Edit:
    def values(old: np.ndarray) -> np.ndarray:
        new = old.copy()
        new[row] = value
        return new

    return replaced(column, values)


def without(*rows: int) -> Edit:
    return lambda table: table.take([i for i in range(len(table)) if i not in rows])


# ---- rows ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (DATA, without(3, 4, 5), rf"row 3 of {DATA} has index 6 where 3 is due"),
        (DATA, without(18, 19, 20), rf"18 rows, the last in {DATA}, for 21 total_frames"),
        (DATA, renumbered("index", 9, 8), rf"row 9 of {DATA} has index 8 where 9 is due"),
        (DATA, renumbered("frame_index", 9, 3), rf"row 9 of {DATA} has frame_index 3 where 2 is due"),
        (DATA, renumbered("episode_index", 9, 0), rf"not stored in order: row 9 of {DATA} goes back"),
        (DATA, lambda t: t.drop_columns("frame_index"), rf"{DATA} lacks the columns \['frame_index'\]"),
        (EPISODES, renumbered("length", 1, 6), rf"row 1 of {EPISODES} has length 6 for episode 1, whose rows make it 5"),
        (EPISODES, renumbered("dataset_from_index", 2, 11), r"row 2 of .* has dataset_from_index 11 for episode 2"),
        (EPISODES, without(1), r"meta/episodes lacks episode 1, which has rows"),
        (EPISODES, renumbered("episode_index", 2, 1), r"row 2 of .* is about episode 1, which has no rows or two"),
    ],
)
def test_rows_that_do_not_follow_are_refused_by_file_and_row(copy: Path, name: str, change: Edit, message: str):
    edit(copy, name, change)
    with pytest.raises(DatasetError, match=message):
        WindowDataset(Dataset.open(copy), history=1, chunk=1, horizon=None, image_size=8)


def test_rows_are_counted_in_their_own_file(copy: Path):
    table = pq.read_table(copy / DATA)
    pq.write_table(table.slice(0, 12), copy / DATA)
    second = copy / "data/chunk-000/file-001.parquet"
    pq.write_table(table.slice(12), second)
    assert len(read_episodes(copy)) == 21
    pq.write_table(without(2)(table.slice(12)), second)
    with pytest.raises(DatasetError, match=r"row 2 of data/chunk-000/file-001\.parquet has index 15 where 14 is due"):
        read_episodes(copy)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (lambda t: t * 1.2, r"from row 3 of .* on .*the timestamps drift: frames are 60\.00 ms apart, where 50\.00 ms"),
        (lambda t: t + 0.3, r"from row 0 of .* the first frame comes at 0\.300 s instead of 0 s"),
        (
            lambda t: np.where(t > 0.17, t + 0.05, t),
            r"from row 4 of .* 0\.100 s pass before the next frame, where",
        ),
    ],
)
def test_timestamps_that_belong_to_other_frames_say_how(copy: Path, values: Any, message: str):
    edit(copy, DATA, replaced("timestamp", values))
    with pytest.raises(DatasetError, match=message) as error:
        read_episodes(copy)
    assert "etch" not in str(error.value)


def test_timestamps_that_are_hardly_off_are_taken(copy: Path):
    edit(copy, DATA, replaced("timestamp", lambda t: t + 0.01))
    assert len(read_episodes(copy)) == 21


# ---- sentences -----------------------------------------------------------------------------------------------------


def spoken(root: Path) -> list[str]:
    episodes = read_episodes(root)
    return [episodes.tasks[i] for i in episodes.instructions[[0, 7, 12]]]


LIFT, PUSH = "lift the red block", "push the blue block"


@pytest.mark.parametrize("numbers", [(1, 2), (7, 3)])
def test_sentences_are_found_by_their_number(copy: Path, numbers: tuple[int, int]):
    assert spoken(copy) == [LIFT, PUSH, LIFT]
    edit(copy, TASKS, replaced("task_index", lambda old: np.array(numbers)[old]))
    edit(copy, DATA, replaced("task_index", lambda old: np.array(numbers)[old]))
    assert spoken(copy) == [LIFT, PUSH, LIFT]


@pytest.mark.parametrize("number", [-1, 2, 99])
def test_a_number_without_a_sentence_is_refused_by_row(copy: Path, number: int):
    edit(copy, DATA, renumbered("task_index", 8, number))
    with pytest.raises(DatasetError, match=rf"row 8 of {DATA} .* has the task_index {number}, .* It has 0, 1\."):
        read_episodes(copy)


def test_a_tasks_table_numbered_from_one_is_refused_where_the_rows_count_from_zero(copy: Path):
    edit(copy, TASKS, replaced("task_index", lambda old: old + 1))
    with pytest.raises(DatasetError, match=rf"row 0 of {DATA} .* has the task_index 0, .* It has 1, 2\."):
        read_episodes(copy)


def test_two_sentences_of_one_number_are_refused(copy: Path):
    edit(copy, TASKS, replaced("task_index", lambda old: old * 0))
    with pytest.raises(DatasetError, match=r"tasks\.parquet has no single sentence for the task_index 0"):
        read_episodes(copy)


def test_a_missing_table_of_tasks_is_not_silence(copy: Path):
    (copy / TASKS).unlink()
    with pytest.raises(DatasetError, match=r"has 2 tasks by meta/info\.json, but no meta/tasks\.parquet"):
        read_episodes(copy)


def test_recording_on_keeps_the_numbers_of_sentences(slider_dataset: Path, tmp_path: Path):
    root = Path(shutil.copytree(slider_dataset, tmp_path / "more"))
    before = read_episodes(root)
    for name in (TASKS, DATA):
        edit(root, name, replaced("task_index", lambda old: old + 5))
    contract = read_contract(root)
    with recording_lock(root):
        require_same_contract(root, contract)
        recorder = Recorder(root, contract)
        images = {c.name: np.zeros((c.height, c.width, 3), np.uint8) for c in contract.cameras}
        recorder.add(Observation(images, np.zeros(contract.state_size, np.float32), 0.0), np.zeros(2, np.float32))
        recorder.save(3, "wave")
        assert commit_episodes(root) == 4
    after = read_episodes(root)
    assert [after.tasks[i] for i in after.instructions] == [*(before.tasks[i] for i in before.instructions), "wave"]


# ---- numbers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("column", [STATE_KEY, ACTION_KEY])
def test_numbers_that_are_not_finite_are_refused_by_row_and_element(copy: Path, column: str, value: float):
    def change(table: pa.Table) -> pa.Table:
        rows = table[column].to_pylist()
        for row in (2, 6, 7, 8):
            rows[row][1] = value
        field = table.schema.field(column)
        return table.set_column(table.column_names.index(column), field, pa.array(rows, field.type))

    edit(copy, DATA, change)
    message = rf"'{column}' is not finite in 4 of 21 rows .* element 1 is {value} in rows 2, 6, 7, … of {DATA}"
    with pytest.raises(DatasetError, match=message):
        read_episodes(copy)


def test_numbers_too_large_for_float32_are_not_finite(copy: Path):
    wide = pa.list_(pa.float64(), 3)
    edit(
        copy,
        DATA,
        lambda t: t.set_column(t.column_names.index(ACTION_KEY), ACTION_KEY, pa.array([[0, 0, 1e39]] * 21, wide)),
    )
    with pytest.raises(DatasetError, match="'action' is not finite in 21 of 21 rows"):
        read_episodes(copy)


@pytest.mark.parametrize(
    ("rows", "kind", "message"),
    [
        ([[0.0, 1.0, 2.0]] * 20 + [None], pa.list_(pa.float32()), "1 values are missing"),
        ([[0.0, 1.0, 2.0]] * 20 + [[0.0, None, 1.0]], pa.list_(pa.float32()), "1 values are missing"),
        ([[0.0, 1.0, 2.0]] * 19 + [[0.0] * 2, [0.0] * 4], pa.list_(pa.float32()), "not of the same length"),
        ([["a", "b", "c"]] * 21, pa.list_(pa.string()), "values of type string are not numbers"),
        ([[0.0, 1.0]] * 21, pa.list_(pa.float32()), "'action' has 2 elements .* but 3 by its contract"),
    ],
)
def test_columns_that_are_no_vectors_are_refused_by_name(copy: Path, rows: list[Any], kind: pa.DataType, message: str):
    edit(copy, DATA, lambda t: t.set_column(t.column_names.index(ACTION_KEY), ACTION_KEY, pa.array(rows, kind)))
    with pytest.raises(DatasetError, match=message) as error:
        read_episodes(copy)
    assert str(copy) in str(error.value)


@pytest.mark.parametrize("size", [1, 3])
def test_truth_values_are_zero_and_one(copy: Path, size: int):
    rows = [[i % 2 == 0, True, False][:size] for i in range(21)]
    column = pa.array([row[0] for row in rows]) if size == 1 else pa.array(rows, pa.list_(pa.bool_()))
    edit(copy, DATA, lambda t: t.set_column(t.column_names.index(ACTION_KEY), ACTION_KEY, column))
    set_info(copy, lambda info: info["features"][ACTION_KEY].update(dtype="bool", shape=[size]))
    np.testing.assert_array_equal(read_episodes(copy).actions, np.array(rows, np.float32))


def test_arrays_are_laid_out_row_by_row(copy: Path):
    rows = np.arange(21 * 6).reshape(21, 2, 3).tolist()
    kind = pa.list_(pa.list_(pa.float32()))
    edit(copy, DATA, lambda t: t.set_column(t.column_names.index(ACTION_KEY), ACTION_KEY, pa.array(rows, kind)))
    set_info(copy, lambda info: info["features"][ACTION_KEY].update(shape=[2, 3]))
    assert read_contract(copy).action_size == 6
    np.testing.assert_array_equal(read_episodes(copy).actions, np.arange(21 * 6).reshape(21, 6))


# ---- files ---------------------------------------------------------------------------------------------------------


def test_a_damaged_table_is_named(copy: Path):
    content = (copy / DATA).read_bytes()
    (copy / DATA).write_bytes(content[:4] + bytes(len(content) // 2) + content[4 + len(content) // 2 :])
    with pytest.raises(DatasetError, match=rf"{DATA} cannot be read"):
        read_episodes(copy)
