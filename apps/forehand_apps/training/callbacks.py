"""What happens beside the steps of ``forehand train``, by its configuration: validation, evaluation, logs, early stop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from omegaconf import DictConfig, OmegaConf

from forehand import registry
from forehand.compose.latent_actions import infers_latent_actions
from forehand.data.dataset import Dataset
from forehand.data.embodiments import EmbodimentDatasets, open_datasets
from forehand.data.frame_store import FrameStore
from forehand.data.specification import OpenSources
from forehand.data.splits import TRAIN, VALIDATION, with_split
from forehand.data.windows import WindowDataset
from forehand.errors import ConfigurationError, nearest
from forehand.evaluation.open_loop.inverse import InverseError
from forehand.evaluation.open_loop.latent_actions import LatentActionProbe
from forehand.learning.action_error import ActionError
from forehand.learning.callbacks.adapter_check import AdapterCheck
from forehand.learning.callbacks.callback import TrainingCallback
from forehand.learning.callbacks.early_stop import EarlyStop
from forehand.learning.callbacks.validation import Validation
from forehand.learning.lora import read_lora
from forehand.learning.recipe import Recipe
from forehand_apps.cli.overrides import as_overrides
from forehand_apps.evaluation.closed_loop import ClosedLoopEvaluation

EARLY_STOP = ("metric", "patience", "mode", "min_delta")


def sources(config: DictConfig) -> Any:
    """What is trained on: ``config.dataset``, or its training split where the rest of it is to validate."""
    named = _plain(config.dataset)
    return with_split(named, TRAIN) if config.validation.every and config.validation.dataset is None else named


def make_callbacks(
    config: DictConfig, policy: Any, recipe: Recipe, frames: FrameStore, opened: OpenSources | None = None
) -> list[TrainingCallback]:
    """The callbacks, in their order: what adds metrics comes before what reads them.

    opened: the sources of the training, of which validation may take another split.
    Raises :class:`ConfigurationError` and :class:`DatasetError` for what cannot be.
    """
    callbacks: list[TrainingCallback] = []
    if read_lora(_plain(config.policy)):
        callbacks.append(AdapterCheck())
    if config.validation.every:
        callbacks.append(_validation(config, policy, recipe, frames, opened))
    if config.evaluation.every:
        callbacks.append(
            ClosedLoopEvaluation(config.evaluation.every, as_overrides(_plain(config.evaluation.options) or {}))
        )
    if (stop := early_stop(config)) is not None:
        callbacks.append(stop)
    for name, options in (_plain(config.loggers) or {}).items():
        callbacks.append(registry().create("logger", name, **(options or {})))
    return callbacks


def early_stop(config: DictConfig) -> EarlyStop | None:
    """The early stop that ``config`` describes, if any. Raises :class:`ConfigurationError`."""
    options = _plain(config.early_stop)
    if options is None:
        return None
    if not isinstance(options, dict) or "metric" not in options:
        raise ConfigurationError(
            f"early_stop is options with the metric that is to improve, as {{metric: validation/loss}}, not {options!r}."
        )
    if unknown := [name for name in options if name not in EARLY_STOP]:
        raise ConfigurationError(f"early_stop has no option {unknown[0]!r}. {nearest(str(unknown[0]), EARLY_STOP)}")
    return EarlyStop(**options)


def _validation(
    config: DictConfig, policy: Any, recipe: Recipe, frames: FrameStore, opened: OpenSources | None
) -> Validation:
    named = _plain(config.validation.dataset)
    data = open_datasets(with_split(_plain(config.dataset), VALIDATION) if named is None else named, opened)
    options: dict[str, Any] = {"cache": config.cache, "frames": frames}
    if isinstance(data, EmbodimentDatasets):
        data = EmbodimentDatasets({name: _judged(of) for name, of in data.datasets.items()})
        windows: Any = data.windows(policy.window, whole=recipe.windows, **options)
        parts = {name: (of, policy.embodiments[name]) for name, of in data.datasets.items()}
    else:
        data = _judged(data)
        windows = WindowDataset(data, policy.window, whole=recipe.windows, **options)
        parts = {"": (data, policy)}
    errors, probes = {}, {}
    if moments := config.validation.moments:
        recorded = {n: (d.recorded_only, p) for n, (d, p) in parts.items() if d.episodes.recorded.any()}
        finding = {n: (d, p) for n, (d, p) in recorded.items() if _finds_actions(p)}
        errors = {n: _action_error(d, p, policy.window, moments, options) for n, (d, p) in finding.items()}
        inferring = {n: (d, p) for n, (d, p) in recorded.items() if infers_latent_actions(p)}
        probes = {n: LatentActionProbe(d, p, config.validation.windows, **options) for n, (d, p) in inferring.items()}
    return Validation(
        config.validation.every,
        windows,
        count=config.validation.windows,
        batch_size=recipe.batch_size,
        action_error=errors,
        latent_actions=probes,
    )


def _judged(data: Dataset) -> Dataset:
    """``data`` without labelled actions, by which nothing is judged, where some were recorded."""
    return data.recorded_only if data.episodes.recorded.any() else data


def _finds_actions(policy: Any) -> bool:
    """Whether there are actions of ``policy`` to compare with recorded ones."""
    return getattr(policy, "acts", True) or getattr(policy, "inverse_dynamics", False)


def _action_error(
    data: Dataset, policy: Any, window: Any, moments: int, options: dict[str, Any]
) -> Callable[[Any], dict[str, float]]:
    if getattr(policy, "inverse_dynamics", False):
        return InverseError(data, window, moments, **options)
    return ActionError(data, policy, window, moments, **options)


def _plain(config: Any) -> Any:
    return OmegaConf.to_container(config, resolve=True) if OmegaConf.is_config(config) else config
