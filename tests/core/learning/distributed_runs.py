"""Trainings by several processes, as torchrun starts them: ``distributed_runs FOLDER DATASET NAME…``."""

import sys
from pathlib import Path

import torch

from forehand.data.dataset import Dataset
from forehand.data.windows import WindowDataset
from forehand.learning.action_error import ActionError
from forehand.learning.callbacks.validation import Validation
from forehand.learning.checkpoint import latest_checkpoint
from forehand.learning.distributed.processes import join_processes
from forehand.learning.trainer import LOG, Trainer

from .runs import POLICY, ignore, make_trainer

STILL = {  # nothing is drawn at random, and no batch normalization
    "token_dropout": {},
    "random_shift": {},
    "backbone": POLICY["backbone"] | {"dropout": 0.0, "layers": 2},
    "towers": {"eyes": {"name": "example/patches"}},
    "encoders": POLICY["encoders"] | {"cameras": {"name": "example/features", "tower": "eyes", "cameras": ["static"]}},
    "world_model": {"name": "example/colour", "horizon": 2, "cameras": ["static"]},
    "reads": POLICY["reads"] | {"foresight": {"observation": "past"}},
    "batch_size": 8,
    "ema": 0.9,
    "max_grad_norm": 0.5,  # which gradients exceed
    "save_every": 2,
    "keep_checkpoints": 9,
}
RUNS = {  # name → changes
    "ddp": STILL,
    "fsdp": STILL | {"strategy": "fsdp"},
    "ddp_accumulated": STILL | {"gradient_accumulation_steps": 3, "clip_every_batches": 2},
    "fsdp_accumulated": STILL | {"strategy": "fsdp", "gradient_accumulation_steps": 3, "clip_every_batches": 2},
    "ddp_validated": STILL,
    "random": {"batch_size": 8, "save_every": 2, "keep_checkpoints": 9},
}


def one_process(folder: Path, dataset: Path, name: str, cache: Path) -> Path:
    """The same training by this process alone."""
    trainer = make_trainer(folder / name, dataset, cache, **(RUNS[name] | {"strategy": "ddp"}))
    validate(trainer, name, dataset, cache)
    trainer.run(ignore)
    return trainer.folder


def validate(trainer: Trainer, name: str, dataset: Path, cache: Path) -> None:
    """Let the run be validated every two steps, if its name says so: loss and action error of the averaged weights."""
    if name.endswith("_validated"):
        data, policy = Dataset.open(dataset), trainer.policy
        windows = WindowDataset(data, policy.window, cache=cache)
        error = ActionError(data, policy, policy.window, 5, cache=cache)
        trainer.callbacks.append(Validation(2, windows, count=7, batch_size=3, action_error={"": error}))


def main(folder: Path, dataset: Path, names: list[str]) -> None:
    torch.set_num_threads(1)
    processes = join_processes(torch.device("cpu"))
    for name in names:
        run, _, beginning = name.partition("+")  # ddp+run: the run ddp, from the middle of another
        target = folder / name.replace("/", "_")
        target.mkdir(exist_ok=True)
        if processes.is_main and beginning and (log := folder / beginning / LOG).exists():
            (target / LOG).write_bytes(log.read_bytes())
        cache = folder / f"cache{processes.rank}"
        trainer = make_trainer(target, dataset, cache, processes=processes, **RUNS[run])
        validate(trainer, run, dataset, cache)
        if beginning:
            trainer.resume(folder / beginning / "checkpoints/step_0000002")
        trainer.run(ignore)
        processes.wait()
        assert latest_checkpoint(target)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
