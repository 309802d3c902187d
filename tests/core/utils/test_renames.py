"""Keys that were renamed keep working, in their place, and each use is logged once."""

import pytest

from forehand.errors import ConfigurationError
from forehand.utils import renames
from forehand.utils.renames import renamed_key, renamed_keys, renamed_value


@pytest.fixture
def table(monkeypatch):
    monkeypatch.setattr(renames, "KEYS", {})
    renames.log_once.cache_clear()
    yield renames.KEYS
    renames.log_once.cache_clear()


def test_without_renames_everything_stays(table):
    config = {"name": "composed", 3: {"a.b": {}}, "list": [1, {"x": 2}]}
    assert renamed_keys(config) == config
    assert renamed_key("policy.encoders.text.name") == "policy.encoders.text.name"


def test_a_path_stands_for_what_is_below_it(table):
    table["policy.world_model"] = "policy.forecaster.model"
    assert renamed_key("policy.world_model") == "policy.forecaster.model"
    assert renamed_key("policy.world_model.weight") == "policy.forecaster.model.weight"
    assert renamed_key("policy.world_models") == "policy.world_models"
    assert renamed_key("world_model") == "world_model"


def test_keys_keep_their_order(table):
    table["policy.b"] = "policy.c"
    found = renamed_keys({"a": 1, "b": {"x": 1, "y": {}}, "d": None}, under="policy")
    assert found == {"a": 1, "c": {"x": 1, "y": {}}, "d": None}
    assert list(found) == ["a", "c", "d"]


def test_a_star_stands_for_any_one_key(table):
    table["policy.encoders.*.keypoints"] = "policy.encoders.*.points"
    config = {"policy": {"encoders": {"front": {"keypoints": 4}, "wrist": {"keypoints": 2, "name": "k"}}}}
    assert renamed_keys(config) == {"policy": {"encoders": {"front": {"points": 4}, "wrist": {"points": 2, "name": "k"}}}}
    assert renamed_key("policy.encoders.keypoints") == "policy.encoders.keypoints"


def test_a_rename_can_be_of_one_command(table):
    table["run:watchdog"] = "hold_after"
    assert renamed_key("watchdog", "run") == "hold_after"
    assert renamed_key("watchdog", "robot") == renamed_key("watchdog") == "watchdog"


def test_each_use_is_logged_once(table, caplog):
    table["policy.encoders.*.keypoints"] = "policy.encoders.*.points"
    for _ in range(2):
        renamed_key("policy.encoders.front.keypoints")
    assert [r.message for r in caplog.records] == [
        "policy.encoders.front.keypoints is now called policy.encoders.front.points; write that."
    ]


def test_a_rename_can_be_of_one_part(table, monkeypatch):
    table["policy.*.std"] = "policy.*.init_std"
    monkeypatch.setattr(renames, "PARTS", {"policy.*.std": "ours"})
    assert renamed_keys({"backbone": {"name": "ours", "std": 1}}, under="policy") == {
        "backbone": {"name": "ours", "init_std": 1}
    }
    theirs = {"backbone": {"name": "theirs", "std": 1}}
    assert renamed_keys(theirs, under="policy") == theirs


def test_values_are_renamed_where_their_key_stands(table, monkeypatch, caplog):
    table["policy.style"] = "policy.render"
    monkeypatch.setattr(renames, "VALUES", {"policy.render": {"pretty": "high"}, "eval:instruction": {"own": "task"}})
    assert renamed_keys({"style": "pretty", "other": "pretty"}, under="policy") == {"render": "high", "other": "pretty"}
    assert renamed_keys({"policy": {"render": {"pretty": "pretty"}}}) == {"policy": {"render": {"pretty": "pretty"}}}
    assert renamed_value("policy.render", "pretty") == "high"
    assert renamed_value("policy.render", "fast") == "fast"
    assert renamed_value("instruction", "own", "eval") == "task"
    assert renamed_value("instruction", "own", "run") == "own"
    assert [r.message for r in caplog.records if "=" in r.message] == [
        "policy.render=pretty is now called policy.render=high; write that.",
        "instruction=own is now called instruction=task; write that.",
    ]


@pytest.mark.parametrize("config", [{"new": 1, "old": 2}, {"old": 2, "new": 1}, {"new": 1, "old": {"x": 2}}])
def test_both_names_of_a_key_are_refused(table, config):
    table["old"] = "new"
    with pytest.raises(ConfigurationError, match="by its old name and by its present one"):
        renamed_keys(config)
