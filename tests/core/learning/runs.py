"""A small policy and recipe, and what is looked at of their runs."""

import json
import signal
from pathlib import Path

import torch

from forehand.data.dataset import Dataset
from forehand.data.sampling import ShuffledBatches
from forehand.data.windows import WindowDataset
from forehand.learning.checkpoint import build_policy, fingerprint, latest_checkpoint, read_tensors
from forehand.learning.distributed.processes import Processes
from forehand.learning.lora import inject_lora, read_lora
from forehand.learning.recipe import Recipe
from forehand.learning.trainer import LOG, TRAINING_STATE, Trainer

POLICY = {  # with everything that is random in training: dropout, shifts, hidden tokens
    "name": "composed",
    "dim": 16,
    "history": 2,
    "image_size": 32,
    "encoders": {
        "text": {"name": "example/text"},
        "state": {"name": "example/state"},
        "cameras": {"name": "example/images", "cameras": ["static"], "tokens": 2},
    },
    "backbone": {"name": "example/transformer", "layers": 1, "dropout": 0.2},
    "world_model": None,
    "action_head": {"name": "example/regression", "chunk": 2},
    "reads": {"observation": {"observation": "past"}, "action": {"observation": "past"}},
    "normalization": {"state": "mean_std", "action": "limits"},
    "random_shift": {"static": 2},
    "token_dropout": {"action": {"static": 0.5}},
    "detach": None,
}
OPTIONAL = ("lora", "towers", "inverse_dynamics", "inverse_model", "gradient")  # keys that the small policy leaves out
RECIPE = {"steps": 6, "batch_size": 3, "learning_rate": 1e-2, "seed": 3, "warmup_steps": 2, "log_every": 1}


def make_trainer(
    folder: Path, sources, cache: Path, *, processes=None, callbacks=(), strategy="ddp", **changes
) -> Trainer:
    """A fresh trainer of the small policy on ``sources``; changes are of the recipe or of the policy."""
    processes = processes or Processes()
    recipe = Recipe(**(RECIPE | {k: v for k, v in changes.items() if k not in (*POLICY, *OPTIONAL)}))
    config = POLICY | {k: v for k, v in changes.items() if k in (*POLICY, *OPTIONAL)}
    torch.manual_seed(recipe.seed)
    data = Dataset.open(sources)
    policy = build_policy(config, data.contract, data.statistics)
    windows = WindowDataset(data, policy.window, cache=cache)
    inject_lora(policy, read_lora(config))
    order = ShuffledBatches(len(windows), recipe.batch_size, recipe.seed)
    folder.mkdir(exist_ok=True)
    return Trainer(
        policy,
        lambda number: windows.batch(processes.share(order.at(number))),
        recipe,
        folder,
        config=config,
        statistics=data.statistics,
        facts={"fingerprint": data.fingerprint},
        callbacks=callbacks,
        processes=processes,
        strategy=strategy,
    )


def ignore(entry):
    pass


def ignore_all(*_, **__):
    pass


def interrupt_at(step: int, number: int = signal.SIGINT):
    def report(entry):
        if entry["step"] == step:
            signal.raise_signal(number)

    return report


def log(folder: Path) -> list[dict]:
    """The log, without what depends on the clock."""
    entries = [json.loads(line) for line in (folder / LOG).read_text().splitlines()]
    clocked = ("windows_per_second", "time/", "memory/")
    return [{k: v for k, v in e.items() if not k.startswith(clocked)} for e in entries]


def assert_same_run(folder: Path, other: Path) -> None:
    """Every tensor is the same to the bit: weights, optimizer, random state; and so is every line of the log."""
    a, b = latest_checkpoint(folder), latest_checkpoint(other)
    assert a
    assert b
    assert a.name == b.name
    assert fingerprint(a) == fingerprint(b)
    ours, theirs = read_tensors(a / TRAINING_STATE), read_tensors(b / TRAINING_STATE)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert log(folder) == log(other)
