"""Checks of tables: what is planted is found with its place, and nothing is found where nothing is wrong."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from forehand import Camera, Contract, Field
from forehand.data.checking.alignment import check_alignment
from forehand.data.checking.contracts import check_stated
from forehand.data.checking.episodes import check_episodes
from forehand.data.checking.findings import ERROR, NOTE, WARNING, Place, count_severities
from forehand.data.checking.images import ImageLevels, check_images, sample_episodes
from forehand.data.checking.motion import check_motion, still_frames
from forehand.data.checking.table import FrameTable, elements_of
from forehand.data.checking.timing import check_timing
from forehand.data.checking.values import check_values
from forehand.data.source import DataSource, Pictures

RATE = 20.0
CONTRACT = Contract(
    cameras=(Camera("static", 48, 64),),
    state=(
        Field("position", 3, unit="m", low=(-2.0,) * 3, high=(2.0,) * 3),
        Field("rotation", 1, unit="rad"),
        Field("gripper", 1, unit="m", gripper="open"),
    ),
    action=(
        Field("position", 3, unit="m", mode="delta", low=(-0.2,) * 3, high=(0.2,) * 3),
        Field("gripper", 1, unit="1", gripper="open", mode="absolute", low=(-1.0,), high=(1.0,)),
    ),
    rate=RATE,
)
LENGTHS = (60, 64, 70, 58, 66, 62, 61, 69, 65, 63)


def motion(contract: Contract = CONTRACT) -> FrameTable:
    """Ten episodes of an arm that is never still; its actions are what moves it to the next frame."""
    generator = np.random.default_rng(0)
    starts = np.concatenate([[0], np.cumsum(LENGTHS)])
    states, actions = [], []
    for length in LENGTHS:
        times = np.arange(length + 1) / RATE
        speeds, phases = generator.uniform(1, 3, (3, 1)), generator.uniform(0, 6, (3, 1))
        position = 0.3 * np.sin(speeds * times + phases)
        command = np.where(np.sin(2 * times + phases[0]) > 0, 1.0, -1.0)
        gripper = np.convolve(np.concatenate([[command[0]] * 3, command]), np.ones(3) / 3, "valid")[:-1] * 0.02 + 0.02
        states.append(np.stack([*position[:, :-1], position[0, :-1] * 2, gripper[:length]], 1))
        actions.append(np.stack([*np.diff(position), command[:length]], 1))
    tasks = ("lift the red block", "push the blue block")
    return FrameTable(
        contract,
        elements_of(contract),
        np.concatenate(states).astype(np.float32),
        np.concatenate(actions).astype(np.float32),
        starts,
        np.arange(len(LENGTHS)) + 100,
        np.repeat(np.arange(len(LENGTHS)) % 2, LENGTHS),
        tasks,
        np.concatenate([np.arange(length) / RATE for length in LENGTHS]),
    )


def find(table: FrameTable):
    """All findings about a table."""
    found = [one for check in (check_values, check_timing, check_alignment, check_episodes) for one in check(table)]
    return [*found, *check_motion(table, still_frames(table)), *check_stated(table.contract)]


def the_one(table: FrameTable, check: str):
    """The finding of ``check``, of which there is one."""
    (one,) = [finding for finding in find(table) if finding.check == check]
    return one


def changed(rows, column: int, value, vector: str = "states") -> FrameTable:
    """A table in which one column has ``value`` in ``rows``."""
    table = motion()
    values = getattr(table, vector).copy()
    values[rows, column] = value
    return replace(table, **{vector: values})


def row(episode: int, frame: int) -> int:
    return sum(LENGTHS[:episode]) + frame


def test_nothing_is_wrong_with_a_clean_table():
    assert find(motion()) == []


def test_what_a_contract_leaves_unstated_is_a_note():
    bare = Contract(CONTRACT.cameras, (Field("state", 5),), (Field("action", 4),), RATE)
    one = the_one(motion(bare), "unstated")
    assert (one.severity, count_severities([one])) == (NOTE, {ERROR: 0, WARNING: 0, NOTE: 1})
    assert "units: state, action; modes of actions (absolute or delta): action; ranges of actions: action" in one.message


def test_values_that_are_not_finite_are_named_with_their_places():
    one = the_one(changed([row(2, 5), row(4, 7)], 1, np.nan), "not_finite")
    assert (one.severity, one.column, one.count) == (ERROR, "state.position.1", 2)
    assert one.places == (Place(102, 5), Place(104, 7))
    assert one.where() == "episode 102 frame 5, episode 104 frame 7"


def test_values_outside_the_contract_s_range():
    one = the_one(changed(row(1, 3), 0, 0.25, "actions"), "out_of_range")
    assert (one.severity, one.column, one.places) == (WARNING, "action.position.0", (Place(101, 3),))
    assert "[-0.2, 0.2] in 1 frames: up to 0.25" in one.message


def test_outliers_and_jumps_of_a_sensor_that_failed_once():
    table = changed(row(3, 30), 3, 40.0)  # of the rotation, which has no range
    assert the_one(table, "outliers").places == (Place(103, 30),)
    jumps = the_one(table, "jumps")
    assert (jumps.column, jumps.places) == ("state.rotation", (Place(103, 30), Place(103, 31)))


def test_a_cut_in_a_recording_is_a_jump_and_the_seam_of_two_episodes_is_none():
    table = motion()
    states = table.states.copy()
    states[row(5, 20) : row(6, 0), 0] += 0.3
    one = the_one(replace(table, states=states), "jumps")
    assert (one.severity, one.column, one.places) == (WARNING, "state.position.0", (Place(105, 20),))


@pytest.mark.parametrize(("limit", "jumps"), [(0.2, []), (0.1, ["state.position.0"])])
def test_what_an_action_may_command_at_once_is_no_jump(limit, jumps):
    action = replace(CONTRACT.action[0], low=(-limit,) * 3, high=(limit,) * 3)
    table = motion(replace(CONTRACT, action=(action, CONTRACT.action[1])))
    states = table.states.copy()
    states[:, 0] *= 0.1
    states[row(5, 20) : row(6, 0), 0] += 0.15
    assert [one.column for one in find(replace(table, states=states)) if one.check == "jumps"] == jumps


def test_an_angle_that_wraps_is_a_full_turn_and_no_jump():
    table = motion()
    states = table.states.copy()
    states[:, 3] = (np.cumsum(np.full(len(table), 0.05)) + np.pi) % (2 * np.pi) - np.pi
    found = find(replace(table, states=states.astype(np.float32)))
    assert "jumps" not in {one.check for one in found}
    assert [one.severity for one in found if one.check == "full_turns"] == [NOTE]


def test_constant_columns_are_a_note_and_a_constant_vector_is_a_warning():
    one = the_one(changed(slice(None), 0, 0.0, "actions"), "constant")
    assert (one.severity, one.column) == (NOTE, "action.position.0")
    table = motion()
    table = replace(table, states=np.tile(table.states[:1], (len(table), 1)))
    constant = the_one(table, "constant")
    assert (constant.severity, constant.message) == (WARNING, "the state is the same in every frame")
    assert "idle_episodes" not in {one.check for one in find(table)}  # the gripper is commanded
    actions = table.actions.copy()
    actions[:, 3] = 1
    assert the_one(replace(table, actions=actions), "idle_episodes").count == len(LENGTHS)


def test_commands_that_were_clipped():
    table = motion()
    clipped = replace(table, actions=np.clip(table.actions, -0.02, 0.02))
    found = [one for one in find(clipped) if one.check == "saturated"]
    assert {one.column for one in found} == {f"action.position.{i}" for i in range(3)}


def test_quaternions_that_are_none():
    contract = replace(CONTRACT, state=(Field("turn", 4, rotation="quaternion_xyzw"),), action=())
    table = motion(CONTRACT)
    unit = table.states[:, :4] / np.linalg.norm(table.states[:, :4], axis=1, keepdims=True)
    unit[row(0, 9)] *= 2
    table = replace(table, contract=contract, elements=elements_of(contract), states=unit, actions=unit[:, :0])
    assert the_one(table, "quaternion_norm").places == (Place(100, 9),)


def test_idle_frames_are_found_with_their_lengths():
    table = motion()
    states, actions = table.states.copy(), table.actions.copy()
    states[row(7, 10) : row(7, 41)] = states[row(7, 10)]
    actions[row(7, 10) : row(7, 41), :3] = 0
    actions[row(7, 10) : row(7, 41), 3] = actions[row(7, 10), 3]
    one = the_one(replace(table, states=states, actions=actions), "idle_frames")
    assert (one.severity, one.places) == (NOTE, (Place(107, 10, 39),))
    assert "for up to 1.5 s" in one.message


@pytest.mark.parametrize(("shift", "severity"), [(-2, WARNING), (3, NOTE)])
def test_actions_that_come_too_early_or_too_late(shift, severity):
    table = motion()
    actions = table.actions.copy()
    for first, last in zip(table.starts[:-1], table.starts[1:], strict=True):
        actions[first:last] = np.roll(actions[first:last], -shift, axis=0)
    one = the_one(replace(table, actions=actions), "lag")
    assert one.severity == severity
    assert ("states precede the actions by 2 frames" if shift < 0 else "a delay of 3 frames (150 ms)") in one.message


def test_actions_that_are_states_again():
    table = motion()
    actions = table.actions.copy()
    actions[:, :3] = table.states[:, :3]
    same = the_one(replace(table, actions=actions), "copied_states")
    assert (same.severity, "the state of the same frame" in same.message) == (WARNING, True)
    actions[:-1, :3] = table.states[1:, :3]
    following = the_one(replace(table, actions=actions), "copied_states")
    assert (following.severity, "the state of the next frame" in following.message) == (NOTE, True)


@pytest.mark.parametrize("stated", ["delta", None])
def test_the_mode_of_actions_is_compared_with_the_states(stated):
    action = (replace(CONTRACT.action[0], mode=stated, low=None, high=None), CONTRACT.action[1])
    contract = replace(CONTRACT, action=action)
    table = motion(contract)
    actions = table.actions.copy()
    actions[:, :3] += table.states[:, :3] + 0.002  # the position to be reached, not quite reached
    one = the_one(replace(table, actions=actions), "action_mode")
    assert one.severity == (WARNING if stated else NOTE)
    delta = [f for f in find(motion(contract)) if f.check == "action_mode"]
    assert [f.message.endswith("they are delta") for f in delta] == ([] if stated else [True])


def test_delta_actions_that_are_stated_as_absolute():
    contract = replace(CONTRACT, action=(replace(CONTRACT.action[0], mode="absolute"), CONTRACT.action[1]))
    assert the_one(motion(contract), "action_mode").severity == WARNING


def test_a_gripper_s_sense_is_compared_with_its_state():
    wrong = replace(CONTRACT, action=(CONTRACT.action[0], replace(CONTRACT.action[1], gripper="closed")))
    assert the_one(motion(wrong), "gripper_sense").severity == WARNING
    unstated = replace(CONTRACT, action=(CONTRACT.action[0], replace(CONTRACT.action[1], gripper=None)))
    one = the_one(motion(unstated), "gripper_sense")
    assert (one.severity, one.message.endswith("by the state, larger is open")) == (NOTE, True)


def test_velocities_above_the_contract_s():
    action = (replace(CONTRACT.action[0], max_velocity=(0.1, 9.0, 9.0)), CONTRACT.action[1])
    one = the_one(motion(replace(CONTRACT, action=action)), "too_fast")
    assert (one.severity, one.column) == (WARNING, "action.position.0")


def test_episodes_that_are_copies():
    table = motion()
    states, actions = table.states.copy(), table.actions.copy()
    length = min(LENGTHS[1], LENGTHS[4])
    for values in (states, actions):
        values[row(4, 0) : row(4, length)] = values[row(1, 0) : row(1, length)]
    assert "duplicates" not in {one.check for one in find(replace(table, states=states, actions=actions))}
    keep = np.delete(np.arange(len(table)), np.arange(row(4, length), row(5, 0)))
    starts = np.concatenate([[0], np.cumsum([length if i == 4 else n for i, n in enumerate(LENGTHS)])])
    same = replace(
        table,
        states=states[keep],
        actions=actions[keep],
        starts=starts,
        times=None,
        instructions=table.instructions[keep],
    )
    one = the_one(same, "duplicates")
    assert (one.places, "101 and 104" in one.message) == ((Place(104),), True)


def test_episodes_of_unusual_length():
    table = motion()
    lengths = [60, 64, 70, 58, 66, 62, 61, 69]

    def cut(*starts):
        frames = slice(0, starts[-1])
        values = {name: getattr(table, name)[frames] for name in ("states", "actions", "instructions")}
        return replace(table, starts=np.array(starts), numbers=np.arange(len(starts) - 1), times=None, **values)

    assert the_one(cut(0, 1, *np.cumsum(lengths)), "short_episodes").places == (Place(0),)
    odd = the_one(cut(0, 3, *np.cumsum(lengths)), "unusual_lengths")
    assert (odd.severity, odd.places) == (NOTE, (Place(0),))


@pytest.mark.parametrize(
    ("tasks", "check", "severity"),
    [
        (("lift the red block", " "), "no_instruction", WARNING),
        (("", ""), "no_instruction", NOTE),
        (("lift the red block", "default"), "placeholder_instruction", NOTE),
        (("lift the red block", "Lift the red  block."), "instruction_spelling", NOTE),
    ],
)
def test_instructions(tasks, check, severity):
    assert the_one(replace(motion(), tasks=tasks), check).severity == severity


def test_timestamps():
    table = motion()
    assert table.times is not None

    def timed(times):
        return {one.check: one for one in find(replace(table, times=times))}

    gap = table.times.copy()
    gap[row(3, 10) : row(4, 0)] += 0.2
    assert timed(gap)["timestamp_gaps"].places == (Place(103, 10),)
    backward = table.times.copy()
    backward[row(3, 10)] -= 0.06
    assert timed(backward)["timestamps_backward"].places == (Place(103, 10),)
    assert "25 Hz; stated are 20 Hz" in timed(table.times * 0.8)["wrong_rate"].message
    jitter = table.times + np.random.default_rng(0).uniform(0, 0.005, len(table))
    assert timed(jitter)["uneven_timestamps"].severity == NOTE


def test_runs_end_with_their_episode():
    table = motion()
    begin, lengths = table.runs(np.ones(len(table), bool), 1)
    assert (begin.tolist(), lengths.tolist()) == (table.starts[:-1].tolist(), list(LENGTHS))
    begin, lengths = table.runs(np.isin(np.arange(len(table)), [3, 4, 5, 59, 60, 61, 62]), 2)
    assert (begin.tolist(), lengths.tolist()) == ([3, 60], [3, 3])


def test_levels_of_images_are_noted_by_frame():
    levels = ImageLevels.of(6)
    picture = np.random.default_rng(0).integers(0, 255, (1, 48, 64, 3), np.uint8)
    levels.add(np.array([0, 1]), np.concatenate([picture, picture + 1]))  # as a codec changes it
    levels.add(np.array([2]), picture)
    moved = picture.copy()
    moved[:, 8:16, 8:16] = 0
    levels.add(np.array([3]), moved)
    levels.add(np.array([5]), moved * 0)
    assert levels.seen.tolist() == [True, True, True, True, False, True]
    assert levels.same.tolist() == [False, True, True, False, False, False]
    assert (levels.size, levels.high[5], levels.spread[5]) == ((48, 64), 0, 0)
    assert levels.spread[0] > 50


EVERY = range(len(LENGTHS))


class ArrayPictures(Pictures):
    """Images in memory."""

    key, root = "static", Path("memory")

    def __init__(self, pixels):
        self.pixels, self.total = pixels, len(pixels)

    def read(self, numbers):
        return self.pixels[numbers]

    def digest(self):
        return "memory"


class ArraySource(DataSource):
    """A source whose images are in memory; the tables are given beside it."""

    root, contract = Path("memory"), CONTRACT

    def __init__(self, pixels):
        self.pixels = pixels

    def pictures(self, camera):
        return ArrayPictures(self.pixels)

    episodes = fingerprint = None
    sensor = image_statistics = None


def test_images_that_stand_still_while_the_robot_moves():
    table = motion()
    pixels = np.random.default_rng(0).integers(0, 256, (len(table), 48, 64, 3), np.uint8)
    assert list(check_images(ArraySource(pixels), table, still_frames(table), EVERY)) == []
    pixels[row(3, 20) : row(3, 45)] = pixels[row(3, 20)]
    (one,) = check_images(ArraySource(pixels), table, still_frames(table), EVERY)
    assert (one.check, one.severity, one.places) == ("frozen_images", WARNING, (Place(103, 21, 44),))
    assert "for up to 1.2 s" in one.message
    still = still_frames(table)
    still[row(3, 20) : row(3, 44)] = True  # then nothing has to change
    assert list(check_images(ArraySource(pixels), table, still, EVERY)) == []
    assert list(check_images(ArraySource(pixels), table, still_frames(table), [0, 1, 5])) == []  # not looked at


def test_a_sample_of_episodes_has_the_first_and_the_last():
    table = motion()
    assert sample_episodes(table, 20) == list(range(10))
    chosen = sample_episodes(table, 4, seed=1)
    assert (len(chosen), chosen[0], chosen[-1], chosen == sorted(chosen)) == (4, 0, 9, True)
    assert sample_episodes(table, 4, seed=1) == chosen != sample_episodes(table, 4, seed=2)
