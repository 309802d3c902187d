"""Merged datasets: shards are as a single import, and nothing is encoded again."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from forehand.data.features import read_contract, read_info, write_contract
from forehand.data.importing.job import ImportJob, Shard
from forehand.data.importing.record import IMPORT_FILE
from forehand.data.importing.run import opened_import
from forehand.data.lerobot.source import LeRobotSource
from forehand.data.merging.merge import merge_datasets
from forehand.data.merging.parts import merged_contract, read_parts
from forehand.errors import ConfigurationError, ContractMismatch, DatasetError


def run(source: Path, output: Path, shard: str | None = None, sense: str = "open") -> Path:
    options = {"source": str(source), "rate": 10.0, "sense": sense}
    with opened_import(ImportJob(output, "gray", options, Shard.parse(shard))) as running:
        list(running.convert(workers=1))
        running.commit({})
    return running.job.root


def merge(roots: list[Path], output: Path) -> Path:
    merge_datasets(read_parts(roots), output)
    return output


def frames(root: Path) -> pa.Table:
    return pa.concat_tables(pq.read_table(file) for file in sorted((root / "data").rglob("*.parquet")))


def rows(root: Path) -> list[dict]:
    """The table of episodes without the places of files, and of images in them."""
    found = pa.concat_tables(pq.read_table(f) for f in sorted((root / "meta/episodes").rglob("*.parquet"))).to_pylist()
    placed = ("_timestamp", "chunk_index", "file_index")
    return [{k: v for k, v in row.items() if not k.endswith(placed)} for row in found]


def pictures(root: Path) -> list[np.ndarray]:
    blocks = LeRobotSource(root).pictures("static").blocks()
    found = {int(n): p for numbers, block in blocks for n, p in zip(numbers, block, strict=True)}
    return [found[i] for i in range(len(found))]


def test_merged_shards_are_as_a_single_import(source, tmp_path):
    single = run(source, tmp_path / "single")
    shards = [run(source, tmp_path / "parts", f"{i}/3") for i in (1, 2, 3)]
    merged = merge([shards[2], shards[0], shards[1]], tmp_path / "merged")
    assert frames(merged) == frames(single)
    assert rows(merged) == rows(single)
    np.testing.assert_array_equal(pictures(merged), pictures(single))
    for name in ("meta/tasks.parquet", "meta/forehand_contract.json", "meta/forehand_histograms.json", IMPORT_FILE):
        assert (merged / name).read_bytes() == (single / name).read_bytes(), name
    assert read_info(merged) == read_info(single)
    one, other = (json.loads((root / "meta/stats.json").read_text()) for root in (merged, single))
    assert one == other
    assert run(source, tmp_path / "merged") == merged  # which is complete


def test_a_shard_without_episodes_is_merged_as_nothing(source, tmp_path):
    single = run(source, tmp_path / "single")
    total = read_info(single)["total_episodes"]
    names = [f"{i}/{total + 2}" for i in range(1, total + 3)]
    shards = [run(source, tmp_path / "parts", name) for name in names]
    assert shards == [run(source, tmp_path / "parts", name) for name in names], "they are complete"
    empty = [root for root in shards if not (root / "meta/info.json").exists()]
    assert len(empty) == 2
    merged = merge(shards, tmp_path / "merged")
    assert frames(merged) == frames(single)
    assert (merged / IMPORT_FILE).read_bytes() == (single / IMPORT_FILE).read_bytes()
    with pytest.raises(DatasetError, match=f"The shards .*{len(names)} are missing"):
        read_parts([root for root in shards if root not in empty])
    with pytest.raises(DatasetError, match="None of the shards has an episode"):
        read_parts(empty)
    with pytest.raises(DatasetError, match="holds another import"):
        run(source, tmp_path / "parts", names[shards.index(empty[0])], sense="closed")


def test_videos_are_not_encoded_again(source, tmp_path):
    shards = [run(source, tmp_path / "parts", f"{i}/2") for i in (1, 2)]
    merged = merge(shards, tmp_path / "merged")
    before = [file.read_bytes() for root in shards for file in sorted((root / "videos").rglob("*.mp4"))]
    assert [file.read_bytes() for file in sorted((merged / "videos").rglob("*.mp4"))] == before


def test_a_missing_shard_is_named(source, tmp_path):
    shards = [run(source, tmp_path / "parts", f"{i}/3") for i in (1, 3)]
    with pytest.raises(DatasetError, match="The shards 2/3 are missing"):
        read_parts(shards)
    copy = shutil.copytree(shards[0], tmp_path / "copy")
    with pytest.raises(DatasetError, match="are the same shard 1/3"):
        read_parts([*shards, copy])
    with pytest.raises(ConfigurationError, match="named twice"):
        read_parts([shards[0], shards[0]])


def test_shards_of_another_source_do_not_belong(source, tmp_path):
    first = run(source, tmp_path / "parts", "1/2")
    source.write_text("1\n2\n3\n4\n")
    second = run(source, tmp_path / "parts", "2/2")
    with pytest.raises(DatasetError, match=r"another import.*(?s:.*)source.digest"):
        read_parts([first, second])


def test_datasets_of_different_contracts_do_not_belong(source, tmp_path):
    roots = [run(source, tmp_path / "a"), run(source, tmp_path / "b", sense="closed")]
    with pytest.raises(ContractMismatch, match=r"(?s)different contracts.*gripper"):
        read_parts(roots)


def test_recordings_are_merged_in_the_order_in_which_they_are_named(source, tmp_path):
    first = run(source, tmp_path / "a")
    source.write_text("2\n")
    second = run(source, tmp_path / "b")
    merged = LeRobotSource(merge([second, first], tmp_path / "merged"))
    np.testing.assert_array_equal(merged.episodes.states[:5, 0], [0, 1, 0, 1, 2])
    assert not (merged.root / IMPORT_FILE).exists()
    with pytest.raises(DatasetError, match="holds a dataset already"):
        merge([first, second], tmp_path / "merged")


def test_datasets_that_lerobot_wrote_are_merged(small_dataset, tmp_path):
    copy = shutil.copytree(small_dataset, tmp_path / "copy")
    merged = merge([small_dataset, copy], tmp_path / "merged")
    there = LeRobotSource(merged)
    np.testing.assert_array_equal(there.episodes.states[:, 0], [*range(21), *range(21)])
    levels = [int(p.mean().round()) for p in pictures(merged)]
    np.testing.assert_allclose(levels, [20 + 10 * i for i in range(21)] * 2, atol=4)
    assert there.image_statistics("static")["count"] == 42


def test_what_only_some_state_is_left_unstated(source, tmp_path):
    one, other = run(source, tmp_path / "one"), run(source, tmp_path / "other")
    contract = read_contract(one)
    (x,), (gripper,) = contract.state, contract.action
    write_contract(one, replace(contract, action=(replace(gripper, unit="1", low=(-1.0,), high=(1.0,)),)))
    merged = merge([one, other], tmp_path / "merged")
    assert read_contract(merged) == read_contract(other) == contract
    assert merged_contract(read_parts([one, other]))[1] == [f"action.gripper: {name}" for name in ("unit", "low", "high")]
    write_contract(other, replace(contract, state=(replace(x, unit="mm"),)))
    with pytest.raises(ContractMismatch, match=r"unit: needed 'm', offered 'mm'"):
        read_parts([one, other])
