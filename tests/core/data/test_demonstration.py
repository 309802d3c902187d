import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from forehand import Episode
from forehand.data.demonstrations.demonstrate import Noise, Perturbation, demonstrate
from forehand.data.episode_table import EpisodeTable
from forehand.data.lerobot.episodes import read_episodes
from forehand.data.recording.commit import commit_episodes, recording_lock, require_same_contract
from forehand.data.recording.recorder import Recorder
from forehand.errors import ConfigurationError

NONE = Noise()


def load_slider() -> ModuleType:
    path = Path(__file__).parents[2] / "data/slider/slider.py"
    spec = importlib.util.spec_from_file_location("slider", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


slider = load_slider()


def shown(tmp_path: Path, episode: Episode, noise: Noise = NONE, hold_steps: int = 3) -> tuple[bool, EpisodeTable]:
    """Whether the expert succeeded, and the one episode that was recorded."""
    robot, root = slider.Slider(), tmp_path / "shown"
    with recording_lock(root):
        require_same_contract(root, robot.contract)
        recorder = Recorder(root, robot.contract)
        done = demonstrate(robot, slider.Sliding(), episode, recorder, seed=0, noise=noise, hold_steps=hold_steps)
        recorder.save(0, episode.instruction)
        commit_episodes(root)
    return done, read_episodes(root)


def test_success_is_held_for_some_steps(tmp_path: Path):
    episode = Episode("left", "slide left", 1, 40)
    done, short = shown(tmp_path / "a", episode, hold_steps=0)
    assert done
    done, long = shown(tmp_path / "b", episode, hold_steps=3)
    assert done
    assert len(long) == len(short) + 3
    np.testing.assert_array_equal(long.states[: len(short)], short.states)
    reached = np.abs(long.states - (0.2, 0.5)).max(axis=1) < 0.02
    assert reached.tolist() == [False] * len(short) + [True] * 3


def test_an_episode_that_takes_too_long_has_failed(tmp_path: Path):
    done, recorded = shown(tmp_path, Episode("left", "slide left", 1, 2))
    assert not done
    assert len(recorded) == 5


def test_noise_is_carried_out_but_not_recorded(tmp_path: Path):
    done, recorded = shown(tmp_path, Episode("right", "slide right", 3, 40), Noise(std=0.03, share=0.5))
    assert done
    way = np.array([0.8, 0.5]) - recorded.states
    np.testing.assert_allclose(recorded.actions, np.clip(way, -0.05, 0.05), atol=1e-6)  # as the expert wants it
    moved = np.diff(recorded.states, axis=0)
    pushed = np.abs(moved - recorded.actions[:-1]).max(axis=1) > 1e-4
    assert pushed.any()
    assert not pushed.all()


def test_pushes_last_and_take_their_share_of_the_time():
    perturb = Perturbation(Noise(std=0.02, share=0.3, length=5.0), slider.Slider().contract, 0)
    pushes = np.array([perturb(np.zeros(2, np.float32)) for _ in range(20000)])
    on = pushes.any(axis=1)
    assert on.mean() == pytest.approx(0.3, abs=0.02)
    starts = np.flatnonzero(np.diff(on.astype(int)) == 1)
    assert on.sum() / len(starts) == pytest.approx(5.0, abs=0.5)
    assert pushes[on].std() == pytest.approx(0.02, abs=0.002)
    steady = (pushes[1:] == pushes[:-1]).all(axis=1)
    assert steady[on[1:] & on[:-1]].all()  # one push is one vector


def test_a_push_does_not_leave_the_range_of_the_action():
    perturb = Perturbation(Noise(std=10.0, share=0.5), slider.Slider().contract, 0)
    assert max(np.abs(perturb(np.zeros(2, np.float32))).max() for _ in range(50)) == pytest.approx(0.1)


def test_noise_of_an_unknown_field_is_refused():
    with pytest.raises(ConfigurationError, match=r"noise\.field is 'wheels', but the action has position"):
        Perturbation(Noise(std=1.0, field="wheels"), slider.Slider().contract, 0)


@pytest.mark.parametrize("values", [{"std": -1.0}, {"share": 1.0}, {"length": 0.5}])
def test_impossible_noise_is_refused(values: dict[str, float]):
    with pytest.raises(ConfigurationError, match="noise"):
        Noise(**values)
