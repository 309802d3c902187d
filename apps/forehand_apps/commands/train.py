"""``forehand train``: a policy from a LeRobotDataset."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console

from forehand.compose.composition import Composition
from forehand.compose.embodiments import CrossEmbodimentPolicy
from forehand.data.dataset import Dataset
from forehand.data.dataset_facts import dataset_facts
from forehand.data.embodiments import EmbodimentDatasets, EmbodimentWindows, open_datasets
from forehand.data.frame_store import EXACT, FrameStore
from forehand.data.labels import RECOVERED, describe_origins, require_learned
from forehand.data.sampling import ShuffledBatches, WeightedBatches
from forehand.data.specification import OpenSources
from forehand.data.window_spec import read_window
from forehand.data.windows import WindowDataset
from forehand.errors import ConfigurationError, nearest
from forehand.evaluation.open_loop.inverse import not_recovered
from forehand.learning.checkpoint import build_cross_embodiment, build_policy, latest_checkpoint, read_provenance
from forehand.learning.devices import pick_device
from forehand.learning.distributed.processes import Processes, join_processes
from forehand.learning.hub import locate_checkpoint
from forehand.learning.lora import inject_lora, read_lora
from forehand.learning.parameter_groups import parameter_groups
from forehand.learning.recipe import Recipe, require_groups
from forehand.learning.run_folder import run_folder
from forehand.learning.trainer import LOG, TrainablePolicy, Trainer
from forehand.learning.warm_start import load_pretrained_weights
from forehand.utils.progress import progress
from forehand_apps.cli.job_command import job_command
from forehand_apps.cli.preemption import Preempted
from forehand_apps.jobs.launch import processes_to_start, reported, train_by_processes
from forehand_apps.training.callbacks import early_stop, make_callbacks
from forehand_apps.training.callbacks import sources as training_sources


def train(config: DictConfig) -> Path:
    """Train ``config.policy`` on ``config.dataset``; return the last checkpoint."""
    read_recipe(config.recipe)  # report mistakes before anything is decoded
    read_lora(config.policy)
    early_stop(config)
    frame_store(config)
    device = pick_device(config.device)
    if count := processes_to_start(config.launch, device):
        train_by_processes(config, _output(config), count)
        saved = latest_checkpoint(_output(config))
        assert saved is not None
        return saved
    with reported():
        return _train_here(config, device)


def _train_here(config: DictConfig, device: torch.device) -> Path:
    """Train by this process, and those that were started with it."""
    processes = join_processes(device)
    if not processes.is_main:
        logging.getLogger().setLevel(logging.WARNING)
    output = Path(processes.told(str(_output(config))))  # it may hold the time of day
    with run_folder(output) if processes.is_main else contextlib.nullcontext():
        processes.wait()
        found = latest_checkpoint(output)
        checkpoint = processes.told(found)
        if checkpoint and not (config.resume or config.extend):
            raise ConfigurationError(
                f"{output} already holds {checkpoint.name}. Add resume=true to continue it, extend=true to train it "
                f"longer, or choose another output."
            )
        if config.threads:
            torch.set_num_threads(config.threads)
        console = Console(stderr=True, quiet=not processes.is_main)
        trainer = _prepare(config, processes, output, checkpoint, console)
        return _train(trainer, console, config.output)


def read_recipe(config: DictConfig, windows: int | None = None) -> Recipe:
    """The recipe that ``config`` describes, its types checked; epochs are converted to steps for so many ``windows``."""
    numbers: Any = OmegaConf.to_container(config, resolve=True)
    for steps, epochs in (("steps", "epochs"), ("warmup_steps", "warmup_epochs")):
        passes = numbers.pop(epochs)
        if (passes is None) == (numbers[steps] is None):
            raise ConfigurationError(f"Give either recipe.{steps} or recipe.{epochs}, and set the other to null.")
        if passes is not None:
            if not isinstance(passes, int | float) or passes < 0:
                raise ConfigurationError(f"recipe.{epochs} must be 0 or a positive number, not {passes!r}.")
            numbers[steps] = 0
    whole, extra = (numbers.pop(name, 0) for name in ("whole_epochs", "extra_schedule_steps"))
    if not isinstance(extra, int) or extra < 0:
        raise ConfigurationError(f"recipe.extra_schedule_steps must be 0 or a positive whole number, not {extra!r}.")
    require_groups(numbers.get("parameter_groups"))
    try:
        recipe: Any = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Recipe), numbers))
    except OmegaConfBaseException as error:
        raise ConfigurationError(f"recipe.{error.full_key or ''}: {str(error).splitlines()[0]}.") from error
    assert isinstance(recipe, Recipe)
    if windows is None:
        return recipe
    if whole:
        recipe = replace(recipe, batches_per_epoch=_whole_batches(recipe, windows))
    return replace(recipe, **_in_steps(recipe, windows, config.epochs, config.warmup_epochs, extra))


def _whole_batches(recipe: Recipe, windows: int) -> int:
    """Batches of an epoch that ends with a step: as many as are clipped together, times a whole number."""
    together = recipe.clip_every_batches or recipe.gradient_accumulation_steps
    if not (batches := windows // (recipe.batch_size * together) * together):
        raise ConfigurationError(
            f"recipe.whole_epochs leaves out what does not fill {recipe.batch_size * together} windows ({together} "
            f"batches of {recipe.batch_size}), and there are only {windows}. Choose a smaller recipe.batch_size or "
            f"recipe.gradient_accumulation_steps, or recipe.whole_epochs=false."
        )
    return batches


def _in_steps(
    recipe: Recipe, windows: int, epochs: float | None, warmup_epochs: float | None, extra: int
) -> dict[str, int]:
    """What is counted in epochs, in steps; ``extra``: so many steps longer than their epochs are warm-up and schedule."""
    if recipe.batches_per_epoch is None or recipe.steps_per_epoch is None:
        found = {"steps": epochs, "warmup_steps": warmup_epochs, "schedule_steps": epochs if extra else None}
        steps = {k: round(n * windows / recipe.effective_batch_size) for k, n in found.items() if n is not None}
    else:
        found = {"warmup_steps": warmup_epochs, "schedule_steps": epochs}
        batches = {k: int(n * recipe.batches_per_epoch) for k, n in found.items() if n is not None}
        steps = {k: n // recipe.gradient_accumulation_steps for k, n in batches.items()}
        if epochs is not None:
            steps["steps"] = round(epochs * recipe.steps_per_epoch)
    return {name: count + (extra if name != "steps" else 0) for name, count in steps.items()}


def frame_store(config: DictConfig) -> FrameStore:
    """Where the images of ``config`` come from; raises :class:`ConfigurationError`."""
    return FrameStore(config.frames, config.jpeg_quality, config.cache_budget, config.decode_workers)


def _output(config: DictConfig) -> Path:
    """The run's folder; in a sweep, each run has its own below ``config.output``."""
    if HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN:
        return Path(HydraConfig.get().runtime.output_dir)
    return Path(config.output)


def _prepare(
    config: DictConfig, processes: Processes, output: Path, checkpoint: Path | None, console: Console
) -> Trainer:
    """A trainer at the state of ``checkpoint``, or at the start."""
    device = processes.device or torch.device("cpu")
    sources = training_sources(config)
    opened: OpenSources = {}  # so that validation on a split reads no table again
    data = open_datasets(sources, opened)
    for root, reasons in data.left_out.items():
        for reason in reasons:
            console.print(f"left out of {root}: {reason}", soft_wrap=True, markup=False, highlight=False)
    for line in _origins(data):
        console.print(line, soft_wrap=True, markup=False, highlight=False)
    if processes.count > 1:
        _require_shared(config, data)
    torch.manual_seed(config.recipe.seed)
    if isinstance(data, EmbodimentDatasets):
        policy = build_cross_embodiment(config.policy, data.embodiments).to(device)
    else:
        policy = build_policy(config.policy, data.contract, data.statistics).to(device)
    if not (isinstance(policy, torch.nn.Module) and isinstance(policy, TrainablePolicy)):
        raise ConfigurationError(
            f"policy {config.policy.name!r} cannot be trained: it is no TrainablePolicy (forehand.learning.trainer)."
        )
    _require_masked(data, policy)
    facts: dict[str, Any] = {"dataset": sources, "data": dataset_facts(data), "seed": config.recipe.seed}
    if HydraConfig.initialized():
        facts["command"] = job_command("train", output)
    if data.left_out:
        facts["left_out"] = {root: [asdict(reason) for reason in reasons] for root, reasons in data.left_out.items()}
    if config.reinitialize and config.init_from is None:
        raise ConfigurationError(
            "reinitialize names weights that are not to come from init_from, which is not given. Add init_from=<the "
            "checkpoint or run to begin with>, or reinitialize=[] to begin everything anew."
        )
    for name, what in (("init_optimizer", "takes the optimizer"), ("init_partial", "takes what fits")):
        if config[name] and config.init_from is None:
            raise ConfigurationError(f"{name} {what} of init_from, which is not given. Add init_from=….")
    if checkpoint is not None:
        before = read_provenance(checkpoint)
        facts |= {key: before.get(key) for key in ("init", "init_parts") if key in before}
    else:
        facts |= _initialize(policy, config, console)
    plain: Any = OmegaConf.to_container(config.policy, resolve=True)
    inject_lora(policy, read_lora(plain))
    policy.to(device)
    recipe = read_recipe(config.recipe)
    parameter_groups(policy, recipe)  # report mistakes before anything is decoded
    options: dict[str, Any] = {
        "cache": config.cache,
        "frames": frame_store(config),
        "pixels": read_provenance(checkpoint).get("pixels", EXACT) if checkpoint else None,
        "whole": recipe.windows,
        "gripper_event_repeats": recipe.gripper_event_repeats,
    }
    with processes.main_first():  # which fills the cache of frames
        windows = (
            data.windows(policy.window, **options)
            if isinstance(data, EmbodimentDatasets)
            else WindowDataset(data, policy.window, **options)
        )
    recipe = read_recipe(config.recipe, len(windows))
    with processes.main_first():
        callbacks = make_callbacks(config, policy, recipe, frame_store(config), opened)
    order = _order(windows, recipe)
    parameters = sum(p.numel() for p in policy.parameters())
    console.print(
        f"{parameters / 1e6:.2f} M parameters; {len(windows)} windows of {windows.episode_count} episodes; "
        f"{recipe.steps} steps of {recipe.effective_batch_size} windows on {device}"
        + (f", by {processes.count} processes" if processes.count > 1 else ""),
        soft_wrap=True,
    )
    trainer = Trainer(
        policy,
        lambda number: windows.batch(processes.share(order.at(number)), step=number, seed=recipe.seed),
        recipe,
        output,
        config=plain,
        statistics=data.statistics,
        facts={**facts, "fingerprint": data.fingerprint, "pixels": windows.pixels},
        embodiments=data.embodiments if isinstance(data, EmbodimentDatasets) else None,
        callbacks=callbacks,
        processes=processes,
        strategy=config.launch.strategy,
        shard_modules=config.launch.shard_modules,
    )
    if checkpoint is not None:
        trainer.resume(checkpoint, extend=config.extend)
        for extension in trainer.facts.get("extended", ())[-1:]:
            console.print(
                f"extended at step {extension['step']} from {extension['steps']} to {recipe.steps} steps; the learning "
                f"rate goes on with {recipe.rate(trainer.step):.6g}, schedule {recipe.schedule}",
                soft_wrap=True,
            )
    elif config.init_optimizer:
        began = trainer.init_optimizer(
            locate_checkpoint(facts["init"]["checkpoint"], training_state=True), config.reinitialize
        )
        facts["init"].update(began)
        console.print(
            f"optimizer state of {began['optimizer_state']} of {len(trainer.parameters)} parameters, from step "
            f"{began['step']}; the learning rate goes on with {recipe.rate(began['step']):.6g}",
            soft_wrap=True,
        )
    if config.cache_features:
        if not isinstance(policy, Composition | CrossEmbodimentPolicy):
            raise ConfigurationError(f"cache_features: policy {config.policy.name!r} has no features to keep.")
        kept = policy.frozen_features()
        names = ", ".join(kept) or "nothing: no tower of policy.towers is frozen and sees a camera that is not shifted"
        console.print(f"features computed beforehand: {names}", soft_wrap=True)
        with processes.main_first():
            windows.add_features(kept, config.cache)
    return trainer


def _origins(data: Dataset | EmbodimentDatasets) -> list[str]:
    """Of each source with labelled actions, how many they are beside recorded ones."""
    datasets = data.datasets.values() if isinstance(data, EmbodimentDatasets) else [data]
    sources = [source for dataset in datasets for source in dataset.sources]
    return [f"{source.root}: {words}" for source in sources if (words := describe_origins(source.episodes))]


def _require_shared(config: DictConfig, data: Dataset | EmbodimentDatasets) -> None:
    """Raise :class:`ConfigurationError` for what several processes cannot do together."""
    if isinstance(data, EmbodimentDatasets):
        raise ConfigurationError(
            "A policy for several robots (dataset={…}) is trained by one process: launch=single, without torchrun."
        )
    if config.launch.strategy == "fsdp" and config.validation.every:
        raise ConfigurationError(
            "validation lets the policy act, for which its weights must not be spread over processes. Take launch=ddp, "
            "or validation.every=null."
        )


def _initialize(policy: Any, config: DictConfig, console: Console) -> dict[str, Any]:
    """Begin with the weights of ``config.init_from`` and ``init_parts``; returns facts for the provenance."""
    raw = "raw" if config.init_optimizer else None
    chosen = config.init_weights or raw
    given: Any = OmegaConf.to_container(config.init_parts) if config.init_parts else {}
    parts, modules = dict(given), dict(policy.named_modules())
    if unknown := next((name for name in parts if name not in modules), None):
        raise ConfigurationError(f"init_parts: the policy has no part {unknown!r}. {nearest(unknown, modules)}")
    facts: dict[str, Any] = {}
    if config.init_from is None:
        policy.load_pretrained()
    else:
        facts["init"] = load_pretrained_weights(
            policy, config.init_from, config.reinitialize, partial=config.init_partial, weights=chosen, elsewhere=[*parts]
        )
    if parts:
        facts["init_parts"] = {
            name: load_pretrained_weights(modules[name], source, weights=chosen, normalization=True)
            for name, source in parts.items()
        }
    began = facts.get("init", {})
    for name, reason in began.get("not_filled", {}).items():
        console.print(f"not filled: {name}: {reason}", soft_wrap=True, markup=False, highlight=False)
    if began.get("not_filled") and began["left_aside"]:
        console.print(f"left aside: {', '.join(began['left_aside'])}", soft_wrap=True, markup=False, highlight=False)
    return facts


def _require_masked(data: Dataset | EmbodimentDatasets, policy: TrainablePolicy) -> None:
    """Raise :class:`ConfigurationError` where ``policy`` would take the zeros of what is missing for measurements."""
    parts = data.datasets.values() if isinstance(data, EmbodimentDatasets) else [data]
    masks = isinstance(policy, Composition | CrossEmbodimentPolicy)
    if not masks and any(part.episodes.has_state is not None for part in parts):
        raise ConfigurationError(
            "dataset: some sources have no state, which only composed policies can mask. Leave them out, or take one."
        )
    partial = [part for part in parts if part.episodes.action_known is not None]
    if partial and not (isinstance(policy, Composition | CrossEmbodimentPolicy) and policy.learns_partial_actions):
        raise ConfigurationError(
            "dataset: labelled_fields leaves numbers of actions unknown. Only composed policies can mask them, whose "
            "action head learns each number by itself (chunk_regression, discrete_bins, seer/inverse_dynamics), without "
            "delta actions. Leave labelled_fields out, or take such a policy."
        )
    for part in partial:
        require_learned(part.contract, part.episodes)
    absent = {camera for part in parts for source in part.sources for camera in source.absent_cameras}
    used = [] if masks else sorted(absent.intersection(read_window(policy.window, next(iter(parts)).contract).cameras))
    if used:
        raise ConfigurationError(
            f"dataset: some sources have no camera {used[0]!r}, which only composed policies can mask. Leave them out, "
            f"or take one."
        )


def _order(windows: WindowDataset | EmbodimentWindows, recipe: Recipe) -> ShuffledBatches | WeightedBatches:
    """The sampler of batches: every window once an epoch, or drawn by weight."""
    weights = windows.sample_weights(recipe.dataset_weights, recipe.gripper_oversampling)
    if weights is None:
        return ShuffledBatches(len(windows), recipe.batch_size, recipe.seed, recipe.batches_per_epoch)
    return WeightedBatches(weights, recipe.batch_size, recipe.seed)


def _train(trainer: Trainer, console: Console, named: str) -> Path:
    """Train, and show the progress; ``named``: the output folder as on the command line."""
    recipe = trainer.recipe
    start = f"Continuing from step {trainer.step}" if trainer.step else "Starting"
    console.print(f"{start}; losses go to {trainer.folder / LOG}", soft_wrap=True)
    for group in trainer.groups:
        console.print(f"parameter group {group}", soft_wrap=True, markup=False, highlight=False)
    with progress("training", recipe.steps, done=trainer.step, console=console) as show:

        def report(entry: dict[str, Any]) -> None:
            if "loss" in entry:
                show(entry["step"], _losses(entry))
            if measured := {k: v for k, v in entry.items() if k.startswith(("validation/", "evaluation/"))}:
                numbers = ", ".join(f"{name} {value:.4g}" for name, value in measured.items())
                console.print(f"step {entry['step']}: {numbers}", soft_wrap=True, markup=False, highlight=False)
                if lost := not_recovered(measured):
                    fields = ", ".join(f"{field} (R² {value:.3g})" for field, value in lost.items())
                    console.print(
                        f"not recovered, R² below {RECOVERED:g}: {fields}; not learned yet, or not to be seen",
                        soft_wrap=True,
                        markup=False,
                    )

        try:
            trainer.run(report)
        except Preempted:
            raise Preempted(_stopped(trainer, named)) from None
    saved = latest_checkpoint(trainer.folder)
    assert saved is not None
    if trainer.interrupted:
        raise KeyboardInterrupt(_stopped(trainer, named))
    if trainer.stop_reason:
        console.print(f"Stopped at step {trainer.step} of {recipe.steps}: {trainer.stop_reason}.", soft_wrap=True)
    served = f"Serve it with: [bold]forehand serve policy.checkpoint={trainer.folder}[/]"
    acts = getattr(trainer.policy, "acts", True)
    console.print(f"Trained. {served if acts else f'It is in {saved}.'}", soft_wrap=True)
    return saved


def _stopped(trainer: Trainer, named: str) -> str:
    saved = latest_checkpoint(trainer.folder)
    return (
        f"Stopped at step {trainer.step} of {trainer.recipe.steps}; everything is in {saved}. "
        f"The same command with output={named} resume=true continues from there."
    )


def _losses(entry: dict[str, Any]) -> str:
    known = ("step", "gradient_norm", "learning_rate", "windows_per_second")
    losses = " ".join(f"{name} {value:.4f}" for name, value in entry.items() if name not in known and "/" not in name)
    return f"{losses} ({entry['windows_per_second']:.0f} windows/s)"
