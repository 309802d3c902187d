import dataclasses
import errno
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from lerobot.configs import RGBEncoderConfig
from lerobot.datasets.aggregate import aggregate_datasets
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from tests.child_process import ChildProcess, run_child

from forehand.data.features import read_contract, read_info, to_features, write_contract
from forehand.data.lerobot.episodes import read_episodes
from forehand.data.lerobot.locate import check_dataset
from forehand.data.recording import commit as assembly
from forehand.data.recording import tables
from forehand.data.recording.commit import commit_episodes, finished_episodes, recording_lock, require_same_contract
from forehand.data.recording.recorder import Recorder, staging_folder
from forehand.errors import ConfigurationError, ContractMismatch, DatasetError, NotFinite
from forehand.utils.video import Encoding

from .recordings import CONTRACT, length, observation, record


def record_dataset(root: Path, *episodes: int, **options: Encoding) -> Path:
    with recording_lock(root):
        require_same_contract(root, CONTRACT)
        record(root, *episodes, **options)
        commit_episodes(root, "some robot")
    return root


def assert_holds(root: Path, *episodes: int) -> None:
    """LeRobot's own reader finds exactly these episodes, and they look as they did."""
    dataset = LeRobotDataset("tests/recorded", root=root)
    assert [int(n) for n in dataset.meta.episodes["length"]] == [length(e) for e in episodes]
    frame = 0
    for number, episode in enumerate(episodes):
        for step in range(length(episode)):
            item, expected = dataset[frame], observation(episode, step)
            assert item["task"] == f"task {episode % 2}"
            assert (int(item["episode_index"]), int(item["frame_index"]), int(item["index"])) == (number, step, frame)
            assert float(item["timestamp"]) == pytest.approx(step / 20)
            np.testing.assert_array_equal(item["observation.state"], expected.state)
            assert float(item["action"]) == pytest.approx(step / 10)
            for camera, pixels in expected.images.items():
                shown = item[f"observation.images.{camera}"].permute(1, 2, 0).numpy() * 255
                peak_to_noise = 10 * np.log10(255**2 / np.mean((shown - pixels) ** 2))
                assert peak_to_noise > 30, f"episode {episode}, step {step}, {camera}"
            frame += 1
    assert len(dataset) == frame


def test_lerobots_own_reader_opens_what_was_recorded(tmp_path: Path):
    root = record_dataset(tmp_path / "new", 0, 1, 2, 3)
    assert_holds(root, 0, 1, 2, 3)
    assert check_dataset(root) == root
    assert read_contract(root) == CONTRACT
    info = read_info(root)
    assert (info["robot_type"], info["total_tasks"], info["splits"]) == ("some robot", 2, {"train": "0:4"})
    assert sorted(f.name for f in root.iterdir()) == ["data", "meta", "videos"]


def test_facts_about_an_episode_can_be_asked_of_lerobot(tmp_path: Path):
    root = record_dataset(tmp_path / "new", 0, 1, 2)
    dataset = LeRobotDataset("tests/recorded", root=root, episode_filter=lambda e: e["forehand/seed"] == 101)
    assert dataset.num_episodes == 1
    assert int(dataset[0]["episode_index"]) == 1


def annotated(root: Path, episode: int, *words: dict[str, str]) -> Path:
    """Record one more episode, with words about each of its frames."""
    with recording_lock(root):
        require_same_contract(root, CONTRACT)
        recorder = Recorder(root, CONTRACT)
        for step, about in enumerate(words):
            recorder.add(observation(episode, step), np.zeros(1, np.float32), about)
        recorder.save(episode, f"task {episode % 2}")
        commit_episodes(root)
    return root


@pytest.mark.slow
def test_words_about_frames_are_columns_for_lerobot_and_do_not_disturb_us(tmp_path: Path):
    root = annotated(tmp_path / "new", 0, {"phase": "reach", "room": "A"}, {"phase": "lift", "room": "A"}, {"room": "A"})
    annotated(root, 1, {"phase": "push", "hand": "left"}, {})  # the columns are those of the first recording
    dataset = LeRobotDataset("tests/recorded", root=root, delta_timestamps={"action": [0.0, 0.05]})
    assert [dataset[i]["annotation.phase"] for i in range(5)] == ["reach", "lift", "", "push", ""]
    assert [dataset[i]["annotation.room"] for i in range(5)] == ["A", "A", "A", "", ""]
    assert set(dataset.features) - set(to_features(CONTRACT)) - set(tables.BOOKKEEPING) == {
        "annotation.phase",
        "annotation.room",
    }
    batch = next(iter(torch.utils.data.DataLoader(dataset, batch_size=2)))
    assert batch["annotation.phase"] == ["reach", "lift"]
    assert set(tables.read_stats(root)) == set(dataset.features) - {"annotation.phase", "annotation.room"}
    assert len(read_episodes(root)) == 5
    aggregate_datasets(["t/a", "t/b"], "t/both", roots=[root, root], aggr_root=tmp_path / "both")
    assert LeRobotDataset("t/both", root=tmp_path / "both")[6]["annotation.phase"] == "lift"


def test_a_dataset_without_words_is_gone_on_with_without_them(tmp_path: Path):
    root = record_dataset(tmp_path / "new", 0)
    annotated(root, 1, *[{"phase": "push"}] * length(1))
    assert not [key for key in read_info(root)["features"] if key.startswith("annotation.")]
    assert len(LeRobotDataset("tests/recorded", root=root)) == length(0) + length(1)


def test_statistics_are_exact(tmp_path: Path):
    root = record_dataset(tmp_path / "new", 0, 1)
    record_dataset(root, 2, 3, 4)  # in two goes, which have to be taken together
    stats = tables.read_stats(root)
    states = np.concatenate([[observation(e, s).state for s in range(length(e))] for e in range(5)])
    for name, expected in {
        "mean": states.mean(axis=0),
        "std": states.std(axis=0),
        "min": states.min(axis=0),
        "max": states.max(axis=0),
        "q01": np.quantile(states, 0.01, axis=0),
        "q50": np.quantile(states, 0.5, axis=0),
        "count": [len(states)],
    }.items():
        np.testing.assert_allclose(stats["observation.state"][name], expected, rtol=1e-6)
    np.testing.assert_allclose(stats["index"]["max"], [len(states) - 1])
    pictures = np.stack([observation(e, s).images["static"] for e in range(5) for s in range(length(e))]) / 255
    for name, expected in {
        "mean": pictures.mean(axis=(0, 1, 2)),
        "std": pictures.std(axis=(0, 1, 2)),
        "min": pictures.min(axis=(0, 1, 2)),
        "max": pictures.max(axis=(0, 1, 2)),
    }.items():
        values = np.array(stats["observation.images.static"][name])
        assert values.shape == (3, 1, 1)
        np.testing.assert_allclose(values.ravel(), expected, atol=0.02)


def test_recording_goes_on_where_it_stopped(tmp_path: Path):
    root = record_dataset(tmp_path / "new", 0, 1)
    before = {f: f.read_bytes() for folder in ("data", "videos") for f in (root / folder).glob("**/file-*")}
    record_dataset(root, 2, 3)
    assert_holds(root, 0, 1, 2, 3)
    assert {f: f.read_bytes() for f in before} == before  # what was there was not rewritten


def test_episodes_behind_a_missing_one_wait_for_it(tmp_path: Path):
    root = tmp_path / "new"
    record_dataset(root, 3, 0, 1)
    assert_holds(root, 0, 1)
    assert finished_episodes(root) == {0, 1, 3}
    record_dataset(root, 2)
    assert_holds(root, 0, 1, 2, 3)
    assert not staging_folder(root).exists()


def test_differently_encoded_videos_are_not_joined(tmp_path: Path):
    root = tmp_path / "new"
    with recording_lock(root):
        require_same_contract(root, CONTRACT)
        record(root, 0, 1)
        record(root, 2, encoding=Encoding("mpeg4", crf=1, preset=None))
        record(root, 3)
        commit_episodes(root)
    assert len(list((root / "videos/observation.images.static").rglob("*.mp4"))) == 3
    assert [e["length"] for e in LeRobotDataset("tests/recorded", root=root).meta.episodes] == [6, 7, 8, 6]
    assert LeRobotDataset("tests/recorded", root=root)[20]["task"] == "task 0"


def test_an_encoder_that_does_not_exist_is_named():
    with pytest.raises(ConfigurationError, match=r"no codec 'h999'. Use video\.codec=h264"):
        Encoding("h999")


@pytest.mark.slow
def test_lerobot_can_append_to_what_was_recorded_and_we_to_that(tmp_path: Path):
    root = record_dataset(tmp_path / "new", 0, 1)
    theirs = LeRobotDataset.resume("tests/recorded", root=root, rgb_encoder=RGBEncoderConfig(vcodec="h264"))
    append_with_lerobot(theirs, 2)
    assert_holds(root, 0, 1, 2)
    record_dataset(root, 3)
    assert_holds(root, 0, 1, 2, 3)


def test_we_can_append_to_what_lerobot_recorded(tmp_path: Path):
    root = tmp_path / "theirs"
    encoder = RGBEncoderConfig(vcodec="h264")
    append_with_lerobot(LeRobotDataset.create("t/t", 20, to_features(CONTRACT), root=root, rgb_encoder=encoder), 0, 1)
    write_contract(root, CONTRACT)
    record_dataset(root, 2, 3)
    assert_holds(root, 0, 1, 2, 3)


def test_lerobot_can_merge_what_was_recorded(tmp_path: Path):
    ours = [record_dataset(tmp_path / name, *episodes) for name, episodes in (("a", (0, 1)), ("b", (0,)))]
    aggregate_datasets(["t/a", "t/b"], "t/both", roots=ours, aggr_root=tmp_path / "both")
    assert_holds(tmp_path / "both", 0, 1, 0)


def append_with_lerobot(dataset: LeRobotDataset, *episodes: int) -> None:
    for episode in episodes:
        for step in range(length(episode)):
            seen = observation(episode, step)
            images = {f"observation.images.{name}": np.ascontiguousarray(image) for name, image in seen.images.items()}
            action = np.array([step / 10], np.float32)
            dataset.add_frame(
                {**images, "observation.state": seen.state, "action": action, "task": f"task {episode % 2}"}
            )
        dataset.save_episode(parallel_encoding=False)
    dataset.finalize()


# ---- being killed -----------------------------------------------------------------------------------------------------

KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from recordings import CONTRACT, record
from forehand.data.recording.commit import commit_episodes, recording_lock, require_same_contract
root = Path({root!r})
with recording_lock(root):
    require_same_contract(root, CONTRACT)
    for episode in range({episodes}):
        record(root, episode)
        print(episode, flush=True)
    import os, signal
    real, calls = os.replace, iter(range(100))
    os.replace = lambda *files: real(*files) if next(calls) < 3 else os.kill(os.getpid(), signal.SIGKILL)
    commit_episodes(root)
"""


@pytest.mark.slow
def test_a_killed_recorder_loses_no_finished_episode(tmp_path: Path):
    root = tmp_path / "new"
    script = KILLED.format(tests=str(Path(__file__).parent), root=str(root), episodes=10000)
    killed = ChildProcess([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert killed.stdout is not None
    for _ in range(4):
        killed.stdout.readline()
    time.sleep(0.005)  # somewhere in the next episode
    killed.kill()
    told = 4 + len(killed.communicate()[0].split())

    with pytest.raises(DatasetError, match=r"was interrupted .* Nothing is lost: run the same forehand command"):
        check_dataset(root)
    with recording_lock(root):
        assert not list(staging_folder(root).glob("unfinished-*"))
        kept = finished_episodes(root)
        assert set(range(told)) <= kept <= set(range(told + 1))
        require_same_contract(root, CONTRACT)
        record(root, len(kept))
        commit_episodes(root)
    assert_holds(root, *range(len(kept) + 1))


@pytest.mark.slow
def test_a_recorder_killed_while_putting_together_loses_no_episode(tmp_path: Path):
    root = tmp_path / "new"
    script = KILLED.format(tests=str(Path(__file__).parent), root=str(root), episodes=3)
    killed = run_child([sys.executable, "-c", script])
    assert killed.returncode == -signal.SIGKILL
    with pytest.raises(DatasetError, match=r"was interrupted .* Nothing is lost"):
        check_dataset(root)
    with recording_lock(root):
        pass  # all that it takes
    assert_holds(root, 0, 1, 2)


class Killed(BaseException):
    """Stands for SIGKILL at a place of our choice."""


@pytest.mark.slow
@pytest.mark.parametrize("published", [0, 2])
def test_being_killed_anywhere_while_putting_together_loses_nothing(
    tmp_path: Path, published: int, monkeypatch: pytest.MonkeyPatch
):
    """Every change of the file system in turn is the last one that still happened."""
    for last in range(1, 100):
        root = tmp_path / f"killed-after-{last}"
        if published:
            record_dataset(root, *range(published))
        changes = 0

        def dying(real):  # type: ignore[no-untyped-def]
            def change(*arguments, **options):  # type: ignore[no-untyped-def]
                nonlocal changes
                if changes == last:  # noqa: B023
                    raise Killed
                changes += 1
                return real(*arguments, **options)

            return change

        with recording_lock(root):
            require_same_contract(root, CONTRACT)
            record(root, *range(published, published + 3))
            with monkeypatch.context() as patch:
                for owner, name in ((assembly.os, "replace"), (assembly.shutil, "rmtree"), (Path, "rename")):
                    patch.setattr(owner, name, dying(getattr(owner, name)))
                for name in ("write_frames", "write_json", "write_episode_rows"):
                    patch.setattr(tables, name, dying(getattr(tables, name)))
                try:
                    commit_episodes(root)
                except Killed:
                    survived = False
                else:
                    survived = True
        with recording_lock(root):
            require_same_contract(root, CONTRACT)
            assert finished_episodes(root) == set(range(published + 3))
            commit_episodes(root)
        assert_holds(root, *range(published + 3))
        assert not staging_folder(root).exists()
        if survived:
            assert last > 10
            return
    raise AssertionError("putting together never came to its end")


# ---- refusals ---------------------------------------------------------------------------------------------------------


def test_only_one_process_records_at_a_place(tmp_path: Path):
    with (
        recording_lock(tmp_path / "new"),
        pytest.raises(DatasetError, match="Another process is recording"),
        recording_lock(tmp_path / "new"),
    ):
        pass


def test_a_folder_with_other_things_is_left_alone(tmp_path: Path):
    (tmp_path / "thesis.tex").write_text("…")
    with pytest.raises(DatasetError, match="holds other files and no dataset"), recording_lock(tmp_path):
        pass
    assert [f.name for f in tmp_path.iterdir()] == ["thesis.tex"]


def test_nothing_recorded_leaves_nothing_behind(tmp_path: Path):
    with recording_lock(tmp_path / "new"):
        require_same_contract(tmp_path / "new", CONTRACT)
        assert commit_episodes(tmp_path / "new") == 0
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("put_together", [True, False])
def test_another_contract_cannot_go_on(tmp_path: Path, put_together: bool):
    root = tmp_path / "new"
    with recording_lock(root):
        require_same_contract(root, CONTRACT)
        record(root, 0)
        if put_together:
            commit_episodes(root)
    with pytest.raises(ContractMismatch, match=r"control rate \(Hz\): needed 20\.0, offered 10\.0"), recording_lock(root):
        require_same_contract(root, dataclasses.replace(CONTRACT, rate=10.0))
    assert finished_episodes(root) == {0}


def test_a_dataset_with_other_features_cannot_be_gone_on_with(tmp_path: Path):
    root = tmp_path / "theirs"
    features = to_features(CONTRACT) | {"next.reward": {"dtype": "float32", "shape": (1,), "names": None}}
    dataset = LeRobotDataset.create("t/t", 20, features, root=root)
    seen = observation(0, 0)
    images = {f"observation.images.{name}": np.ascontiguousarray(image) for name, image in seen.images.items()}
    one = np.ones(1, np.float32)
    dataset.add_frame({**images, "observation.state": seen.state, "action": one, "next.reward": one, "task": "task 0"})
    dataset.save_episode(parallel_encoding=False)
    dataset.finalize()
    write_contract(root, CONTRACT)
    with pytest.raises(DatasetError, match=r"has next\.reward \(float32\)"), recording_lock(root):
        require_same_contract(root, CONTRACT)


def test_what_does_not_fit_the_contract_is_not_recorded(tmp_path: Path):
    recorder = Recorder(tmp_path / "new", CONTRACT)
    good, action = observation(0, 0), np.zeros(1, np.float32)
    small = dataclasses.replace(good, images={**good.images, "wrist": good.images["wrist"][:16]})
    with pytest.raises(ContractMismatch, match=r"'wrist' is to give uint8 \(32, 32, 3\) .* gave uint8 \(16, 32, 3\)"):
        recorder.add(small, action)
    with pytest.raises(ContractMismatch, match="'static', but the observation does not"):
        recorder.add(dataclasses.replace(good, images={"wrist": good.images["wrist"]}), action)
    with pytest.raises(ContractMismatch, match=r"action has 1 elements by the contract, but shape \(2,\)"):
        recorder.add(good, np.zeros(2, np.float32))
    with pytest.raises(NotFinite, match=r"The action to be recorded is not finite: element 0 of '\w+' is nan"):
        recorder.add(good, np.array([np.nan], np.float32))
    with pytest.raises(NotFinite, match=r"The state to be recorded is not finite: element 1 of '\w+' is inf"):
        recorder.add(dataclasses.replace(good, state=np.array([0, np.inf, 0, 0], np.float32)), action)
    assert len(recorder) == 0


@pytest.mark.parametrize("name", ["", "..", "../../elsewhere", "/tmp/static", "a\\b"])
def test_cameras_that_are_no_names_of_files_are_refused(tmp_path: Path, name: str):
    contract = dataclasses.replace(CONTRACT, cameras=(dataclasses.replace(CONTRACT.cameras[0], name=name),))
    with pytest.raises(DatasetError, match=re.escape(f"cannot be named {name!r}")):
        Recorder(tmp_path / "new", contract)


def test_a_discarded_episode_never_was(tmp_path: Path):
    root = tmp_path / "new"
    recorder = Recorder(root, CONTRACT)
    recorder.add(observation(0, 0), np.zeros(1, np.float32))
    recorder.discard()
    recorder.discard()
    with pytest.raises(DatasetError, match="Episode 0 has no frames"):
        recorder.save(0, "task")
    assert finished_episodes(root) == set()
    assert list(staging_folder(root).iterdir()) == []


def test_an_episode_is_not_recorded_twice(tmp_path: Path):
    record(tmp_path / "new", 0)
    with pytest.raises(DatasetError, match="Episode 0 was recorded before"):
        record(tmp_path / "new", 0)


def test_rates_that_the_format_cannot_express_are_refused(tmp_path: Path):
    with pytest.raises(DatasetError, match=r"a whole number of frames a second, not 12\.5 Hz"):
        Recorder(tmp_path, dataclasses.replace(CONTRACT, rate=12.5))


@pytest.mark.slow
def test_recording_needs_neither_torch_nor_lerobot(tmp_path: Path):
    blocked = "import sys; sys.modules.update(dict.fromkeys(['torch', 'lerobot', 'datasets', 'pandas']))"
    modules = ("demonstrations.parallel", "recording.commit", "lerobot.locate")
    wanted = f"import {', '.join(f'forehand.data.{name}' for name in modules)}, forehand_apps.commands.record"
    run_child([sys.executable, "-c", f"{blocked}; {wanted}"], check=True)


def test_our_own_reader_reads_vectors_of_one_element(tmp_path: Path):
    episodes = read_episodes(record_dataset(tmp_path / "new", 0, 1))
    assert episodes.actions.shape == (13, 1)
    assert episodes.end.tolist() == [6] * 6 + [13] * 7
    assert episodes.tasks == ("task 0", "task 1")


@pytest.mark.parametrize("fails", ["forehand.utils.video.VideoWriter.write", "forehand.data.recording.recorder.np.savez"])
def test_a_full_disk_costs_the_running_episode_alone(tmp_path, monkeypatch, fails):
    recorder = Recorder(tmp_path / "data", CONTRACT)

    def record_one(episode):
        for step in range(length(episode)):
            recorder.add(observation(episode, step), np.zeros(1, np.float32))
        recorder.save(episode, "push")

    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with recording_lock(recorder.root):
        require_same_contract(recorder.root, CONTRACT)
        record_one(0)
        with monkeypatch.context() as patch:
            patch.setattr(fails, full)
            with pytest.raises(DatasetError, match=r"No space left.*saved are kept"):
                record_one(1)
        assert len(list(staging_folder(recorder.root).glob("episode*"))) == 1
        record_one(1)
        assert commit_episodes(recorder.root) == 2
