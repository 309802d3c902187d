"""Which episodes and frames of a dataset are used, and which sentences are said."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from forehand import Contract, Field
from forehand.data.dataset import Dataset
from forehand.data.episode_table import EpisodeTable
from forehand.data.lerobot.source import LeRobotSource
from forehand.data.selection.idle import moving_frames, used_frames
from forehand.data.selection.instructions import draw_instructions
from forehand.data.selection.options import Selection
from forehand.data.selection.sampling import FRACTION, SPLIT, stratified_order
from forehand.data.selection.selected_source import SelectedSource
from forehand.data.windows import WindowDataset
from forehand.errors import ConfigurationError, DatasetError

JOINTS = "observation.state.joint_position"
STATE = {"state": [JOINTS], "action": ["action.gripper_position"]}
INSTRUCTIONS = ["language_instruction", "language_instruction_2", "language_instruction_3"]
FIRST = (0, 5, 9, 15, 19, 22, 27, 31)
"""The first frames of the episodes of ``droid_like``."""


@pytest.fixture
def choose(droid_like: Path):
    """What is left of ``droid_like`` by some options."""
    return lambda **options: Dataset.open({"path": droid_like, **STATE, **options})


def kept(data: Dataset) -> list[int]:
    """The episodes of ``droid_like`` that are left, by the first joint, which is the number of the frame."""
    frames = np.round(data.episodes.states[:, 0]).astype(int)
    return sorted(set((np.searchsorted(FIRST, frames, side="right") - 1).tolist()))


@pytest.mark.parametrize(
    ("options", "episodes"),
    [
        ({"episodes": [5, 0]}, [0, 5]),
        ({"episodes": 3}, [3]),
        ({"episodes": "2:4"}, [2, 3]),
        ({"episodes": ["-2:", 0]}, [0, 6, 7]),
        ({"episodes": "::3"}, [0, 3, 6]),
        ({"tasks": "lift the cup"}, [0, 3, 5]),
        ({"tasks": ["push *", "open the drawer"]}, [1, 4, 7]),
        ({"where": {"is_episode_successful": True}}, [0, 1, 2, 4, 5, 7]),
        ({"where": {"is_episode_successful": False}}, [3, 6]),
        ({"where": {"building": "AUTO*"}}, [1, 3, 5, 7]),
        ({"where": {"building": {"not": ["AUTOLab"]}}}, [0, 2, 4, 6]),
        ({"where": {"building": ["AUTOLab", "CLVR"], "camera_id": [1, 3]}}, [2, 3, 6, 7]),
        ({"where": {"length": {"at_least": 5}}}, [0, 2, 5, 7]),
        ({"where": {"length": {"above": 3, "below": 5}}}, [1, 3, 6]),
        ({"where": {"camera_id": {"not": 1, "at_most": 2}}}, [0, 1, 4, 5]),
        ({"where": {f"{JOINTS}[joint_0]": {"below": 9}}}, [0, 1]),  # in the last frame of the episode
        ({"where": {"episode_index": {"not": [0, 1]}}, "tasks": "push the bowl"}, [4]),
        ({"instruction_required": True}, [0, 1, 3, 4, 5, 7]),
        ({"instruction_required": True, "instructions": INSTRUCTIONS}, [0, 1, 3, 4, 5, 6, 7]),
        ({"tasks": "close *", "instructions": INSTRUCTIONS}, [6]),
    ],
)
def test_episodes_are_chosen(options: dict[str, Any], episodes: list[int], choose):
    assert kept(choose(**options)) == episodes


def test_windows_are_of_the_frames_that_are_left(choose):
    data, whole = choose(episodes=[2, 5]), choose()
    windows = WindowDataset(data, history=2, chunk=2, image_size=(24, 32), cameras=["exterior_1_left"])
    assert len(windows) == 11
    assert windows.episode_count == 2
    sample = windows[6]  # the first frame of the second episode, which is frame 22 of the recording
    assert sample["observation"]["images.exterior_1_left"][:, 0, 0, 0].tolist() == [110, 115]
    assert np.array_equal(sample["observation"]["state"], whole.episodes.states[22:24])
    assert sample["observation"]["instruction"] == "lift the cup"
    last = windows[5]
    assert last["target"]["valid"].tolist() == [True, False]  # nothing follows from another episode
    assert np.array_equal(last["observation"]["state"][1], whole.episodes.states[14])


def test_two_choices_stand_beside_each_other_and_beside_all(droid_like: Path):
    one = {"path": droid_like, **STATE}
    data = Dataset.open([{**one, "episodes": [7]}, {**one, "episodes": [1]}, one])
    windows = WindowDataset(data, history=1, chunk=1, image_size=(24, 32), cameras=["exterior_1_left"])
    levels = windows.batch(range(len(windows)))["observation"]["images.exterior_1_left"][:, 0, 0, 0, 0]
    assert levels.tolist() == [5 * frame for frame in (*range(31, 36), *range(5, 9), *range(36))]
    assert windows.batch([4, 8])["observation"]["instruction"] == ["open the drawer", "push the bowl"]


def test_what_was_left_out_is_told(choose):
    data = choose(where={"is_episode_successful": True}, tasks="lift *")
    (reasons,) = data.left_out.values()
    assert [str(reason) for reason in reasons] == [
        "where is_episode_successful: True: 2 episodes, 8 frames",
        "tasks ['lift *']: 4 episodes, 18 frames",
    ]
    assert choose().left_out == choose(episodes=":").left_out == {}


def test_the_fingerprint_is_that_of_the_choice(choose):
    prints = [choose(**o).fingerprint for o in ({}, {"episodes": ":"}, {"fraction": 0.5}, {"fraction": 0.5, "seed": 1})]
    assert len(set(prints)) == 4
    assert prints[2] == choose(fraction=0.5).fingerprint


def test_columns_of_a_choice_are_of_its_rows(droid_like: Path):
    source = SelectedSource(LeRobotSource(droid_like), Selection(episodes=[1, 7]))
    assert source.column("camera_id")[:, 0].tolist() == [0] * 4 + [3] * 5
    assert source.column("length")[:, 0].tolist() == [4, 5]
    numbers, texts = source.words("building")
    assert [texts[number] for number in numbers] == ["AUTOLab"] * 9
    again = SelectedSource(source, Selection(episodes=[1]))  # numbered anew
    assert again.frame_numbers is not None
    assert again.frame_numbers.tolist() == list(range(31, 36))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"episodes": [8]}, ConfigurationError, "episodes: there is no episode 8; there are 8, from 0 to 7"),
        ({"episodes": ["a"]}, ConfigurationError, "numbers, or slices such as"),
        ({"episodes": [True]}, ConfigurationError, "numbers, or slices such as"),
        ({"episodes": "3:3"}, DatasetError, r"(?s)Nothing is left .* 8 episodes .* episodes 3:3: 8 episodes, 36 frames"),
        ({"tasks": "lift the cap"}, ConfigurationError, "no episode has 'lift the cap'. Its tasks are 'lift the cup', "),
        ({"tasks": 3}, ConfigurationError, "tasks is a text or a list of texts, not 3"),
        ({"where": {"succes": 1}}, ConfigurationError, r"where\.succes: there is no column 'succes'"),
        ({"where": {"building": 1}}, ConfigurationError, "the column holds words; 1 is no text"),
        ({"where": {"building": {"below": "B"}}}, ConfigurationError, "of words a condition is texts, or"),
        ({"where": {"camera_id": "one"}}, ConfigurationError, "the column holds numbers, and 'one' is none"),
        ({"where": {"camera_id": {"least": 1}}}, ConfigurationError, "there is no 'least'. Did you mean 'at_least'"),
        ({"where": {JOINTS: 1}}, ConfigurationError, r"it has 7 elements. Name one of them"),
        ({"where": {"camera_id": 9}}, DatasetError, "(?s)Nothing is left .*where camera_id: 9: 8 episodes"),
        ({"where": "success"}, ConfigurationError, "where is a mapping, not 'success'"),
        ({"split": "test"}, ConfigurationError, "split is train or validation, not 'test'"),
        ({"split": "train", "episodes": [0]}, ConfigurationError, "one episode is left, and a split needs two"),
        ({"split": "train", "validation_fraction": 1}, ConfigurationError, "validation_fraction is a number between"),
        ({"fraction": 0}, ConfigurationError, "fraction is a number above 0 and at most 1, not 0"),
        ({"seed": -1}, ConfigurationError, "seed is a whole number of at least 0"),
        ({"idle": {"joints": 1}}, ConfigurationError, "idle: there is no field 'joints'. Did you mean"),
        ({"idle": {"joint_position": -1}}, ConfigurationError, r"idle\.joint_position is a number of at least 0"),
        ({"idle": {"joint_position": 1e9}}, DatasetError, "(?s)Nothing is left .* in all frames: 8 episodes"),
        ({"instructions": ["task", "camera_id"]}, ConfigurationError, "instructions: the column 'camera_id' holds"),
        ({"no_instruction": "a", "instruction_required": True}, ConfigurationError, "Give one of them"),
        ({"instruction_required": 1}, ConfigurationError, "instruction_required is true or false, not 1"),
    ],
)
def test_what_cannot_be_chosen_is_named(options, error, message, choose):
    with pytest.raises(error, match=message):
        choose(**options)


# ---- by chance -----------------------------------------------------------------------------------------------------


def test_every_beginning_of_the_order_has_the_same_share_of_every_task():
    tasks = np.repeat(np.arange(4), (50, 50, 20, 80))[np.random.default_rng(0).permutation(200)]
    order = stratified_order(tasks, 3, FRACTION)
    assert sorted(order) == list(range(200))
    assert np.bincount(tasks[order[:20]]).tolist() == [5, 5, 2, 8]
    for count in (1, 37, 113):
        shares = np.bincount(tasks[order[:count]], minlength=4) - count / 200 * np.array([50, 50, 20, 80])
        assert np.abs(shares).max() < 1.5
    assert np.array_equal(order, stratified_order(tasks, 3, FRACTION))
    for other in (stratified_order(tasks, 4, FRACTION), stratified_order(tasks, 3, SPLIT)):
        assert not np.array_equal(order, other)


def test_a_split_has_every_episode_once_and_follows_from_the_seed(choose):
    options = {"validation_fraction": 0.25, "seed": 1}
    train, validation = (kept(choose(split=split, **options)) for split in ("train", "validation"))
    assert len(validation) == 2
    assert sorted(train + validation) == list(range(8))
    assert kept(choose(split="validation", **options)) == validation
    assert len({tuple(kept(choose(split="validation", validation_fraction=0.25, seed=s))) for s in range(6)}) > 1


def test_a_larger_fraction_contains_a_smaller_one_and_validation_stays_whole(choose):
    quarter, half = (set(kept(choose(fraction=fraction))) for fraction in (0.25, 0.5))
    assert (len(quarter), len(half)) == (2, 4)
    assert quarter < half
    whole, part = (kept(choose(split="validation", fraction=f, validation_fraction=0.4)) for f in (None, 0.2))
    assert whole == part
    assert not set(kept(choose(split="train", fraction=0.5, validation_fraction=0.4))) & set(whole)


# ---- idle frames ---------------------------------------------------------------------------------------------------


def moved(positions: list[float], grips: list[float], lengths: list[int]) -> tuple[EpisodeTable, Contract]:
    """A table of episodes of a gripper on a line, and the contract of it."""
    states = np.column_stack([positions, grips]).astype(np.float32)
    end = np.repeat(np.cumsum(lengths), lengths)
    count = len(states)
    table = EpisodeTable(
        states=states,
        actions=states[:, :1],
        episode=np.repeat(np.arange(len(lengths)), lengths),
        end=end,
        instructions=np.zeros(count, np.int64),
        tasks=("",),
        has_action=np.ones(count, bool),
    )
    fields = (Field("position", 1, unit="m"), Field("gripper", 1, gripper="open"))
    return table, Contract((), fields, (Field("position", 1, unit="m", mode="delta"),), 10)


def used(table: EpisodeTable, contract: Contract, thresholds: dict[str, float]) -> list[int]:
    first = np.flatnonzero(np.diff(table.end, prepend=-1))
    moving = moving_frames(table, contract, thresholds, "idle")
    return np.flatnonzero(used_frames(moving, first, table.end[first])).tolist()


def test_frames_are_idle_in_which_nothing_moves_up_to_the_last_that_does():
    positions = [0, 0.0004, 0.0008, 0.1, 0.2, 0.2, 0.2, 0.2, 0.2, 5, 5, 5]
    grips = [0, 0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0]
    table, contract = moved(positions, grips, [9, 3])
    seer = {"state.position": 5e-4, "gripper": 0}
    # Frames 0 and 1 creep; 2 and 3 move; in 4 the gripper opens; 5 to 8 follow the last that moves; then all is still.
    assert used(table, contract, seer) == [2, 3, 4, 5, 6, 7, 8]
    assert used(table, contract, {"state.position": 5e-4}) == [2, 3, 4, 5, 6, 7, 8]
    assert used(table, contract, {"state.position": 0}) == [0, 1, 2, 3, 4, 5, 6, 7, 8]
    assert used(table, contract, {"state.position": 0.1}) == [3, 4, 5, 6, 7, 8]
    assert used(table, contract, {"gripper": 0}) == [4, 5, 6, 7, 8]
    assert used(table, contract, {"action.position": 0.15})[:2] == [4, 5]  # a delta moves by itself


def test_a_field_of_both_sides_is_named_with_its_side():
    table, contract = moved([0, 1], [0, 0], [2])
    with pytest.raises(ConfigurationError, match=r"Write one of state\.position and action\.position"):
        moving_frames(table, contract, {"position": 1}, "idle")


def test_angles_move_around_the_circle():
    table, contract = moved([3.1415, -3.1415, 0, 0], [0, 0, 0, 0], [4])
    turning = replace(contract, state=(Field("angle", 1, unit="rad"), Field("gripper", 1)))
    assert moving_frames(table, turning, {"angle": 1e-3}, "idle").tolist() == [False, True, False, False]


def test_idle_frames_are_no_part_of_windows(droid_like: Path, tmp_path: Path, change_column):
    root = Path(shutil.copytree(droid_like, tmp_path / "still"))
    still = [0.0, 0, 0, 1, 1, 0, 1, 2, 2]  # in the first episode frames 0, 1 and 3, 4, in the second frame 7
    change_column(root, "action.gripper_position", lambda rows: [*still, *range(27)])
    data = Dataset.open({"path": root, **STATE, "episodes": "0:2", "idle": {"action.gripper_position": 0}})
    windows = WindowDataset(data, history=2, chunk=2, image_size=(24, 32), cameras=["exterior_1_left"])
    images = windows.batch(range(len(windows)))["observation"]["images.exterior_1_left"][:, :, 0, 0, 0] / 5
    # Frames 3 and 4 of the first episode and 8 of the second follow the last in which something moves.
    assert images.tolist() == [[2, 3], [3, 4], [4, 4], [5, 6], [6, 7], [7, 8], [8, 8]]
    assert windows[0]["target"]["actions"][0].tolist() == [[0.0], [1.0]]
    (reasons,) = data.left_out.values()
    assert reasons[-1].frames == 2


# ---- sentences -----------------------------------------------------------------------------------------------------


def test_one_of_several_sentences_is_drawn_by_seed_step_and_window(choose):
    data = choose(instructions=INSTRUCTIONS)
    said = [draw_instructions(data.episodes, np.arange(36), seed=5, step=step) for step in range(200)]
    assert {sentences[16] for sentences in said} == {"lift the cup", "pick up the cup", "raise the cup"}
    counts = np.unique([sentences[16] for sentences in said], return_counts=True)[1]
    assert counts.min() > 40  # of 67 expected, four standard deviations
    assert {sentences[0] for sentences in said} == {"lift the cup", "pick up the cup"}  # never the empty one
    assert {sentences[5] for sentences in said} == {"push the bowl"}
    assert {sentences[9] for sentences in said} == {""}
    assert {sentences[27] for sentences in said} == {"close the lid"}
    assert said[7] == draw_instructions(data.episodes, np.arange(36), seed=5, step=7)
    assert said[7][16:] == draw_instructions(data.episodes, np.arange(16, 36), seed=5, step=7)
    assert said[7] != draw_instructions(data.episodes, np.arange(36), seed=6, step=7)


def test_windows_hear_what_is_drawn(choose):
    windows = WindowDataset(choose(instructions=INSTRUCTIONS), history=1, chunk=1, image_size=8, cameras=["wrist_left"])
    heard = [windows.batch([0, 16], step=step, seed=3)["observation"]["instruction"] for step in range(8)]
    table, frames = windows.data.episodes, np.array([0, 16])
    assert heard == [draw_instructions(table, frames, 3, step) for step in range(8)]
    assert windows.batch([0])["observation"]["instruction"] == draw_instructions(table, np.array([0]), 0, 0)


def test_a_stated_sentence_says_that_nothing_was_said(choose):
    table = choose(no_instruction="No language instruction.").episodes
    said = draw_instructions(table, np.array(FIRST), 0, 0)
    assert said[2] == said[6] == "No language instruction."
    assert said[0] == "lift the cup"
    assert "" not in table.tasks


def test_sentences_of_several_sources_are_told_apart(droid_like: Path):
    one = {"path": droid_like, **STATE}
    data = Dataset.open([{**one, "episodes": [0]}, {**one, "episodes": [0, 5], "instructions": INSTRUCTIONS}])
    said = [{draw_instructions(data.episodes, np.arange(15), 0, step)[i] for step in range(50)} for i in (0, 5, 10)]
    assert said == [{"lift the cup"}, {"lift the cup", "pick up the cup"}, {"lift the cup", "take the cup"}]
