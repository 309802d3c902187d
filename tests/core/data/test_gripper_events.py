"""Windows that end at a change of the gripper's command, or shortly behind, come several times."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from forehand import Field
from forehand.data.dataset import Dataset
from forehand.data.gripper_events import gripper_changes
from forehand.data.whole_windows import WholeWindows
from forehand.data.windows import WindowDataset
from forehand.errors import DatasetError

LENGTHS = (7, 5, 9)  # of the small dataset's episodes; frames are numbered over all
CHANGES = {
    3,
    9,
    10,
    15,
}  # the gripper's command is another than in the frame before; 10 is followed by none in its episode
WINDOW = {"history": 2, "chunk": 1, "horizon": 1, "image_size": 8}  # T + k = 3 frames


@pytest.fixture
def data(small_dataset, monkeypatch):
    """The small dataset with a gripper in its actions, which is open where ``CHANGES`` say."""
    data = Dataset.open(small_dataset)
    numbers = data.episodes
    state, actions = 0, numbers.actions.copy()
    for frame in range(len(numbers)):
        state ^= frame in CHANGES
        actions[frame, 2] = state * 2 - 1
    source = data.sources[0]
    action = (Field("position", 2, unit="m", mode="delta"), Field("gripper", 1, gripper="open"))
    monkeypatch.setattr(source, "contract", replace(source.contract, action=action))
    return replace(data, episodes=replace(numbers, actions=actions))


def starts(dataset):
    return Counter(int(anchor) for anchor in dataset._anchors)


def test_changes_are_found_inside_episodes(data):
    assert set(np.flatnonzero(gripper_changes(data, "here"))) == CHANGES


def test_windows_that_end_at_events_are_added(data):
    whole = WholeWindows(skip_last=True)
    once = starts(WindowDataset(data, WINDOW, whole=whole))
    assert set(once.values()) == {1}
    repeated = starts(WindowDataset(data, WINDOW, whole=whole, gripper_event_repeats=10))
    expected = Counter(once)
    for change in CHANGES:
        for end in (change, change + 1, change + 2):
            if (start := end - 2) in once:
                expected[start] += 10
    assert repeated == expected
    assert repeated.total() > once.total() + 50


def test_data_without_a_gripper_are_refused(small_dataset):
    with pytest.raises(DatasetError, match="gripper_event_repeats: the contract of the data names no gripper"):
        WindowDataset(Dataset.open(small_dataset), WINDOW, gripper_event_repeats=1)
