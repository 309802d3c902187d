"""Strategies of training by several processes: distributed data parallel (DDP), fully sharded (FSDP2). Needs torch.

Their gradients are the means over the processes of those of their losses, which are means over the whole batch
(:func:`forehand.compose.process_means.denominator`).
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from forehand.compose.process_means import shared_batch
from forehand.errors import ConfigurationError, nearest
from forehand.learning.distributed.processes import Processes, same_everywhere
from forehand.learning.parameter_groups import matches
from forehand.learning.recipe import Recipe

STRATEGIES = ("ddp", "fsdp")

logger = logging.getLogger(__name__)


class Strategy:
    """One process: the policy computes its loss itself."""

    def __init__(self, policy: nn.Module) -> None:
        self.policy = policy

    def loss(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of a batch and its terms."""
        found: tuple[Tensor, dict[str, Tensor]] = self.policy(batch)
        return found

    def accumulating(self, more: bool) -> AbstractContextManager[Any]:
        """Around forward and backward pass of a batch. more: whether others follow before gradients are looked at."""
        return contextlib.nullcontext()


class DataParallel(Strategy):
    """DDP: each process has the whole policy, and its share of the batch.

    Parameters without a gradient in some batches are allowed for. Batches that are accumulated exchange nothing but the
    last.
    """

    def __init__(self, policy: nn.Module, processes: Processes) -> None:
        super().__init__(policy)
        device = processes.device
        assert device is not None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.model = DistributedDataParallel(
                _Loss(policy),
                device_ids=None if device.type == "cpu" else [device.index],
                find_unused_parameters=True,
                gradient_as_bucket_view=True,
            )

    def loss(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of this process's share."""
        with shared_batch():
            found: tuple[Tensor, dict[str, Tensor]] = self.model(batch)
        return found

    def accumulating(self, more: bool) -> AbstractContextManager[Any]:
        """Without exchange where ``more`` follow."""
        return self.model.no_sync() if more else contextlib.nullcontext()


class FullySharded(Strategy):
    """FSDP2: parameters, gradients and optimizer state are spread over the processes, and gathered where computed with.

    patterns: names of modules that are gathered one by one, with wildcards; None: the members of each ``ModuleList``,
    such as the blocks of a transformer. What lies in none is gathered for the whole of a step.
    """

    def __init__(self, policy: nn.Module, processes: Processes, patterns: Sequence[str] | None = None) -> None:
        from torch.distributed.fsdp import fully_shard  # which takes long to import

        super().__init__(policy)
        if scalars := [name for name, p in policy.named_parameters() if p.ndim == 0 and p.requires_grad]:
            raise ConfigurationError(
                f"launch=fsdp cannot shard {scalars[0]}, which is a single number. Take launch=ddp, or freeze it "
                f"(recipe.parameter_groups)."
            )
        ignored = {p for p in policy.parameters() if p.ndim == 0}
        same_everywhere([*policy.parameters(), *policy.buffers()])
        for module in _sharded_modules(policy, patterns):
            fully_shard(module, ignored_params=ignored)
        fully_shard(policy, ignored_params=ignored)

    def loss(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of this process's share."""
        with shared_batch():
            return super().loss(batch)

    def accumulating(self, more: bool) -> AbstractContextManager[Any]:
        """Without exchange of gradients where ``more`` follow."""
        policy: Any = self.policy
        policy.set_requires_gradient_sync(not more)
        return contextlib.nullcontext()


def make_strategy(
    name: str, policy: nn.Module, processes: Processes, recipe: Recipe, patterns: Sequence[str] | None = None
) -> Strategy:
    """How ``policy`` is trained by ``processes``; alone, ``name`` (one of :data:`STRATEGIES`) does not matter.

    Batch normalization that is trained takes its statistics from the whole batch, on accelerators. Raises
    :class:`ConfigurationError` for what does not go together.
    """
    if name not in STRATEGIES:
        raise ConfigurationError(f"launch.strategy: there is no strategy {name!r}. {nearest(name, STRATEGIES)}")
    if processes.count == 1:
        return Strategy(policy)
    processes.require_divisible(recipe.batch_size)
    _synchronize_batch_norms(policy, processes)
    if name == "ddp":
        return DataParallel(policy, processes)
    optimizer = recipe.optimizer if isinstance(recipe.optimizer, str) else recipe.optimizer["name"]
    if optimizer not in ("adamw", "sgd") or recipe.precision == "float16":
        raise ConfigurationError(
            f"launch=fsdp goes with the optimizers adamw and sgd, in float32 and bfloat16, not with "
            f"recipe.optimizer={optimizer} in {recipe.precision}. Take those, or launch=ddp."
        )
    return FullySharded(policy, processes, patterns)


def _sharded_modules(policy: nn.Module, patterns: Sequence[str] | None) -> list[nn.Module]:
    modules = {name: m for name, m in policy.named_modules() if name and next(m.parameters(), None) is not None}
    if patterns is None:
        lists = [name for name, module in modules.items() if isinstance(module, nn.ModuleList)]
        chosen = [name for name in modules if name.rpartition(".")[0] in lists]
    else:
        for pattern in patterns:
            if not any(matches(pattern, name) for name in modules):
                raise ConfigurationError(
                    f"launch.shard_modules: {pattern!r} matches no module of the policy with parameters. "
                    f"{nearest(pattern, modules)}"
                )
        chosen = [name for name in modules if any(matches(pattern, name) for pattern in patterns)]
    outer = [name for name in chosen if not any(name.startswith(other + ".") for other in chosen)]
    return [modules[name] for name in outer]


def _synchronize_batch_norms(policy: nn.Module, processes: Processes) -> None:
    trained = [
        name
        for name, module in policy.named_modules()
        if isinstance(module, _BatchNorm) and any(p.requires_grad for p in module.parameters())
    ]
    if not trained:
        return
    if processes.device is not None and processes.device.type != "cpu":
        nn.SyncBatchNorm.convert_sync_batchnorm(policy)
    elif processes.is_main:
        logger.warning(
            "On CPUs, batch normalization (%s%s) takes its statistics from each process's share of a batch: losses are "
            "not those of one process.",
            trained[0],
            f" and {len(trained) - 1} more" if trained[1:] else "",
        )


class _Loss(nn.Module):
    """What DDP sees of a policy: the loss, and terms that nothing is derived from."""

    def __init__(self, policy: nn.Module) -> None:
        super().__init__()
        self.policy = policy

    def forward(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        loss, terms = self.policy(batch)
        return loss, {name: value.detach() for name, value in terms.items()}
