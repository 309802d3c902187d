"""Chains are possible, always the same, and told in words that can be learned."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import replace

import pytest
from tests.child_process import run_child

from forehand.errors import ConfigurationError, UnknownName
from forehand_tabletop.chains.benchmark import TabletopChainsBenchmark
from forehand_tabletop.chains.chains import COUNT, LENGTH, SEED, Chain, frozen_chains, make_chains
from forehand_tabletop.chains.sentences import sentences
from forehand_tabletop.chains.tasks import TASKS


def test_the_thousand_are_what_the_code_makes() -> None:
    assert list(frozen_chains()) == make_chains(COUNT, LENGTH, SEED)


def test_every_chain_is_possible_step_by_step() -> None:
    for chain in frozen_chains():
        symbols = chain.start
        for task in chain.tasks:
            assert TASKS[task].possible(symbols), (chain, task)
            symbols = TASKS[task].after(symbols)
        assert len(set(chain.tasks)) == LENGTH


def test_no_chain_comes_twice_and_every_task_comes_often() -> None:
    chains = frozen_chains()
    assert len(set(chains)) == COUNT
    counts = Counter(task for chain in chains for task in chain.tasks)
    assert set(counts) == set(TASKS)
    assert min(counts.values()) >= 90


def test_a_chain_survives_being_written() -> None:
    (chain,) = make_chains(1, 5, 3)
    assert Chain.read(str(chain)) == chain


def test_there_are_tasks_enough_and_each_is_told_in_many_ways() -> None:
    assert len(TASKS) >= 20
    for task in TASKS:
        train, test = sentences(task, "train"), sentences(task, "test")
        assert len(set(train)) >= 5
        assert len(set(test)) >= 2
        assert not set(train) & set(test)


def test_no_sentence_means_two_tasks() -> None:
    counts = Counter(s for task in TASKS for split in ("train", "test") for s in sentences(task, split))
    assert [s for s, n in counts.items() if n > 1] == []


def test_sentences_kept_back_use_no_unknown_words() -> None:
    known = {word for task in TASKS for s in sentences(task, "train") for word in s.split()}
    assert {word for task in TASKS for s in sentences(task, "test") for word in s.split()} <= known


def test_trials_are_chains_in_the_variant_that_was_asked_for() -> None:
    trials = TabletopChainsBenchmark("B").trials(12, seed=4)
    assert trials == TabletopChainsBenchmark("B").trials(20, seed=4)[:12]
    for trial, chain in zip(trials, frozen_chains(), strict=False):
        assert tuple(episode.task for episode in trial) == chain.tasks
        assert [episode.continues for episode in trial] == [False, True, True, True, True]
        assert {episode.options["variant"] for episode in trial} == {"B"}
        assert all(episode.instruction in sentences(episode.task, "test") for episode in trial)


def test_re_drawn_chains_differ_in_nothing_but_where_things_lie() -> None:
    benchmark = TabletopChainsBenchmark("D")
    for trial in benchmark.trials(5, seed=4):
        again = benchmark.redrawn(trial)
        assert again == benchmark.redrawn(trial)
        assert len({episode.seed for episode in (*trial, *again)}) == 2
        assert tuple(replace(episode, seed=trial[0].seed) for episode in again) == trial


def test_several_variants_take_turns_and_tasks_are_tried_one_by_one() -> None:
    benchmark = TabletopChainsBenchmark("ABC", sentences="train")
    trials = benchmark.trials(6, 0, ["open_drawer", "stack_blocks"])
    assert [len(trial) for trial in trials] == [1] * 6
    assert [trial[0].options["variant"] for trial in trials] == ["A", "A", "B", "B", "C", "C"]
    assert all(episode.instruction in sentences(episode.task, "train") for (episode,) in trials)


def test_an_instruction_may_take_as_long_as_is_asked_for() -> None:
    benchmark = TabletopChainsBenchmark("D", max_steps=120)
    episodes = [*benchmark.trials(2, 0)[1], *benchmark.episodes(3, 0)]
    assert {episode.max_steps for episode in episodes} == {120}
    assert {episode.max_steps for episode in TabletopChainsBenchmark("D").episodes(3, 0)} == {360}
    with pytest.raises(ConfigurationError, match="max_steps must be at least 1, not 0"):
        TabletopChainsBenchmark("D", max_steps=0)


def test_every_task_can_be_started() -> None:
    for episode in TabletopChainsBenchmark("A").episodes(2 * len(TASKS), 1):
        assert episode.task in TASKS


def test_what_does_not_exist_is_answered_by_name() -> None:
    with pytest.raises(ConfigurationError, match="no variant 'Q'"):
        TabletopChainsBenchmark("Q")
    with pytest.raises(UnknownName, match="open_drawer"):
        TabletopChainsBenchmark("A").episodes(1, 0, ["open_drawers"])
    with pytest.raises(ConfigurationError, match="1000 chains"):
        TabletopChainsBenchmark("A").trials(1001, 0)


def test_listing_episodes_needs_no_simulator() -> None:
    code = (
        "import sys; from forehand import registry; registry().create('benchmark', 'tabletop-chains').trials(3, 0); "
        "assert 'mujoco' not in sys.modules and 'dm_control' not in sys.modules"
    )
    run_child([sys.executable, "-c", code], deadline=120, check=True)
