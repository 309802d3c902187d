"""Imports: what is written, left out, continued after a kill, and refused."""

import itertools
import json
import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from forehand.data.features import read_contract
from forehand.data.importing.convert_episode import EpisodeConverter
from forehand.data.importing.job import ImportJob, Shard
from forehand.data.importing.record import IMPORT_FILE
from forehand.data.importing.run import opened_import
from forehand.data.lerobot.source import LeRobotSource
from forehand.errors import ConfigurationError, DatasetError


def job(source: Path, output: Path, **more) -> ImportJob:
    return ImportJob(output, "gray", {"source": str(source), "rate": 10.0, "sense": "open"}, **more)


def run(wanted: ImportJob) -> Path:
    with opened_import(wanted) as running:
        list(running.convert(workers=1))
        running.commit({})
    return wanted.root


def content(root: Path) -> dict[str, bytes]:
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def test_every_episode_is_written_in_the_order_of_the_source(source, tmp_path):
    root = run(job(source, tmp_path / "out"))
    there = LeRobotSource(root)
    assert there.contract == read_contract(root)
    assert there.contract.action[0].gripper == "open"
    states = [[0, 1, 2], [10, 11], [40, 41, 42, 43], [50]]
    np.testing.assert_array_equal(there.episodes.states[:, 0], np.concatenate(states))
    assert there.episodes.tasks == ("sentence 0", "sentence 1")
    frames = {n: p for numbers, block in there.pictures("static").blocks() for n, p in zip(numbers, block, strict=True)}
    levels = [int(frames[i].mean().round()) for i in range(10)]
    np.testing.assert_allclose(levels, np.concatenate(states), atol=2)
    (rows,) = [pq.read_table(f).to_pylist() for f in (root / "meta/episodes").rglob("*.parquet")]
    assert [row["forehand/source"] for row in rows] == ["line 0", "line 1", "line 4", "line 5"]


def test_what_is_left_out_is_recorded_with_its_reason(source, tmp_path):
    record = json.loads((run(job(source, tmp_path / "out")) / IMPORT_FILE).read_text())
    assert record["dropped_episodes"] == {"line 2": "marked so", "line 3": "it failed"}
    assert record["skipped_frames"] == {"dull": 0 + 1 + 4 + 5}
    assert (record["episodes_in_source"], record["episodes"], record["frames"]) == (6, 4, 10)
    assert record["statements"]["sense"] == {"value": "open", "origin": "stated by option"}
    assert record["statements"]["pictures"]["origin"] == "definition of the format"


def test_what_the_source_does_not_say_is_asked_for_at_once(source, tmp_path):
    with pytest.raises(ConfigurationError, match=r"(?s)rate=….*in Hz.*sense=….*: open, closed"):
        run(ImportJob(tmp_path / "out", "gray", {"source": str(source)}))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("call", [2, 9, 14, 17])
def test_an_import_killed_at_any_moment_goes_on_without_loss(source, tmp_path, monkeypatch, call):
    class Killed(BaseException):
        pass

    whole = content(run(job(source, tmp_path / "whole")))
    replace, calls = os.replace, []

    def dying(*arguments, **more):
        calls.append(arguments)
        if len(calls) == call:
            raise Killed
        replace(*arguments, **more)

    monkeypatch.setattr(os, "replace", dying)
    try:
        run(job(source, tmp_path / "out"))
    except Killed:
        monkeypatch.undo()
    assert content(run(job(source, tmp_path / "out"))) == whole


def test_a_finished_episode_is_not_read_again(source, tmp_path, monkeypatch):
    wanted = job(source, tmp_path / "out")
    with opened_import(wanted) as running:
        next(running.convert(workers=1))
    read, work = [], EpisodeConverter.work
    monkeypatch.setattr(EpisodeConverter, "work", lambda self, task, stop: read.append(task[0]) or work(self, task, stop))
    run(wanted)
    assert read == [1, 2, 3, 4]


def test_other_options_do_not_continue_an_import(source, tmp_path):
    wanted = job(source, tmp_path / "out")
    with opened_import(wanted) as running:
        next(running.convert(workers=1))
    other = ImportJob(wanted.output, "gray", {**wanted.options, "sense": "closed"})
    with pytest.raises(DatasetError, match=r"options.sense: 'open' there, 'closed' here"):
        run(other)
    run(wanted)
    with pytest.raises(DatasetError, match=r"options.sense: 'open' there, 'closed' here"):
        run(other)


def test_a_changed_source_does_not_continue_an_import(source, tmp_path):
    run(job(source, tmp_path / "out"))
    source.write_text("1\n2\n")
    with pytest.raises(DatasetError, match=r"source.digest"):
        run(job(source, tmp_path / "out"))


def test_a_damaged_episode_stops_the_import_or_is_dropped(source, tmp_path):
    source.write_text("3\ndamaged\n2\n")
    with pytest.raises(DatasetError, match="damaged line 1"):
        run(job(source, tmp_path / "out"))
    record = json.loads((run(job(source, tmp_path / "out", damaged="drop")) / IMPORT_FILE).read_text())
    assert record["dropped_episodes"] == {"line 1": f"damaged: {source} has a damaged line 1"}
    assert record["episodes"] == 2


def test_a_source_of_which_nothing_is_left_is_refused(source, tmp_path):
    source.write_text("failed\nfailed\n")
    with pytest.raises(DatasetError, match=r"(?s)Every one of the 2 episodes was left out:\n  2 × it failed"):
        run(job(source, tmp_path / "out"))
    source.write_text("marked\n")
    with pytest.raises(DatasetError, match=r"(?s)nothing to import.*line 0: marked so"):
        run(job(source, tmp_path / "out"))


def test_shards_are_consecutive_and_all_of_it(source, tmp_path):
    for total, count in ((10, 3), (2, 4), (64, 64)):
        spans = [list(Shard(i + 1, count).span(total)) for i in range(count)]
        assert list(itertools.chain(*spans)) == list(range(total))
        assert max(map(len, spans)) - min(map(len, spans)) <= 1
    root = run(job(source, tmp_path / "out", shard=Shard.parse("2/2")))
    assert root == tmp_path / "out-00002-of-00002"
    assert LeRobotSource(root).episodes.states[0] == 40


@pytest.mark.parametrize("text", ["0/4", "5/4", "3", "a/b", "1/0"])
def test_a_shard_that_does_not_exist_is_refused(text):
    with pytest.raises(ConfigurationError, match="from 1/64 to 64/64"):
        Shard.parse(text)
