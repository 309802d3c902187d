"""Parameter groups: which parameters are trained, with what learning rate and weight decay. Needs torch."""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from forehand.errors import ConfigurationError, nearest
from forehand.learning.recipe import Recipe

NORMS = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, _NormBase)

_OFFERED = ("params", "name", "lr", "weight_decay")


@runtime_checkable
class OffersParameterGroups(Protocol):
    """What a policy offers beside :class:`~forehand.learning.trainer.TrainablePolicy` to choose its own groups."""

    def parameter_groups(self, recipe: Recipe) -> Sequence[Mapping[str, Any]]:
        """The groups of all parameters that are trained, in the form of :class:`torch.optim.Optimizer`.

        Each has ``params`` (parameters, or pairs of name and parameter), and may have ``name``, ``lr`` (the peak of the
        recipe's schedule; default ``recipe.learning_rate``) and ``weight_decay`` (default ``recipe.weight_decay``).
        """


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that are trained alike, by name.

    learning_rate: the peak of the schedule (:meth:`.Recipe.rate`). frozen: they are not trained at all.
    """

    name: str
    learning_rate: float
    weight_decay: float
    frozen: bool
    parameters: Mapping[str, nn.Parameter]

    @property
    def facts(self) -> dict[str, Any]:
        """What a checkpoint records: name, number of tensors and of parameters, and how they are trained."""
        counts = {
            "name": self.name,
            "tensors": len(self.parameters),
            "parameters": sum(p.numel() for p in self.parameters.values()),
        }
        how = {"learning_rate": self.learning_rate, "weight_decay": self.weight_decay}
        return counts | ({"frozen": True} if self.frozen else how)

    def __str__(self) -> str:
        facts = self.facts
        how = "frozen" if self.frozen else f"learning rate {self.learning_rate:g}, weight decay {self.weight_decay:g}"
        return f"{self.name}: {facts['parameters'] / 1e6:.2f} M parameters in {facts['tensors']} tensors, {how}"


@dataclass(frozen=True)
class _Settings:
    """How one parameter is trained; parameters of equal settings are a group."""

    name: str
    learning_rate: float
    weight_decay: float
    frozen: bool = False


def parameter_groups(policy: nn.Module, recipe: Recipe) -> list[ParameterGroup]:
    """The groups of all parameters of ``policy``, those that are frozen last; nothing is changed.

    A policy that is no :class:`OffersParameterGroups` has one group, ``default``. The recipe's patterns change what they
    match, one after the other, and norms and biases lose their weight decay last. Raises :class:`ConfigurationError` for
    a pattern without effect, for groups that are not a partition, and where nothing is left to be trained.
    """
    parameters = dict(policy.named_parameters())
    trained = [name for name, parameter in parameters.items() if parameter.requires_grad]
    settings = _offered(policy, recipe, parameters) if isinstance(policy, OffersParameterGroups) else {}
    default = _Settings("default", recipe.learning_rate, recipe.weight_decay)
    settings = {name: settings.get(name, default) for name in trained}
    for pattern, options in (recipe.parameter_groups or {}).items():
        for name in _matched(pattern, parameters, trained):
            settings[name] = _changed(settings[name], pattern, options, recipe.learning_rate)
    if recipe.no_decay_norms_and_biases:
        for name in _norms_and_biases(policy) & {n for n in trained if settings[n].weight_decay}:
            settings[name] = replace(settings[name], name=f"{settings[name].name}, no decay", weight_decay=0.0)
    if trained and all(one.frozen for one in settings.values()):
        raise ConfigurationError(
            "recipe.parameter_groups freezes all parameters of the policy: nothing is left to train."
        )
    frozen = _Settings("frozen", 0.0, 0.0, frozen=True)
    groups: dict[_Settings, dict[str, nn.Parameter]] = {}
    for name, parameter in parameters.items():
        one = settings.get(name, frozen)
        groups.setdefault(frozen if one.frozen else one, {})[name] = parameter
    ordered = sorted(groups.items(), key=lambda item: item[0].frozen)
    return [ParameterGroup(s.name, s.learning_rate, s.weight_decay, s.frozen, members) for s, members in ordered]


def matches(pattern: str, name: str) -> bool:
    """Whether ``pattern`` has wildcards that fit ``name``, or is ``name``, or the beginning of it up to a dot."""
    return fnmatch.fnmatchcase(name, pattern) or name.startswith(pattern + ".") or name == pattern


def nearest_name(pattern: str, names: Iterable[str]) -> str:
    """A sentence with the ``names``, or beginnings of them, that are closest to a pattern that matches none."""
    names = list(names)
    modules = {name.rpartition(".")[0] for name in names} - {""}
    beginnings = {".".join(path.split(".")[:depth]) for path in modules for depth in range(1, path.count(".") + 2)}
    known = [f"{path}.*" for path in beginnings] if "*" in pattern else [*beginnings, *names]
    close = difflib.get_close_matches(pattern, known, n=3, cutoff=0.4)
    return nearest(pattern, close or {name.partition(".")[0] for name in names})


def _matched(pattern: str, parameters: Mapping[str, Any], trained: Sequence[str]) -> list[str]:
    """The trained parameters that ``pattern`` names, with wildcards or by the beginning of their names."""
    matched = [name for name in parameters if matches(pattern, name)]
    if not matched:
        raise ConfigurationError(
            f"recipe.parameter_groups: {pattern!r} matches no parameter of the policy. "
            f"{nearest_name(pattern, parameters)}"
        )
    if effective := [name for name in trained if name in set(matched)]:
        return effective
    raise ConfigurationError(
        f"recipe.parameter_groups: {pattern!r} matches {len(matched)} parameters, such as {matched[0]!r}, but none that "
        f"the policy trains: it keeps them frozen itself. Leave the pattern out, or change the policy's configuration."
    )


def _changed(settings: _Settings, pattern: str, options: Mapping[str, Any], peak: float) -> _Settings:
    rate = options.get("learning_rate", settings.learning_rate)
    if "learning_rate_scale" in options:
        rate = peak * options["learning_rate_scale"]
    decay, frozen = options.get("weight_decay", settings.weight_decay), options.get("frozen", settings.frozen)
    return _Settings(pattern, float(rate), float(decay), frozen)


def _offered(policy: Any, recipe: Recipe, parameters: Mapping[str, nn.Parameter]) -> dict[str, _Settings]:
    """The settings of every trained parameter by the groups that the policy offers."""
    names = {id(parameter): name for name, parameter in parameters.items()}
    found: dict[str, _Settings] = {}
    for number, group in enumerate(policy.parameter_groups(recipe)):
        where = f"{type(policy).__name__}.parameter_groups: group {group.get('name', number)!r}"
        if unknown := [key for key in group if key not in _OFFERED]:
            raise ConfigurationError(f"{where} has a key {unknown[0]!r}. {nearest(unknown[0], _OFFERED)}")
        settings = _Settings(
            str(group.get("name", f"group {number}")),
            float(group.get("lr", recipe.learning_rate)),
            float(group.get("weight_decay", recipe.weight_decay)),
        )
        given = group.get("params", ())
        for entry in [given] if isinstance(given, Tensor) else given:
            parameter = entry[1] if isinstance(entry, tuple) else entry
            if id(parameter) not in names:
                raise ConfigurationError(f"{where} holds what is no parameter of the policy: {type(parameter).__name__}.")
            name = names[id(parameter)]
            if name in found:
                raise ConfigurationError(f"{where} holds {name!r}, which {found[name].name!r} holds, too. Name it once.")
            found[name] = settings
    if missing := [name for name, parameter in parameters.items() if parameter.requires_grad and name not in found]:
        raise ConfigurationError(
            f"{type(policy).__name__}.parameter_groups leaves out {len(missing)} parameters, such as {missing[0]!r}. Put "
            f"them in a group, or set their requires_grad to False."
        )
    return found


def _norms_and_biases(policy: nn.Module) -> set[str]:
    """The names of biases, and of all parameters of normalization layers."""
    found = set()
    for path, module in policy.named_modules():
        norm = isinstance(module, NORMS) or type(module).__name__.endswith("Norm")
        for name, _ in module.named_parameters(recurse=False):
            if norm or "bias" in name.split("_"):
                found.add(f"{path}.{name}" if path else name)
    return found
