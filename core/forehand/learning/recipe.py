"""Training recipe: settings of the optimization, of the data and of the run, flat under one name."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any

from forehand.data.sampling import MOST_WEIGHT, is_weight
from forehand.data.whole_windows import WholeWindows
from forehand.errors import ConfigurationError, nearest
from forehand.learning.optimization.ema_settings import EMASettings, read_ema
from forehand.learning.optimization.schedules import make_schedule


@dataclass(frozen=True, kw_only=True)
class OptimizationConfig:
    """Settings of the optimizer and of the numerics.

    Learning rate: linear warm-up over ``warmup_steps``, then ``schedule``, which ends at ``schedule_steps`` (default
    ``steps``) and stays there. schedule: ``cosine``, ``linear``, ``constant``, ``warmup_stable_decay`` or
    ``cosine_with_restarts``, or ``{name: …}`` with options (:mod:`forehand.learning.optimization.schedules`).
    warmup_from_zero: step s of the warm-up has s / ``warmup_steps`` of the rate, so that the first changes no weight,
    instead of (s + 1) / ``warmup_steps``. seed: of the weights and of all that is drawn. optimizer: ``adamw``, ``sgd``,
    ``muon`` or ``adamw_8bit``, or ``{name: …}`` with options (:mod:`forehand.learning.optimization.optimizers`).
    max_grad_norm: L2 norm to which larger gradients are scaled down. gradient_accumulation_steps: batches whose gradients
    are averaged for a step (each batch counts alike), for effective batches that do not fit into memory.
    clip_every_batches: batches after which the gradient that has been accumulated so far is clipped; None: once a step.
    precision: ``bfloat16`` and ``float16`` compute in that format what loses little by it (autocast); weights, optimizer
    and losses stay float32, and float16 scales the loss. compile: let ``torch.compile`` fuse what the policy offers for
    it. ema: decay of an exponential moving average of the weights, or its options
    (:class:`~forehand.learning.optimization.ema_settings.EMASettings`); None: none.

    parameter_groups: pattern → options of the parameters whose names match: ``learning_rate``, or
    ``learning_rate_scale`` (a factor of the recipe's), ``weight_decay``, and ``frozen`` (they are not trained). A pattern
    has wildcards (``encoders.*``), or is a name or the beginning of names up to a dot; where several match, later ones
    count, option by option. no_decay_norms_and_biases: no weight decay for biases and parameters of normalization layers.
    """

    steps: int
    learning_rate: float
    seed: int
    weight_decay: float = 1e-4
    warmup_steps: int = 0
    warmup_from_zero: bool = False
    schedule_steps: int | None = None
    max_grad_norm: float = 1.0
    gradient_accumulation_steps: int = 1
    clip_every_batches: int | None = None
    precision: str = "float32"
    compile: bool = False
    parameter_groups: dict[str, Any] | None = None
    no_decay_norms_and_biases: bool = False
    schedule: Any = "cosine"
    optimizer: Any = "adamw"
    ema: Any = None

    def __post_init__(self) -> None:
        _require_at_least(self, {"steps": 0, "gradient_accumulation_steps": 1, "seed": 0, "warmup_steps": 0})
        _require_at_least(self, {"schedule_steps": 0, "clip_every_batches": 1})
        for name in ("learning_rate", "weight_decay", "max_grad_norm"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigurationError(f"recipe.{name} must be 0 or a positive number, not {getattr(self, name)}.")
        if self.precision not in ("float32", "bfloat16", "float16"):
            raise ConfigurationError(f"recipe.precision must be float32, bfloat16 or float16, not {self.precision!r}.")
        if self.precision == "float16" and self.clip_every_batches is not None:
            raise ConfigurationError(
                "recipe.clip_every_batches clips gradients to which more are added, and float16 scales those. Leave it "
                "out, or take recipe.precision=bfloat16."
            )
        make_schedule(self.schedule)
        read_ema(self.ema)
        require_groups(self.parameter_groups)

    def rate(self, step: int, learning_rate: float | None = None) -> float:
        """The learning rate of ``step``, counted from 0; ``learning_rate``: its peak, where that is not the recipe's."""
        peak = self.learning_rate if learning_rate is None else learning_rate
        # Not torch's LambdaLR, whose product of rate and factor differs in the last bit in 663 of 3,000 steps.
        if step < self.warmup_steps:
            return peak * (step if self.warmup_from_zero else step + 1) / self.warmup_steps
        end = self.steps if self.schedule_steps is None else self.schedule_steps
        return peak * make_schedule(self.schedule).factor(step - self.warmup_steps, end - self.warmup_steps)

    @property
    def averaging(self) -> EMASettings | None:
        """How weights are averaged; None: they are not."""
        return read_ema(self.ema)


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Settings of the batches.

    batch_size: windows in a batch. dataset_weights: of the windows drawn, how many come from each dataset, relative to
    each other; None: by their number. gripper_oversampling: how many times as often windows are drawn in which the
    gripper opens or closes. gripper_event_repeats: how often windows are added, beside each once, that end where the
    gripper's command changes, or one or two steps behind (:mod:`forehand.data.gripper_events`). whole_windows: only
    windows that lie inside their episode, so that nothing is padded; window_frames: how many frames such a window has,
    None: as many as its inputs and targets need; skip_last_window: the last one of each episode is left out
    (:class:`~forehand.data.whole_windows.WholeWindows`). batches_per_epoch: batches in an epoch, None: training is one
    stream of batches, of which some hold windows of two epochs. With it, no batch and no step reaches from one epoch
    into the next: what does not fill a batch is left out, and an epoch's last step takes the batches that are left.
    """

    batch_size: int
    batches_per_epoch: int | None = None
    dataset_weights: list[float] | None = None
    gripper_oversampling: float = 1.0
    gripper_event_repeats: int = 0
    whole_windows: bool = False
    window_frames: int | None = None
    skip_last_window: bool = False

    def __post_init__(self) -> None:
        _require_at_least(self, {"batch_size": 1, "batches_per_epoch": 1, "gripper_event_repeats": 0})
        if not self.whole_windows and (self.window_frames is not None or self.skip_last_window):
            name = "skip_last_window" if self.window_frames is None else "window_frames"
            raise ConfigurationError(f"recipe.{name} is about whole windows. Add recipe.whole_windows=true.")
        if self.window_frames is not None:
            _require_at_least(self, {"window_frames": 1})
        if not 0 < self.gripper_oversampling < math.inf:
            raise ConfigurationError(
                f"recipe.gripper_oversampling must be a positive number, not {self.gripper_oversampling}."
            )
        weights = self.dataset_weights
        if weights is not None and not (all(map(is_weight, weights)) and any(weights)):
            raise ConfigurationError(
                f"recipe.dataset_weights must be positive numbers up to {MOST_WEIGHT:g}, some may be 0; not {weights}."
            )

    @property
    def windows(self) -> WholeWindows | None:
        """The choice of whole windows, or None where windows are padded."""
        return WholeWindows(frames=self.window_frames, skip_last=self.skip_last_window) if self.whole_windows else None


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Settings of logs, checkpoints and memory; the weights do not depend on them.

    log_every, save_every: steps from one to the next. keep_checkpoints: the newest so many. activation_checkpointing:
    names or patterns of modules whose activations are computed again in the backward pass, for less memory
    (:mod:`forehand.learning.optimization.recomputation`).
    """

    log_every: int = 20
    save_every: int = 500
    keep_checkpoints: int = 1
    activation_checkpointing: list[str] | None = None

    def __post_init__(self) -> None:
        _require_at_least(self, {"log_every": 1, "save_every": 1, "keep_checkpoints": 1})


@dataclass(frozen=True, kw_only=True)
class Recipe(OptimizationConfig, DataConfig, RunConfig):
    """All settings of a training run. Raises :class:`ConfigurationError` naming the one that is out of range."""

    def __post_init__(self) -> None:
        for part in (OptimizationConfig, DataConfig, RunConfig):
            part.__post_init__(self)

    @property
    def effective_batch_size(self) -> int:
        """How many windows a step learns from."""
        return self.batch_size * self.gradient_accumulation_steps

    @property
    def steps_per_epoch(self) -> int | None:
        """Steps of an epoch, where ``batches_per_epoch`` is given."""
        return self.batches_per_epoch and -(-self.batches_per_epoch // self.gradient_accumulation_steps)

    def first_batch(self, step: int) -> int:
        """The number of the first batch of ``step``, both counted from 0 over all epochs."""
        if not (self.batches_per_epoch and self.steps_per_epoch):
            return step * self.gradient_accumulation_steps
        epochs, rest = divmod(step, self.steps_per_epoch)
        return epochs * self.batches_per_epoch + rest * self.gradient_accumulation_steps

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """The fields that need not be given, and the values they then have."""
        return {f.name: f.default for f in fields(cls) if f.default is not MISSING}

    @property
    def reproducibility_fields(self) -> dict[str, Any]:
        """The fields that the weights depend on: those of optimization and data."""
        return {f.name: getattr(self, f.name) for part in (OptimizationConfig, DataConfig) for f in fields(part)}


def require_groups(groups: Any) -> None:
    """Raise :class:`ConfigurationError` unless ``groups`` are None, or map patterns of names to options."""
    if not isinstance(groups, Mapping | None):
        raise ConfigurationError(
            f"recipe.parameter_groups maps names of parameters to options, as {{head.*: {{frozen: true}}}}, "
            f"not {groups!r}."
        )
    for pattern, options in (groups or {}).items():
        _require_group(f"recipe.parameter_groups: {pattern!r}", options)


def _require_group(where: str, options: Any) -> None:
    numbers = ("learning_rate", "learning_rate_scale", "weight_decay")
    known = (*numbers, "frozen")
    if not isinstance(options, Mapping) or not options:
        raise ConfigurationError(f"{where} needs options, as {{learning_rate: 1e-5}}, not {options!r}.")
    if unknown := [name for name in options if name not in known]:
        raise ConfigurationError(f"{where} has no option {unknown[0]!r}. {nearest(unknown[0], known)}")
    for name in numbers:
        value = options.get(name, 0)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
            raise ConfigurationError(f"{where}: {name} must be 0 or a positive number, not {value!r}.")
    if not isinstance(options.get("frozen", False), bool):
        raise ConfigurationError(f"{where}: frozen must be true or false, not {options['frozen']!r}.")
    if "learning_rate" in options and "learning_rate_scale" in options:
        raise ConfigurationError(f"{where} has learning_rate and learning_rate_scale. Give one of them.")
    if options.get("frozen") and len(options) > 1:
        raise ConfigurationError(f"{where} is frozen, and has a rate or a weight decay beside. Give one or the other.")


def _require_at_least(config: Any, least: Mapping[str, int]) -> None:
    for name, minimum in least.items():
        if (value := getattr(config, name)) is not None and value < minimum:
            raise ConfigurationError(f"recipe.{name} must be at least {minimum}, not {value}.")
