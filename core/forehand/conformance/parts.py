"""What the parts of a composed policy promise (:mod:`forehand.compose.parts`). Needs torch.

Factories are called as a composed policy calls them: ``factory(contract=..., dim=..., image_size=...)``, a backbone's
also with ``history``; bind other options with :func:`functools.partial`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from forehand.compose.parts import (
    FUTURE,
    IMAGES,
    INSTRUCTION,
    PRESENT,
    STATE,
    ActionHead,
    Backbone,
    Encoder,
    StreamingBackbone,
    Terms,
    VisionTower,
    WorldModel,
)
from forehand.compose.tokens import ACTION, FORESIGHT, TokenGroup
from forehand.conformance.example import CONTRACT, require
from forehand.conformance.modules import build, check_gradients, check_module, close, seeded, shape
from forehand.contract import Contract

Factory = Callable[..., Any]

DIM, IMAGE_SIZE, HISTORY = 48, 32, 4
ROWS, STEPS = 3, 4
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

    ``instructions``: three of what the encoder reads, should it want features rather than sentences.
    """

    def make() -> Any:
        return factory(contract=contract, dim=dim, image_size=image_size)

    encoder = build(make, Encoder)
    cameras = [IMAGES + c.name for c in contract.cameras]
    known = [*cameras, STATE, INSTRUCTION]
    require(encoder.inputs, "inputs must name what the encoder reads")
    for key in encoder.inputs:
        require(key in known, f"inputs names {key!r}, which no observation has; there are {known}")
    names = [group.name for group in encoder.groups]
    require(names, "groups must hold a TokenGroup for each kind of token the encoder makes")
    require(all(isinstance(g, TokenGroup) and g.count > 0 for g in encoder.groups), "groups must hold TokenGroups")
    require(len(set(names)) == len(names), f"groups have the same name twice: {names}")

    def sample(seed: int, floats: bool = False) -> dict[str, Any]:
        with seeded(seed):
            images = {key: torch.randint(0, 256, (ROWS, image_size, image_size, 3)).byte() for key in cameras}
            state = torch.randn(ROWS, contract.state_size)
        values: dict[str, Any] = {STATE: state, **images}
        turned = list(reversed(range(ROWS))) if seed else list(range(ROWS))
        values[INSTRUCTION] = (
            instructions[turned] if isinstance(instructions, Tensor) else [instructions[i] for i in turned]
        )
        if floats:
            values |= {key: image.float() / 127.5 - 1 for key, image in images.items()}
        return {key: values[key] for key in encoder.inputs}

    def run(part: Encoder, inputs: Any) -> dict[str, Tensor]:
        return part(inputs)

    for mode, inputs in (("uint8", sample(0)), ("float", sample(0, floats=True))):
        tokens = encoder(inputs)
        require(set(tokens) == set(names), f"forward returned tokens for {sorted(tokens)}, but its groups are {names}")
        for group in encoder.groups:
            wanted = (ROWS, group.count, dim)
            require(
                tokens[group.name].shape == wanted and tokens[group.name].is_floating_point(),
                f"group {group.name!r} must be {wanted} floats (images {mode}); it is {shape(tokens[group.name])}",
            )
    check_module(make, Encoder, run, sample(0), sample(1))
    encoder.train()
    check_gradients(encoder, _mixture(encoder(sample(0)).values()))


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
    check_gradients(tower, _mixture(run(tower, sample(0)).values()))


def assert_backbone_conforms(factory: Factory, *, dim: int = DIM, history: int = HISTORY) -> None:
    """Shapes, masks that are respected (one for all or one for each row), timesteps that count, and the rest.

    Of a :class:`StreamingBackbone` also: new tokens behind what earlier ones left say what they say in one run.
    """

    def make() -> Any:
        return factory(contract=CONTRACT, dim=dim, image_size=IMAGE_SIZE, history=history)

    def sample(seed: int) -> Tensor:
        with seeded(seed):
            return torch.randn(ROWS, 2 * history, dim)

    timesteps = torch.arange(history).repeat_interleave(2)
    past = timesteps[:, None] >= timesteps[None]
    everything = torch.ones_like(past)

    def run(part: Backbone, inputs: Any) -> dict[str, Tensor]:
        return {"the output": part(inputs, timesteps, past)}

    backbone = build(make, Backbone)
    tokens = sample(0)
    with torch.no_grad():
        out = backbone(tokens, timesteps, past)
        require(
            out.shape == tokens.shape, f"the output must be {tuple(tokens.shape)}, like the tokens; it is {shape(out)}"
        )
        changed = torch.cat([tokens[:, :-2], sample(1)[:, -2:]], dim=1)
        reread = backbone(changed, timesteps, past)
        require(
            close(out[:, :-2], reread[:, :-2]), "the mask is not respected: a hidden token changed what its reader says"
        )
        unmasked = backbone(changed, timesteps, everything)
        require(
            not close(backbone(tokens, timesteps, everything)[:, 0], unmasked[:, 0]),
            "a token that may be read makes no difference to its reader",
        )
        by_row = torch.stack([past, everything, past])
        require(
            close(backbone(tokens, timesteps, by_row)[0], out[0])
            and close(backbone(changed, timesteps, by_row)[1], unmasked[1]),
            "a mask for each row, (B, L, L), must do what each mask does alone",
        )
        later = backbone(tokens[:, :2], timesteps[2:4], past[:2, :2])
        require(
            not close(backbone(tokens[:, :2], timesteps[:2], past[:2, :2]), later),
            "timesteps make no difference: the backbone must tell them apart",
        )
        require(close(out[:, :2], backbone(tokens[:, :2], timesteps[:2], past[:2, :2])), "a shorter window must do, too")
        if isinstance(backbone, StreamingBackbone):
            _check_extend(backbone, tokens, timesteps, past)
    check_module(make, Backbone, run, sample(0), sample(1))
    backbone.train()
    check_gradients(backbone, _mixture([backbone(tokens, timesteps, past)]))


def _check_extend(backbone: StreamingBackbone, tokens: Tensor, timesteps: Tensor, mask: Tensor) -> None:
    """Two tokens a timestep; the rows of the batch stand at different timesteps, and go on to the next."""
    length, ages = tokens.shape[1], [2, 4, 0]
    answering = torch.tensor([1])

    def at_once(row: int, count: int) -> Tensor:
        return backbone(tokens[row : row + 1, :count], timesteps[:count], mask[:count, :count])

    out, nothing = backbone.extend(tokens, timesteps, mask, torch.arange(length), None)
    require(close(out, backbone(tokens, timesteps, mask)), "extend() without a past must do what forward() does")
    require(nothing is None, "extend() without a past must leave nothing behind")

    padded = torch.full((ROWS, max(ages), backbone.memory), 3.0)  # on the left, where nobody reads
    reads = torch.zeros(ROWS, 2, max(ages) + 2, dtype=torch.bool)
    for row, age in enumerate(ages):
        empty = padded.new_empty(1, 0, backbone.memory)
        ahead = (tokens[row : row + 1, :age], timesteps[:age], mask[:age, :age], torch.arange(age))
        if age:
            _, left = backbone.extend(*ahead, empty)
            wanted = (1, age, backbone.memory)
            found = shape(left) if left is not None else "None"
            require(
                left is not None and left.shape == wanted,
                f"with a past, even an empty one, extend() must return what new tokens leave, {wanted}; it is {found}",
            )
            assert left is not None
            padded[row, max(ages) - age :] = left[0]
        reads[row, :, max(ages) - age :] = mask[age : age + 2, : age + 2]
    new = torch.stack([tokens[row, age : age + 2] for row, age in enumerate(ages)])
    at = torch.stack([timesteps[age : age + 2] for age in ages])
    out, _ = backbone.extend(new, at, reads, answering, padded)
    require(
        out.shape == (ROWS, 1, tokens.shape[2]),
        f"extend() must return the output of those who answer, {(ROWS, 1, tokens.shape[2])}; it is {shape(out)}",
    )
    for row, age in enumerate(ages):
        require(
            close(out[row, 0], at_once(row, age + 2)[0, age + 1]),
            "extend() behind what earlier tokens have left must say what forward() says of all of them",
        )


def assert_world_model_conforms(
    factory: Factory, *, contract: Contract = CONTRACT, dim: int = DIM, image_size: int = IMAGE_SIZE
) -> None:
    """Queries, horizon and cameras; a loss that heeds what counts and nothing else; pictures; and the rest."""

    def make() -> Any:
        return factory(contract=contract, dim=dim, image_size=image_size)

    model = build(make, WorldModel)
    _check_queries(model, FORESIGHT, dim)
    known = [c.name for c in contract.cameras]
    require(model.horizon >= 1, f"horizon must be at least one control step, not {model.horizon}")
    require(model.cameras, "cameras must name what is forecast")
    require(set(model.cameras) <= set(known), f"cameras {model.cameras} are not all in the contract, which has {known}")

    def images(seed: int, *lead: int) -> Tensor:
        with seeded(seed):
            return torch.randint(0, 256, (*lead, image_size, image_size, 3)).byte()

    def target(seed: int) -> dict[str, Tensor]:
        return {
            time + camera: images(100 * seed + 10 * i + j, ROWS, STEPS)
            for i, time in enumerate((PRESENT, FUTURE))
            for j, camera in enumerate(model.cameras)
        }

    _check_loss(model, dim, target, (ROWS, STEPS))
    _check_leading_axes(model, dim)

    def sample(seed: int) -> dict[str, Tensor]:
        now = {c: images(100 * seed + i, ROWS) for i, c in enumerate(model.cameras)}
        return {"readout": _readout(model, dim, seed, ROWS), **now}

    def run(part: WorldModel, inputs: Any) -> dict[str, Tensor]:
        readout = inputs["readout"]
        pictures = part.pictures(readout, {c: inputs[c] for c in part.cameras})
        require(
            set(pictures) == set(part.cameras), f"pictures() must be of {part.cameras}; they are of {sorted(pictures)}"
        )
        for camera, picture in pictures.items():
            require(
                picture.ndim == 4 and picture.shape[::3] == (len(readout), 3) and picture.dtype == torch.uint8,
                f"the picture of {camera!r} must be (N, H, W, 3) uint8; it is {shape(picture)}",
            )
        return {"the forecast": part(readout)}

    check_module(make, WorldModel, run, sample(0), sample(1))


def assert_action_head_conforms(factory: Factory, *, contract: Contract = CONTRACT, dim: int = DIM) -> None:
    """Queries and chunk; a loss that heeds what counts and nothing else; the shape of the actions; and the rest."""

    def make() -> Any:
        return factory(contract=contract, dim=dim, image_size=IMAGE_SIZE)

    head = build(make, ActionHead)
    _check_queries(head, ACTION, dim)
    require(head.chunk >= 1, f"chunk must be at least one action, not {head.chunk}")

    def target(seed: int) -> dict[str, Tensor]:
        with seeded(seed):
            return {"actions": torch.rand(ROWS, STEPS, head.chunk, contract.action_size) * 2 - 1}

    def run(part: ActionHead, readout: Any) -> dict[str, Tensor]:
        actions = part(readout)
        wanted = (len(readout), part.chunk, contract.action_size)
        require(actions.shape == wanted, f"the actions must be {wanted} by the contract; they are {shape(actions)}")
        return {"the actions": actions}

    _check_loss(head, dim, target, (ROWS, STEPS, head.chunk))
    _check_leading_axes(head, dim)
    check_module(make, ActionHead, run, _readout(head, dim, 0, ROWS), _readout(head, dim, 1, ROWS))


def _check_queries(part: Any, name: str, dim: int) -> None:
    require(part.group.name == name, f"its token group must be called {name!r}, not {part.group.name!r}")
    wanted = (part.group.count, dim)
    require(part.queries.shape == wanted, f"queries must be {wanted}, one row a token; they are {shape(part.queries)}")


def _check_leading_axes(part: Any, dim: int) -> None:
    readout = _readout(part, dim, 0, ROWS, STEPS)
    with torch.no_grad():
        out, flat = part(readout), part(readout.flatten(0, 1))
    require(
        out.shape[:2] == (ROWS, STEPS) and close(out.flatten(0, 1), flat),
        f"forward must keep any leading axes of the readout: {tuple(readout.shape)} became {shape(out)}",
    )


def _check_loss(part: Any, dim: int, target: Callable[[int], dict[str, Tensor]], mask: tuple[int, ...]) -> None:
    """A loss of scalars that depends on readout and target where ``valid``, and nowhere else."""
    part.train()
    valid = torch.ones(mask, dtype=torch.bool)
    valid[0, 0], valid[1, -1], valid[2, ..., -1] = False, False, False

    def loss(readout: Tensor, of: dict[str, Tensor], where: Tensor) -> Terms:
        with seeded(0):  # what is drawn within must not look like a difference
            terms: Terms = part.loss(readout, of, where)
        require(
            set(part.weights) <= set(terms), f"weights {dict(part.weights)} name terms the loss lacks: {sorted(terms)}"
        )
        for name, term in terms.items():
            require(term.shape == (), f"loss term {name!r} must be a scalar; it is {shape(term)}")
            require(torch.isfinite(term), f"loss term {name!r} is {term.item()}")
        return terms

    def total(terms: Terms) -> Tensor:
        return torch.stack([terms[name] for name in part.weights]).sum()

    def put(a: Tensor, b: Tensor, where: Tensor) -> Tensor:
        return torch.where(where.reshape(where.shape + (1,) * (a.ndim - where.ndim)), a, b)

    require(part.weights, "weights must name at least one loss term")
    readout, of, other = _readout(part, dim, 0, ROWS, STEPS).requires_grad_(), target(0), target(1)
    terms = loss(readout, of, valid)
    check_gradients(part, total(terms), besides=("queries",))
    (gradient,) = torch.autograd.grad(total(terms), readout, allow_unused=True)
    require(gradient is not None and gradient.any(), "no gradient of the loss reaches the readout")

    by_step = valid.reshape(ROWS, STEPS, -1).any(dim=-1)
    masked = loss(
        put(readout, _readout(part, dim, 1, ROWS, STEPS), by_step),
        {key: put(value, other[key], valid) for key, value in of.items()},
        valid,
    )
    for name, term in terms.items():
        require(close(term, masked[name]), f"loss term {name!r} depends on what is not valid")
    heeded = loss(readout, {key: put(other[key], value, valid) for key, value in of.items()}, valid)
    require(not close(total(terms), total(heeded)), "the loss does not depend on the target")

    nothing = total(loss(readout, of, torch.zeros_like(valid)))
    (gradient,) = torch.autograd.grad(nothing, readout, allow_unused=True)
    require(gradient is None or not gradient.any(), "where nothing is valid, the loss must move nothing")
    part.eval()


def _readout(part: Any, dim: int, seed: int, *lead: int) -> Tensor:
    with seeded(seed):
        return torch.randn(*lead, part.group.count, dim)


def _mixture(outputs: Any) -> Tensor:
    """A scalar that every output has a different say in."""
    with seeded(7):
        return torch.stack([(output * torch.randn_like(output)).sum() for output in outputs]).sum()
