"""Numeric options of the commands: durations, rates and counts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from omegaconf import Container, DictConfig, OmegaConf

from forehand.errors import ConfigurationError
from forehand.utils.numbers import count, finite, not_negative, positive

POSITIVE = (
    *("watchdog", "policy_timeout", "command_timeout", "session_timeout", "policy.timeout", "adapters.*.timeout"),
    *("limits.rate", "policy.rate", "robot.options.timeout", "robot.options.rate", "recipe.gripper_oversampling"),
)
NOT_NEGATIVE = (
    *("policy.latency", "stop_after", "stop", "lease_timeout", "reconnect_timeout", "report_every"),
    *("disconnect_timeout", "latency_budget", "free_gib", "noise", "noise.std", "noise.share", "noise.length", "smooth"),
    *("recipe.learning_rate", "recipe.weight_decay", "recipe.max_grad_norm", "recipe.epochs", "recipe.warmup_epochs"),
    "hours",
)
FINITE = ("chunking.decay", "robot.options.success_return")
AT_LEAST_ONE = (
    *("episodes", "max_steps", "benchmark.options.max_steps", "workers"),
    *("policy.max_batch", "threads", "max_batch", "max_sessions", "video.gop"),
    *("limits.clients", "limits.pending", "limits.sessions", "limits.message"),
    *("evaluation.episodes", "robots", "image_height", "video_height", "chunking.steps", "robot.options.image_size"),
    *("recipe.batch_size", "recipe.gradient_accumulation_steps", "recipe.window_frames"),
    *("recipe.clip_every_batches", "decode_workers"),
    *("recipe.log_every", "recipe.save_every", "recipe.keep_checkpoints"),
    *("open_loop.every", "open_loop.image_height"),
    *("validation.every", "validation.windows", "evaluation.every", "launch.nodes", "seeds_per_round"),
)
FROM_ZERO = (
    *("seed", "num_videos", "hold_steps", "video.crf", "evaluation.seed", "evaluation.num_videos", "chunking.blend"),
    "evaluation.num_shown",
    *("preceding_tasks", "benchmark.options.preceding_tasks"),
    *("open_loop.shown",),
    *("recipe.seed", "recipe.steps", "recipe.warmup_steps", "recipe.schedule_steps", "recipe.extra_schedule_steps"),
    *("recipe.gripper_event_repeats", "validation.moments", "launch.node_rank"),
)
NOT_NULL = ("policy.latency", "seeds_per_round")
QUALITIES = ("policy.jpeg", "robot.options.jpeg", "jpeg_quality")


def check_numbers(config: DictConfig) -> None:
    """Raise :class:`ConfigurationError` for the first option that is no number of its kind, by its name."""
    for name in NOT_NULL:
        if OmegaConf.select(config, name, default=0) is None:
            raise ConfigurationError(f"{name} must be a number, not null.")
    positive(**_found(config, POSITIVE))
    not_negative(**_found(config, NOT_NEGATIVE))
    finite(**_found(config, FINITE))
    count(1, **_found(config, AT_LEAST_ONE))
    count(0, **_found(config, FROM_ZERO))
    count(1, 100, **_found(config, QUALITIES))


def _found(config: DictConfig, names: tuple[str, ...]) -> dict[str, Any]:
    found = {key: OmegaConf.select(config, key) for name in names for key in _spelled_out(config, name)}
    return {key: value for key, value in found.items() if not isinstance(value, Container)}


def _spelled_out(config: DictConfig, name: str) -> Iterator[str]:
    group, star, rest = name.partition(".*.")
    if not star:
        yield name
        return
    for member in OmegaConf.select(config, group) or ():
        yield f"{group}.{member}.{rest}"
