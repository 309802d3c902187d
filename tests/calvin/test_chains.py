"""Chains, initial states and sentences of CALVIN's evaluation."""

import hashlib
import itertools
import json

import numpy as np
import pytest

from forehand.errors import ConfigurationError
from forehand_calvin.chains import chains, drawn, generate, order, possible, starts
from forehand_calvin.initial_states import ROBOT, initial_state, seed_of, text_hash
from forehand_calvin.sentences import sentences
from forehand_calvin.tasks import BLOCKS, TASKS

START = chains()[0].start


def test_the_chains_are_the_published_ones():
    text = json.dumps([[chain.start, list(chain.tasks)] for chain in chains()])
    assert hashlib.sha256(text.encode()).hexdigest().startswith("840cb992")
    assert len(set(chains()[0].tasks)) == 5


def test_the_generator_makes_them_in_their_order():
    numbers, places = order()
    assert [chain.start for chain in chains()] == [starts()[numbers[place]] for place in places]
    listed = dict(zip(places, (chain.tasks for chain in chains()), strict=True))
    for number in (0, 1):
        mine = [listed[place] for place in range(1000) if numbers[place] == number]
        assert list(itertools.islice(drawn(starts()[number], number), len(mine))) == mine


@pytest.mark.simulator
def test_the_generator_makes_all_of_them():
    assert tuple(generate()) == chains()


def test_chains_are_possible_and_have_no_two_tasks_of_a_category():
    assert all(possible(chain.start, chain.tasks) for chain in chains())
    assert not possible(START, ("place_in_slider",))  # nothing is grasped
    assert not possible(START, ("turn_off_led", "turn_off_lightbulb"))
    assert not possible(START, ("close_drawer", "open_drawer"))
    assert len(TASKS) == 34


def test_the_hash_of_a_state_is_that_of_the_benchmark():
    assert text_hash("test") == 3910690890
    assert text_hash("") == 0
    assert seed_of(START) == text_hash(f"dict_values({list(START.values())})")
    assert seed_of(dict(reversed(START.items()))) == seed_of(START)


def test_an_initial_state_is_what_its_words_say():
    robot, scene = initial_state(START)
    assert robot.tolist() == list(ROBOT)
    assert scene[:6].tolist() == [0.28, 0.22, 0.0, 0.088, 1.0, 1.0]
    assert scene[6] == pytest.approx(-0.24085, abs=1e-5)  # red in the cabinet, left
    assert scene[12] in (5.00000896e-02, 2.29995412e-01)  # blue on the table
    assert scene[18] == pytest.approx(0.07034, abs=1e-5)  # pink in the cabinet, right
    generator = np.random.RandomState(seed_of(START))
    generator.permutation(2)
    assert scene[[11, 17, 23]].tolist() == generator.uniform(np.pi * 3 / 8, np.pi * 5 / 8, 3).tolist()


def test_two_blocks_on_the_table_lie_apart_and_one_alone_where_the_benchmark_has_it():
    for start in starts():
        _, scene = initial_state(start)
        places = [tuple(scene[6 + 6 * i : 9 + 6 * i]) for i in range(3)]
        assert len(set(places)) == 3
    alone = {"red_block": "slider_left", "blue_block": "slider_right", "pink_block": "table"}
    start = START | alone
    table = [0, 1]
    np.random.RandomState(seed_of(start)).shuffle(table)
    assert initial_state(start)[1][18] == (5.00000896e-02, 2.29995412e-01)[table[1]]


def test_blocks_are_in_the_order_of_the_scene_s_file_and_at_its_places():
    _, scene = initial_state(START)
    _, other = initial_state(START, "A", ("pink_block", "blue_block", "red_block"))
    assert other[18:24].tolist() == scene[6:12].tolist()
    _, shifted = initial_state(START, "C")
    assert shifted[6] == pytest.approx(scene[6] + 0.2)
    _, drawn_by_seed = initial_state(START, seed=3)
    assert drawn_by_seed[11] != scene[11]


def test_every_task_has_its_validation_sentence_and_many_for_training():
    assert {len(found) for found in sentences("validation").values()} == {1}
    assert set(sentences("validation")) == set(sentences("training")) == set(TASKS)
    assert sentences("validation")["lift_red_block_drawer"] == ["Take the red block from the drawer"]
    assert len(sentences("training")["rotate_red_block_right"]) == 11
    assert set(BLOCKS) <= set(START)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("open_door: [open it]", "no task 'open_door'"),
        ("open_drawer: open it", "the list of its sentences"),
        ("open_drawer: [a", "no YAML"),
        (None, "validation or training, or a YAML file"),
    ],
)
def test_other_sentences_come_from_a_file_of_that_form(tmp_path, text, message):
    file = tmp_path / "mine.yaml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ConfigurationError, match=message):
        sentences(str(file))
