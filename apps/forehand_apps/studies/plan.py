"""Plan of a study: which data are made, which policies are trained on them, and how those are judged."""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from forehand.errors import ConfigurationError, nearest

NAME = re.compile(r"[\w.-]+")
PLACE = re.compile(r"\{([\w.-]+)\}")
KEYS = ("question", "primary", "seeds", "prepare", "train", "regimes", "arms", "judge")
PRIMARY = ("arm", "against", "regime", "judged")
INTERVENTIONS = ("arms", "foresight")
CURVE = ("axis", "arms")
OPTIONAL = ("stages", "interventions", "curve")


@dataclass(frozen=True)
class Contrast:
    """The one difference that a study is made for: an arm minus another, in a regime, as judged there."""

    arm: str
    against: str
    regime: str
    judged: str


@dataclass(frozen=True)
class Cell:
    """One arm in one regime."""

    regime: str
    arm: str

    def __str__(self) -> str:
        return f"{self.regime}/{self.arm}"


@dataclass(frozen=True)
class Curve:
    """Arms that differ in a number: what it is, ``axis``, and the number of each."""

    axis: str
    arms: Mapping[str, float]


@dataclass(frozen=True)
class Study:
    """A study as declared, with its paths settled.

    prepare: name → command and its options, carried out in their order. stages: the same for every regime and training
    seed, for arms to build on. train, regimes, arms: options of ``forehand train``: of all trainings, of those in a
    regime, of those of an arm. words: regime → what stands for ``{word}`` in options of its stages and trainings. judge:
    name → options of ``forehand eval``.
    intervened: the arms that are judged under ``interventions`` too, wherever they drive: the value of ``foresight=`` →
    further options.
    curve: the arms that the report shows as a curve. places: what is prepared → its folder.
    """

    folder: Path
    question: str
    primary: Contrast
    seeds: tuple[int, ...]
    prepare: Mapping[str, tuple[str, ...]]
    train: tuple[str, ...]
    regimes: Mapping[str, tuple[str, ...]]
    arms: Mapping[str, tuple[str, ...]]
    judge: Mapping[str, tuple[str, ...]]
    stages: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    words: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    intervened: tuple[str, ...] = ()
    interventions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    curve: Curve | None = None
    places: Mapping[str, str] = field(default_factory=dict)

    @property
    def cells(self) -> list[Cell]:
        """Every arm in every regime."""
        return [Cell(*of) for of in itertools.product(self.regimes, self.arms)]

    def trained(self, cell: Cell, seed: int) -> Path:
        """The folder of a training."""
        return self.folder / "train" / str(cell) / f"seed-{seed}"

    def judged(self, name: str, cell: Cell, seed: int, intervention: str = "") -> Path:
        """The folder of an evaluation, with the policy's own foresight or under an ``intervention``."""
        return self.folder / "judge" / name / str(cell) / intervention / f"seed-{seed}"

    def trainings(self, seeds: Sequence[int]) -> dict[str, list[str]]:
        """The jobs of ``forehand train`` for these seeds, by the name of their folder within ``train``."""
        found = {}
        for seed, cell in itertools.product(seeds, self.cells):
            options = [*self.train, *self.regimes[cell.regime], *self.arms[cell.arm], f"recipe.seed={seed}"]
            found[f"{cell}/seed-{seed}"] = self._filled(options, cell.regime, seed)
        return found

    def staged(self, name: str, seeds: Sequence[int]) -> dict[str, list[str]]:
        """The jobs of a stage for these seeds: their folder within ``stages/<name>`` → the options of its command."""
        command, *options = self.stages[name]
        return {
            f"{regime}/seed-{seed}": self._filled(
                [*options, *([f"recipe.seed={seed}"] if command == "train" else [])], regime, seed
            )
            for seed, regime in itertools.product(seeds, self.regimes)
        }

    def judgements(self, seeds: Sequence[int]) -> dict[str, list[str]]:
        """The jobs of ``forehand eval`` for these seeds, by the name of their folder within ``judge``."""
        found = {}
        for seed, cell, (name, options) in itertools.product(seeds, self.cells, self.judge.items()):
            there = _settled([option.replace("{regime}", cell.regime) for option in options], self.places)
            learned = [*there, f"policy.checkpoint={self.trained(cell, seed)}"]
            found[f"{name}/{cell}/seed-{seed}"] = learned
            for foresight, more in self.interventions.items() if self.is_intervened(name, cell) else ():
                found[f"{name}/{cell}/{foresight}/seed-{seed}"] = [*learned, f"foresight={foresight}", *more]
        return found

    def is_intervened(self, judged: str, cell: Cell) -> bool:
        """Whether an arm is judged there under interventions: where it drives, and not on recordings."""
        drives = not any(option.startswith("dataset=") for option in self.judge[judged])
        return drives and cell.arm in self.intervened

    def _filled(self, options: Sequence[str], regime: str, seed: int) -> list[str]:
        """Options with the regime's words, and the folders of its stages."""
        folders = {name: str(self.folder / "stages" / name / regime / f"seed-{seed}") for name in self.stages}
        return list(_settled(options, {**folders, **self.words.get(regime, {})}))


def read_study(declared: Mapping[str, Any], folder: Path) -> Study:
    """The study that ``declared`` describes, in ``folder``; raises :class:`ConfigurationError` for one that is none.

    ``{name}`` in an option stands for the folder of what ``prepare`` or a stage makes under this name, or for a regime's
    word, and ``{regime}`` in one of ``judge`` for the name of the regime. What is null is left out.
    """
    _require_keys("study", {key: of for key, of in declared.items() if key not in OPTIONAL}, KEYS)
    primary = _mapping(declared["primary"], "study.primary")
    _require_keys("study.primary", primary, PRIMARY)
    prepared = _options(declared["prepare"], "study.prepare")
    places = {name: str(folder / "prepare" / name) for name in prepared}
    regimes, words = _regimes(declared["regimes"])
    given = {**declared, "regimes": regimes, "stages": declared.get("stages") or {}}
    settled = {
        key: {name: _settled(of, places) for name, of in _options(given[key], f"study.{key}").items()}
        for key in ("prepare", "stages", "regimes", "arms", "judge")
    }
    _require_commands(settled)
    seeds = declared["seeds"]
    if not isinstance(seeds, list) or not seeds or not all(type(s) is int and s >= 0 for s in seeds):
        raise ConfigurationError(f"study.seeds must be a list of training seeds, such as [0, 1, 2], not {seeds!r}.")
    if len(set(seeds)) < len(seeds):
        raise ConfigurationError("study.seeds names a seed twice.")
    if len(settled["arms"]) < 2:
        raise ConfigurationError("study.arms: a study compares at least two arms.")
    for key, among in (("arm", "arms"), ("against", "arms"), ("regime", "regimes"), ("judged", "judge")):
        if (name := str(primary[key])) not in settled[among]:
            raise ConfigurationError(f"study.primary.{key}: there is no {name!r}. {nearest(name, settled[among])}")
    if primary["arm"] == primary["against"]:
        raise ConfigurationError("study.primary compares an arm with itself.")
    intervened, interventions = _interventions(declared.get("interventions"), settled["arms"])
    under = {name: _settled(of, places) for name, of in interventions.items()}
    train = _settled(_strings(declared["train"], "study.train"), places)
    contrast = Contrast(**{key: str(primary[key]) for key in PRIMARY})
    return Study(
        folder,
        str(declared["question"]),
        contrast,
        tuple(seeds),
        train=train,
        words=words,
        intervened=intervened,
        interventions=under,
        curve=_curve(declared.get("curve"), settled["arms"], contrast.against),
        places=places,
        **settled,
    )


def _regimes(given: Any) -> tuple[dict[str, Any], dict[str, dict[str, str]]]:
    """Regime → its options, and regime → its words, where it is a mapping of these instead."""
    regimes = _mapping(given, "study.regimes")
    words = {
        str(name): {str(word): str(of) for word, of in regime.items()}
        for name, regime in regimes.items()
        if isinstance(regime, Mapping)
    }
    return {str(name): [] if name in words else regime for name, regime in regimes.items()}, words


def _require_commands(settled: Mapping[str, Mapping[str, Sequence[str]]]) -> None:
    """Refuse what is no command, and a name that two of them have."""
    for key in ("prepare", "stages"):
        for name, words in settled[key].items():
            if not words:
                raise ConfigurationError(f"study.{key}.{name} must be a command and its options, [record, key=value, …].")
    if both := set(settled["prepare"]) & set(settled["stages"]):
        raise ConfigurationError(f"study.stages: prepare has {', '.join(sorted(both))}, too; choose another name.")


def _interventions(given: Any, arms: Collection[str]) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
    """The arms of ``study.interventions`` and what they are judged under; nothing where the key is left out."""
    if given is None:
        return (), {}
    where = "study.interventions"
    _require_keys(where, _mapping(given, where), INTERVENTIONS)
    among = _strings(given["arms"], f"{where}.arms")
    for name in among:
        if name not in arms:
            raise ConfigurationError(f"{where}.arms: there is no {name!r}. {nearest(name, arms)}")
    from forehand.compose.interventions import INTERVENTIONS as KNOWN  # which needs torch

    named = _options(given["foresight"], f"{where}.foresight")
    for name in named:
        if name not in KNOWN:
            raise ConfigurationError(f"{where}.foresight: there is no {name!r}. {nearest(name, KNOWN)}")
    return among, named


def _curve(given: Any, arms: Collection[str], against: str) -> Curve | None:
    """``study.curve``, None where it is left out."""
    if given is None:
        return None
    where = "study.curve"
    _require_keys(where, _mapping(given, where), CURVE)
    numbers = _mapping(given["arms"], f"{where}.arms")
    for name, number in numbers.items():
        if number is not None and name not in arms:
            raise ConfigurationError(f"{where}.arms: there is no {name!r}. {nearest(str(name), arms)}")
        if name == against or isinstance(number, bool) or not isinstance(number, int | float | None):
            raise ConfigurationError(
                f"{where}.arms.{name}: give a number, of an arm that the primary contrast is not against."
            )
    return Curve(str(given["axis"]), {str(name): float(number) for name, number in numbers.items() if number is not None})


def _require_keys(where: str, given: Mapping[str, Any], keys: Sequence[str]) -> None:
    for key in given:
        if key not in keys:
            raise ConfigurationError(f"{where}: there is no option {key!r}. {nearest(str(key), keys)}")
    if missing := [key for key in keys if given.get(key) is None]:
        raise ConfigurationError(f"{where} lacks {', '.join(missing)}.")


def _mapping(given: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(given, Mapping):
        raise ConfigurationError(f"{where} must be a mapping, not {given!r}.")
    return given


def _options(given: Any, where: str) -> dict[str, tuple[str, ...]]:
    found = {}
    for name, options in _mapping(given, where).items():
        if options is None:  # left out by the command line
            continue
        if not NAME.fullmatch(str(name)):
            raise ConfigurationError(f"{where}: {name!r} cannot be a folder's name; use letters, digits, _, - and .")
        found[str(name)] = _strings(options, f"{where}.{name}")
    return found


def _strings(given: Any, where: str) -> tuple[str, ...]:
    if not isinstance(given, list) or not all(isinstance(option, str) for option in given):
        raise ConfigurationError(f"{where} must be a list of options as they are typed, [key=value, …], not {given!r}.")
    return tuple(given)


def _settled(options: Sequence[str], places: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(PLACE.sub(lambda found: places.get(found[1], found[0]), option) for option in options)
