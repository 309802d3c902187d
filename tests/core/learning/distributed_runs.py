"""Trainings by several processes, forked from one with all modules: ``distributed_runs COUNT FOLDER DATASET NAME``."""

import os
import socket
import sys
from pathlib import Path

import torch
import torch._dynamo
import torch.distributed.fsdp  # modules that each process would load for itself
from torch.multiprocessing.spawn import start_processes

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


def main(rank: int, folder: Path, dataset: Path, names: list[str]) -> None:
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
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


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


if __name__ == "__main__":
    count, folder, dataset, *names = sys.argv[1:]
    os.environ |= {"WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    start_processes(main, (Path(folder), Path(dataset), names), int(count), start_method="fork")
