"""Conformance checks for every torch part."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from forehand.compose.parts import FeatureShape
from forehand.conformance.example import require
from forehand.registry import indefinite

Factory = Callable[..., Any]

DIM, IMAGE_SIZE, ROWS, STEPS = 48, 32, 3, 4
"""Sizes of what parts are checked with: D, the side of images, the rows of a batch, timesteps."""

TOWER = FeatureShape((2, 3), 24)
"""Shape of the features of the vision tower that parts with a parameter ``towers`` are given."""

Outputs = Mapping[str, Tensor]
Run = Callable[[Any, Any], Outputs]
"""(the part, inputs) → its outputs by name, each with one row for each row of the inputs."""


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Random numbers of torch from ``seed`` within, and undisturbed after."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def build(make: Callable[[], Any], kind: type, seed: int = 0) -> Any:
    """A part with random weights, in eval mode."""
    with seeded(seed):
        part = make()
    made = indefinite(type(part).__name__)
    require(isinstance(part, kind), f"the factory makes {made}, which is no {kind.__name__}")
    return part.eval()


def rows(inputs: Any, first: int, last: int) -> Any:
    """The same rows of every tensor and list in ``inputs``."""
    if isinstance(inputs, Mapping):
        return {key: rows(value, first, last) for key, value in inputs.items()}
    return inputs[first:last]


def joined(a: Any, b: Any) -> Any:
    """Rows of ``a``, then those of ``b``."""
    if isinstance(a, Mapping):
        return {key: joined(a[key], b[key]) for key in a}
    return torch.cat([a, b]) if isinstance(a, Tensor) else [*a, *b]


def check_repeatable(run: Callable[[], Outputs]) -> Outputs:
    """The outputs of ``run``, which are finite, and the same when it runs again. Run before anything is compared."""
    with torch.no_grad():
        once, twice = run(), run()
    for name, output in once.items():
        require(torch.isfinite(output).all(), f"{name} holds numbers that are not finite")
        require(
            torch.equal(output, twice[name]),
            f"in eval mode {name} must be the same for the same inputs: the part draws random numbers, or keeps "
            f"something from call to call",
        )
    return once


def check_module(make: Callable[[], Any], kind: type, run: Run, inputs: Any, others: Any) -> None:
    """Determinism, independence of the rows of a batch, and completeness of the ``state_dict``.

    ``inputs`` and ``others`` are two different samples of the same shapes, two rows or more.
    """
    part = build(make, kind)
    with torch.no_grad():
        once = check_repeatable(lambda: run(part, inputs))
        mixed = run(part, joined(rows(inputs, 0, 1), rows(others, 1, len(next(iter(once.values()))))))
        alone = run(part, rows(inputs, 0, 1))
        for name, output in once.items():
            require(close(output[:1], mixed[name][:1]), f"the first row of {name} depends on the other rows of the batch")
            require(close(output[:1], alone[name]), f"a row of {name} must be the same alone as in a batch")

        twin = build(make, kind, seed=1)
        try:
            twin.load_state_dict(part.state_dict())
        except RuntimeError as error:
            raise AssertionError(f"the state_dict does not load into a twin: {error}") from error
        for name, output in run(twin, inputs).items():
            require(
                close(output, once[name]),
                f"{name} differs in a twin that loaded the state_dict: some weight is neither parameter nor buffer",
            )


def check_gradients(part: nn.Module, loss: Tensor, besides: tuple[str, ...] = ()) -> None:
    """Every parameter that requires a gradient gets a finite one from ``loss``, but for those named in ``besides``."""
    wanted = {name: p for name, p in part.named_parameters() if p.requires_grad and name not in besides}
    require(loss.requires_grad or not wanted, "the loss does not depend on the parameters")
    if not wanted:
        return
    found = torch.autograd.grad(loss, list(wanted.values()), allow_unused=True, retain_graph=True)
    missed = [name for name, gradient in zip(wanted, found, strict=True) if gradient is None]
    require(not missed, f"no gradient reaches {', '.join(missed)}: use them, or set requires_grad to False")
    broken = [n for n, g in zip(wanted, found, strict=True) if g is not None and not torch.isfinite(g).all()]
    require(not broken, f"the gradient of {', '.join(broken)} is not finite")


def mixture(outputs: Any) -> Tensor:
    """A scalar in which every output has a different weight."""
    with seeded(7):
        return torch.stack([(output * torch.randn_like(output)).sum() for output in outputs]).sum()


def close(a: Tensor, b: Tensor) -> bool:
    """Equal but for rounding."""
    return a.shape == b.shape and torch.allclose(a.float(), b.float(), rtol=1e-4, atol=1e-5)


def shape(tensor: Any) -> str:
    """A tensor's name in messages."""
    return f"{tuple(tensor.shape)} {tensor.dtype}" if isinstance(tensor, Tensor) else indefinite(type(tensor).__name__)
