import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from huggingface_hub import DatasetCard
from hydra import compose, initialize_config_module
from omegaconf import DictConfig
from tests.child_process import ChildProcess

from forehand import registry
from forehand.data.demonstrations.parallel import RecordingFailed
from forehand.data.features import read_contract
from forehand.data.lerobot.episodes import read_episodes
from forehand.data.lerobot.locate import check_dataset
from forehand.data.recording.commit import finished_episodes
from forehand.errors import ConfigurationError, ContractMismatch
from forehand.utils.video import decode
from forehand_apps.commands.record import record

PLUGIN = Path(__file__).parents[1] / "data/slider"


@pytest.fixture(autouse=True)
def _slider(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The plugin of tests/data/slider, installed as far as Python can tell, here and in worker processes."""
    monkeypatch.syspath_prepend(str(PLUGIN))
    monkeypatch.setenv("PYTHONPATH", str(PLUGIN))
    monkeypatch.setenv("FOREHAND_PLUGINS", "slider")
    registry.cache_clear()
    yield
    registry.cache_clear()


def overrides(root: Path, *more: str) -> list[str]:
    return ["robot=slider", "benchmark=slider", f"output={root}", "episodes=6", "workers=1", *more]


def config(root: Path, *more: str) -> DictConfig:
    with initialize_config_module("forehand_apps.conf", version_base="1.3"):
        return compose("record", overrides=[f"hydra.searchpath=[file://{PLUGIN}/conf]", *overrides(root, *more)])


def content(root: Path) -> dict[str, bytes]:
    """Every file of a dataset but videos, of which an encoder promises the pictures and not the bytes."""
    return {str(f.relative_to(root)): f.read_bytes() for f in root.rglob("*") if f.is_file() and f.suffix != ".mp4"}


def pictures(root: Path) -> dict[str, np.ndarray]:
    """The frames (N, H, W, 3) of every video."""
    videos = root.rglob("*.mp4")
    return {str(f.relative_to(root)): np.array([pixels for _, pixels in decode(f)], int) for f in videos}


@pytest.mark.slow
def test_what_is_recorded_does_not_depend_on_the_number_of_workers(tmp_path: Path):
    for workers in (1, 3):
        record(config(tmp_path / str(workers) / "data", f"workers={workers}", "noise.std=0.03"))
    assert content(tmp_path / "1") == content(tmp_path / "3")
    by_one, by_three = pictures(tmp_path / "1"), pictures(tmp_path / "3")
    assert by_one.keys() == by_three.keys() != set()
    assert all(np.abs(by_one[name] - by_three[name]).mean() < 0.5 for name in by_one)
    other = tmp_path / "other"
    record(config(other, "seed=5", "noise.std=0.03"))
    assert not np.array_equal(read_episodes(other).states[:5], read_episodes(tmp_path / "1/data").states[:5])


@pytest.mark.slow
def test_every_frame_says_task_phase_and_the_options_that_the_benchmark_names(tmp_path: Path):
    root = tmp_path / "data"
    record(config(root, "episodes=3"))
    table = pq.read_table(next((root / "data").rglob("*.parquet")))
    episode = table["episode_index"].to_numpy()
    assert table["annotation.task"].to_pylist() == [("left", "right")[i % 2] for i in episode]
    assert table["annotation.floor"].to_pylist() == [str(i) for i in episode]
    phases = table["annotation.phase"].to_numpy()
    for i in range(3):
        length = (episode == i).sum()
        assert phases[episode == i].tolist() == ["slide"] * (length - 3) + ["stay"] * 3  # hold_steps=3
    rows = pq.read_table(next((root / "meta/episodes").rglob("*.parquet"))).to_pydict()
    assert (rows["forehand/task"], rows["forehand/floor"]) == (["left", "right", "left"], ["0", "1", "2"])


@pytest.mark.slow
def test_what_is_recorded_speaks_through_the_robot_s_conversions(tmp_path: Path):
    plain, converted = tmp_path / "plain", tmp_path / "converted"
    names = "camera.static:overview,state.position:mm,action.position:cm"
    record(config(plain, "episodes=2"))
    record(config(converted, "episodes=2", f"+robot.convert=[{names}]", "workers=2"))
    contract = read_contract(converted)
    assert [c.name for c in contract.cameras] == ["overview", "wrist"]
    assert [f.unit for f in (*contract.state, *contract.action)] == ["mm", "cm"]
    before, after = read_episodes(plain), read_episodes(converted)
    np.testing.assert_allclose(after.states, before.states * 1000, rtol=1e-6)
    np.testing.assert_allclose(after.actions, before.actions * 100, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_the_card_tells_what_is_there_and_how_it_came(tmp_path: Path):
    root = tmp_path / "data"
    record(config(root, "episodes=3", "license=cc-by-4.0"))
    card = (root / "README.md").read_text()
    header = yaml.safe_load(card.split("---")[1])
    assert header["license"] == "cc-by-4.0"
    assert header["tags"] == ["LeRobot", "forehand"]
    assert DatasetCard(card).data.task_categories == ["robotics"]  # as the hub reads it
    assert "forehand record episodes=3 seed=0 output=data" in card
    assert "| `static` | 32 × 32 | static |" in card
    assert "| 0–1 | `position` | m |  |  | delta | -0.1 to 0.1 |" in card
    frames = pq.read_table(next((root / "data").rglob("*.parquet")))["annotation.task"].to_pylist()
    assert f"| `left` | 2 | {frames.count('left')} |" in card
    record(config(root, "episodes=4"))
    assert "4 episodes" in (root / "README.md").read_text()
    (root / "README.md").write_text("my own words")
    record(config(root, "episodes=5"))
    assert (root / "README.md").read_text() == "my own words"


@pytest.mark.slow
def test_failed_episodes_are_replaced_and_counted(tmp_path: Path):
    root = tmp_path / "data"
    record(config(root, "seed=4"))  # the expert gives up where the seed is divisible by 4: in episodes 0 and 4
    rows = pq.read_table(next((root / "meta/episodes").rglob("*.parquet"))).to_pydict()
    seeds = rows["forehand/seed"]
    assert [seeds[i] for i in (1, 2, 3, 5)] == [5, 6, 7, 9]
    assert all(seed % 4 for seed in seeds)
    assert [bool(f) for f in rows["forehand/failures"]] == [True, False, False, False, True, False]
    assert rows["forehand/task"] == ["left", "right"] * 3  # a replacement is of the same task


@pytest.mark.slow
def test_more_episodes_go_to_the_same_dataset(tmp_path: Path):
    root = tmp_path / "data"
    record(config(root, "episodes=2"))
    record(config(root, "episodes=5"))
    whole = tmp_path / "whole"
    record(config(whole, "episodes=5"))
    assert np.array_equal(read_episodes(root).states, read_episodes(whole).states)
    before = content(root)
    record(config(root, "episodes=5"))  # nothing to do
    assert content(root) == before


@pytest.mark.slow
def test_tasks_can_be_chosen_and_weighed(tmp_path: Path):
    root = tmp_path / "data"
    record(config(root, "tasks=[left,left,right]", "episodes=3"))
    episodes = read_episodes(root)
    first = np.flatnonzero(np.diff(episodes.episode, prepend=-1))
    assert [episodes.tasks[i] for i in episodes.instructions[first]] == ["slide left", "slide left", "slide right"]


def start(root: Path, *more: str) -> ChildProcess:
    """``forehand record`` as a process of its own, in a group of its own, as a shell would start it."""
    command = [sys.executable, "-c", "import forehand_apps.main as m; m.main()", "record", *overrides(root, *more)]
    process = ChildProcess(command, stderr=subprocess.PIPE, start_new_session=True)
    process.wait_until(lambda: len(finished_episodes(root)) >= 3)
    return process


@pytest.mark.slow
def test_ctrl_c_keeps_what_is_finished_and_says_how_to_go_on(tmp_path: Path):
    root, slow = tmp_path / "data", ["episodes=400", "workers=2", "+robot.options.delay=0.02"]
    process = start(root, *slow)
    os.killpg(process.pid, signal.SIGINT)  # as the terminal does it: to everyone
    _, said = process.communicate()
    assert process.returncode == 130, said
    said = " ".join(said.split())
    kept = len(finished_episodes(root))
    assert f"{kept} of 400 episodes are in {root} and can be used as they are" in said
    assert "the same command continues from there" in said
    check_dataset(root)
    assert 3 <= kept < 400
    assert not (root / ".recording").exists()  # nothing waits, nothing was left half done

    record(config(root, f"episodes={kept + 2}"))
    whole = tmp_path / "whole"
    record(config(whole, f"episodes={kept + 2}", "workers=2"))
    assert np.array_equal(read_episodes(root).states, read_episodes(whole).states)


@pytest.mark.slow
def test_a_killed_command_loses_no_finished_episode(tmp_path: Path):
    root, slow = tmp_path / "data", ["episodes=400", "workers=2", "+robot.options.delay=0.02"]
    process = start(root, *slow)
    before = finished_episodes(root)
    process.kill()
    process.communicate()  # until its workers have ended, too: they share its pipe
    assert before <= finished_episodes(root)
    target = max(finished_episodes(root)) + 3
    record(config(root, f"episodes={target}"))
    whole = tmp_path / "whole"
    record(config(whole, f"episodes={target}"))
    assert np.array_equal(read_episodes(root).states, read_episodes(whole).states)


@pytest.mark.slow
def test_a_robot_that_breaks_is_reported_and_the_rest_is_kept(tmp_path: Path):
    root = tmp_path / "data"
    record(config(root, "episodes=2"))
    with pytest.raises(RecordingFailed, match=r"Recording stopped in episode 2: OSError: the cable came loose"):
        record(config(root, "+robot.options.broken=true"))
    assert finished_episodes(root) == {0, 1}
    check_dataset(root)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (["+benchmark.options.hopeless=true"], RecordingFailed, "the expert failed 20 times in a row at 'left'"),
        (["robot.name=slyder"], RecordingFailed, "No plugin offers a robot called 'slyder'. Did you mean 'slider'"),
        (["+robot.options.colour=red"], RecordingFailed, "options it cannot take"),
        (["noise.std=1", "noise.field=wheels"], RecordingFailed, "noise.field is 'wheels'"),
        (["episodes=0"], ConfigurationError, "episodes must be a whole number, at least 1, not 0"),
        (["video.codec=h999"], ConfigurationError, "no codec 'h999'"),
    ],
)
def test_what_cannot_be_recorded_is_explained(tmp_path: Path, changes: list[str], error: type[Exception], message: str):
    with pytest.raises(error) as raised:
        record(config(tmp_path / "data", *changes))
    assert message in str(raised.value)
    assert not (tmp_path / "data").exists()


@pytest.mark.slow
def test_episodes_that_were_never_put_together_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    root = tmp_path / "data"
    with monkeypatch.context() as patch:
        # Killed between the last episode and this.
        patch.setattr("forehand_apps.commands.record.commit_episodes", lambda *_: 0)
        record(config(root))
    record(config(root))
    assert read_episodes(check_dataset(root)).episode[-1] == 5


@pytest.mark.slow
def test_another_contract_does_not_mix(tmp_path: Path):
    root = tmp_path / "data"
    record(config(root, "episodes=2"))
    with pytest.raises(ContractMismatch, match=r"control rate \(Hz\): needed 20\.0, offered 10\.0"):
        record(config(root, "+robot.options.rate=10"))
    assert finished_episodes(root) == {0, 1}
