"""Augmentation of a window's images: of inputs, or of inputs and targets alike. Needs torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from forehand.compose.augmentation import Augmentation
from forehand.compose.parts import FUTURE, IMAGES, PRESENT, Inputs
from forehand.compose.random_shift import Shift
from forehand.errors import ConfigurationError, nearest
from forehand.plugins import registry


class Augmentations:
    """The augmentations of a policy: for each camera some, which are applied one after the other.

    config: a list of parts (``{name: ..., options}``) for every camera, or camera → such a list. random_shift: camera →
    pixels, or options, of the augmentation ``shift``, which then comes first.
    """

    def __init__(
        self,
        config: Sequence[Mapping[str, Any]] | Mapping[str, Sequence[Mapping[str, Any]] | None] | None,
        random_shift: Mapping[str, Any] | None,
        cameras: Sequence[str],
    ) -> None:
        named = config if isinstance(config, Mapping) else {camera: config for camera in cameras if config}
        for where, given in (("random_shift", random_shift or {}), ("augmentations", named)):
            if unknown := [camera for camera in given if camera not in cameras]:
                raise ConfigurationError(
                    f"{where}: the policy has no camera {unknown[0]!r}. {nearest(unknown[0], cameras)}"
                )
        found = {camera: [_shift(given)] for camera, given in (random_shift or {}).items() if given}
        for camera, parts in named.items():
            if parts:
                found[camera] = [*found.get(camera, []), *(_make(camera, part) for part in parts)]
        self.by_camera: Mapping[str, Sequence[Augmentation]] = found

    def __contains__(self, camera: str) -> bool:
        return camera in self.by_camera

    def __call__(self, observation: Inputs, target: Inputs, horizons: Sequence[int]) -> tuple[Inputs, Inputs]:
        """The images of a batch of windows, changed.

        observation: ``images.<camera>`` (B, T, H, W, C). target: ``future.<camera>`` (B, T, H, W, C), of K > 1 horizons
        (B, T, K, H, W, C), and ``present.<camera>``, which are the images of the observation; the first may be missing.
        """
        observation, target = dict(observation), dict(target)
        for camera, chain in self.by_camera.items():
            now, ahead, shown = IMAGES + camera, FUTURE + camera, PRESENT + camera
            batch, steps = observation[now].shape[:2]
            device = observation[now].device
            reach = max(horizons, default=0) if ahead in target else 0
            times = torch.arange(steps, device=device)
            later = times[:, None] + torch.tensor(tuple(horizons), dtype=torch.long, device=device)
            for one in chain:
                coupled = one.targets and (ahead in target or shown in target)
                draws = one.draw_window(batch, steps + reach * coupled, device)
                of_now = {name: values[:, :steps] for name, values in draws.items()}
                same = target.get(shown) is observation[now]
                changed = one.apply_window(observation[now], of_now)
                if coupled and shown in target:
                    target[shown] = changed if same else one.apply_window(target[shown], of_now)
                if coupled and ahead in target:
                    when = later if target[ahead].ndim > 5 else later[:, 0]
                    target[ahead] = one.apply_window(target[ahead], {n: v[:, when] for n, v in draws.items()})
                observation[now] = changed
        return observation, target


def _shift(given: Any) -> Augmentation:
    if isinstance(given, Mapping):
        _check_options("random_shift", given)
        return Shift(**given)
    return Shift(pixels=given)


def _check_options(where: str, options: Mapping[str, Any]) -> None:
    known = ("pixels", "frames", "targets", "probability")
    if unknown := [name for name in options if name not in known]:
        raise ConfigurationError(f"{where}: there is no option {unknown[0]!r}. {nearest(unknown[0], known)}")
    if "pixels" not in options:
        raise ConfigurationError(f"{where} needs pixels, as {{pixels: 10}}, not {dict(options)}.")


def _make(camera: str, part: Mapping[str, Any]) -> Augmentation:
    if "name" not in part:
        raise ConfigurationError(f"augmentations: one of {camera!r} is configured without a name: {dict(part)}.")
    made: Augmentation = registry().create("augmentation", part["name"], **{k: v for k, v in part.items() if k != "name"})
    return made
