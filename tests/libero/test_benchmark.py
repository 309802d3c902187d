"""Suites, protocols and trials of LIBERO."""

import pytest

from forehand.errors import ConfigurationError, UnknownName
from forehand_libero.benchmark import LiberoBenchmark
from forehand_libero.suites import ORIGINAL, original, suite, suites


def test_the_original_suites_are_whole():
    assert [len(suite(name)) for name in ORIGINAL] == [10, 10, 10, 10, 90]
    assert all(task.states == 50 for name in ORIGINAL for task in suite(name))
    first = suite("libero_10")[0]
    assert first.name == "LIVING_ROOM_SCENE2_put_both_the_alphabet_soup_and_the_tomato_sauce_in_the_basket"
    assert first.instruction == "put both the alphabet soup and the tomato sauce in the basket"


def test_variants_of_libero_pro_have_their_own_instructions():
    assert {f"{name}{end}" for name in ORIGINAL[:4] for end in ("_lan", "_object", "_swap", "_task")} <= set(suites())
    assert suite("libero_10_lan")[0].instruction == "place alphabet soup and tomato sauce into basket"
    assert suite("libero_10_task")[0].instruction == "put both the cream cheese and the tomato sauce in the basket"
    assert suite("libero_10_swap")[0].instruction == suite("libero_10")[0].instruction
    assert (original("libero_10_swap"), original("libero_object"), original("libero_mine")) == (
        "libero_10",
        "libero_object",
        "",
    )
    with pytest.raises(UnknownName, match="libero_10"):
        suite("libero_long")


@pytest.mark.parametrize(
    ("protocol", "chosen", "states", "limit"),
    [
        ("seer", "libero_10", 20, 600),
        ("openvla", "libero_10", 50, 520),
        ("openvla", "libero_spatial", 50, 220),
        ("openvla", "libero_object_swap", 50, 280),
        ("lerobot", "libero_spatial", 50, 280),
        ("lerobot", "libero_90", 50, 400),
    ],
)
def test_protocols_prescribe_states_and_steps(protocol, chosen, states, limit):
    benchmark = LiberoBenchmark(chosen, protocol)
    count = benchmark.evaluation_options()["episodes"]
    assert count == states * len(benchmark.tasks)
    episodes = [episode for (episode,) in benchmark.trials(count, 1)]
    found = {(e.options["index"], e.options["state"]) for e in episodes}
    assert found == {(i, s) for i in range(len(benchmark.tasks)) for s in range(states)}
    assert {e.max_steps for e in episodes} == {limit}
    assert len(benchmark.notes) == 1


def test_seer_s_protocol_averages_predictions_and_rounds_the_gripper():
    options = LiberoBenchmark().evaluation_options(["turn on the stove and put the moka pot on it"])
    ensemble = {"name": "temporal_ensemble", "decay": 0.01}
    assert options == {"episodes": 20, "chunking": ensemble, "binary_gripper": True}


def test_whatever_departs_from_the_protocol_is_noted():
    _, *notes = LiberoBenchmark(render="fast", fresh="state", max_steps=100, orientation="upright").notes
    assert [note.partition(": ")[2].partition("=")[0] for note in notes] == [
        "max_steps",
        "fresh",
        "render",
        "orientation",
    ]
    assert "states=10" in LiberoBenchmark("libero_goal_with_milk").notes[1]


def test_demonstrations_begin_apart_from_the_fixed_states():
    benchmark = LiberoBenchmark("libero_object")
    episodes = benchmark.episodes(25, 3)
    assert {e.options["state"] for e in episodes} == {-1}
    assert len({e.seed for e in episodes}) == 25
    assert benchmark.episodes(7, 3) == episodes[:7]


def test_re_drawn_trials_are_the_same_tasks_from_states_that_are_not_fixed():
    benchmark = LiberoBenchmark()
    for trial in benchmark.trials(12, 0):
        (again,) = benchmark.redrawn(trial)
        assert (again.task, again.instruction, again.max_steps) == (trial[0].task, trial[0].instruction, 600)
        assert (trial[0].options["state"] >= 0, again.options["state"]) == (True, -1)
        assert again.seed != trial[0].seed
        assert (again,) == benchmark.redrawn(trial)[:1]


def test_what_there_is_not_is_refused():
    benchmark = LiberoBenchmark()
    with pytest.raises(ConfigurationError, match="make 20 at most"):
        benchmark.trials(21, 0, ["turn on the stove and put the moka pot on it"])
    with pytest.raises(UnknownName, match="no task 'boil water'"):
        benchmark.trials(1, 0, ["boil water"])
    with pytest.raises(UnknownName, match="seer"):
        LiberoBenchmark(protocol="sear")
    with pytest.raises(ConfigurationError, match="1 to 50"):
        LiberoBenchmark(states=51)
    with pytest.raises(ConfigurationError, match="max_steps"):
        LiberoBenchmark("libero_mine", "openvla")
