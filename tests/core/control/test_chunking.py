"""How chunks become actions on time."""

import math

import numpy as np
import pytest

from forehand import Contract, Field, Registry
from forehand.control.chunking import Asynchronous, BinaryGripper, RecedingHorizon, TemporalEnsemble, make_chunker
from forehand.errors import ConfigurationError, UnknownName

GRIPPER = Field("gripper", 1, gripper="open", low=(-1.0,), high=(1.0,))
CONTRACT = Contract(cameras=(), state=(), action=(Field("arm", 2), GRIPPER), rate=20)


def chunk(*rows: float) -> np.ndarray:
    return np.array([[row] for row in rows], dtype=np.float32)


def test_receding_horizon_carries_out_the_first_actions_then_asks_again():
    execution = RecedingHorizon(steps=2)
    assert execution.needs_prediction
    execution.add(chunk(1, 2, 3))
    assert execution.next_action() == 1
    assert not execution.needs_prediction
    assert execution.next_action() == 2
    assert execution.needs_prediction


def test_a_fresh_chunk_replaces_the_rest_of_the_last():
    execution = RecedingHorizon(steps=3)
    execution.add(chunk(1, 2, 3))
    execution.next_action()
    execution.add(chunk(7, 8, 9))
    assert [execution.next_action().item() for _ in range(3)] == [7, 8, 9]


def test_reset_forgets_the_chunk():
    for execution in (RecedingHorizon(steps=2), TemporalEnsemble(), Asynchronous()):
        execution.add(chunk(1, 2))
        execution.reset()
        assert execution.needs_prediction
        assert execution.next_action() is None


def test_asking_for_more_steps_than_a_chunk_has_says_how_many_there_are():
    with pytest.raises(ConfigurationError, match=r"chunking\.steps=3 or fewer"):
        RecedingHorizon(steps=4).add(chunk(1, 2, 3))
    with pytest.raises(ConfigurationError, match=r"chunking\.steps must be a whole number, at least 1, not 0"):
        RecedingHorizon(steps=0)


def test_the_ensemble_weighs_every_prediction_for_this_step_from_the_oldest():
    decay = 0.5
    execution = TemporalEnsemble(decay)
    execution.add(chunk(10, 20, 30))
    assert execution.next_action() == 10
    execution.add(chunk(21, 31, 41))
    weights = [1, math.exp(-decay)]
    expected = (20 * weights[0] + 21 * weights[1]) / sum(weights)
    assert execution.next_action().item() == pytest.approx(expected)
    execution.add(chunk(32, 42, 52))
    weights = [1, math.exp(-decay), math.exp(-2 * decay)]
    expected = sum(w * p for w, p in zip(weights, (30, 31, 32), strict=True)) / sum(weights)
    assert execution.next_action().item() == pytest.approx(expected)


def test_the_ensemble_drops_a_chunk_that_is_used_up():
    execution = TemporalEnsemble(decay=0.0)
    execution.add(chunk(100))
    execution.next_action()
    execution.add(chunk(4))
    assert execution.next_action() == 4


def test_a_missed_step_is_served_by_older_chunks():
    execution = TemporalEnsemble(decay=0.0)
    execution.add(chunk(1, 2))
    execution.next_action()
    assert execution.next_action() == 2
    assert execution.next_action() is None


def taken(execution, count):
    return [action.item() for _ in range(count) if (action := execution.next_action()) is not None]


def test_only_the_asynchronous_execution_lets_the_robot_go_on():
    assert Asynchronous.asynchronous
    assert not RecedingHorizon.asynchronous
    assert not TemporalEnsemble.asynchronous
    both = Contract(cameras=(), state=(), action=(GRIPPER,), rate=20)
    assert BinaryGripper(Asynchronous(), both).asynchronous


@pytest.mark.parametrize(
    "execution", [RecedingHorizon(4), TemporalEnsemble(), Asynchronous(blend=0)], ids=lambda e: type(e).__name__
)
def test_what_is_past_of_a_late_chunk_is_left_out(execution):
    execution.reset()
    execution.add(chunk(1, 2, 3, 4), age=2)
    assert taken(execution, 4) == [3, 4]


def test_a_chunk_that_is_used_up_leaves_nothing_to_do():
    execution = Asynchronous()
    assert execution.next_action() is None
    execution.add(chunk(1, 2))
    assert taken(execution, 2) == [1, 2]
    assert execution.next_action() is None
    assert execution.needs_prediction


def test_a_new_chunk_is_faded_in_over_a_few_steps():
    execution = Asynchronous(blend=3)
    execution.add(chunk(0, 0, 0, 0, 0, 0))
    execution.next_action()
    execution.add(chunk(99, 8, 8, 8, 8, 8), age=1)
    assert taken(execution, 5) == pytest.approx([8 * 1 / 4, 8 * 2 / 4, 8 * 3 / 4, 8, 8])


def test_fading_ends_with_the_chunk_that_ends_first():
    execution = Asynchronous(blend=3)
    execution.add(chunk(0, 0))
    execution.add(chunk(4, 4, 4))
    assert taken(execution, 3) == pytest.approx([1, 2, 4])


def test_chunks_that_agree_about_the_time_are_one_motion():
    execution = Asynchronous(blend=4)
    execution.add(chunk(*range(10)))
    said = taken(execution, 3)
    execution.add(chunk(*range(1, 11)), age=2)
    said += taken(execution, 4)
    execution.add(chunk(*range(5, 15)), age=2)
    assert [*said, *taken(execution, 4)] == pytest.approx(range(11))


def test_a_chunk_that_is_past_as_a_whole_changes_nothing():
    execution = Asynchronous()
    execution.add(chunk(1, 2, 3))
    execution.add(chunk(7, 8), age=2)
    assert taken(execution, 3) == [1, 2, 3]


def test_blending_leaves_the_policy_s_chunk_untouched():
    execution, given = Asynchronous(), chunk(4, 4)
    execution.add(chunk(0, 0))
    execution.add(given)
    assert given.tolist() == [[4], [4]]
    with pytest.raises(ConfigurationError, match=r"chunking\.blend must be a whole number, at least 0, not -1"):
        Asynchronous(blend=-1)


def test_a_gripper_is_rounded_after_averaging():
    execution = BinaryGripper(TemporalEnsemble(decay=0.0), CONTRACT)
    execution.add(np.array([[0.1, 0.2, 0.9], [0.1, 0.2, 0.9]], dtype=np.float32))
    assert execution.next_action().tolist() == pytest.approx([0.1, 0.2, 1.0])
    # A majority of decisions would be a tie here; the mean of the confidences is closed.
    execution.add(np.array([[0.3, 0.4, -1.0]], dtype=np.float32))
    assert execution.next_action().tolist() == pytest.approx([0.2, 0.3, -1.0])


def test_rounding_leaves_the_chunk_untouched():
    execution = BinaryGripper(RecedingHorizon(), CONTRACT)
    given = np.array([[0.0, 0.0, 0.4]], dtype=np.float32)
    execution.add(given)
    assert execution.next_action()[2] == 1
    assert given[0, 2] == np.float32(0.4)


@pytest.mark.parametrize(
    ("field", "words"), [(Field("gripper", 1), "needs a gripper"), (Field("grip", 1, gripper="open"), "'grip'")]
)
def test_rounding_needs_a_gripper_with_a_range(field, words):
    contract = Contract(cameras=(), state=(), action=(field,), rate=20)
    with pytest.raises(ConfigurationError, match=words):
        BinaryGripper(RecedingHorizon(), contract)


def test_executions_are_chosen_by_name():
    known = Registry()
    known.add("chunking", "ensemble", TemporalEnsemble, "a mean")
    known.add("chunking", "receding", RecedingHorizon, "the first actions")
    assert isinstance(make_chunker(CONTRACT, "ensemble", decay=0.1, registry=known), TemporalEnsemble)
    rounded = make_chunker(CONTRACT, "receding", steps=2, binary_gripper=True, registry=known)
    assert isinstance(rounded, BinaryGripper)
    with pytest.raises(UnknownName, match="'ensemble'"):
        make_chunker(CONTRACT, "ensembel", registry=known)
    with pytest.raises(ConfigurationError, match="step_count"):
        make_chunker(CONTRACT, "receding", step_count=2, registry=known)
