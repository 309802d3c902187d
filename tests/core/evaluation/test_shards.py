"""Shards of an evaluation: who drives what, and their results as one."""

import json
import logging
from collections import Counter
from dataclasses import replace

import pytest

from forehand import Episode
from forehand.errors import ConfigurationError
from forehand.evaluation.evaluate import evaluate
from forehand.evaluation.merging import merge_results
from forehand.evaluation.results import read_record
from forehand.evaluation.shards import Shard

SETUP = {"policy": {"checkpoint": "here"}, "policy_facts": {"checkpoint": "/a", "fingerprint": "f", "history": 2}}
TIMES = ("started", "written", "seconds")


def untimed(value):
    """Without times, and without which commands wrote it on which machines."""
    if isinstance(value, dict):
        return {k: untimed(v) for k, v in value.items() if k not in (*TIMES, "provenance")}
    return [untimed(item) for item in value] if isinstance(value, list) else value


def text(folder):
    """The file as written, but for times and provenance."""
    return json.dumps(untimed(json.loads((folder / "results.json").read_text())), indent=2)


@pytest.fixture
def judged(carts, line, listener, tmp_path):
    """Evaluates ten trials, or a shard of them, into a folder; gives the folder."""

    def run(name, shard=None, setup=SETUP, seed=0, trials=10, policy=listener, **options):
        evaluate(
            policy,
            carts(1),
            line.episodes(trials, seed),
            folder=tmp_path / name,
            shard=shard and Shard.parse(shard),
            setup=setup,
            config={"trials": options.get("only"), "shard": shard, "output": str(tmp_path / name)},
            **options,
        )
        return tmp_path / name

    return run


@pytest.mark.parametrize(("trials", "count"), [(10, 1), (10, 3), (7, 7), (100, 16)])
def test_every_trial_is_in_one_shard_and_shards_have_alike_many(trials, count):
    listed = [(Episode("ab"[i % 2], "go", i, 8),) for i in range(trials)]
    chosen = list(range(trials))
    parts = [Shard(i + 1, count).part(listed, chosen) for i in range(count)]
    assert sorted(i for part in parts for i in part) == chosen
    assert all(part == sorted(part) for part in parts)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_a_task_that_comes_every_fourth_time_is_not_all_in_one_of_four_shards():
    listed = [(Episode("abcd"[i % 4], "go", i, 8),) for i in range(32)]
    for index in range(1, 5):
        tasks = Counter(listed[i][0].task for i in Shard(index, 4).part(listed, range(32)))
        assert tasks == dict.fromkeys("abcd", 2)


def test_long_trials_are_weighed_against_several_short_ones():
    listed = [(Episode("short", "go", i, 10),) for i in range(8)] + [(Episode("long", "go", 8, 40),) * 2]
    assert Shard(1, 2).part(listed, range(9)) == [8]
    assert Shard(2, 2).part(listed, [8, 1, 0]) == [1, 0]


@pytest.mark.parametrize("text", ["0/4", "5/4", "1/0", "1", "1/2/3", "-1/4", "a/b", ""])
def test_what_is_no_shard_is_refused(text):
    with pytest.raises(ConfigurationError, match="shard"):
        Shard.parse(text)


def test_more_shards_than_trials_are_refused(judged):
    with pytest.raises(ConfigurationError, match=r"only 3 trials\. Choose at most 3 shards"):
        judged("out", "1/4", trials=3)


@pytest.mark.parametrize("only", [None, [7, 2, 3, 5]])
def test_merged_shards_are_what_one_process_writes(judged, tmp_path, only):
    whole = judged("whole", videos=3, only=only)
    shards = [judged(f"{i}", f"{i}/3", videos=3, only=only) for i in (3, 1, 2)]
    merged = tmp_path / "merged"
    merge_results(shards, merged)
    assert text(merged) == text(whole).replace(str(whole), str(merged))
    assert (merged / "table.md").read_bytes() == (whole / "table.md").read_bytes()
    videos = sorted(path.name for path in (whole / "videos").iterdir())
    assert len(videos) == 3
    for name in videos:
        assert (merged / "videos" / name).read_bytes() == (whole / "videos" / name).read_bytes()
    runs = read_record(merged).provenance["runs"]
    assert [(run["shard"], run["folder"]) for run in runs] == [(f"{i}/3", str(tmp_path / f"{i}")) for i in (3, 1, 2)]


def test_a_folder_of_runs_stands_for_them_and_may_be_the_output(judged, tmp_path):
    for i in (1, 2):
        judged(f"sweep/{i}", f"{i}/2")
    once = merge_results([tmp_path / "sweep"], tmp_path / "sweep")
    again = merge_results([tmp_path / "sweep"], tmp_path / "sweep")
    assert once.episodes == again.episodes
    assert len(once.lengths) == 10
    with pytest.raises(ConfigurationError, match="holds an evaluation that was not merged"):
        merge_results([tmp_path / "sweep/1", tmp_path / "sweep/2"], judged("own"))
    with pytest.raises(ConfigurationError, match="There is no evaluation in"):
        merge_results([tmp_path / "nowhere"], tmp_path / "merged")


def test_checkpoints_are_compared_by_what_they_hold(judged, tmp_path):
    one = judged("1", "1/2")
    moved = {"policy": {"checkpoint": "there"}, "policy_facts": {"checkpoint": "/b", "fingerprint": "f", "history": 2}}
    assert len(merge_results([one, judged("2", "2/2", setup=moved)], tmp_path / "merged").lengths) == 10
    other = {**moved, "policy_facts": {**moved["policy_facts"], "fingerprint": "g"}}
    with pytest.raises(ConfigurationError, match=r'policy_facts\.fingerprint: "f" and "g"'):
        merge_results([one, judged("3", "2/2", setup=other)], tmp_path / "merged")
    unknown = {"policy": {"checkpoint": "there"}}
    with pytest.raises(ConfigurationError, match=r'policy\.checkpoint: not there and "there"'):
        merge_results([one, judged("4", "2/2", setup=unknown)], tmp_path / "merged")


def test_other_scenes_are_named(judged, tmp_path):
    one = judged("1", "1/2")
    with pytest.raises(ConfigurationError, match="planned episode 0: seed: 0 and 1"):
        merge_results([one, judged("2", "2/2", seed=1)], tmp_path / "merged")
    with pytest.raises(ConfigurationError, match="planned episodes: 10 and 12"):
        merge_results([one, judged("3", "2/2", trials=12)], tmp_path / "merged")


def test_missing_and_unfinished_shards_are_named(judged, tmp_path, caplog):
    def stop(evaluation):
        if len(evaluation.lengths) == 1:
            raise KeyboardInterrupt

    one = judged("1", "1/4")
    with pytest.raises(KeyboardInterrupt, match="1 of 3 finished episodes are kept"):
        judged("2", "2/4", progress=stop)
    with pytest.raises(ConfigurationError) as raised:
        merge_results([one, tmp_path / "2"], tmp_path / "merged")
    parts = {i: Shard(i, 4).part(read_record(one).trials, range(10)) for i in (2, 3, 4)}
    assert "Of 10 trials, 6 are missing" in str(raised.value)
    assert f"shard 2/4 in {tmp_path / '2'} is not finished: trials {parts[2][1]}, {parts[2][2]};" in str(raised.value)
    for i in (3, 4):
        assert f"shard {i}/4 is missing: trials {', '.join(map(str, parts[i]))}" in str(raised.value)
    assert not (tmp_path / "merged/results.json").exists()
    with caplog.at_level(logging.WARNING):
        some = merge_results([one, tmp_path / "2"], tmp_path / "merged", partial=True)
    assert len(some.lengths) == 4
    assert "6 are missing" in caplog.text
    assert not json.loads((tmp_path / "merged/results.json").read_text())["complete"]
    judged("2", "2/4")  # the same command goes on
    whole = merge_results([tmp_path / "merged", judged("3", "3/4"), judged("4", "4/4"), tmp_path / "2"], tmp_path / "all")
    assert len(whole.lengths) == 10


def test_trials_that_came_out_otherwise_elsewhere_are_refused(judged, listener, tmp_path):
    one, two = judged("1", only=[0, 1, 2, 3, 4, 5]), judged("2", only=[4, 5, 6, 7, 8, 9])
    assert len(merge_results([one, two], tmp_path / "merged").lengths) == 10
    written = json.loads((two / "results.json").read_text())
    written["episodes"][1]["steps"] += 1
    (two / "results.json").write_text(json.dumps(written))
    with pytest.raises(ConfigurationError, match=r"Trials 5 came out otherwise in .*2 than in .*1\."):
        merge_results([one, two], tmp_path / "merged")


def test_a_video_that_is_not_there_is_not_claimed(judged, tmp_path, caplog):
    one, two = judged("1", "1/2", videos=1), judged("2", "2/2", videos=1)
    (filmed,) = [episode for episode in read_record(one).episodes if episode.video]
    (one / filmed.video).unlink()
    merged = merge_results([one, two], tmp_path / "merged")
    assert {replace(episode, seconds=0) for episode in merged.episodes if episode.index == filmed.index} == {
        replace(filmed, seconds=0, video=None)
    }
    assert "has no video" not in caplog.text
    assert "so the merged results have no video of it" in caplog.text


def test_versions_that_differ_are_told(judged, tmp_path, caplog):
    one, two = judged("1", "1/2"), judged("2", "2/2")
    written = json.loads((two / "results.json").read_text())
    written["provenance"]["versions"]["numpy"] = "0.1"
    (two / "results.json").write_text(json.dumps(written))
    merge_results([one, two], tmp_path / "merged")
    assert 'versions.numpy: "' in caplog.text


def test_two_shards_cannot_share_a_folder(judged, tmp_path):
    judged("out", "1/2")
    with pytest.raises(ConfigurationError, match="another evaluation: shard differ"):
        judged("out", "2/2")

    def intrude(evaluation):
        with pytest.raises(ConfigurationError, match="Another process is evaluating into"):
            judged("busy", "2/2")
        intruded.append(1)

    intruded = []
    judged("busy", "1/2", progress=intrude)
    assert intruded
