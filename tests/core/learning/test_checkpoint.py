"""A checkpoint is whole or not there, gives back the same policy, and says what is wrong with it."""

import json
import pickle
import shutil
import traceback
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from forehand import Observation, registry
from forehand.conformance import example
from forehand.errors import CheckpointError, ConfigurationError
from forehand.learning.checkpoint import (
    CONFIG,
    CONTRACT,
    PROVENANCE,
    WEIGHTS,
    build_policy,
    checkpoints,
    fingerprint,
    latest_checkpoint,
    load_policy,
    load_weights,
    save_policy,
    step_folder,
)
from forehand.utils import renames

CONFIG_VALUES = {
    "name": "composed",
    "dim": 16,
    "history": 2,
    "image_size": 32,
    "encoders": {
        "text": {"name": "example/text"},
        "state": {"name": "example/state"},
        "cameras": {"name": "example/images", "cameras": ["static"]},
    },
    "backbone": {"name": "example/transformer", "layers": 1},
    "world_model": None,
    "action_head": {"name": "example/regression", "chunk": 2},
    "reads": {"observation": {"observation": "past"}, "action": {"observation": "past"}},
    "normalization": {"state": "mean_std", "action": "none"},
}
STATISTICS = {"observation.state": {"mean": np.arange(7.0), "std": np.arange(1.0, 8.0)}}


@pytest.fixture
def policy():
    torch.manual_seed(0)
    policy = build_policy(CONFIG_VALUES, example.CONTRACT, STATISTICS)
    for module in policy.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # buffers that training would have moved
            module.running_mean.normal_()
    return policy.eval()


@pytest.fixture
def saved(policy, tmp_path) -> Path:
    folder = step_folder(tmp_path / "run", 3)
    save_policy(folder, policy, CONFIG_VALUES, STATISTICS, {"seed": 7})
    return folder


def actions(policy) -> np.ndarray:
    generator = np.random.default_rng(0)
    session = policy.open("lift the red block")
    seen: list[Observation] = [example.observation(example.CONTRACT, generator, t / 15) for t in range(3)]
    return np.stack([policy.step([session], [o])[0].actions for o in seen])


def test_a_policy_comes_back_the_same(policy, saved, tmp_path):
    for folder in (saved, str(saved), tmp_path / "run"):  # a run's folder stands for its newest checkpoint
        loaded = load_policy(folder)
        assert loaded.contract == policy.contract
        assert np.array_equal(actions(loaded), actions(policy))


def test_a_checkpoint_is_four_files_and_no_pickle(saved, monkeypatch):
    assert sorted(f.name for f in saved.iterdir()) == sorted([WEIGHTS, CONFIG, CONTRACT, PROVENANCE])

    def refuse(*_, **__):
        raise AssertionError("something was unpickled")

    monkeypatch.setattr(torch, "load", refuse)
    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    load_policy(saved)


def test_a_policy_says_which_weights_it_has(policy, saved, tmp_path):
    facts = load_policy(tmp_path / "run").describe()
    assert facts["checkpoint"] == str(saved)
    assert facts["fingerprint"] == fingerprint(saved)
    assert facts["parameters"] == sum(p.numel() for p in policy.parameters())
    assert "checkpoint" not in policy.describe()


def test_a_fingerprint_is_of_what_the_policy_does(policy, saved, tmp_path):
    def stored(folder, config=CONFIG_VALUES, statistics=STATISTICS, **facts):
        save_policy(tmp_path / folder, policy, config, statistics, facts)
        return fingerprint(tmp_path / folder)

    assert stored("again", seed=8) == fingerprint(saved)
    assert stored("config", config=CONFIG_VALUES | {"token_dropout": {}}) != fingerprint(saved)
    assert stored("statistics", statistics={}) != fingerprint(saved)
    with torch.no_grad():
        next(policy.parameters()).view(-1)[0] += 1e-6
    assert stored("weights") != fingerprint(saved)


def test_tied_weights_can_be_kept(tmp_path):
    class Tied(torch.nn.Module):
        contract = example.CONTRACT

        def __init__(self):
            super().__init__()
            self.embed, self.readout = torch.nn.Linear(3, 3), torch.nn.Linear(3, 3)
            self.readout.weight = self.embed.weight

    module, other = Tied(), Tied()
    save_policy(tmp_path / "tied", module, {"name": "tied"}, {}, {})
    load_weights(other, tmp_path / "tied")
    assert torch.equal(other.readout.weight, module.embed.weight)
    assert other.readout.weight is other.embed.weight


# ---- whole or not there -----------------------------------------------------------------------------------------------


def test_what_fails_halfway_leaves_nothing(policy, tmp_path):
    def fail(staging):
        assert (staging / WEIGHTS).exists()
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        save_policy(tmp_path / "new", policy, CONFIG_VALUES, STATISTICS, {}, extra=fail)
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_is_never_overwritten(policy, saved):
    before = fingerprint(saved)
    with pytest.raises(CheckpointError, match="never overwritten"):
        save_policy(saved, policy, CONFIG_VALUES, {}, {})
    assert fingerprint(saved) == before


def test_the_newest_is_the_one_with_the_highest_step(tmp_path):
    for step in (9_999_999, 10_000_000, 20):
        step_folder(tmp_path, step).mkdir(parents=True)
    (tmp_path / "checkpoints" / ".step_0000030-half").mkdir()
    (tmp_path / "checkpoints" / "step_best").mkdir()
    assert [c.name for c in checkpoints(tmp_path)] == ["step_0000020", "step_9999999", "step_10000000"]
    assert latest_checkpoint(tmp_path / "nowhere") is None


# ---- what is wrong ----------------------------------------------------------------------------------------------------


def test_weights_that_do_not_fit_are_named(saved):
    weights = load_file(saved / WEIGHTS)
    weights["encoders.state.extra"] = weights.pop("backbone.step_embedding", torch.zeros(1))
    name = next(n for n in weights if n.endswith("queries"))
    weights[name] = torch.zeros(5, 16)
    gone = next(n for n in weights if n.startswith("encoders.text"))
    del weights[gone]
    save_file(weights, saved / WEIGHTS)
    with pytest.raises(CheckpointError) as raised:
        load_policy(saved)
    message = str(raised.value)
    assert str(saved) in message
    assert f"missing: {gone}" in message
    assert "unexpected: encoders.state.extra" in message
    assert f"of another shape: {name} (found (5, 16), needed (2, 16))" in message


def test_a_long_list_of_weights_is_cut(saved):
    save_file({}, saved / WEIGHTS)
    with pytest.raises(CheckpointError, match=r"missing: .* and \d+ more"):
        load_policy(saved)


@pytest.mark.parametrize("name", [WEIGHTS, CONFIG, CONTRACT, PROVENANCE])
def test_a_missing_file_is_named(saved, name):
    (saved / name).unlink()
    with pytest.raises(CheckpointError, match=f"is not a checkpoint: it lacks {name}"):
        load_policy(saved)


@pytest.mark.parametrize("name", [WEIGHTS, CONTRACT, PROVENANCE])
def test_a_file_that_was_cut_off_is_named(saved, name):
    content = (saved / name).read_bytes()
    (saved / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match=f"{saved / name} is damaged"):
        load_policy(saved)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        (WEIGHTS, b"not weights at all", "header"),
        (CONFIG, b"a: [1", "while parsing"),
        (CONFIG, b"\xff\xfe\xfd\x00", "invalid start byte"),
        (CONFIG, b"", "names no policy"),
        (CONFIG, b"- composed", "names no policy"),
        (CONFIG, b"name: ${nowhere}", "name holds an interpolation, '${nowhere}'"),
        (CONFIG, b"name: composed\nhide: {'${nowhere}': 1}", "holds an interpolation"),
        (CONFIG, b"a: &a [x]\nb: *a\nname: composed", "alias"),
        (CONFIG, b"[" * 100_000, "nested more than"),
        (CONFIG, b"name: composed\nhistory: 99999999999999999999", "more than 64 bits"),
        (CONFIG, b"#" * 2**20, "larger than"),
        (CONTRACT, b"[]", "holds no mapping"),
        (CONTRACT, b'{"contract": 3}', "lacks contract and statistics"),
        (CONTRACT, b'{"contract": {"cameras": []}, "statistics": {}}', "not a contract"),
        (CONTRACT, b"[" * 1_000_000, "not JSON"),
        (PROVENANCE, b"[" * 1_000_000, "not JSON"),
        (WEIGHTS, (2**60).to_bytes(8, "little") + b"{}", "its header is of 1152921504606846976 bytes"),
        (WEIGHTS, (2).to_bytes(8, "little") + b"[]", "its header cannot be read"),
    ],
)
def test_nonsense_in_a_file_is_told(saved, name, content, reason):
    (saved / name).write_bytes(content)
    with pytest.raises(CheckpointError) as raised:
        load_policy(saved)
    assert f"{saved / name} is damaged" in str(raised.value)
    assert reason in str(raised.value)


@pytest.mark.parametrize("written", ["name: composed\ndim: ${oc.env:A_SECRET}", "name: '${oc.env:A_SECRET}'"])
def test_nothing_of_the_environment_is_read(saved, monkeypatch, written):
    monkeypatch.setenv("A_SECRET", "swordfish")
    (saved / CONFIG).write_text(written)
    with pytest.raises(CheckpointError, match=r"oc\.env:A_SECRET") as raised:
        load_policy(saved)
    assert "swordfish" not in "".join(traceback.format_exception(raised.value))


@pytest.mark.parametrize(
    "change",
    [
        {"backbone": CONFIG_VALUES["backbone"] | {"layers": 1_000_000_000}},
        {"dim": 2_000_000},
        {"history": 4096, "dim": 500_000},
        {"action_head": CONFIG_VALUES["action_head"] | {"chunk": 2_000_000_000}},
        {"encoders": {f"e{i}": {"name": "example/state"} for i in range(1500)}},
        {"image_size": 1_000_000, "world_model": {"name": "example/colour", "cameras": ["static"]}},
        {"image_size": 10**9, "world_model": {"name": "example/colour", "cameras": ["static"]}},
    ],
)
def test_a_policy_far_larger_than_its_weights_is_not_built(saved, change):
    (saved / CONFIG).write_text(json.dumps(CONFIG_VALUES | change))
    with pytest.raises(CheckpointError, match=r"cannot be built\. it is far larger than the stored weights"):
        load_policy(saved)


@pytest.mark.parametrize("size", [10**12, -1, 1.5, "many", True])
def test_sizes_in_a_contract_are_looked_at(saved, size):
    about = json.loads((saved / CONTRACT).read_text())
    about["contract"]["state"][0]["size"] = size
    (saved / CONTRACT).write_text(json.dumps(about))
    with pytest.raises(CheckpointError, match=f"{CONTRACT} is damaged: this is not a contract"):
        load_policy(saved)


def test_a_header_that_the_file_cannot_hold_is_refused(saved):
    header = json.dumps({"w": {"dtype": "F32", "shape": [10**9, 10**9], "data_offsets": [0, 4]}}).encode()
    (saved / WEIGHTS).write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    with pytest.raises(CheckpointError, match="gives w a shape that the file cannot hold"):
        load_policy(saved)


def test_former_names_of_keys_and_parts_still_load(policy, saved, monkeypatch):
    monkeypatch.setattr(renames, "KEYS", {"policy.former_history": "policy.history"})
    monkeypatch.setitem(registry()._aliases, ("encoder", "former_state"), "example/state")
    text = (saved / CONFIG).read_text()
    (saved / CONFIG).write_text(text.replace("history:", "former_history:").replace("example/state", "former_state"))
    assert np.array_equal(actions(load_policy(saved)), actions(policy))


def test_a_later_format_is_refused(saved):
    (saved / PROVENANCE).write_text(json.dumps({"format": 2}))
    with pytest.raises(CheckpointError, match="has format 2, and this version of Forehand reads 1"):
        load_policy(saved)


def test_a_folder_that_is_no_checkpoint_is_told(tmp_path):
    with pytest.raises(CheckpointError, match="there is no checkpoint folder"):
        load_policy(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match="is not a checkpoint: it lacks"):
        load_policy(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(CheckpointError, match="has not written a checkpoint yet"):
        load_policy(tmp_path)


def test_a_part_that_changed_is_told(saved):
    text = (saved / CONFIG).read_text()
    (saved / CONFIG).write_text(text.replace("cameras:\n    - static", "camras:\n    - static"))
    with pytest.raises(CheckpointError, match=r"cannot be built(.|\n)*example/images(.|\n)*camras"):
        load_policy(saved)
    with pytest.raises(ConfigurationError, match="has no name"):
        build_policy({}, example.CONTRACT, {})


@pytest.fixture
def no_plugins(monkeypatch):
    monkeypatch.setenv("FOREHAND_PLUGINS", "")
    registry.cache_clear()
    yield
    registry.cache_clear()


@pytest.mark.usefixtures("saved", "no_plugins")
def test_a_missing_plugin_is_named(saved):
    with pytest.raises(CheckpointError) as raised:
        load_policy(saved)
    message = str(raised.value)
    assert "No plugin offers a policy called 'composed'" in message
    assert "example (example-parts 0.1)" in message
    assert "name them in FOREHAND_PLUGINS, now ''" in message


def test_a_checkpoint_can_be_moved(policy, saved, tmp_path):
    moved = shutil.move(saved, tmp_path / "elsewhere")
    assert np.array_equal(actions(load_policy(moved)), actions(policy))
