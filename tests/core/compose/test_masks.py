"""The table of who reads whom, and the attention masks it becomes, drawn."""

import numpy as np
import pytest

from forehand.compose import Layout, TokenGroup, read_mask
from forehand.compose.tokens import check_reads, lookahead
from forehand.errors import ConfigurationError

TEXT = TokenGroup("text", 1, ("observation",))
STATE = TokenGroup("state", 1, ("observation",))
IMAGES = TokenGroup("static", 2, ("images", "observation"))
FORESIGHT, ACTION = TokenGroup("foresight", 2), TokenGroup("action", 1)
OBSERVATIONS, QUERIES = [TEXT, STATE, IMAGES], [FORESIGHT, ACTION]

FINE_TUNING = {
    "observation": {"observation": "past"},
    "foresight": {"observation": "past"},
    "action": {"observation": "past", "foresight": "same"},
}
PRE_TRAINING = {
    "observation": {"observation": "past"},
    "foresight": {"observation": "past", "state": "+1"},
    "action": {"images": "same", "foresight": "same"},
}


def drawn(mask):
    return ["".join("#" if cell else "." for cell in row) for row in mask]


def picture(text):
    """The rows of a drawing, without the names of its readers and the gaps between timesteps."""
    return ["".join(line.split("|")[1].split()) for line in text.strip().splitlines()[1:]]


def mask_of(reads, steps=3, query_steps=None):
    layout = Layout(OBSERVATIONS, QUERIES, steps, range(steps) if query_steps is None else query_steps)
    return read_mask(layout, reads)


def test_fine_tuning():
    assert drawn(mask_of(FINE_TUNING)) == picture("""
        reader    | tsiiffa  tsiiffa  tsiiffa
        text    0 | ####...  .......  .......
        state   0 | ####...  .......  .......
        image   0 | ####...  .......  .......
        image   0 | ####...  .......  .......
        foresee 0 | ####...  .......  .......
        foresee 0 | ####...  .......  .......
        action  0 | ######.  .......  .......
        text    1 | ####...  ####...  .......
        state   1 | ####...  ####...  .......
        image   1 | ####...  ####...  .......
        image   1 | ####...  ####...  .......
        foresee 1 | ####...  ####...  .......
        foresee 1 | ####...  ####...  .......
        action  1 | ####...  ######.  .......
        text    2 | ####...  ####...  ####...
        state   2 | ####...  ####...  ####...
        image   2 | ####...  ####...  ####...
        image   2 | ####...  ####...  ####...
        foresee 2 | ####...  ####...  ####...
        foresee 2 | ####...  ####...  ####...
        action  2 | ####...  ####...  ######.
    """)


def test_pre_training_shows_the_goal_to_foresight_and_neither_text_nor_history_to_the_actions():
    assert drawn(mask_of(PRE_TRAINING)) == picture("""
        reader    | tsiiffa  tsiiffa  tsiiffa
        text    0 | ####...  .......  .......
        state   0 | ####...  .......  .......
        image   0 | ####...  .......  .......
        image   0 | ####...  .......  .......
        foresee 0 | ####...  .#.....  .......
        foresee 0 | ####...  .#.....  .......
        action  0 | ..####.  .......  .......
        text    1 | ####...  ####...  .......
        state   1 | ####...  ####...  .......
        image   1 | ####...  ####...  .......
        image   1 | ####...  ####...  .......
        foresee 1 | ####...  ####...  .#.....
        foresee 1 | ####...  ####...  .#.....
        action  1 | .......  ..####.  .......
        text    2 | ####...  ####...  ####...
        state   2 | ####...  ####...  ####...
        image   2 | ####...  ####...  ####...
        image   2 | ####...  ####...  ####...
        foresee 2 | ####...  ####...  ####...
        foresee 2 | ####...  ####...  ####...
        action  2 | .......  .......  ..####.
    """)


def test_only_the_newest_step_has_queries_at_run_time():
    assert drawn(mask_of(FINE_TUNING, steps=2, query_steps=[1])) == picture("""
        reader    | tsii  tsiiffa
        text    0 | ####  .......
        state   0 | ####  .......
        image   0 | ####  .......
        image   0 | ####  .......
        text    1 | ####  ####...
        state   1 | ####  ####...
        image   1 | ####  ####...
        image   1 | ####  ####...
        foresee 1 | ####  ####...
        foresee 1 | ####  ####...
        action  1 | ####  ######.
    """)


def test_the_mask_of_the_newest_queries_is_a_part_of_the_whole_mask():
    whole, newest = mask_of(PRE_TRAINING), mask_of(PRE_TRAINING, query_steps=[2])
    kept = [i for i in range(21) if i % 7 < 4 or i >= 14]
    np.testing.assert_array_equal(whole[np.ix_(kept, kept)], newest)


def test_a_layout_knows_where_everything_stands():
    layout = Layout(OBSERVATIONS, QUERIES, 2, [1])
    assert layout.length == 11
    assert layout.timesteps().tolist() == [0] * 4 + [1] * 7
    assert layout.positions("static").tolist() == [[2, 3], [6, 7]]
    assert layout.positions("foresight").tolist() == [[8, 9]]


@pytest.mark.parametrize("rule", ["+4", 4])  # YAML reads +4 as a number
def test_a_goal_may_be_written_as_text_or_number(rule):
    assert lookahead(rule) == 4


@pytest.mark.parametrize("rule", [None, "past", "same"])
def test_other_rules_do_not_look_ahead(rule):
    assert lookahead(rule) == 0


@pytest.mark.parametrize("rule", ["future", "-1", 0, "+0", "+"])
def test_an_unknown_rule_is_refused_by_name(rule):
    with pytest.raises(ConfigurationError, match=r"unknown rule .*'past', 'same', '\+k'"):
        check_reads({**FINE_TUNING, "action": {"observation": rule}}, [*OBSERVATIONS, *QUERIES])


@pytest.mark.parametrize(
    ("reads", "nearest"),
    [
        ({**FINE_TUNING, "foresihgt": {"observation": "past"}}, "foresight"),
        ({**FINE_TUNING, "action": {"observation": "past", "image": "same"}}, "images"),
    ],
)
def test_an_unknown_key_is_answered_with_the_nearest(reads, nearest):
    with pytest.raises(ConfigurationError, match=f"Did you mean '{nearest}'"):
        check_reads(reads, [*OBSERVATIONS, *QUERIES])


@pytest.mark.parametrize("row", [None, {"observation": None}, {"state": "+4"}])
def test_a_reader_that_could_read_nothing_is_refused(row):
    with pytest.raises(ConfigurationError, match="'action' may read nothing"):
        check_reads({**FINE_TUNING, "action": row}, [*OBSERVATIONS, *QUERIES])


def test_rows_about_a_part_that_is_left_out_are_without_effect():
    check_reads(FINE_TUNING, [*OBSERVATIONS, ACTION])


def test_two_groups_of_one_name_are_refused():
    with pytest.raises(ConfigurationError, match="'state'"):
        check_reads(FINE_TUNING, [*OBSERVATIONS, STATE, *QUERIES])
