"""Conformance checks for encoders and vision towers. Needs torch.

Factories are called as a composed policy calls them; bind other options with :func:`functools.partial`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from forehand.compose.parts import FEATURES, IMAGES, INSTRUCTION, SENSORS, STATE, VALID, Encoder, VisionTower
from forehand.compose.tokens import EPISODE, TokenGroup
from forehand.conformance.example import CONTRACT, measurement, require
from forehand.conformance.modules import (
    DIM,
    IMAGE_SIZE,
    ROWS,
    TOWER,
    Factory,
    build,
    check_gradients,
    check_module,
    mixture,
    seeded,
    shape,
)
from forehand.contracts.contract import Contract
from forehand.contracts.sensor import Sensor
from forehand.registry import takes

SENTENCES = ("lift the red block", "push the green block to the left", "stack the blue block on the red one")


def assert_encoder_conforms(
    factory: Factory,
    *,
    contract: Contract = CONTRACT,
    dim: int = DIM,
    image_size: int = IMAGE_SIZE,
    instructions: Sequence[Any] | Tensor = SENTENCES,
) -> None:
    """Inputs, groups and the shapes of their tokens, gradients, independent rows, a complete ``state_dict``.

    ``instructions``: three inputs of the encoder, where it takes features rather than sentences.
    """

    given = {"towers": {"tower": TOWER}} if takes(factory, "towers") else {}

    def make() -> Any:
        return factory(contract=contract, dim=dim, image_size=image_size, **given)

    encoder = build(make, Encoder)
    cameras = [IMAGES + c.name for c in contract.cameras]
    features = [f"{FEATURES}tower.{c.name}" for c in contract.cameras] if given else []
    sensors = {SENSORS + sensor.name: sensor for sensor in contract.sensors}
    known = [*cameras, *features, *sensors, STATE, INSTRUCTION]
    require(getattr(encoder, "inputs", ()), "inputs must name what the encoder reads")
    for key in encoder.inputs:
        require(key in known, f"inputs names {key!r}, which no observation has; there are {known}")
    groups = getattr(encoder, "groups", ())
    require(groups, "groups must hold a TokenGroup for each kind of token the encoder makes")
    require(all(isinstance(g, TokenGroup) and g.count > 0 for g in groups), "groups must hold TokenGroups")
    require(
        all(g.scope != EPISODE for g in groups) or encoder.inputs == (INSTRUCTION,),
        f"tokens whose scope is the episode may come of the instruction alone, not of {encoder.inputs}",
    )
    names = [group.name for group in groups]
    require(len(set(names)) == len(names), f"groups have the same name twice: {names}")

    def sample(seed: int, floats: bool = False) -> dict[str, Any]:
        with seeded(seed):
            images = {key: torch.randint(0, 256, (ROWS, image_size, image_size, 3)).byte() for key in cameras}
            state = torch.randn(ROWS, contract.state_size)
            seen = {key: torch.randn(ROWS, TOWER.patches + 1, TOWER.width) for key in features}
        random = np.random.default_rng(seed)
        measured = {key: torch.stack([_measured(sensor, random) for _ in range(ROWS)]) for key, sensor in sensors.items()}
        values: dict[str, Any] = {STATE: state, **images, **seen, **measured}
        turned = list(reversed(range(ROWS))) if seed else list(range(ROWS))
        values[INSTRUCTION] = (
            instructions[turned] if isinstance(instructions, Tensor) else [instructions[i] for i in turned]
        )
        if floats:
            values |= {key: image.float() / 127.5 - 1 for key, image in images.items()}
        return {key: values[key] for key in encoder.inputs}

    def run(part: Encoder, inputs: Any) -> dict[str, Tensor]:
        return {name: t for name, t in part(inputs).items() if not name.startswith(VALID)}

    for mode, inputs in (("uint8", sample(0)), ("float", sample(0, floats=True))):
        tokens = encoder(inputs)
        valid = {name.removeprefix(VALID): tokens.pop(name) for name in [*tokens] if name.startswith(VALID)}
        require(set(tokens) == set(names), f"forward returned tokens for {sorted(tokens)}, but its groups are {names}")
        require(set(valid) <= set(names), f"forward returned the validity of {sorted(valid)}, but its groups are {names}")
        for group in groups:
            if group.name in valid:
                there = valid[group.name]
                require(
                    there.shape == (ROWS, group.count) and there.dtype == torch.bool,
                    f"the validity of {group.name!r} must be {(ROWS, group.count)} bool; it is {shape(there)}",
                )
            wanted = (ROWS, group.count, dim)
            require(
                tokens[group.name].shape == wanted and tokens[group.name].is_floating_point(),
                f"group {group.name!r} must be {wanted} floats (images {mode}); it is {shape(tokens[group.name])}",
            )
    check_module(make, Encoder, run, sample(0), sample(1))
    encoder.train()
    check_gradients(encoder, mixture(run(encoder, sample(0)).values()))


def _measured(sensor: Sensor, random: np.random.Generator) -> Tensor:
    """A random measurement, (*full_shape) float, as an encoder gets it."""
    return torch.from_numpy(sensor.padded(measurement(sensor, random))).float() * sensor.scale


def assert_vision_tower_conforms(factory: Factory, *, image_size: int = IMAGE_SIZE) -> None:
    """The shapes of the features, gradients (a frozen tower has none), independent rows, a complete ``state_dict``."""

    def make() -> Any:
        return factory(image_size=image_size)

    def sample(seed: int) -> Tensor:
        with seeded(seed):
            return torch.randint(0, 256, (ROWS, image_size, image_size, 3)).byte()

    def run(part: VisionTower, inputs: Any) -> dict[str, Tensor]:
        patches, whole = part(inputs)
        return {"patches": patches, "whole": whole}

    tower = build(make, VisionTower)
    for images in (sample(0), sample(0).float() / 127.5 - 1):
        wanted = {"patches": (ROWS, tower.patches, tower.width), "whole": (ROWS, tower.width)}
        for name, features in run(tower, images).items():
            require(features.shape == wanted[name], f"{name} must be {wanted[name]}; it is {shape(features)}")
    check_module(make, VisionTower, run, sample(0), sample(1))
    check_gradients(tower, mixture(run(tower, sample(0)).values()))
