"""Conformance checks for action heads. Needs torch.

Factories are called as a composed policy calls them; bind other options with :func:`functools.partial`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from forehand.compose.parts import ACTIONS_KNOWN, ActionHead, IterativeActionHead, SamplingActionHead
from forehand.compose.tokens import ACTION
from forehand.conformance.example import CONTRACT, require
from forehand.conformance.modules import (
    DIM,
    IMAGE_SIZE,
    ROWS,
    STEPS,
    Factory,
    build,
    check_gradients,
    check_module,
    check_repeatable,
    close,
    seeded,
    shape,
)
from forehand.conformance.queries import check_leading_axes, check_loss, check_queries, random_readout
from forehand.contracts.contract import Contract


def assert_action_head_conforms(factory: Factory, *, contract: Contract = CONTRACT, dim: int = DIM) -> None:
    """Queries and chunk; a loss that heeds what counts and nothing else; the shape of the actions; and the rest.

    Of a head that samples also: the same noise gives the same actions, and other noise others.
    """

    def make() -> Any:
        return factory(contract=contract, dim=dim, image_size=IMAGE_SIZE)

    head = build(make, ActionHead)
    check_queries(head, ACTION, dim)
    require(head.chunk >= 1, f"chunk must be at least one action, not {head.chunk}")
    sampling, iterative = isinstance(head, SamplingActionHead), isinstance(head, IterativeActionHead)
    require(
        sampling or iterative if head.noise_shape else not iterative,
        f"noise_shape is {head.noise_shape}: an IterativeActionHead has one, a SamplingActionHead may have one, no other "
        f"head does",
    )

    def target(seed: int) -> dict[str, Tensor]:
        with seeded(seed):
            return {"actions": torch.rand(ROWS, STEPS, head.chunk, contract.action_size) * 2 - 1}

    def noise(seed: int) -> Tensor:
        with seeded(seed + 20):
            return torch.randn(ROWS, *head.noise_shape)

    def run(part: ActionHead, inputs: Any) -> dict[str, Tensor]:
        readout = inputs["readout"]
        if isinstance(part, IterativeActionHead):
            actions = part.sample(lambda tokens: torch.tanh(tokens) + readout, inputs["noise"])
        elif isinstance(part, SamplingActionHead):
            actions = part.sample(readout, inputs["noise"])
        else:
            actions = part(readout)
        wanted = (len(readout), part.chunk, contract.action_size)
        require(actions.shape == wanted, f"the actions must be {wanted} by the contract; they are {shape(actions)}")
        return {"the actions": actions}

    inputs, other = ({"readout": random_readout(head, dim, seed, ROWS), "noise": noise(seed)} for seed in (0, 1))
    once = check_repeatable(lambda: run(head, inputs))
    if head.noise_shape:
        with torch.no_grad():
            again = run(head, {**inputs, "noise": other["noise"]})
        require(not close(once["the actions"], again["the actions"]), "another noise must give other actions")
    if isinstance(head, IterativeActionHead):
        tokens, drawn = head.training_tokens(target(0))
        wanted = (ROWS, STEPS, head.group.count, dim)
        require(tokens.shape == wanted, f"training_tokens() must be {wanted}; they are {shape(tokens)}")
        for name, value in drawn.items():
            require(value.shape[:2] == (ROWS, STEPS), f"what was drawn, {name!r}, must begin with axes (B, T)")

        of = {**target(0), **drawn}
        terms = head.loss(torch.tanh(tokens), of, torch.ones(ROWS, STEPS, head.chunk, dtype=torch.bool))
        check_gradients(head, torch.stack([terms[name] for name in head.weights]).sum(), besides=("queries",))

        def drawn_target(seed: int) -> dict[str, Tensor]:
            of = target(seed)
            with seeded(seed):
                return {**of, **head.training_tokens(of)[1]}

        check_loss(head, dim, drawn_target, (ROWS, STEPS, head.chunk), own_tokens=True)
    else:
        check_loss(head, dim, target, (ROWS, STEPS, head.chunk))
        check_leading_axes(head, dim)
    if head.partial:
        _check_unknown(head, random_readout(head, dim, 0, ROWS, STEPS), target)
    check_module(make, ActionHead, run, inputs, other)


def _check_unknown(head: ActionHead, readout: Tensor, target: Callable[[int], dict[str, Tensor]]) -> None:
    """Of a head that is partial: what an unknown number of an action says does not change its loss."""
    valid = torch.ones(ROWS, STEPS, head.chunk, dtype=torch.bool)
    first, second = target(0)["actions"], target(1)["actions"]
    known = torch.ones_like(first, dtype=torch.bool)
    known[..., 0] = False
    mixed = torch.where(known, first, second)

    def loss(actions: Tensor, of: Mapping[str, Tensor]) -> Tensor:
        terms = head.loss(readout, {"actions": actions, **of}, valid)
        return torch.stack([terms[name] for name in head.weights])

    with torch.no_grad():
        require(
            torch.equal(loss(first, {ACTIONS_KNOWN: known}), loss(mixed, {ACTIONS_KNOWN: known})),
            f"the head is partial, and its loss depends on numbers of actions that {ACTIONS_KNOWN!r} says are unknown",
        )
        require(
            close(loss(first, {}), loss(first, {ACTIONS_KNOWN: torch.ones_like(known)})),
            f"with all numbers known, {ACTIONS_KNOWN!r} must not change the loss",
        )
