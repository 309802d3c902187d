"""Model card: what a checkpoint is, what it was made of and how it was evaluated, as shown on the hub."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from forehand.contracts.contract import Contract
from forehand.data.contract_tables import contract_sections
from forehand.evaluation.results import EvaluationRecord
from forehand.learning.checkpoint import WEIGHTS, fingerprints, read_checkpoint, read_provenance, training_ranges
from forehand.learning.weights import read_shapes
from forehand.policy import TRAINING_ACTION_RANGE, TRAINING_STATE_RANGE
from forehand.sharing.reproduction import command_words
from forehand.utils.differences import flat
from forehand.utils.markdown import markdown_table
from forehand.utils.provenance import initial_weights

CARD = "README.md"
MARK = "<!-- written by forehand; edit freely: without this line it is left alone -->"

UNKNOWN = "not known"
_IN_TRAINING = re.compile(r"\bevaluations/step_\d+/")


def model_card(folder: Path, name: str, evaluations: Sequence[EvaluationRecord] = (), licence: str | None = None) -> str:
    """The card of the checkpoint in ``folder`` in Markdown, with the hub's header in YAML.

    name: the repository, ``owner/name``; licence: as the hub names it, such as ``apache-2.0``. What is not known is said.
    Raises :class:`CheckpointError` for what is no checkpoint.
    """
    config, about = read_checkpoint(folder)
    made = read_provenance(folder)
    parts = [
        f"---\n{_header(name, made, evaluations, licence)}\n---\n\n{MARK}",
        f"# {name.rpartition('/')[2]}",
        _summary(folder, config, made),
        _use(name),
        *_contracts(about),
        *_training(made),
        *_evaluations(evaluations),
        _limits(about, made, evaluations, licence),
    ]
    return "\n\n".join(parts) + "\n"


# ---- header -----------------------------------------------------------------------------------------------------------


def _header(name: str, made: Mapping[str, Any], evaluations: Sequence[EvaluationRecord], licence: str | None) -> str:
    from huggingface_hub import ModelCardData

    repositories = dict.fromkeys(part["repository"] for part in made.get("data", []) if "repository" in part)
    card = ModelCardData(
        license=licence,
        library_name="forehand",
        pipeline_tag="robotics",
        tags=["forehand", "robotics"],
        datasets=list(repositories) or None,
        model_name=name.rpartition("/")[2],
        eval_results=[_result(record) for record in evaluations] or None,
    )
    text: str = card.to_yaml()
    return text


def _result(record: EvaluationRecord) -> Any:
    from huggingface_hub import EvalResult

    benchmark, options = _benchmark(record)
    metric, value, interval = _metric(record)
    return EvalResult(
        task_type="robotics",
        dataset_type=benchmark,
        dataset_name=f"{benchmark} ({options})" if options else benchmark,
        dataset_args={"n": len(record.evaluation.lengths), "seed": record.setup.get("seed")},
        metric_type=metric.replace(" ", "_"),
        metric_name=f"{metric}, 95 % interval {interval}",
        metric_value=round(value, 4),
    )


# ---- sections ---------------------------------------------------------------------------------------------------------


def _summary(folder: Path, config: Mapping[str, Any], made: Mapping[str, Any]) -> str:
    numbers = sum(stored.elements for stored in read_shapes(folder / WEIGHTS).values())
    parts = {key: value for key, value in flat(config).items() if key == "name" or key.endswith(".name")}
    rows = [[key.removesuffix(".name"), f"`{value}`"] for key, value in ({"policy": parts.pop("name")} | parts).items()]
    marks = ", ".join(f"`{mark}` ({weights} weights)" for weights, mark in fingerprints(folder).items())
    step = f", {made['step']} training steps" if "step" in made else ""
    return (
        f"A robot policy for Forehand: {numbers / 1e6:.2f} M numbers{step}. Fingerprint: {marks}.\n\n"
        + markdown_table(["part", "what it is"], rows)
    )


def _use(name: str) -> str:
    return (
        f"## Use\n\n```bash\nforehand serve policy.checkpoint=hf://{name}\nforehand eval policy.checkpoint=hf://{name}\n"
        f"forehand pull {name} output=outputs/{name.rpartition('/')[2]}\n```\n\n```python\n"
        f'from forehand.learning.checkpoint import load_policy\n\npolicy = load_policy("hf://{name}")\n```'
    )


def _contracts(about: Mapping[str, Any]) -> Iterator[str]:
    """What it sees and commands; of each embodiment, where there are several."""
    for name, of in (about.get("embodiments") or {None: about}).items():
        contract = Contract.from_dict(of["contract"])
        title = "## Contract" if name is None else f"## Embodiment `{name}`"
        yield f"{title}\n\nControl rate: {contract.rate:g} Hz. A robot that differs is refused, or converted by name."
        yield from (f"#{section}".replace("\n\n## ", "\n\n### ") for section in contract_sections(contract))


def _training(made: Mapping[str, Any]) -> Iterator[str]:
    words = command_words(made)
    yield "## Training" + (f"\n\n```bash\n{shlex.join(words)}\n```" if words else "\n\nThe command is not known.")
    yield "### Data\n\n" + _data(made)
    if left_out := made.get("left_out"):
        reasons = [reason for of in left_out.values() for reason in of]
        yield "Left out: " + "; ".join(f"{r['reason']}: {r['episodes']} episodes, {r['frames']} frames" for r in reasons)
    for init in initial_weights(made):
        yield f"Began with the weights of `{_last(init['checkpoint'])}`, fingerprint `{init['fingerprint']}`."
    recipe = made.get("recipe", {})
    values = [[key, f"`{value}`"] for key, value in flat(recipe).items() if value is not None]
    yield "### Recipe\n\n" + (markdown_table(["option", "value"], values) if values else f"{UNKNOWN.capitalize()}.")
    versions = ", ".join(f"{name} {version}" for name, version in made.get("versions", {}).items())
    machine = f"{made.get('machine', UNKNOWN)}; Python {made.get('python', UNKNOWN)}; {versions or UNKNOWN}"
    yield f"### Made with\n\nCommit: {_commit(made)}. Machine: {machine}."


def _data(made: Mapping[str, Any]) -> str:
    if not (parts := made.get("data")):
        known = f"`{made['dataset']}`, fingerprint `{made.get('fingerprint', UNKNOWN)}`" if "dataset" in made else "Data"
        return f"{known}: the number of episodes is {UNKNOWN}."
    several = ["embodiment"] if "embodiment" in parts[0] else []
    origins = ["recorded actions", "labelled actions"] if any("labelled_actions" in part for part in parts) else []
    rows = [
        [
            f"`{part['name']}`" + (f" at `{part['revision'][:12]}`" if "revision" in part else ""),
            *(str(part[key]) for key in (*several, "episodes", "frames")),
            *(str(part.get(key.replace(" ", "_"), "all" if key.startswith("rec") else "none")) for key in origins),
            f"`{part['fingerprint']}`",
        ]
        for part in parts
    ]
    return markdown_table(["dataset", *several, "episodes", "frames", *origins, "fingerprint"], rows)


def _evaluations(evaluations: Sequence[EvaluationRecord]) -> Iterator[str]:
    if not evaluations:
        yield "## Evaluation\n\nNo evaluation of these weights is known: how often they succeed is not stated."
        return
    rows = []
    for record in evaluations:
        benchmark, options = _benchmark(record)
        metric, value, interval = _metric(record)
        finished, planned = len(record.evaluation.lengths), len(record.trials)
        n = str(finished) if finished == planned else f"{finished} of {planned}"
        rows.append([benchmark, options, metric, n, f"{value:.2f}", interval, str(record.setup.get("seed", UNKNOWN))])
    yield "## Evaluation\n\n" + markdown_table(
        ["benchmark", "options", "metric", "n", "value", "95 % interval", "seed"], rows
    )
    for record in evaluations:
        robot = (record.config.get("robot") or {}).get("name", UNKNOWN)
        chunking = ", ".join(f"{k}={v}" for k, v in flat(record.setup.get("chunking") or {}).items()) or UNKNOWN
        about = f"Robot `{robot}`; chunking {chunking}; commit {_commit(record.provenance)}; {record.started[:10]}."
        yield f"### {' '.join(filter(None, _benchmark(record)))}\n\n{about}\n\n{record.evaluation.table()}"


def _limits(
    about: Mapping[str, Any], made: Mapping[str, Any], evaluations: Sequence[EvaluationRecord], licence: str | None
) -> str:
    said = [
        "It was trained on the data above and on nothing else"
        + (" beside the weights it began with" if initial_weights(made) else "")
        + "; other scenes, objects, sentences, cameras and robots are untried unless a table above has them.",
    ]
    for name, of in (about.get("embodiments") or {None: about}).items():
        ranges = training_ranges(of["statistics"])
        whose = "" if name is None else f" of `{name}`"
        for key, what in ((TRAINING_STATE_RANGE, "States"), (TRAINING_ACTION_RANGE, "Actions")):
            if key in ranges:
                pairs = zip(ranges[key]["min"], ranges[key]["max"], strict=True)
                within = ", ".join(f"[{low:.3g}, {high:.3g}]" for low, high in pairs)
                said.append(f"{what}{whose} in the data lie within {within}.")
    said.append(
        "How often it succeeds is not known."
        if not evaluations
        else "Rates are of the benchmarks, robots and scenes above, each with its n and interval, and of nothing else."
    )
    if any(_IN_TRAINING.search(str(record.config.get("output"))) for record in evaluations):
        said.append(
            "Evaluations during its training may have chosen it among several, and so be too high: the best of many."
        )
    said.append("One training, of one seed: how much other seeds would differ is not known.")
    said.append("Runs on real robots, if there were any, are not recorded here.")
    commit = made.get("commit")
    if commit is None or str(commit).endswith("-dirty"):
        said.append("The code that trained it is not that of a commit, so it may not be had again exactly.")
    if licence is None:
        said.append("No licence is stated: ask its owner before using it.")
    return "## Limits\n\n" + "\n".join(f"- {line}" for line in said)


# ---- words ------------------------------------------------------------------------------------------------------------


def _benchmark(record: EvaluationRecord) -> tuple[str, str]:
    """The benchmark's name, and its options and what else differs from a plain evaluation, in words."""
    chosen = record.setup.get("benchmark") or {}
    options = {k: v for k, v in flat(chosen.get("options") or {}).items() if v not in (None, [], {})}
    if record.setup.get("instruction", "task") != "task":
        options["instruction"] = record.setup["instruction"]
    if latency := (record.setup.get("policy") or {}).get("latency"):
        options["latency"] = f"{latency} s"
    if weights := record.setup.get("policy_facts", {}).get("weights") or (record.setup.get("policy") or {}).get(
        "weights"
    ):
        options["weights"] = weights
    return str(chosen.get("name", UNKNOWN)), ", ".join(f"{key}={value}" for key, value in options.items())


def _metric(record: EvaluationRecord) -> tuple[str, float, str]:
    evaluation = record.evaluation
    if evaluation.length == 1:
        return "success rate", evaluation.total.rate, str(evaluation.total.interval)
    return "average length", evaluation.average_length, str(evaluation.average_interval)


def _commit(made: Mapping[str, Any]) -> str:
    commit = made.get("commit")
    if commit is None:
        return UNKNOWN
    changed = str(commit).endswith("-dirty")
    return f"`{str(commit).removesuffix('-dirty')}`" + (" with changes that no commit holds" if changed else "")


def _last(checkpoint: str) -> str:
    return checkpoint if checkpoint.startswith("hf://") else "/".join(Path(checkpoint).parts[-3:])
