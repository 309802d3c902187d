"""Conformance checks for backbones. Needs torch.

Factories are called as a composed policy calls them; bind other options with :func:`functools.partial`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from forehand.compose.parts import Backbone, StreamingBackbone
from forehand.compose.plans import roles
from forehand.conformance.example import CONTRACT, require
from forehand.conformance.modules import (
    DIM,
    IMAGE_SIZE,
    ROWS,
    Factory,
    build,
    check_gradients,
    check_module,
    check_repeatable,
    close,
    mixture,
    seeded,
    shape,
)

HISTORY = 4


def assert_backbone_conforms(factory: Factory, *, dim: int = DIM, history: int = HISTORY) -> None:
    """Shapes, masks that are respected (one for all or one for each row), timesteps that count, and the rest.

    Of a :class:`StreamingBackbone` also: the output of new tokens behind cached ones equals that of one run. To one that
    takes ``queries`` every second token is a query, which only queries read.
    """

    def make() -> Any:
        return factory(contract=CONTRACT, dim=dim, image_size=IMAGE_SIZE, history=history)

    def sample(seed: int) -> Tensor:
        with seeded(seed):
            return torch.randn(ROWS, 2 * history, dim)

    timesteps = torch.arange(history).repeat_interleave(2)
    backbone = build(make, Backbone)
    queries = torch.arange(2 * history) % 2 == 1 if backbone.takes_queries else torch.zeros(2 * history, dtype=torch.bool)
    everything = queries[:, None] | ~queries[None]
    past = (timesteps[:, None] >= timesteps[None]) & everything

    def call(part: Backbone, tokens: Tensor, timesteps: Tensor, mask: Tensor) -> Tensor:
        out: Tensor = part(tokens, timesteps, mask, **roles(part, queries[: tokens.shape[1]]))
        return out

    def run(part: Backbone, inputs: Any) -> dict[str, Tensor]:
        return {"the output": call(part, inputs, timesteps, past)}

    tokens = sample(0)
    with torch.no_grad():
        out = call(backbone, tokens, timesteps, past)
        require(
            out.shape == tokens.shape, f"the output must be {tuple(tokens.shape)}, like the tokens; it is {shape(out)}"
        )
        check_repeatable(lambda: run(backbone, tokens))
        changed = torch.cat([tokens[:, :-2], sample(1)[:, -2:]], dim=1)
        reread = call(backbone, changed, timesteps, past)
        require(
            close(out[:, :-2], reread[:, :-2]), "the mask is not respected: a hidden token changed its reader's output"
        )
        unmasked = call(backbone, changed, timesteps, everything)
        require(
            not close(call(backbone, tokens, timesteps, everything)[:, 0], unmasked[:, 0]),
            "a token that may be read makes no difference to its reader",
        )
        by_row = torch.stack([past, everything, past])
        require(
            close(call(backbone, tokens, timesteps, by_row)[0], out[0])
            and close(call(backbone, changed, timesteps, by_row)[1], unmasked[1]),
            "a mask for each row, (B, L, L), must do what each mask does alone",
        )
        together = call(backbone, tokens[:, :4], timesteps[:2].repeat(2), past[:4, :4])  # all at the first timestep
        require(not close(out[:, :4], together), "timesteps make no difference: the backbone must encode them")
        shorter = call(backbone, tokens[:, :2], timesteps[:2], past[:2, :2])
        require(close(out[:, :2], shorter), "a shorter window must do, too")
        if isinstance(backbone, StreamingBackbone):
            _check_forward_cached(backbone, tokens, timesteps, past, queries)
    check_module(make, Backbone, run, sample(0), sample(1))
    backbone.train()
    check_gradients(backbone, mixture([call(backbone, tokens, timesteps, past)]))


def _check_forward_cached(
    backbone: StreamingBackbone, tokens: Tensor, timesteps: Tensor, mask: Tensor, queries: Tensor
) -> None:
    """Two tokens a timestep; the rows of the batch are at different timesteps, and advance to the next."""
    length, ages = tokens.shape[1], [2, 4, 0]
    query_index = torch.tensor([1])

    def at_once(row: int, count: int) -> Tensor:
        first = tokens[row : row + 1, :count], timesteps[:count], mask[:count, :count]
        out: Tensor = backbone(*first, **roles(backbone, queries[:count]))
        return out

    extra = roles(backbone, queries)
    out, nothing = backbone.forward_cached(tokens, timesteps, mask, torch.arange(length), None, **extra)
    whole = backbone(tokens, timesteps, mask, **extra)
    require(close(out, whole), "forward_cached() without a past must do what forward() does")
    require(nothing is None, "forward_cached() without a past must return no cache")

    padded = torch.full((ROWS, max(ages), backbone.cache_width), 3.0)  # on the left, where no token reads
    reads = torch.zeros(ROWS, 2, max(ages) + 2, dtype=torch.bool)
    for row, age in enumerate(ages):
        empty = padded.new_empty(1, 0, backbone.cache_width)
        ahead = (tokens[row : row + 1, :age], timesteps[:age], mask[:age, :age], torch.arange(age))
        if age:
            _, cache = backbone.forward_cached(*ahead, empty, **roles(backbone, queries[:age]))
            wanted = (1, age, backbone.cache_width)
            found = shape(cache) if cache is not None else "None"
            require(
                cache is not None and cache.shape == wanted,
                f"with a past, even an empty one, forward_cached() must return the new cache, {wanted}; it is {found}",
            )
            assert cache is not None
            padded[row, max(ages) - age :] = cache[0]
        reads[row, :, max(ages) - age :] = mask[age : age + 2, : age + 2]
    new = torch.stack([tokens[row, age : age + 2] for row, age in enumerate(ages)])
    at = torch.stack([timesteps[age : age + 2] for age in ages])
    out, _ = backbone.forward_cached(new, at, reads, query_index, padded, **roles(backbone, queries[:2]))
    require(
        out.shape == (ROWS, 1, tokens.shape[2]),
        f"forward_cached() must return the output at query_index, {(ROWS, 1, tokens.shape[2])}; it is {shape(out)}",
    )
    for row, age in enumerate(ages):
        require(
            close(out[row, 0], at_once(row, age + 2)[0, age + 1]),
            "forward_cached() behind cached tokens must compute what forward() computes of all of them",
        )
