"""Interventions on foresight as options of ``forehand eval``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from forehand import Benchmark, Policy, Robot
from forehand.errors import ConfigurationError
from forehand_apps.cli.instantiate import is_hosted, policy_source

if TYPE_CHECKING:
    from forehand.data.dataset import Dataset


def intervened(config: DictConfig, policy: Policy, benchmark: Benchmark, robots: Sequence[Robot]) -> Policy:
    """``policy``, of this process, under the intervention that ``config.foresight`` names, if it names one.

    robots: those that it drives, if they are simulated in this process. Raises :class:`ConfigurationError` where that
    cannot be done.
    """
    if (name := config.get("foresight")) is None:
        return policy
    from forehand.compose.interventions import ORACLE, RECORDED, intervene
    from forehand.evaluation.expert_future import ExpertFuture
    from forehand.evaluation.recordings import RecordedDonors

    recordings = None
    if name in RECORDED and (data := _bank(config)) is not None:
        policy.for_robot(data.contract, "the policy", "foresight_bank")
        recordings = RecordedDonors(data, policy.contract, config.seed)
    if name == ORACLE and (len(robots) != 1 or is_hosted(config)):
        raise ConfigurationError(
            "foresight=oracle: it takes one simulator in this process: workers=1, and no robots=[…]."
        )
    intervene(policy, name, recordings, lambda: ExpertFuture(benchmark, robots[0]))
    return policy


def require_local(config: DictConfig) -> None:
    """Raise :class:`ConfigurationError` where an intervention is wanted of a policy whose tokens are not at hand."""
    if config.get("foresight") is not None and (source := policy_source(config.policy)) in ("address", "expert"):
        raise ConfigurationError(
            f"foresight={config.foresight}: the policy of policy.{source} is not computed here. Give its checkpoint: "
            f"policy.checkpoint=…"
        )


def _bank(config: DictConfig) -> Dataset | None:
    given: Any = config.get("foresight_bank")
    if given is None:
        return None
    from forehand.data.dataset import Dataset
    from forehand.data.embodiments import open_datasets

    if OmegaConf.is_config(given):
        given = OmegaConf.to_container(given, resolve=True)
    data = open_datasets(given)
    if not isinstance(data, Dataset):
        raise ConfigurationError("foresight_bank: it is of several embodiments. Give the sources of one of them.")
    return data


def bank_facts(config: DictConfig) -> dict[str, Any]:
    """``foresight_bank`` for an evaluation's setup: its sources by name and fingerprint, wherever they lie."""
    if (data := _bank(config)) is None:
        return {}
    from forehand.data.dataset_facts import dataset_facts

    return {"foresight_bank": dataset_facts(data)}
