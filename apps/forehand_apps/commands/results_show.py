"""``forehand results show``: the manifest and the table of evaluations."""

from __future__ import annotations

from collections.abc import Iterator

from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from forehand.evaluation.merging import RUNS
from forehand.evaluation.results import EvaluationRecord, read_record
from forehand_apps.cli.paths import paths_of
from forehand_apps.evaluation.results_tables import headline, print_table


def results_show(config: DictConfig) -> None:
    """Print the evaluations at ``config.paths``."""
    records = [read_record(folder) for folder in paths_of(config.paths)]
    for record in records:
        facts = Table.grid(padding=(0, 2))
        for name, value in _facts(record):
            facts.add_row(name, value)
        Console().print(facts)
        print_table(record.evaluation)
        print()
    if len(records) > 1:
        for record in records:
            print(f"{record.folder}: {headline(record.evaluation)} n={len(record.evaluation.lengths)}")


def _facts(record: EvaluationRecord) -> Iterator[tuple[str, str]]:
    """What was evaluated, when, and how far it came."""
    setup, made = record.setup, record.provenance
    policy, known = setup.get("policy", {}), setup.get("policy_facts", {})
    yield "evaluation", str(record.folder)
    chosen = [str(policy[key]) for key in ("checkpoint", "name") if policy.get(key)] or [known.get("checkpoint", "")]
    named = [*chosen, f"fingerprint {known['fingerprint']}" if "fingerprint" in known else known.get("policy", "")]
    yield "policy", "the benchmark's expert" if policy.get("expert") else ", ".join(filter(None, named))
    if benchmark := setup.get("benchmark"):
        options = ", ".join(
            f"{key}={value}" for key, value in (benchmark.get("options") or {}).items() if value is not None
        )
        yield "benchmark", f"{benchmark.get('name')}{f' ({options})' if options else ''}, seed {setup.get('seed')}"
    finished, planned = len(record.evaluation.lengths), len(record.trials)
    shard = (
        f"; shard {record.shard['index']}/{record.shard['count']} has {len(record.shard['trials'])}"
        if record.shard
        else ""
    )
    merged = f", merged of {len(made[RUNS])} runs" if RUNS in made else ""
    yield "trials", f"{finished} of {planned}{shard}{merged}"
    yield "time", f"{record.started} to {record.written}"
    yield "commit", str(made.get("commit"))
