"""The command that imports: what it says, writes, and continues after it was killed."""

import os
import signal
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.foreign_recordings.calvin import write_calvin
from tests.foreign_recordings.hdf5 import write_libero, write_robomimic


def frames(root: Path) -> pa.Table:
    return pa.concat_tables(pq.read_table(file) for file in sorted((root / "data").rglob("*.parquet")))


def test_a_source_is_imported_and_its_card_tells_about_it(forehand, tmp_path):
    write_libero(tmp_path / "in/open_the_drawer_demo.hdf5", lengths=(4, 3), idle=(1,))
    command = ("import", "libero", "source=in", "output=out", "no_ops=drop", "workers=1", "license=mit")
    done = forehand(*command)
    assert done.returncode == 0, done.stderr
    assert "2 episodes with 6 frames in out. Left out: 1 frame; out/meta/forehand_import.json says why." in done.stderr
    assert "forehand train dataset=out" in done.stderr
    card = (tmp_path / "out/README.md").read_text()
    assert "forehand import libero source=in no_ops=drop output=out" in card
    assert "| action scale | `1.0 is 0.05 m and 0.5 rad` | env_args of the files |" in card
    assert "- 1 frames: no-ops: the command moves nothing" in card
    assert "license: mit" in card
    assert "Every episode succeeded" not in card
    again = forehand(*command)
    assert again.returncode == 0
    assert "2 episodes with 6 frames in out." in again.stderr


@pytest.mark.slow
def test_shards_are_merged_by_the_command(forehand, tmp_path):
    write_libero(tmp_path / "in/a_demo.hdf5", lengths=(3, 2, 4))
    for shard in ("1/2", "2/2"):
        done = forehand("import", "libero", "source=in", "output=part", f"shard={shard}", "workers=1")
        assert done.returncode == 0, done.stderr
    merged = forehand("data", "merge", "part-00001-of-00002", "part-00002-of-00002", "output=out")
    assert merged.returncode == 0, merged.stderr
    assert "3 episodes with 9 frames of 2 datasets in out." in merged.stderr
    assert (
        "forehand data merge part-00001-of-00002 part-00002-of-00002 output=out"
        in (tmp_path / "out/README.md").read_text()
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), ["importer must be given"]),
        (("libreo",), ["no importer called 'libreo'", "'libero'"]),
        (("libero", "source=nowhere"), ["no source", "nowhere", "source=…"]),
        (("libero",), ["source must be given"]),
        (("libero", "source=in", "camera={}"), ["no option 'camera'", "'cameras'"]),
        (("libero", "source=in", "shard=0/3"), ["shard is '0/3'", "from 1/64"]),
        (("libero", "source=in", "damaged=skip"), ["damaged must be stop or drop"]),
        (("robomimic", "source=in"), ["instruction=…", "orientation.static=…", "flipped_vertically"]),
    ],
)
def test_a_mistake_is_explained_without_a_traceback(forehand, tmp_path, arguments, words):
    write_robomimic(tmp_path / "in/image.hdf5")
    result = forehand("import", *arguments, "output=out")
    assert result.returncode == 2, result.stderr
    for word in words:
        assert word in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_killed_processes_lose_nothing(forehand, begun, tmp_path):
    write_calvin(tmp_path / "in/training")
    command = ("import", "calvin", "source=in/training", "part=all", "silence=play")
    whole = forehand(*command, "output=whole", "workers=1")
    assert whole.returncode == 0, whole.stderr
    process = begun(*command, "output=out", "workers=2")
    waiting = tmp_path / "out/.recording"
    while (
        process.poll() is None and not list(waiting.glob("episode-*")) and not (tmp_path / "out/meta/info.json").exists()
    ):
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    done = forehand(*command, "output=out", "workers=1")
    assert done.returncode == 0, done.stderr
    assert frames(tmp_path / "out") == frames(tmp_path / "whole")
    assert not waiting.exists()
