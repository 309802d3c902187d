"""``forehand study``: data, trainings and evaluations of several arms, compared by training seed, in rounds of seeds."""

from __future__ import annotations

import itertools
import json
import shlex
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from forehand.utils.files import replacing
from forehand_apps.cli.instantiate import plain
from forehand_apps.cli.job_command import search_words
from forehand_apps.cli.steps import CONSOLE, run_step
from forehand_apps.jobs.records import FINISHED, read_job
from forehand_apps.studies.plan import Study, read_study
from forehand_apps.studies.record import begin_record, write_record
from forehand_apps.studies.report import write_report

AGAIN = "The same command continues from there."


def study(config: DictConfig) -> None:
    """Carry out what is left of the study, within its budget, and write the report after every round of seeds."""
    declared, folder = _declared(config), Path(config.output).expanduser()
    planned = read_study(declared, folder)
    if config.plan:
        _print_plan(planned)
        return
    record = begin_record(folder, declared)
    launcher = [f"hydra/launcher={config.launcher}", *map(str, plain(config.launcher_options))]
    done, worked = list[int](), False
    for name, words in planned.prepare.items():
        _once(folder, record, "prepared", f"prepare/{name}", words)
    for seeds in itertools.batched(planned.seeds, config.seeds_per_round):
        if not _is_done(planned, seeds):
            if not _affordable(record, config.hours):
                break
            started, worked = time.monotonic(), True
            try:
                for name in planned.stages:
                    _carry_out_stage(planned, name, seeds, record, launcher)
                _sweep("train", planned.trainings(seeds), folder / "train", launcher)
                _sweep("eval", planned.judgements(seeds), folder / "judge", launcher)
            finally:
                key = ",".join(map(str, seeds))
                record["rounds"][key] = round(record["rounds"].get(key, 0.0) + time.monotonic() - started, 1)
                write_record(folder, record)
            write_report(planned, [*done, *seeds], record)
        done += seeds
    if len(done) < len(planned.seeds):
        CONSOLE.print(
            f"{len(done)} of {len(planned.seeds)} training seeds are done: another round would probably end after "
            f"hours={config.hours}. The same command with more hours goes on.",
            soft_wrap=True,
        )
    if done:
        if not worked:  # what was interrupted behind the last round has no report
            write_report(planned, done, record)
        print(f"{folder / 'report.md'}: {len(done)} of {len(planned.seeds)} training seeds")


def _declared(config: DictConfig) -> dict[str, Any]:
    """The declaration, with the options that the command line adds to its commands."""
    declared: dict[str, Any] = plain(config.study)
    prepare, train = list(config.prepare_options), list(config.train_options)
    if prepare and isinstance(declared.get("prepare"), Mapping):
        declared["prepare"] = {n: w and [*w, *prepare] for n, w in declared["prepare"].items()}
    if train and isinstance(declared.get("train"), list):
        declared["train"] = [*declared["train"], *train]
        if isinstance(stages := declared.get("stages"), Mapping):
            declared["stages"] = {n: [*w, *train] if w and w[0] == "train" else w for n, w in stages.items()}
    return declared


def _once(folder: Path, record: dict[str, Any], key: str, place: str, words: Sequence[str]) -> None:
    """Carry out a command into ``place``, unless the record says that it was, and note the seconds that it took."""
    done, name = record.setdefault(key, {}), place.partition("/")[2]
    if name not in done:
        started, (command, *options) = time.monotonic(), words
        run_step([*shlex.split(command), *search_words(), *options, f"output={folder / place}"], AGAIN)
        done[name] = round(time.monotonic() - started, 1)
        write_record(folder, record)


def _carry_out_stage(
    planned: Study, name: str, seeds: Sequence[int], record: dict[str, Any], launcher: Sequence[str]
) -> None:
    """Trainings by a sweep; any other command once for every regime and seed."""
    (command, *_), place = planned.stages[name], planned.folder / "stages" / name
    jobs = planned.staged(name, seeds)
    if command == "train":
        _sweep(command, jobs, place, launcher)
        return
    for job, options in jobs.items():
        _once(planned.folder, record, "staged", f"stages/{name}/{job}", [command, *options])


def _affordable(record: Mapping[str, Any], hours: float | None) -> bool:
    """Whether another round, as long as the longest so far, ends within the budget."""
    rounds = record["rounds"].values()
    spent = sum(rounds) + sum(record["prepared"].values())
    return hours is None or spent + max(rounds, default=0.0) <= 3600 * hours


def _is_done(planned: Study, seeds: Sequence[int]) -> bool:
    folders = [planned.folder / "judge" / name for name in planned.judgements(seeds)]
    return all((job := read_job(folder)) is not None and job.state == FINISHED for folder in folders)


def _sweep(command: str, jobs: Mapping[str, Sequence[str]], place: Path, launcher: Sequence[str]) -> None:
    """Carry out the jobs, as far as they are not done, by a sweep of their own, into ``place``."""
    place.mkdir(parents=True, exist_ok=True)
    listing = place / "jobs.yaml"
    with replacing(listing) as staging:
        staging.write_text(json.dumps(jobs, indent=1), encoding="utf-8")  # which is YAML, too
    words = [command, "-m", *search_words(), f"hydra.sweeper.jobs={listing}", f"output={place}", *launcher]
    run_step(words, AGAIN)


def _print_plan(planned: Study) -> None:
    for name, (command, *options) in planned.prepare.items():
        _print_command(command, options, planned.folder / "prepare" / name)
    for name, (command, *_) in planned.stages.items():
        for job, options in planned.staged(name, planned.seeds).items():
            _print_command(command, options, planned.folder / "stages" / name / job)
    for place, command, jobs in (
        ("train", "train", planned.trainings(planned.seeds)),
        ("judge", "eval", planned.judgements(planned.seeds)),
    ):
        for job, options in jobs.items():
            _print_command(command, options, planned.folder / place / job)


def _print_command(command: str, options: Sequence[str], output: Path) -> None:
    print(shlex.join(["forehand", *shlex.split(command), *options, f"output={output}"]))
