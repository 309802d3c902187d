"""Composition of a Forehand policy by the name of its configuration, and the frames that it needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from inspect import signature
from pathlib import Path
from typing import Any

from forehand import registry
from forehand.errors import ConfigurationError


def read_composition(config: str, overrides: Sequence[str]) -> dict[str, Any]:
    """The ``policy`` configuration that ``forehand train policy=<config> <overrides>`` would train.

    config: its name, or a YAML file with a composition. Raises :class:`ConfigurationError`.
    """
    from hydra import compose, initialize_config_module
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from forehand_apps.cli.execution import prepare

    prepare()
    GlobalHydra.instance().clear()
    file = config.endswith((".yaml", ".yml"))
    try:
        with initialize_config_module("forehand_apps.conf", version_base="1.3"):
            whole = compose("train", [*([] if file else [f"policy={config}"]), "dataset=none", *overrides])
        chosen = OmegaConf.load(Path(config)) if file else whole.policy
        found: Any = OmegaConf.to_container(chosen, resolve=True)
    except (HydraException, OmegaConfBaseException, OSError) as error:
        raise ConfigurationError(f"--policy.config={config} with overrides {list(overrides)}: {error}") from error
    if not isinstance(found, dict) or found.get("name") != "composed":
        raise ConfigurationError(f"--policy.config={config} is no composed policy of Forehand's.")
    return {str(key): value for key, value in found.items()}


def window_numbers(composition: Mapping[str, Any]) -> tuple[int, int, tuple[int, ...]]:
    """Timesteps of history, actions of a chunk, and horizons of the forecast, by the configuration alone."""
    head, model = composition.get("action_head"), composition.get("world_model")
    chunk = _option("action_head", head, "chunk", 1) if head else 1
    ahead = _option("world_model", model, "horizon", ()) if model else ()
    horizons = (ahead,) if isinstance(ahead, int) else tuple(ahead)
    return int(composition.get("history", 1)), int(chunk), horizons


def _option(kind: str, part: Mapping[str, Any], name: str, otherwise: Any) -> Any:
    """The value of a part's option: the configured one, or its default."""
    if name in part:
        return part[name]
    parameter = signature(registry().part(kind, part["name"]).load()).parameters.get(name)
    return otherwise if parameter is None or parameter.default is parameter.empty else parameter.default
