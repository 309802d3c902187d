"""Conformance checks for parts that own query tokens: world models and action heads. Needs torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from forehand.compose.parts import LossTerms
from forehand.conformance.example import require
from forehand.conformance.modules import ROWS, STEPS, check_gradients, close, seeded, shape


def check_queries(part: Any, name: str, dim: int) -> None:
    """Group and shape of the query tokens."""
    require(part.group.name == name, f"its token group must be called {name!r}, not {part.group.name!r}")
    wanted = (part.group.count, dim)
    require(part.queries.shape == wanted, f"queries must be {wanted}, one row a token; they are {shape(part.queries)}")


def check_leading_axes(part: Any, dim: int) -> None:
    """Leading axes of the readout, which the output keeps."""
    readout = random_readout(part, dim, 0, ROWS, STEPS)
    with torch.no_grad():
        out, flat = part(readout), part(readout.flatten(0, 1))
    require(
        out.shape[:2] == (ROWS, STEPS) and close(out.flatten(0, 1), flat),
        f"forward must keep any leading axes of the readout: {tuple(readout.shape)} became {shape(out)}",
    )


def check_loss(
    part: Any, dim: int, target: Callable[[int], dict[str, Tensor]], mask: tuple[int, ...], own_tokens: bool = False
) -> None:
    """A loss of scalars that depends on readout and target where ``valid``, and nowhere else.

    ``own_tokens``: whether the part makes its tokens itself, with parameters that the loss alone does not reach.
    """
    part.train()
    valid = torch.ones(mask, dtype=torch.bool)
    valid[0, 0], valid[1, -1], valid[2, ..., -1] = False, False, False

    def loss(readout: Tensor, of: dict[str, Tensor], where: Tensor) -> LossTerms:
        with seeded(0):  # what is drawn within must not look like a difference
            terms: LossTerms = part.loss(readout, of, where)
        require(
            set(part.weights) <= set(terms), f"weights {dict(part.weights)} name terms the loss lacks: {sorted(terms)}"
        )
        for name, term in terms.items():
            require(term.shape == (), f"loss term {name!r} must be a scalar; it is {shape(term)}")
            require(torch.isfinite(term), f"loss term {name!r} is {term.item()}")
        return terms

    def total(terms: LossTerms) -> Tensor:
        return torch.stack([terms[name] for name in part.weights]).sum()

    def put(a: Tensor, b: Tensor, where: Tensor) -> Tensor:
        while where.shape != a.shape[: where.ndim]:  # of one timestep, not of one action or horizon
            where = where.any(dim=-1)
        return torch.where(where.reshape(where.shape + (1,) * (a.ndim - where.ndim)), a, b)

    require(part.weights, "weights must name at least one loss term")
    readout, of, other = random_readout(part, dim, 0, ROWS, STEPS).requires_grad_(), target(0), target(1)
    terms, again = loss(readout, of, valid), loss(readout, of, valid)
    for name, term in terms.items():
        require(
            close(term, again[name]),
            f"loss term {name!r} differs for the same inputs and the same torch.manual_seed: draw random numbers from "
            f"torch's default generators only",
        )
    if not own_tokens:
        check_gradients(part, total(terms), besides=("queries",))
    (gradient,) = torch.autograd.grad(total(terms), readout, allow_unused=True)
    require(gradient is not None and gradient.any(), "no gradient of the loss reaches the readout")

    by_step = valid.reshape(ROWS, STEPS, -1).any(dim=-1)
    masked = loss(
        put(readout, random_readout(part, dim, 1, ROWS, STEPS), by_step),
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


def random_readout(part: Any, dim: int, seed: int, *lead: int) -> Tensor:
    """A normal readout (..., count, D) of the part's queries, by its seed."""
    with seeded(seed):
        return torch.randn(*lead, part.group.count, dim)
