"""Validation beside a training, and its early end."""

import numpy as np
import pytest
import torch

from forehand.contracts.action_errors import errors_by_field
from forehand.contracts.contract import Contract, Field
from forehand.data.dataset import Dataset
from forehand.data.splits import with_split
from forehand.data.windows import WindowDataset
from forehand.errors import ConfigurationError
from forehand.learning.action_error import ActionError
from forehand.learning.callbacks.early_stop import EarlyStop
from forehand.learning.callbacks.validation import Validation
from forehand.learning.checkpoint import latest_checkpoint

from .runs import POLICY, assert_same_run, ignore, interrupt_at, log


@pytest.fixture
def validation(begin, slider_dataset, tmp_path):
    """``validation(trainer)`` → one every two steps on the slider's dataset."""

    def make(policy, every=2):
        data = Dataset.open(slider_dataset)
        windows = WindowDataset(data, policy.window, cache=tmp_path)
        error = ActionError(data, policy, policy.window, 5, cache=tmp_path)
        return Validation(every, windows, count=7, batch_size=3, action_error={"": error})

    return make


def test_validation_does_not_change_what_is_trained_and_is_of_the_evaluated_weights(begin, validation, tmp_path):
    plain = begin(tmp_path / "plain", ema=0.5)
    plain.run(ignore)
    trainer = begin(tmp_path / "run", ema=0.5)
    check = validation(trainer.policy)
    trainer.callbacks.append(check)
    trainer.run(ignore)
    measured = ("validation/", "time/", "memory/")
    entries = log(trainer.folder)
    assert [{k: v for k, v in e.items() if not k.startswith(measured)} for e in entries] == log(plain.folder)
    assert ["validation/loss" in e for e in entries] == [False, True] * 3
    assert {k for k in entries[1] if k.startswith("validation/")} == {
        *("validation/loss", "validation/arm", "validation/action_error/position")
    }

    averaged = check.measure(trainer)
    assert averaged["validation/loss"] == entries[-1]["validation/loss"]
    with trainer.evaluated_weights():
        kept = {name: p.detach().clone() for name, p in trainer.parameters.items()}
    trainer.average = None
    assert check.measure(trainer) != averaged
    with torch.no_grad():
        for name, p in trainer.parameters.items():
            p.copy_(kept[name])
    assert check.measure(trainer) == averaged
    assert trainer.policy.training


def test_the_action_error_is_that_of_the_policy_run_open_loop(begin, slider_dataset, tmp_path):
    policy = begin(tmp_path / "run").policy.eval()
    data = Dataset.open(slider_dataset)
    found = ActionError(data, policy, policy.window, 4, cache=tmp_path)(policy)
    windows = WindowDataset(data, policy.window, cache=tmp_path)
    moments = np.linspace(0, len(windows) - 1, 4).round().astype(int)
    errors = []
    for moment in moments:  # a causal window that ends at the moment, or begins with the episode
        first = max(moment - POLICY["history"] + 1, data.episodes.begin[moment])
        batch = windows.batch([first])
        with torch.no_grad():
            readouts = policy.readouts(batch["observation"], POLICY["history"])
            chunk = policy.normalize_action.inverse(policy.action_head(readouts["action"].float()))[0, moment - first]
        there = batch["target"]["actions_valid"][0, moment - first]
        done = batch["target"]["actions"][0, moment - first]
        errors.append(errors_by_field(data.contract, chunk[there].numpy(), done[there].numpy()))
    expected = np.concatenate(errors).mean(0)
    assert list(found.values()) == pytest.approx(expected.tolist(), rel=1e-4)


def test_errors_are_in_units_and_those_of_rotations_are_angles():
    fields = (Field("position", 3, unit="m"), Field("rotation", 4, rotation="quaternion_xyzw"), Field("gripper", 1))
    contract = Contract((), (), fields, rate=10.0)
    turned = np.array([[0.1, 0, 0, 0, 0, np.sin(0.25), np.cos(0.25), 1.0]], np.float32)
    still = np.array([[0, 0, 0.2, 0, 0, 0, -1.0, 0.5]], np.float32)  # -1 and 1 are the same rotation
    assert errors_by_field(contract, turned, still)[0] == pytest.approx([0.1, 0.5, 0.5], abs=1e-6)


def test_a_training_ends_where_a_metric_no_longer_improves_and_stays_ended(begin, tmp_path):
    def stop():
        return EarlyStop("loss", patience=2, min_delta=1e9)

    whole = begin(tmp_path / "whole", callbacks=[stop()])
    whole.run(ignore)
    assert whole.step == 3  # the first is the best, and two more do not improve on it
    assert whole.stop_reason.startswith("loss has not improved on ")
    assert not whole.interrupted

    first = begin(tmp_path / "run", callbacks=[stop()])
    first.run(interrupt_at(2))
    second = begin(tmp_path / "run", callbacks=[stop()])
    second.resume(latest_checkpoint(second.folder))
    second.run(ignore)
    assert_same_run(second.folder, whole.folder)
    third = begin(tmp_path / "run", callbacks=[stop()])
    third.resume(latest_checkpoint(third.folder))
    third.run(ignore)
    assert third.step == 3
    patient = begin(tmp_path / "run", callbacks=[EarlyStop("loss", patience=9)])
    patient.resume(latest_checkpoint(patient.folder))
    patient.run(ignore)
    assert patient.step == 6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "least"}, "mode is min or max, not 'least'"),
        ({"patience": 0}, "patience is a whole number of at least 1"),
        ({"min_delta": -1}, "min_delta is 0 or a positive number"),
    ],
)
def test_early_stops_that_cannot_be_are_named(options, message):
    with pytest.raises(ConfigurationError, match=message):
        EarlyStop("loss", **options)


def test_a_specification_is_split_source_by_source():
    split = {"path": "a", "split": "validation"}
    assert with_split("a", "validation") == split
    assert with_split(["a", {"path": "a", "fraction": 0.5, "split": "train"}], "validation") == [
        split,
        split | {"fraction": 0.5},
    ]
    assert with_split({"arm": "a", "hand": ["a"]}, "validation") == {"arm": split, "hand": [split]}
    mixture = {"sources": [{"path": "a", "weight": 2}]}
    assert with_split(mixture, "train") == {"sources": [{"path": "a", "weight": 2, "split": "train"}]}
    with pytest.raises(ConfigurationError, match="the dataset states split='validation'"):
        with_split({"path": "a", "split": "validation"}, "train")
