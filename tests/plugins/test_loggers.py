"""Logs of a training in other libraries: everything arrives, and a resumed run continues."""

import pytest

from forehand import registry
from forehand.errors import ConfigurationError


@pytest.fixture
def train(tmp_path, monkeypatch, line_trainer):
    def run(logger, steps, first=0):
        trainer = line_trainer(tmp_path / "run", logger, steps=steps)
        monkeypatch.setattr(trainer, "save", lambda: None)
        trainer.step = first
        entries = []
        trainer.run(entries.append)
        return entries

    return run


def test_tensorboard_has_every_number_of_the_log(train, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(registry().create("logger", "tensorboard"), 3)
    entries = train(registry().create("logger", "tensorboard"), 4, first=2)  # from a checkpoint of the second step
    events = EventAccumulator(str(tmp_path / "run/tensorboard"))
    events.Reload()
    assert set(events.Tags()["scalars"]) == entries[0].keys() - {"step"}
    kept = events.Scalars("loss")
    assert [event.step for event in kept] == [1, 2, 3, 4]
    assert [event.value for event in kept[2:]] == pytest.approx([entry["loss"] for entry in entries])


@pytest.mark.slow
def test_wandb_keeps_a_run_off_line_and_continues_it(train, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_SILENT", "true")
    for first, steps in ((0, 2), (2, 3)):
        train(registry().create("logger", "wandb", mode="offline", project="tests"), steps, first)
    kept = sorted((tmp_path / "run/wandb").glob("offline-run-*/*.wandb"))
    assert len(kept) == 2
    number = (tmp_path / "run/wandb_id").read_text()
    assert all(number in path.name for path in kept)
    assert b"windows_per_second" in kept[0].read_bytes()


def test_a_library_that_is_missing_is_named_with_its_extra(monkeypatch):
    for library, missing in (("wandb", "wandb"), ("trackio", "trackio"), ("tensorboard", "torch.utils.tensorboard")):
        monkeypatch.setitem(__import__("sys").modules, missing, None)
        with pytest.raises(ConfigurationError, match=rf"pip install 'forehand\[{library}\]'"):
            registry().create("logger", library)
