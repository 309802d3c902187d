"""Loss terms of action vectors, by the contract."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from forehand.compose.parts import LossTerms, masked_mean
from forehand.contracts.contract import Contract, Field
from forehand.errors import ConfigurationError, nearest, no_actions
from forehand.utils.numbers import count


@dataclass(frozen=True)
class ActionTerms:
    """Loss terms of the elements of an action vector, each with its weight.

    ``gripper``: those of fields whose ``gripper`` sense the contract states; ``motion``: all others. A term without
    elements is left out.
    """

    elements: Mapping[str, Sequence[int]]
    weights: Mapping[str, float]

    @classmethod
    def of(cls, contract: Contract, part: str, gripper_weight: float) -> ActionTerms:
        """The terms of a contract's actions; ``motion`` has weight 1.

        Raises :class:`ConfigurationError`, which names the ``part``, where the contract has no actions.
        """
        if not contract.action:
            raise ConfigurationError(no_actions(part))
        elements = _elements(contract.action)
        return cls(elements, {term: {"motion": 1.0, "gripper": gripper_weight}[term] for term in elements})

    def means(self, error: Tensor, valid: Tensor) -> LossTerms:
        """Means of (..., H, A) errors by term, over the valid actions, (..., H) bool, or numbers, (..., H, A) bool."""
        counts = valid if valid.ndim == error.ndim else valid[..., None].expand_as(error)
        return {term: masked_mean(error[..., its], counts[..., its]) for term, its in self.elements.items()}

    def by_element(self) -> Tensor:
        """The weight of each element, (A,)."""
        weights = torch.zeros(sum(map(len, self.elements.values())))
        for term, its in self.elements.items():
            weights[list(its)] = self.weights[term]
        return weights


def _elements(fields: Sequence[Field]) -> dict[str, list[int]]:
    """The elements of the action vector by the loss term that they belong to."""
    terms = ["motion" if field.gripper is None else "gripper" for field in fields for _ in range(field.size)]
    return {term: [i for i, its in enumerate(terms) if its == term] for term in ("motion", "gripper") if term in terms}


def require_counts(part: str, **options: int) -> None:
    """Raise :class:`ConfigurationError` for the first option of ``part`` that is no whole number above 0."""
    count(**{f"{part}: {name}": value for name, value in options.items()})


def require_choice(part: str, option: str, value: str, choices: Collection[str]) -> None:
    """Raise :class:`ConfigurationError` where ``value`` of an ``option`` of ``part`` is none of the ``choices``."""
    if value not in choices:
        raise ConfigurationError(f"{part}: unknown {option} {value!r}. {nearest(str(value), choices)}")
