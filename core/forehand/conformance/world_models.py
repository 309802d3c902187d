"""Conformance checks for world models. Needs torch.

Factories are called as a composed policy calls them; bind other options with :func:`functools.partial`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from forehand.compose.parts import (
    FEATURES,
    FUTURE,
    PRESENT,
    SENSORS,
    STATE,
    DecodesFeatures,
    DecodesImages,
    ForecastsInputs,
    WorldModel,
)
from forehand.compose.tokens import FORESIGHT
from forehand.conformance.example import CONTRACT, require
from forehand.conformance.modules import (
    DIM,
    IMAGE_SIZE,
    ROWS,
    STEPS,
    TOWER,
    Factory,
    build,
    check_module,
    check_repeatable,
    close,
    seeded,
    shape,
)
from forehand.conformance.queries import check_leading_axes, check_loss, check_queries, random_readout
from forehand.contracts.contract import Contract
from forehand.contracts.sensor import VECTOR
from forehand.registry import takes


def assert_world_model_conforms(
    factory: Factory, *, contract: Contract = CONTRACT, dim: int = DIM, image_size: int = IMAGE_SIZE
) -> None:
    """Queries, horizons and cameras; a loss that heeds what counts and nothing else; what can be shown; and the rest.

    A factory with a parameter ``towers`` gets one called ``tower``, of :data:`TOWER`'s shape.
    """
    given = {"towers": {"tower": TOWER}} if takes(factory, "towers") else {}

    def make() -> Any:
        return factory(contract=contract, dim=dim, image_size=image_size, **given)

    model = build(make, WorldModel)
    check_queries(model, FORESIGHT, dim)
    known = [c.name for c in contract.cameras]
    horizons = model.horizons
    require(horizons and min(horizons) >= 1, f"horizon must be at least one control step, not {model.horizon}")
    require(list(horizons) == sorted(set(horizons)), f"horizons must ascend: {horizons}")
    require(model.cameras or model.target_vectors, "cameras must name what is forecast, or target_vectors")
    require(set(model.cameras) <= set(known), f"cameras {model.cameras} are not all in the contract, which has {known}")
    for name in model.target_features:
        tower, _, camera = name.partition(".")
        require(
            tower == "tower" and camera in model.cameras,
            f"target_features must be <tower>.<camera> of the towers it was given and of its cameras, not {name!r}",
        )
    vectors = {SENSORS + s.name: s.full_shape[0] for s in contract.sensors if s.kind == VECTOR}
    vectors[STATE] = contract.state_size
    for key in model.target_vectors:
        require(key in vectors, f"target_vectors must be of {sorted(vectors)}, not {key!r}")
    several = (len(horizons),) if len(horizons) > 1 else ()

    def images(seed: int, *lead: int) -> Tensor:
        with seeded(seed):
            return torch.randint(0, 256, (*lead, image_size, image_size, 3)).byte()

    def target(seed: int) -> dict[str, Tensor]:
        of: dict[str, Tensor] = {}
        for i, (time, axes) in enumerate(((PRESENT, ()), (FUTURE, several))):
            for j, camera in enumerate(model.cameras):
                of[time + camera] = images(100 * seed + 10 * i + j, ROWS, STEPS, *axes)
            for j, name in enumerate(model.target_features):
                with seeded(100 * seed + 10 * i + j + 50):
                    of[time + FEATURES + name] = torch.randn(ROWS, STEPS, *axes, TOWER.patches + 1, TOWER.width)
            for j, key in enumerate(model.target_vectors):
                with seeded(100 * seed + 10 * i + j + 80):
                    of[time + key] = torch.randn(ROWS, STEPS, *axes, vectors[key])
        return of

    def sample(seed: int) -> dict[str, Tensor]:
        now = {c: images(100 * seed + i, ROWS) for i, c in enumerate(model.cameras)}
        with seeded(seed):
            seen = {FEATURES + name: torch.randn(ROWS, TOWER.patches + 1, TOWER.width) for name in model.target_features}
            state = torch.randn(ROWS, contract.state_size)
        return {"readout": random_readout(model, dim, seed, ROWS), **now, **seen, "vector": state}

    def run(part: WorldModel, inputs: Any) -> dict[str, Tensor]:
        readout = inputs["readout"]
        if isinstance(part, DecodesImages):
            pictures = part.decode_images(readout, {c: inputs[c] for c in part.cameras})
            require(
                set(pictures) == set(part.cameras),
                f"decode_images() must be of {part.cameras}; they are of {sorted(pictures)}",
            )
            for camera, picture in pictures.items():
                wanted = (
                    f"the picture of {camera!r} must be ({', '.join(['N', *map(str, several), 'H', 'W', '3'])}) uint8"
                )
                require(
                    picture.ndim == 4 + len(several)
                    and picture.shape[: 1 + len(several)] == (len(readout), *several)
                    and picture.shape[-1] == 3
                    and picture.dtype == torch.uint8,
                    f"{wanted}; it is {shape(picture)}",
                )
        if isinstance(part, DecodesFeatures):
            present = {name: inputs[FEATURES + name] for name in part.target_features}
            for name, features in part.decode_features(readout, present).items():
                wanted_shape = (len(readout), *several, *TOWER.grid, TOWER.width)
                require(name in part.target_features, f"decode_features() names {name!r}, which target_features lacks")
                require(
                    features.shape == wanted_shape and features.is_floating_point(),
                    f"the features of {name!r} must be {wanted_shape} floats; they are {shape(features)}",
                )
        if isinstance(part, ForecastsInputs) and part.forecast_keys:
            now = {key: inputs.get(key, inputs["vector"]) for key in part.forecast_keys}
            found = part.forecast_inputs(readout, now)
            require(
                set(found) == set(part.forecast_keys),
                f"forecast_inputs() must be of {part.forecast_keys}; they are of {sorted(found)}",
            )
            for key, values in found.items():
                needed = (len(readout), 1 + len(horizons), *now[key].shape[1:])
                require(
                    values.shape == needed and values.is_floating_point(),
                    f"the forecast of {key!r} must be {needed} floats, the present first; it is {shape(values)}",
                )
        return {"the forecast": part(readout)}

    check_repeatable(lambda: run(model, sample(0)))
    check_loss(model, dim, target, (ROWS, STEPS, *several))
    if model.cameras:
        _check_absent_camera(model, target, random_readout(model, dim, 0, ROWS, STEPS), several)
    check_leading_axes(model, dim)
    check_module(make, WorldModel, run, sample(0), sample(1))


def _check_absent_camera(
    model: WorldModel, target: Callable[[int], dict[str, Tensor]], readout: Tensor, several: tuple[int, ...]
) -> None:
    """The future of a camera that no window has moves no loss term."""
    camera = model.cameras[0]
    there = torch.ones(ROWS, STEPS, *several, dtype=torch.bool)
    masks = {f"{FUTURE}{c}_valid": there if c != camera else ~there for c in model.cameras}
    found = []
    for seed in (0, 1):
        of, other = target(0), target(seed)
        its = {key: other[key] for key in of if key.endswith(camera)}
        with torch.no_grad(), seeded(0):
            found.append(model.loss(readout, {**of, **its, **masks}, ~there))
    for name, term in found[0].items():
        require(
            close(term, found[1][name]),
            f"loss term {name!r} depends on the images of camera {camera!r} where that is absent: count by "
            f"valid_of_cameras",
        )
