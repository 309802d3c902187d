"""Configuration of a LeRobot policy: its options, and its features by a contract. LeRobot is imported when needed."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from forehand.contracts.contract import Contract
from forehand.errors import ConfigurationError, nearest, no_actions
from forehand.utils.images import Size

STATE_KEY, ACTION_KEY, IMAGE_PREFIX = "observation.state", "action", "observation.images."

OWN_FIELDS = ("input_features", "output_features", "device", "use_amp", "pretrained_path", "pretrained_revision")
"""Fields of LeRobot's configurations that are set by the data or by Forehand's own options."""

FROM_SCRATCH: Mapping[str, Any] = {"pretrained_backbone_weights": None, "load_vlm_weights": False}
"""Fields that fetch weights while a policy is built, and their values that fetch none."""


@functools.cache
def policy_types() -> tuple[str, ...]:
    """The names of all LeRobot policies, those of installed ``lerobot_policy_…`` distributions included.

    Raises :class:`ConfigurationError` where LeRobot is missing.
    """
    try:
        import lerobot.policies  # noqa: F401  registers LeRobot's own
        from lerobot.configs import PreTrainedConfig
        from lerobot.utils.import_utils import register_third_party_plugins
    except ImportError as error:
        raise ConfigurationError(
            f"Policies of LeRobot need the package lerobot ({error}): pip install 'forehand[learning]'."
        ) from error
    register_third_party_plugins()
    return tuple(sorted(PreTrainedConfig.get_known_choices()))


def make_config(
    type: str, options: Mapping[str, Any] | None, contract: Contract, cameras: Sequence[str], size: int | Size | None
) -> Any:
    """The ``PreTrainedConfig`` of ``type`` with ``options``, for data of ``contract``.

    cameras: those that the policy sees; size: of their images, side or (height, width), None: each camera's own. Raises
    :class:`ConfigurationError` that names an unknown type or option, and one whose value cannot be.
    """
    known = policy_types()
    import draccus
    from lerobot.configs import FeatureType, PolicyFeature, PreTrainedConfig

    if type not in known:
        raise ConfigurationError(f"policy.type: LeRobot has no policy {type!r}. {nearest(type, known)}")
    if not contract.action:
        raise ConfigurationError(no_actions(f"lerobot, {type}"))
    kind = PreTrainedConfig.get_choice_class(type)
    names = [f.name for f in dataclasses.fields(kind) if f.init and f.name not in OWN_FIELDS]
    for name in options or {}:
        if name in OWN_FIELDS:
            raise ConfigurationError(f"policy.options.{name} is not an option here: the data and the command decide it.")
        if name not in names:
            raise ConfigurationError(f"policy.options: {type!r} has no option {name!r}. {nearest(name, names)}")
    config = checked(type, lambda: draccus.decode(kind, {**(options or {}), "device": "cpu"}))
    inputs: dict[str, Any] = {}
    for camera in (contract.camera(name) for name in cameras):
        height, width = (camera.height, camera.width) if size is None else (size, size) if isinstance(size, int) else size
        inputs[IMAGE_PREFIX + camera.name] = PolicyFeature(FeatureType.VISUAL, (3, height, width))
    if contract.state_size:
        inputs[STATE_KEY] = PolicyFeature(FeatureType.STATE, (contract.state_size,))
    config.input_features = inputs
    config.output_features = {ACTION_KEY: PolicyFeature(FeatureType.ACTION, (contract.action_size,))}
    checked(type, config.validate_features)
    return config


def checked(type: str, call: Callable[[], Any]) -> Any:
    """What ``call`` of LeRobot returns; :class:`ConfigurationError` where it refuses the options."""
    from draccus.utils import DecodingError, ParsingError

    try:
        return call()
    except ImportError as error:
        raise ConfigurationError(
            f"policy.type={type} needs a package that is missing: {error}. Install it with pip install 'lerobot[{type}]' "
            f"(diffusion: also 'forehand[diffusion]')."
        ) from error
    except (DecodingError, ParsingError, ValueError, TypeError, NotImplementedError, AssertionError) as error:
        inside = isinstance(error, ParsingError) and not isinstance(error, DecodingError)
        reason = error.__cause__ if inside and error.__cause__ else error
        raise ConfigurationError(f"LeRobot refuses the options of its policy {type!r}: {reason}") from error


def make_module(config: Any, *, fetch: bool = False) -> Any:
    """The ``PreTrainedPolicy`` of ``config`` with fresh weights; ``fetch``: with the pretrained weights it names."""
    from lerobot.policies.factory import get_policy_class

    config = copy.deepcopy(config)
    if not fetch:
        for name, value in FROM_SCRATCH.items():
            if hasattr(config, name):
                setattr(config, name, value)
    with contextlib.redirect_stdout(sys.stderr):  # some print their size, and commands' output is read by scripts
        return checked(config.type, lambda: get_policy_class(config.type)(config))


def fetches_weights(config: Any) -> bool:
    """Whether ``config`` names pretrained weights."""
    return any(getattr(config, name, none) != none for name, none in FROM_SCRATCH.items())


def dataset_stats(config: Any, statistics: Mapping[str, Any], imagenet: bool) -> dict[str, dict[str, Any]]:
    """The statistics that ``config`` normalizes with, as LeRobot's processors take them.

    Of images (3, 1, 1), of levels from 0 to 1; imagenet: those of ImageNet, as ``lerobot-train`` takes by default. Raises
    :class:`ConfigurationError` where the data lack one that is needed.
    """
    import torch
    from lerobot.configs import NormalizationMode
    from lerobot.utils.constants import IMAGENET_STATS

    found: dict[str, dict[str, Any]] = {}
    for key, feature in {**config.input_features, **config.output_features}.items():
        mode = config.normalization_mapping.get(feature.type.value, NormalizationMode.IDENTITY)
        if mode is NormalizationMode.IDENTITY:
            continue
        image = key.startswith(IMAGE_PREFIX)
        try:
            stated = dict(IMAGENET_STATS if image and imagenet else statistics[key])
        except KeyError as error:
            raise ConfigurationError(f"The policy normalizes {key!r}, but the data have no statistics of it.") from error
        arrays = {name: np.asarray(value, np.float32) for name, value in stated.items() if name != "count"}
        found[key] = {n: torch.from_numpy(a.reshape(-1, 1, 1) if image else a) for n, a in arrays.items()}
    return found
