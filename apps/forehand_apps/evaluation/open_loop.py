"""``forehand eval dataset=…``: predicted against recorded actions of a dataset."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, ListConfig, OmegaConf

from forehand import Policy, registry
from forehand.data.dataset import Dataset
from forehand.data.dataset_facts import dataset_facts
from forehand.data.embodiments import open_datasets
from forehand.data.frame_store import FrameStore
from forehand.errors import ConfigurationError
from forehand.evaluation.open_loop.judge import judge
from forehand.evaluation.open_loop.record import NO_POLICY, OPEN_LOOP, OpenLoopRecord, PlannedEpisode
from forehand.evaluation.open_loop.recorded import RecordedEpisodes
from forehand.evaluation.open_loop.trained_on import TrainedOn, any_trained_on, trained_on
from forehand.evaluation.results import read_record
from forehand.evaluation.shards import Shard
from forehand.policy import Session
from forehand.utils.files import replacing
from forehand.utils.plain import to_plain
from forehand.utils.progress import progress
from forehand.utils.provenance import provenance
from forehand.wire import RemotePolicy
from forehand_apps.cli.instantiate import open_local_policy, plain, policy_source
from forehand_apps.evaluation.interventions import require_local
from forehand_apps.evaluation.open_loop_table import print_open_loop
from forehand_apps.pages.open_loop import open_loop_page

PAGE = "open_loop.html"
NOT_DECISIVE = ("address", "timeout", "checkpoint", "device", "latency", "max_batch", "expert")


def open_loop(config: DictConfig) -> None:
    """Judge the episodes, write the results and the page, print the table."""
    folder = Path(HydraConfig.get().runtime.output_dir)
    data = _data(config)
    members = _members(config, data)
    policy, facts = members[0], _facts(members)
    episodes = RecordedEpisodes(data, policy.contract)
    opened = _opened(config, policy, episodes)
    known = any_trained_on([trained_on(episodes, of) for of in _training_provenances(config, facts)])
    record = _record(config, folder, episodes, known, facts)
    with record.locked():
        record = record.continued()
        if not record.chosen:
            reasons = sorted({one.left_out for one in record.plan})
            raise ConfigurationError(f"dataset: no episode can be judged: {'; '.join(reasons)}.")
        shown = _shown(config, record)
        found = record.write()
        try:
            _judge(config, members, episodes, record, opened)
        except KeyboardInterrupt:
            found = record.write()
            raise KeyboardInterrupt(
                f"Interrupted. {len(record.finished)} of {len(record.chosen)} episodes are kept in {folder}; the same "
                f"command with output={folder} continues from there."
            ) from None
        found = record.write()
    page = open_loop_page(record, found, episodes, shown, config.open_loop.image_height)
    with replacing(folder / PAGE) as staging:
        staging.write_text(page, encoding="utf-8")
    print_open_loop(found)
    print(f"written to {folder / OPEN_LOOP}; look at {folder / PAGE}")


def _training_provenances(config: DictConfig, facts: Mapping[str, Any]) -> list[dict[str, Any] | None]:
    """Of every member of an ensemble, or of the one policy."""
    return [training_provenance(one, facts) for one in _each(config.policy)]


def training_provenance(policy: DictConfig, facts: Mapping[str, Any]) -> dict[str, Any] | None:
    """The provenance of the policy's checkpoint, also of one that is served, where it lies here too; None without."""
    source = policy_source(policy)
    place = policy.checkpoint if source == "checkpoint" else facts.get("checkpoint")
    if source == "name" or not place:
        return None
    from forehand.learning.checkpoint import PROVENANCE, find_checkpoint, fingerprints, read_provenance

    if source == "address":
        folder = Path(str(place))
        if not (folder / PROVENANCE).is_file() or facts.get("fingerprint") not in fingerprints(folder).values():
            return None
        return read_provenance(folder)
    folder = find_checkpoint(str(place))
    return read_provenance(folder) if (folder / PROVENANCE).is_file() else None


def _data(config: DictConfig) -> Dataset:
    if config.replay is not None or config.trials is not None or config.policy.expert:
        raise ConfigurationError("dataset=… judges recorded episodes: leave out replay, trials and policy.expert.")
    given: Any = (
        OmegaConf.to_container(config.dataset, resolve=True) if OmegaConf.is_config(config.dataset) else config.dataset
    )
    data = open_datasets(given)
    if not isinstance(data, Dataset):
        raise ConfigurationError("dataset: it is of several embodiments. Give the sources of one of them.")
    if not data.contract.action:
        raise ConfigurationError("dataset: it has no recorded actions to compare with.")
    return data.recorded_only


def _each(policy: DictConfig) -> list[DictConfig]:
    """The configuration of each checkpoint where several are given, or of the one policy."""
    given = policy.get("checkpoint")
    if not isinstance(given, ListConfig):
        return [policy]
    if not given:
        raise ConfigurationError("policy.checkpoint: the list of checkpoints is empty.")
    return [OmegaConf.merge(policy, {"checkpoint": str(one)}) for one in given]  # type: ignore[misc]


def _members(config: DictConfig, data: Dataset) -> list[Policy]:
    """The policy alone, or the members of an ensemble, which are models of inverse dynamics for the same actions."""
    if policy_source(config.policy) == "address":
        found: list[Policy] = [RemotePolicy(config.policy.address, config.policy.timeout, jpeg=config.policy.jpeg)]
    else:
        found = [open_local_policy(one, lambda: data.contract) for one in _each(config.policy)]
    if len(found) > 1:
        from forehand.evaluation.labelling.source import require_models

        require_models(_models(found))
    return [policy.for_robot(data.contract, "the policy", "the dataset") for policy in found]


def _models(members: Sequence[Policy]) -> list[Any]:
    from forehand.evaluation.labelling.estimates import Model

    names = [str(policy.describe().get("checkpoint") or "the policy") for policy in members]
    return [Model(name, "", one, np.ones(one.contract.action_size)) for name, one in zip(names, members, strict=True)]


def _facts(members: Sequence[Policy]) -> Mapping[str, Any]:
    """What a policy says of itself; of an ensemble, what its members say."""
    each = [policy.describe() for policy in members]
    if len(each) == 1:
        return each[0]
    joined = {key: ", ".join(str(one.get(key, "")) for one in each) for key in ("checkpoint", "fingerprint")}
    return {"policy": "ensemble", "members": each, **joined}


def _opened(config: DictConfig, policy: Policy, episodes: RecordedEpisodes) -> Callable[[int], Session] | None:
    """What opens sessions that read the recorded future, where ``config.foresight`` says so."""
    if config.foresight is None:
        return None
    if config.foresight != "oracle":
        raise ConfigurationError(
            f"foresight={config.foresight}: with dataset=… it is oracle, which lets a policy read recorded frames ahead."
        )
    require_local(config)
    from forehand.evaluation.open_loop.recorded_future import foreknowing

    return foreknowing(policy, episodes)


def _record(
    config: DictConfig, folder: Path, episodes: RecordedEpisodes, known: TrainedOn, facts: Mapping[str, Any]
) -> OpenLoopRecord:
    plan = [
        PlannedEpisode(
            p,
            *episodes.origin(p),
            episodes.task(p),
            int(episodes.starts[p + 1] - episodes.starts[p]),
            known.seen[p],
            episodes.why_not(p) or "",
            episodes.kind(p),
        )
        for p in range(len(episodes))
    ]
    policy = {key: value for key, value in plain(config.policy).items() if key not in NOT_DECISIVE}
    identity = {k: v for k, v in facts.items() if k != "checkpoint" or "fingerprint" not in facts}
    setup = {
        "dataset": dataset_facts(episodes.data),
        "policy": policy,
        "policy_facts": identity,
        "every": config.open_loop.every,
        **({} if config.foresight is None else {"foresight": config.foresight}),
    }
    notes = [*([] if config.foresight is None else [NO_POLICY]), *_seen_notes(plan), *known.notes]
    about: dict[str, Any] = {
        "policy": str(facts.get("checkpoint") or config.policy.name or facts.get("policy", "policy")),
        "notes": notes,
        "provenance": provenance(plugins=registry().versions()),
    }
    if config.open_loop.success is not None:
        about["success"] = success_of(Path(str(config.open_loop.success)), facts)
    record = OpenLoopRecord(folder, episodes.data.contract, to_plain(setup), plan, about)
    if config.shard is None:
        return record
    shard = Shard.parse(config.shard)
    if shard.count > len(record.chosen):
        raise ConfigurationError(f"shard={shard}: there are only {len(record.chosen)} episodes to judge.")
    part = record.chosen[shard.index - 1 :: shard.count]
    return replace(record, shard={"index": shard.index, "count": shard.count, "episodes": part})


def _seen_notes(plan: Sequence[PlannedEpisode]) -> list[str]:
    judged = [one for one in plan if not one.left_out]
    seen, unknown = sum(one.seen is True for one in judged), sum(one.seen is None for one in judged)
    notes = []
    if seen:
        notes.append(
            f"The policy was trained on {seen} of these {len(judged)} episodes; errors there say nothing of others."
        )
    elif judged and not unknown:
        notes.append("The policy was trained on none of these episodes.")
    if left := [one.left_out for one in plan if one.left_out]:
        notes.append(f"{len(left)} of {len(plan)} episodes are left out: {'; '.join(sorted(set(left)))}.")
    return notes


def success_of(folder: Path, facts: Mapping[str, Any]) -> dict[str, Any]:
    """The success rate in an evaluation's folder; raises :class:`ConfigurationError` where it is another policy's."""
    record = read_record(folder)
    theirs = record.setup.get("policy_facts", {}).get("fingerprint")
    ours = facts.get("fingerprint")
    if ours != theirs and None not in (ours, theirs):
        raise ConfigurationError(
            f"open_loop.success: {folder} evaluates another policy: its fingerprint is {theirs}, and here it is {ours}."
        )
    total = record.evaluation.total
    note = (
        "Whether it is the same policy is not known: one of the two states no fingerprint."
        if not ours or not theirs
        else ""
    )
    benchmark = (record.setup.get("benchmark") or {}).get("name") or "an evaluation"
    return {
        "n": total.n,
        "successes": total.successes,
        "rate": total.rate,
        "interval": list(total.interval),
        "benchmark": benchmark,
        "note": note,
    }


def _shown(config: DictConfig, record: OpenLoopRecord) -> list[int]:
    """The positions of the episodes that the page shows: those chosen by number, or so many, spread evenly."""
    wanted = config.open_loop.shown
    chosen = record.chosen
    if isinstance(wanted, ListConfig):
        if unknown := sorted(set(wanted) - set(chosen)):
            raise ConfigurationError(f"open_loop.shown: {unknown} are not judged here; these are: {chosen[:40]}.")
        return list(wanted)
    spread = np.linspace(0, len(chosen) - 1, min(int(wanted), len(chosen))).round().astype(int)
    return [chosen[i] for i in np.unique(spread)]


def _judge(
    config: DictConfig,
    members: Sequence[Policy],
    episodes: RecordedEpisodes,
    record: OpenLoopRecord,
    opened: Callable[[int], Session] | None,
) -> None:
    """Judge what has not been judged, and keep each episode."""
    there = set(record.finished)
    todo = [position for position in record.chosen if position not in there]
    policy = members[0]
    if getattr(policy, "inverse_dynamics", False):
        _judge_found(members, episodes, record, todo)
        return
    frames = {one.position: one.frames for one in record.plan}
    given = 0
    with progress("judging frames", sum(frames[p] for p in todo)) as show:

        def begun(position: int, frame: int) -> None:
            nonlocal given
            given += 1
            show(given - 1, f"episode {position}")

        together = config.policy.max_batch
        every = config.open_loop.every
        for judged in judge(policy, episodes, todo, every=every, together=together, begun=begun, opened=opened):
            record.keep(judged)
        show(given)


def _judge_found(
    members: Sequence[Policy], episodes: RecordedEpisodes, record: OpenLoopRecord, todo: Sequence[int]
) -> None:
    """Judge models of inverse dynamics: by the actions that they find together between the frames."""
    from forehand.evaluation.labelling.estimates import Estimator
    from forehand.evaluation.labelling.judging import judge_found

    estimator = Estimator(_models(members), episodes.data, frames=FrameStore("video"))
    with progress("judging episodes", len(todo)) as show:
        for number, judged in enumerate(judge_found(estimator, episodes, todo), 1):
            record.keep(judged)
            show(number)
