"""Callbacks see what happens beside the steps, keep state, put metrics into the log, and end a training."""

import json

import pytest
import torch

from forehand.learning.callbacks.callback import TrainingCallback
from forehand.learning.timing import StepTimes
from forehand.learning.trainer import LOG


class Recorder(TrainingCallback):
    """Notes what it is called with."""

    name = "recorder"

    def __init__(self, stop_at=None, metrics_at=()):
        self.calls, self.count, self.stop_at, self.metrics_at = [], 0, stop_at, metrics_at

    def on_start(self, run):
        self.calls.append(("start", run.step))

    def on_step(self, run):
        self.count += 1
        if run.step in self.metrics_at:
            run.add_metrics({"validation/loss": 0.5})
        if run.step == self.stop_at:
            run.request_stop("enough")

    def on_log(self, run, entry):
        self.calls.append(("log", entry["step"]))

    def on_saved(self, run, checkpoint):
        self.calls.append(("saved", checkpoint.name))

    def on_stop(self, run):
        self.calls.append(("stop", run.step))
        run.log_metrics({"last": 1.0})

    def close(self):
        self.calls.append(("close",))


@pytest.fixture
def train(tmp_path, monkeypatch, line_trainer):
    def make(callback, **changes):
        settings = {"steps": 5, "log_every": 2} | changes
        trainer = line_trainer(tmp_path, callback, batch=lambda number: torch.full((3,), 1.0 + number), **settings)
        written = []
        monkeypatch.setattr(trainer, "save", lambda: written.append(trainer.step))
        return trainer

    return make


def entries(folder):
    return [json.loads(line) for line in (folder / LOG).read_text().splitlines()]


def test_callbacks_are_called_at_their_moments(train, tmp_path):
    callback = Recorder(metrics_at=[3])
    train(callback).run()
    logs = [("log", step) for step in (2, 3, 4, 5)]  # an entry for the metrics of step 3, too
    assert callback.calls == [("start", 0), *logs, ("stop", 5), ("log", 5), ("close",)]
    log = entries(tmp_path)
    assert [e.get("validation/loss") for e in log] == [None, 0.5, None, None, None]
    assert log[-1] == {"step": 5, "last": 1.0}
    parts = {"time/data", "time/compute", "time/callbacks", "memory/peak"}
    assert all(parts <= e.keys() for e in log[:-1])


def test_a_callback_ends_a_training_as_complete(train):
    trainer = train(Recorder(stop_at=3))
    trainer.run()
    assert (trainer.step, trainer.stop_reason, trainer.interrupted) == (3, "enough", False)


def test_an_error_closes_callbacks(train):
    callback = Recorder()

    def fail(entry):
        raise MemoryError

    with pytest.raises(MemoryError):
        train(callback).run(fail)
    assert callback.calls[-1] == ("close",)
    assert ("stop", 2) not in callback.calls


def test_times_of_a_step_by_what_they_were_spent_on():
    now = iter([0.0, 1.0, 3.0, 3.0, 4.0, 10.0, 12.0])
    times = StepTimes(lambda: next(now))
    with times.part("data"):
        pass
    with times.part("data"):
        pass
    assert times.read() == (10.0, {"data": 3.0, "compute": 7.0})
    assert times.read() == (2.0, {"data": 0.0, "compute": 2.0})
