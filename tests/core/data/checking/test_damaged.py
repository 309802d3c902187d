"""Checks of datasets on disk: each kind of damage is a finding, and what can be read is checked all the same."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from forehand.data.checking.checker import Report, check_dataset
from forehand.data.checking.findings import ERROR, NOTE, WARNING, Place
from forehand.data.checking.together import check_together
from forehand.data.features import CONTRACT_FILE, INFO_FILE, STATS_FILE
from forehand.data.lerobot.source import LeRobotSource
from forehand.data.source import WrappedSource
from forehand.data.specification import SourceSpec
from forehand.errors import ConfigurationError, DatasetError
from forehand.utils.video import Encoding, VideoWriter, decode


def check(path: Path, videos: str = "none") -> Report:
    return check_dataset(path.name, SourceSpec("lerobot", {"path": path}), videos)


def checks(report: Report) -> dict[str, str]:
    return {one.check: one.severity for one in report.findings}


@pytest.fixture
def copy(slider_dataset: Path, tmp_path: Path) -> Path:
    return shutil.copytree(slider_dataset, tmp_path / "copy")


def edit(root: Path, name: str, change) -> None:
    """Change a JSON file of a dataset, a column of its tables, or the bytes of a file."""
    path = root / name
    if path.suffix == ".json":
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))
    elif path.suffix == ".parquet":
        pq.write_table(change(pq.read_table(path)), path)
    else:
        path.write_bytes(change(path.read_bytes()))


def frames_file(root: Path) -> str:
    (path,) = (root / "data").rglob("*.parquet")
    return str(path.relative_to(root))


def video_file(root: Path, camera: str) -> Path:
    (path,) = (root / f"videos/observation.images.{camera}").rglob("*.mp4")
    return path


def with_column(table: pa.Table, name: str, values) -> pa.Table:
    place = table.column_names.index(name)
    kind = table.schema.field(name).type
    return table.set_column(place, table.schema.field(name), pa.array(values, kind))


def test_a_dataset_that_was_recorded_here_has_no_errors_and_no_warnings(slider_dataset):
    report = check(slider_dataset, "all")
    assert [one for one in report.findings if one.severity != NOTE] == []
    assert report.table is not None
    assert (report.decoded, len(report.table.numbers)) == (3, 3)
    assert {e.name for e in report.statistics} >= {e.name for e in report.table.elements}
    about = report.to_dict()
    assert (about["episodes"], about["errors"]) == (3, 0)
    assert json.loads(json.dumps(about)) == about


def test_values_that_training_refuses_are_counted_with_all_their_places(copy):
    def damage(table):
        rows = table["observation.state"].to_pylist()
        for row in (1, 4):
            rows[row] = [np.nan for _ in rows[row]]
        return with_column(table, "observation.state", rows)

    edit(copy, frames_file(copy), damage)
    report = check(copy)
    assert checks(report)["unreadable"] == ERROR
    found = [one for one in report.findings if one.check == "not_finite"]
    assert found
    assert all(one.places == (Place(0, 1), Place(0, 4)) for one in found)


def test_a_table_without_the_actions_that_are_stated(copy):
    edit(copy, frames_file(copy), lambda table: table.drop_columns(["action"]))
    found = [one for one in check(copy).findings if one.check == "unreadable"]
    assert "lack the column 'action', which meta/info.json states" in found[0].message
    edit(copy, INFO_FILE, lambda info: info["features"].pop("action"))
    found = [one for one in check(copy).findings if one.check == "unreadable"]
    assert f"lack the column 'action', which {CONTRACT_FILE} states" in found[0].message
    with pytest.raises(DatasetError, match="lack the column 'action'"):
        _ = LeRobotSource(copy).episodes


def test_rows_that_were_removed_by_hand(copy):
    edit(copy, frames_file(copy), lambda table: pa.concat_tables([table.slice(0, 3), table.slice(5)]))
    report = check(copy)
    assert {"unreadable": ERROR, "totals": WARNING, "timestamp_gaps": ERROR}.items() <= checks(report).items()
    assert report.table is not None


def test_a_table_that_was_copied_in_part(copy):
    edit(copy, frames_file(copy), lambda table: table)
    path = copy / frames_file(copy)
    path.write_bytes(path.read_bytes()[:-100])
    report = check(copy)
    assert checks(report) == {"unreadable": ERROR, "unreadable_table": ERROR}
    assert report.table is None


def test_a_video_that_is_damaged_hides_no_other(copy, slider):
    first, second = (camera.name for camera in slider.Slider().contract.cameras)
    path = video_file(copy, first)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    report = check(copy, "sample")
    found = [one for one in report.findings if one.check == "unreadable_images"]
    assert [(one.severity, one.column) for one in found] == [(ERROR, first)]
    assert checks(check(copy, "none")).get("unreadable_images") is None
    assert not [one for one in report.findings if one.column == second]


def test_a_video_without_its_end_is_found_whatever_episodes_are_looked_at(copy, slider, monkeypatch):
    monkeypatch.setattr("forehand.data.checking.checker.SAMPLED_EPISODES", 1)
    path = video_file(copy, slider.Slider().contract.cameras[0].name)
    path.write_bytes(path.read_bytes()[:-200])
    report = check(copy, "sample")
    assert checks(report)["damaged_video"] == ERROR
    assert "damaged_video" not in checks(check(copy, "none"))


def test_frames_of_a_video_that_no_episode_claims(copy, slider):
    camera = slider.Slider().contract.cameras[0].name
    column = f"videos/observation.images.{camera}/from_timestamp"

    def later(table):
        moved = np.array(table[column].to_pylist())
        moved[1:] += 2 / slider.Slider().contract.rate
        return with_column(table, column, moved.tolist())

    (episodes,) = (copy / "meta/episodes").rglob("*.parquet")
    path = video_file(copy, camera)
    pixels = [frame for _, frame in decode(path)]
    writer = VideoWriter(path, round(slider.Slider().contract.rate), *pixels[0].shape[:2], Encoding())
    for frame in [*pixels, *pixels[:4]]:
        writer.write(frame)
    writer.close()
    ends = [one.message for one in check(copy, "sample").findings if one.check == "unclaimed_frames"]
    assert ends == [f"{path.relative_to(copy)} has {len(pixels) + 4} frames, and episodes claim {len(pixels)}"]
    edit(copy, str(episodes.relative_to(copy)), later)
    found = [one for one in check(copy, "sample").findings if one.check == "unclaimed_frames"]
    assert "2 frames of" in found[0].message
    assert (found[0].severity, found[0].column, found[0].places) == (WARNING, camera, (Place(1),))


@pytest.mark.parametrize(
    ("pixels", "check_name", "words"),
    [
        (lambda number, noise: noise[number] * 0, "black_images", "are black"),
        (lambda number, noise: noise[number] * 0 + 90, "uniform_images", "are of one colour"),
        (lambda number, noise: noise[number // 2], "repeated_images", "equal the one before"),
    ],
)
def test_images_that_show_nothing_new(copy, slider, pixels, check_name, words):
    camera, total = slider.Slider().contract.cameras[0], pq.read_metadata(copy / frames_file(copy)).num_rows
    noise = np.random.default_rng(0).integers(0, 256, (total, camera.height, camera.width, 3), np.uint8)
    path = video_file(copy, camera.name)
    writer = VideoWriter(path, round(slider.Slider().contract.rate), camera.height, camera.width, Encoding())
    for number in range(total):
        writer.write(pixels(number, noise))
    writer.close()
    found = {one.check: one for one in check(copy, "all").findings}
    assert found[check_name].column == camera.name
    assert words in found[check_name].message


def test_images_of_another_size_than_the_contract_s(copy, slider):
    def widen(contract):
        contract["cameras"][0]["width"] *= 2

    edit(copy, CONTRACT_FILE, widen)
    found = checks(check(copy, "sample"))
    assert (found["contract"], found["image_size"]) == (ERROR, ERROR)


def test_cameras_with_the_same_images(copy, slider):
    first, second = (camera.name for camera in slider.Slider().contract.cameras)
    shutil.copyfile(video_file(copy, first), video_file(copy, second))
    assert checks(check(copy, "sample"))["same_cameras"] == WARNING


def test_a_contract_that_is_about_other_cameras(copy):
    def rename(contract):
        contract["cameras"][0]["name"] = "elsewhere"
        contract["rate"] = 7.0

    edit(copy, CONTRACT_FILE, rename)
    found = [one.message for one in check(copy, "sample").findings if one.check == "contract"]
    assert any("a camera 'elsewhere'" in message for message in found)
    assert any("7 frames a second by the contract" in message for message in found)


def test_stored_statistics_are_compared_with_the_values(copy):
    def change(stats):
        stats["action"]["mean"][0] += 1
        stats["observation.state"]["count"] = [7]

    edit(copy, STATS_FILE, change)
    found = [one for one in check(copy).findings if one.check == "wrong_statistics"]
    assert [one.severity for one in found] == [WARNING, WARNING]
    assert any("mean is stored as" in one.message for one in found)
    assert any("of 7 frames" in one.message for one in found)
    (copy / STATS_FILE).write_text("{")
    assert checks(check(copy))["unreadable_statistics"] == WARNING
    (copy / STATS_FILE).write_text("{}")
    assert checks(check(copy))["no_statistics"] == WARNING
    (copy / STATS_FILE).unlink()
    assert checks(check(copy))["no_statistics"] == NOTE


def test_totals_that_are_wrong(copy):
    edit(copy, INFO_FILE, lambda info: info.update(total_episodes=9))
    assert checks(check(copy))["totals"] == WARNING


@pytest.mark.parametrize("content", ["{", "[]", '{"features": {}}', None])
def test_what_is_no_dataset(tmp_path, content):
    root = tmp_path / "none"
    if content is not None:
        (root / "meta").mkdir(parents=True)
        (root / INFO_FILE).write_text(content)
    report = check(root)
    assert [(one.check, one.severity) for one in report.findings] == [("unreadable", ERROR)]
    assert str(root) in report.findings[0].message
    assert report.to_dict()["findings"]


def test_a_reader_that_fails_is_a_finding(slider_dataset):
    class Broken(WrappedSource):
        error: Exception = ZeroDivisionError("division by zero")

        @property
        def episodes(self):
            raise self.error

    source = Broken(LeRobotSource(slider_dataset))
    (one,) = check_dataset("broken", source).findings
    assert (one.check, one.severity) == ("unreadable", ERROR)
    assert "ZeroDivisionError: division by zero" in one.message
    source.error = DatasetError("It is gone.")
    assert check_dataset("broken", source).findings[0].message == "It is gone."
    source.error = ConfigurationError("no such option")
    with pytest.raises(ConfigurationError):
        check_dataset("broken", source)


def test_a_source_that_leaves_frames_out_is_checked_as_it_is_read(slider_dataset):
    class Half(WrappedSource):
        """Without the first episode."""

        @property
        def episodes(self):
            table = self.base.episodes
            first = int(table.end[0])
            fields = {name: getattr(table, name)[first:] for name in ("states", "actions", "episode", "instructions")}
            return type(table)(
                **fields, end=table.end[first:] - first, tasks=table.tasks, has_action=table.has_action[first:]
            )

        @property
        def frame_numbers(self):
            return np.arange(int(self.base.episodes.end[0]), len(self.base.episodes))

    source = Half(LeRobotSource(slider_dataset))
    report = check_dataset("half", source, "all")
    assert report.table is not None
    assert report.table.numbers.tolist() == [1, 2]
    assert [one for one in report.findings if one.severity != NOTE] == []
    assert report.decoded == 2


def test_several_datasets(slider_dataset, small_dataset, copy):
    reports = [check(path) for path in (slider_dataset, copy, small_dataset)]
    found = check_together(reports)
    assert [(one.check, one.severity, one.count) for one in found] == [("duplicates", WARNING, 3), ("unfit", NOTE, 0)]
    assert "3 episodes of copy are also in slider" in found[0].message
    assert check_together(reports[:1]) == []
