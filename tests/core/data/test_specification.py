"""What may be written for ``dataset``."""

from pathlib import Path

import pytest

from forehand import registry
from forehand.data.dataset import Dataset
from forehand.data.embodiments import EmbodimentDatasets, open_datasets
from forehand.data.lerobot.source import LeRobotSource
from forehand.data.specification import OpenSources, SourceSpec, is_embodiments, read_sources
from forehand.data.splits import with_split
from forehand.errors import ConfigurationError, UnknownName


def test_every_way_of_writing_one_dataset_means_the_same(small_dataset: Path):
    plain = Dataset.open(small_dataset).fingerprint
    for written in (
        str(small_dataset),
        {"path": small_dataset},
        {"name": "lerobot", "path": str(small_dataset)},
        [{"name": "lerobot", "path": small_dataset}],
        {"sources": [str(small_dataset)]},
        LeRobotSource(small_dataset),
    ):
        assert Dataset.open(written).fingerprint == plain


def test_selections_of_one_dataset_read_its_tables_once(small_dataset: Path):
    opened: OpenSources = {}
    splits = [open_datasets(with_split(small_dataset, split), opened) for split in ("train", "validation")]
    train, validation = (data.sources[0] for data in splits)
    assert train.base is validation.base
    assert len(train.episodes) + len(validation.episodes) == len(train.base.episodes)
    turned = Dataset.open({"path": small_dataset, "action": []}, opened=opened)
    assert turned.sources[0].base is not train.base
    assert len(opened) == 2


def test_several_sources_keep_their_order():
    assert read_sources(["a", {"name": "lerobot", "path": "b"}, {"name": "x", "path": "c", "rate": 5}]) == (
        SourceSpec("lerobot", {"path": "a"}, "dataset[0]"),
        SourceSpec("lerobot", {"path": "b"}, "dataset[1]"),
        SourceSpec("x", {"path": "c", "rate": 5}, "dataset[2]"),
    )


def test_a_mapping_without_the_keys_of_a_source_is_of_embodiments(small_dataset: Path):
    data = open_datasets({"arm": {"name": "lerobot", "path": small_dataset}, "b": [str(small_dataset)]})
    assert isinstance(data, EmbodimentDatasets)
    assert list(data.datasets) == ["arm", "b"]
    assert isinstance(open_datasets({"path": small_dataset}), Dataset)
    assert not is_embodiments("data/blocks")


def noted(path: str, made: list[str]) -> LeRobotSource:
    """The source at ``path``; what was asked for is in ``made``."""
    made.append(path)
    return LeRobotSource(path)


def test_a_registered_source_is_made_with_its_options(small_dataset: Path, monkeypatch: pytest.MonkeyPatch):
    found = registry()
    monkeypatch.setattr(found, "_parts", dict(found._parts))
    found.add("dataset", "tests/noted", noted, "for this test")
    found.add("dataset", "tests/none", dict, "makes no source")
    made: list[str] = []
    Dataset.open([{"name": "tests/noted", "path": str(small_dataset), "made": made}])
    assert made == [str(small_dataset)]
    with pytest.raises(ConfigurationError, match=r"no option 'mad'. Known, the nearest first: made, "):
        Dataset.open({"name": "tests/noted", "path": "a", "mad": 1})
    with pytest.raises(
        ConfigurationError, match=r"dataset\[0\]: dataset 'tests/none' makes a dict, which is no DataSource"
    ):
        Dataset.open([{"name": "tests/none"}])


@pytest.mark.parametrize(
    ("written", "error", "message"),
    [
        (3, ConfigurationError, "dataset must be a folder, .* not 3"),
        (["a", None], ConfigurationError, r"dataset\[1\] must be a folder, .* not None"),
        ({"sources": "a"}, ConfigurationError, r"dataset\.sources must be a list, not 'a'"),
        ({"sources": []}, ConfigurationError, r"dataset\.sources must be a list, not \[\]"),
        ({"name": 3}, ConfigurationError, r"dataset\.name must be the name of a format .* not 3"),
        ({"name": "lerobt", "path": "a"}, UnknownName, "Did you mean 'lerobot'"),
        ({"arm": {"name": "lerobot"}}, ConfigurationError, "it needs path"),
        ({"arm": {"fps": 3}}, ConfigurationError, r"dataset\.arm must be a folder"),
    ],
)
def test_what_cannot_be_read_is_named(written: object, error: type[Exception], message: str):
    with pytest.raises(error, match=message):
        open_datasets(written)  # type: ignore[arg-type]


@pytest.mark.parametrize("weight", [float("nan"), float("inf"), 1e308, -1, True, "2"])
def test_a_weight_that_is_none_is_refused(weight):
    with pytest.raises(ConfigurationError, match=r"dataset\[0\]\.weight is a number from 0 to 1e\+09, not"):
        read_sources([{"path": "a", "weight": weight}])


def test_a_misspelt_option_is_answered_by_all_of_them(small_dataset: Path):
    message = (
        r"dataset: a dataset of the format 'lerobot' has no option 'camera'\. Known, the nearest first: cameras, .*where"
    )
    with pytest.raises(ConfigurationError, match=message):
        Dataset.open({"path": small_dataset, "camera": ["static"]})
