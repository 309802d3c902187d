"""Statistics of chunks are numpy's, of all chunks taken one by one."""

import numpy as np
import pytest

from forehand.data import chunk_statistics as module
from forehand.data.chunk_statistics import chunk_statistics
from forehand.data.episode_table import EpisodeTable
from forehand.errors import DatasetError

LENGTHS, CHUNK = (6, 2, 9, 3), 3


@pytest.fixture
def episodes() -> EpisodeTable:
    """Four episodes, of which the third has no actions."""
    generator = np.random.default_rng(0)
    count, ends = sum(LENGTHS), np.cumsum(LENGTHS)
    return EpisodeTable(
        states=generator.normal(size=(count, 2)).astype(np.float32),
        actions=generator.normal(size=(count, 4)).astype(np.float32),
        episode=np.repeat(np.arange(4), LENGTHS),
        end=np.repeat(ends, LENGTHS),
        instructions=np.zeros(count, np.int64),
        tasks=("",),
        has_action=np.repeat([True, True, False, True], LENGTHS),
    )


def moved(actions: np.ndarray, states: np.ndarray) -> np.ndarray:
    return np.asarray(actions[..., :2], np.float64) - np.asarray(states, np.float64)[..., None, :]


def by_step(episodes: EpisodeTable, predicted) -> list[np.ndarray]:
    """What is predicted at each step of a chunk, frame by frame."""
    found = [[], [], []]
    for frame in range(len(episodes)):
        for step in range(CHUNK):
            if frame + step < episodes.end[frame] and episodes.has_action[frame]:
                chunk = episodes.actions[frame : frame + step + 1]
                found[step].append(chunk[-1] if predicted is None else predicted(chunk, episodes.states[frame])[-1])
    return [np.array(rows, np.float64) for rows in found]


def assert_statistics(found, rows: np.ndarray) -> None:
    expected = {"mean": rows.mean(0), "std": rows.std(0), "min": rows.min(0), "max": rows.max(0)}
    expected |= {f"q{n:02}": np.quantile(rows, n / 100, axis=0) for n in (1, 10, 50, 90, 99)}
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-6, atol=1e-6, err_msg=name)
    assert found["count"] == len(rows)


@pytest.mark.parametrize("predicted", [None, moved])
@pytest.mark.parametrize("block", [4, 1000])
def test_each_step_of_a_chunk_and_all_of_them(episodes, predicted, block, monkeypatch):
    monkeypatch.setattr(module, "BLOCK", block)
    rows = by_step(episodes, predicted)
    assert [len(its) for its in rows] == [11, 8, 5]
    assert_statistics(chunk_statistics(episodes, CHUNK, predicted), np.concatenate(rows))
    found = chunk_statistics(episodes, CHUNK, predicted, per_step=True)
    assert found["q99"].shape == (CHUNK, 4 if predicted is None else 2)
    for step, its in enumerate(rows):
        assert_statistics({name: value[step] for name, value in found.items()}, its)


def test_of_too_many_chunks_some_at_even_distances_are_taken(episodes, monkeypatch):
    monkeypatch.setattr(module, "MOST_NUMBERS", 10 * CHUNK * 4)  # of 20 frames
    assert_statistics(chunk_statistics(episodes, 1), episodes.actions[::1][episodes.has_action].astype(np.float64))
    rows = episodes.actions[::2][episodes.has_action[::2]].astype(np.float64)
    found = chunk_statistics(episodes, CHUNK, per_step=True)
    assert_statistics({name: value[0] for name, value in found.items()}, rows)


def test_a_step_that_no_episode_reaches_is_named(episodes):
    assert chunk_statistics(episodes, 8)["count"] == 11 + 8 + 5 + 3 + 2 + 1
    with pytest.raises(DatasetError, match="a chunk of 8: there are none at its step 7"):
        chunk_statistics(episodes, 8, per_step=True)
