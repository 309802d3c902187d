"""Formats 2.1 and 2.0 are read as they are, with what LeRobot's conversion to format 3 would give."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow.parquet as pq
import pytest

from forehand.conformance import assert_dataset_conforms
from forehand.data.dataset import Dataset
from forehand.data.lerobot.episodes import read_episodes
from forehand.data.lerobot.frames import open_frames
from forehand.data.lerobot.locate import check_dataset
from forehand.data.lerobot.source import LeRobotSource
from forehand.data.recording.commit import recording_lock, require_same_contract
from forehand.data.windows import WindowDataset
from forehand.errors import DatasetError

KEYS = ("observation.state", "action", "observation.images.static", "observation.images.wrist")


def assert_equal(found: Dataset, due: Dataset) -> None:
    """Contracts, tables, statistics and windows are equal to the bit."""
    assert found.contract == due.contract
    assert found.episodes.tasks == due.episodes.tasks
    for name in ("states", "actions", "episode", "end", "instructions", "has_action"):
        values, expected = getattr(found.episodes, name), getattr(due.episodes, name)
        assert values.dtype == expected.dtype
        np.testing.assert_array_equal(values, expected, err_msg=name)
    for key in KEYS:
        assert found.statistics[key].keys() == due.statistics[key].keys()
        for name, value in found.statistics[key].items():
            np.testing.assert_array_equal(value, due.statistics[key][name], err_msg=f"{name} of {key}")
    options = {"history": 3, "chunk": 2, "horizon": 1, "image_size": (24, 32)}
    ours, theirs = WindowDataset(found, **options), WindowDataset(due, **options)
    assert len(ours) == len(theirs) == 21
    mine, other = ours.batch(range(21)), theirs.batch(range(21))
    for side in ("observation", "target"):
        assert mine[side].keys() == other[side].keys()
        for key, value in mine[side].items():
            assert np.array_equal(value, other[side][key]), key


def test_a_dataset_of_format_2_1_equals_what_lerobot_converts_it_to(v21: Path, twin: Path):
    assert json.loads((twin / "meta/info.json").read_text())["codebase_version"] == "v3.0"
    assert_equal(Dataset.open(v21), Dataset.open(twin))


def test_pictures_in_the_tables_equal_what_lerobot_converts_them_to(
    small_dataset: Path, tmp_path: Path, in_v2, converted
):
    root = in_v2(tmp_path / "data", small_dataset, "v2.1", pictures="image")
    twin = converted(Path(shutil.copytree(root, tmp_path / "twin")))
    assert_equal(Dataset.open(root), Dataset.open(twin))


def test_format_2_0_states_statistics_once_for_all(v21: Path, v20: Path):
    one, other = Dataset.open(v20), Dataset.open(v21)
    assert one.fingerprint != other.fingerprint
    np.testing.assert_array_equal(one.episodes.states, other.episodes.states)
    for key in KEYS[2:]:
        for name in ("mean", "std", "min", "max", "count"):
            np.testing.assert_allclose(one.statistics[key][name], other.statistics[key][name], rtol=1e-12)


def test_formats_are_learned_from_together(v21: Path, v20: Path, twin: Path):
    windows = WindowDataset(Dataset.open([v21, twin, v20]), history=1, chunk=1)
    batch = windows.batch([5, 26, 47])["observation"]  # the same frame of each
    for key in ("images.static", "images.wrist", "state"):
        assert np.array_equal(batch[key][0], batch[key][1])
        assert np.array_equal(batch[key][0], batch[key][2])
    assert windows.episode_count == 9


@pytest.mark.parametrize("which", ["v21", "v20", "twin"])
def test_every_format_conforms(which: str, request: pytest.FixtureRequest):
    assert_dataset_conforms(lambda: LeRobotSource(request.getfixturevalue(which)))


# ---- what cannot be read -------------------------------------------------------------------------------------------


@pytest.fixture
def copy(v21: Path, tmp_path: Path) -> Path:
    """Episodes of 7, 5 and 9 frames, to be spoilt."""
    return Path(shutil.copytree(v21, tmp_path / "copy"))


EPISODES, TASKS = "meta/episodes.jsonl", "meta/tasks.jsonl"
TABLE = "data/chunk-000/episode_000001.parquet"
VIDEO = "videos/chunk-000/observation.images.static/episode_000001.mp4"


def lines(name: str, change: Callable[[list[dict[str, Any]]], list[Any]]) -> Callable[[Path], None]:
    """Changes the lines of a file."""

    def apply(root: Path) -> None:
        values = [json.loads(line) for line in (root / name).read_text().splitlines()]
        (root / name).write_text("".join(json.dumps(value) + "\n" for value in change(values)))

    return apply


def info(**changes: Any) -> Callable[[Path], None]:
    def apply(root: Path) -> None:
        path = root / "meta/info.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return apply


def rows(**columns: Any) -> Callable[[Path], None]:
    """Changes columns of an episode's table."""

    def apply(root: Path) -> None:
        table = pq.read_table(root / TABLE)
        for name, value in columns.items():
            new = table[name].to_pylist()
            new[2] = value
            table = table.set_column(
                table.column_names.index(name), name, [type(table[name].combine_chunks()).from_pandas(new)]
            )
        pq.write_table(table, root / TABLE)

    return apply


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda root: (root / TABLE).unlink(), rf"lacks {TABLE}, the table of episode 1 of {EPISODES}"),
        (
            lambda root: shutil.copy(root / TABLE, root / "data/chunk-000/episode_000007.parquet"),
            "episode_000007.parquet, and",
        ),
        (lambda root: (root / TABLE).write_bytes(b"PAR1 and no more"), rf"never finalized: {TABLE} has no footer"),
        (lambda root: (root / VIDEO).unlink(), rf"lacks {VIDEO}"),
        (lambda root: shutil.rmtree(root / "videos/chunk-000/observation.images.static"), rf"lacks {VIDEO[:-5]}0\.mp4"),
        (lambda root: shutil.rmtree(root / "videos"), r"no video of 'observation\.images\.static'"),
        (lambda root: (root / EPISODES).unlink(), rf"lacks .*{EPISODES}"),
        (lambda root: (root / TASKS).unlink(), rf"2 tasks by meta/info\.json, but no {TASKS}"),
        (lambda root: (root / EPISODES).write_text('{"episode_index": 0, "length": 7}\n{"epis'), rf"{EPISODES} .*line 2"),
        (lines(EPISODES, lambda all: [*all[:1], 3, *all[1:]]), rf"Line 2 of .*{EPISODES} is no mapping"),
        (lines(EPISODES, lambda all: [{"episode_index": 0}, *all[1:]]), rf"Line 1 of .*{EPISODES} lacks length"),
        (
            lines(EPISODES, lambda all: [all[0], all[2]]),
            rf"{EPISODES} has no episode 1: by total_episodes .* there are 3",
        ),
        (lines(EPISODES, lambda all: [*all, all[2]]), rf"{EPISODES} has episode 2 2 times"),
        (lines(EPISODES, lambda all: [*all, all[2] | {"episode_index": 4}]), rf"{EPISODES} has an episode 4"),
        (
            lines(EPISODES, lambda all: [all[0] | {"length": 6}, *all[1:]]),
            rf"row 0 of {EPISODES} has length 6 for episode 0",
        ),
        (lines(EPISODES, lambda all: [all[0] | {"length": "7"}, *all[1:]]), rf"Line 1 of .*{EPISODES} has length '7'"),
        (lines(TASKS, lambda all: [*all, all[0]]), r"no single sentence for the task_index 0"),
        (lines(TASKS, lambda all: all[:1]), rf"has the task_index 1, which {TASKS} does not have"),
        (rows(index=3), rf"row 2 of {TABLE} has index 3 where 9 is due"),
        (rows(episode_index=0), rf"row 2 of {TABLE} goes back"),
        (rows(timestamp=9.0), rf"timestamps .* from row 2 of {TABLE} on"),
        (info(chunks_size=0), "chunks_size 0"),
        (info(chunks_size=1000), "lacks data/chunk-000/episode_000002.parquet"),
        (info(data_path="data/{episode}.parquet"), "cannot be filled in"),
        (info(video_path="../{episode_index}.mp4"), "not inside its folder"),
        (info(codebase_version="v1.6"), "has format v1.6, .* convert_dataset_v1_to_v2.py"),
        (info(codebase_version="v4.0"), "has format v4.0, but this version of Forehand reads v2.0, v2.1 and v3.0"),
    ],
)
def test_what_does_not_belong_together_is_named(copy: Path, spoil: Callable[[Path], None], message: str):
    spoil(copy)
    with pytest.raises(DatasetError, match=message):
        WindowDataset(Dataset.open(copy), history=1, chunk=1)


def test_folders_of_format_1_are_recognised(tmp_path: Path):
    (tmp_path / "meta_data").mkdir()
    (tmp_path / "meta_data/info.json").write_text('{"codebase_version": "v1.6", "fps": 10}')
    with pytest.raises(DatasetError, match=r"has format v1, which cannot be read; .* convert_dataset_v1_to_v2\.py"):
        check_dataset(tmp_path)


def test_a_video_that_begins_late_or_ends_early_is_named(copy: Path):
    path, key = copy / VIDEO, "observation.images.static"
    whole = path.read_bytes()
    remux(path, lambda number: None if number == 4 else number)
    with pytest.raises(DatasetError, match=rf"1 of 21 frames .*{VIDEO} ends after 4 frames, and 5 are due"):
        open_frames(copy, key, (48, 64))
    path.write_bytes(whole)
    remux(path, lambda number: number + 2)
    with pytest.raises(DatasetError, match=rf"{VIDEO} .* frame 0 .*, the first frame comes at 0\.100 s instead of 0 s"):
        open_frames(copy, key, (48, 64))


def remux(path: Path, place: Callable[[int], int | None]) -> None:
    """Give each frame of a video another place, or none."""
    source = path.rename(path.with_suffix(".old"))
    with (
        av.open(str(source)) as container,
        av.open(str(path), "w", format="mp4") as output,
    ):
        stream = container.streams.video[0]
        copied = output.add_stream_from_template(stream)
        step = round(1 / 20 / stream.time_base)
        for number, packet in enumerate(container.demux(stream)):
            if packet.pts is not None and (where := place(number)) is not None:
                packet.pts = packet.dts = where * step
                packet.stream = copied
                output.mux(packet)
    source.unlink()


def test_statistics_that_are_not_stated_are_named(copy: Path):
    data = Dataset.open(copy)
    lines("meta/episodes_stats.jsonl", lambda all: [line | {"stats": {}} for line in all])(copy)
    with pytest.raises(
        DatasetError, match=r"image statistics of 'observation\.images\.wrist', but .*episodes_stats\.jsonl"
    ):
        data.statistics["observation.images.wrist"]


def test_a_git_lfs_pointer_is_recognised(copy: Path):
    (copy / EPISODES).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab\nsize 12345\n")
    with pytest.raises(DatasetError, match=rf"{EPISODES} is a Git LFS pointer"):
        read_episodes(copy)


def test_a_dataset_of_format_2_is_not_continued(copy: Path):
    contract = Dataset.open(copy).contract
    with recording_lock(copy), pytest.raises(DatasetError, match=r"has format v2\.1, and v3\.0 is recorded"):
        require_same_contract(copy, contract)
    assert check_dataset(copy) == copy
