"""Trainings by several processes, as torchrun starts them: ``distributed_runs FOLDER DATASET NAME…``."""

import sys
from pathlib import Path

import torch

from forehand.learning.checkpoint import latest_checkpoint
from forehand.learning.distributed.processes import join_processes
from forehand.learning.trainer import LOG

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
    "random": {"batch_size": 8, "save_every": 2, "keep_checkpoints": 9},
}


def one_process(folder: Path, dataset: Path, name: str, cache: Path) -> Path:
    """The same training by this process alone."""
    trainer = make_trainer(folder / name, dataset, cache, **(RUNS[name] | {"strategy": "ddp"}))
    trainer.run(ignore)
    return trainer.folder


def main(folder: Path, dataset: Path, names: list[str]) -> None:
    torch.set_num_threads(1)
    processes = join_processes(torch.device("cpu"))
    for name in names:
        run, _, beginning = name.partition("+")  # ddp+run: the run ddp, from the middle of another
        target = folder / name.replace("/", "_")
        target.mkdir(exist_ok=True)
        if processes.is_main and beginning and (log := folder / beginning / LOG).exists():
            (target / LOG).write_bytes(log.read_bytes())
        trainer = make_trainer(target, dataset, folder / f"cache{processes.rank}", processes=processes, **RUNS[run])
        if beginning:
            trainer.resume(folder / beginning / "checkpoints/step_0000002")
        trainer.run(ignore)
        processes.wait()
        assert latest_checkpoint(target)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
