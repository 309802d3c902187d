"""``forehand train``: a policy from a LeRobotDataset."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from forehand.beginnings import begin_from
from forehand.checkpoint import build_policy, latest_checkpoint, read_provenance
from forehand.data.sampling import ShuffledBatches, WeightedBatches
from forehand.data.windows import WindowDataset, describe
from forehand.devices import pick_device
from forehand.errors import ConfigurationError
from forehand.recipe import Recipe
from forehand.training import LOG, Learner, Trainer, run_folder


def train(config: DictConfig) -> Path:
    """Train ``config.policy`` on ``config.dataset``; return the last checkpoint."""
    read_recipe(config.recipe, windows=1)  # mistakes are told before anything is decoded
    device = pick_device(config.device)
    with run_folder(_output(config)) as output:
        checkpoint = latest_checkpoint(output)
        if checkpoint and not config.resume:
            raise ConfigurationError(
                f"{output} already holds {checkpoint.name}. Add resume=true to go on from it, or choose another output."
            )
        if config.threads:
            torch.set_num_threads(config.threads)
        console = Console(stderr=True)
        trainer = _prepare(config, device, output, checkpoint, console)
        return _train(trainer, console, config.output)


def read_recipe(config: DictConfig, windows: int) -> Recipe:
    """The recipe that ``config`` describes, its types checked, and epochs told in steps for so many ``windows``."""
    numbers: Any = OmegaConf.to_container(config, resolve=True)
    for steps, epochs in (("steps", "epochs"), ("warmup_steps", "warmup_epochs")):
        passes = numbers.pop(epochs)
        if (passes is None) == (numbers[steps] is None):
            raise ConfigurationError(f"Give either recipe.{steps} or recipe.{epochs}, and set the other to null.")
        if passes is not None:
            if not isinstance(passes, int | float) or passes < 0:
                raise ConfigurationError(f"recipe.{epochs} must be 0 or a positive number, not {passes!r}.")
            numbers[steps] = 0
    try:
        recipe: Any = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Recipe), numbers))
    except OmegaConfBaseException as error:
        raise ConfigurationError(f"recipe.{error.full_key or ''}: {str(error).splitlines()[0]}.") from error
    assert isinstance(recipe, Recipe)
    in_steps = {
        steps: round(config[epochs] * windows / recipe.windows)
        for steps, epochs in (("steps", "epochs"), ("warmup_steps", "warmup_epochs"))
        if config[epochs] is not None
    }
    return replace(recipe, **in_steps)


def _output(config: DictConfig) -> Path:
    """The run's folder; in a sweep, each run has its own below ``config.output``."""
    if HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN:
        return Path(HydraConfig.get().runtime.output_dir)
    return Path(config.output)


def _prepare(
    config: DictConfig, device: torch.device, output: Path, checkpoint: Path | None, console: Console
) -> Trainer:
    """A trainer that stands where ``checkpoint`` does, or at the start."""
    sources = config.dataset if isinstance(config.dataset, str) else list(config.dataset)
    contract, statistics = describe(sources)
    torch.manual_seed(config.recipe.seed)
    policy = build_policy(config.policy, contract, statistics).to(device)
    if not (isinstance(policy, torch.nn.Module) and isinstance(policy, Learner)):
        raise ConfigurationError(
            f"policy {config.policy.name!r} cannot be trained: it lacks something of forehand.training.Learner."
        )
    facts: dict[str, Any] = {"dataset": sources, "seed": config.recipe.seed}
    if config.fresh and config.init is None:
        raise ConfigurationError(
            "fresh names weights that are not to come from init, but no init is given. Add init=<the checkpoint or run "
            "to begin with>, or fresh=[] to begin everything anew."
        )
    if checkpoint is not None:
        facts["init"] = read_provenance(checkpoint).get("init")
    elif config.init is not None:
        facts["init"] = begin_from(policy, config.init, config.fresh)
    else:
        policy.load_pretrained()
    windows = WindowDataset(sources, cache=config.cache, **policy.window)
    recipe = read_recipe(config.recipe, len(windows))
    order = _order(windows, recipe)
    plain: Any = OmegaConf.to_container(config.policy, resolve=True)
    parameters = sum(p.numel() for p in policy.parameters())
    console.print(
        f"{parameters / 1e6:.2f} M parameters; {len(windows)} windows of {windows.episode_count} episodes; "
        f"{recipe.steps} steps of {recipe.windows} windows on {device}",
        soft_wrap=True,
    )
    trainer = Trainer(
        policy,
        lambda step: windows.batch(order.at(step)),
        recipe,
        output,
        config=plain,
        statistics=statistics,
        facts={**facts, "fingerprint": windows.fingerprint},
    )
    if checkpoint is not None:
        trainer.resume(checkpoint)
    return trainer


def _order(windows: WindowDataset, recipe: Recipe) -> ShuffledBatches | WeightedBatches:
    """What batches the windows come in: all once an epoch, or drawn by their weights."""
    weights = windows.weights(recipe.shares, recipe.gripper_events)
    if weights is None:
        return ShuffledBatches(len(windows), recipe.batch_size, recipe.seed)
    return WeightedBatches(weights, recipe.batch_size, recipe.seed)


def _train(trainer: Trainer, console: Console, named: str) -> Path:
    """Train and say how it goes; ``named`` is the output as the command had it."""
    recipe = trainer.recipe
    start = f"Going on from step {trainer.step}" if trainer.step else "Beginning"
    console.print(f"{start}; losses go to {trainer.folder / LOG}", soft_wrap=True)
    columns = (TextColumn("training"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[losses]}"))
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console) as progress:
        bar = progress.add_task("training", total=recipe.steps, completed=trainer.step, losses="")
        trainer.run(lambda entry: progress.update(bar, completed=entry["step"], losses=_losses(entry)))
    saved = latest_checkpoint(trainer.folder)
    assert saved is not None
    if trainer.interrupted:
        raise KeyboardInterrupt(
            f"Stopped at step {trainer.step} of {recipe.steps}; everything is in {saved}. "
            f"The same command with output={named} resume=true goes on from there."
        )
    console.print(f"Trained. Serve it with: [bold]forehand serve policy.checkpoint={trainer.folder}[/]", soft_wrap=True)
    return saved


def _losses(entry: dict[str, Any]) -> str:
    known = ("step", "gradient_norm", "learning_rate", "windows_per_second")
    losses = " ".join(f"{name} {value:.4f}" for name, value in entry.items() if name not in known)
    return f"{losses} ({entry['windows_per_second']:.0f} windows/s)"
