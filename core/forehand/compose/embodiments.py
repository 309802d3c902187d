"""Cross-embodiment policy: one set of weights for robots with different states and actions. Needs torch.

Each embodiment has encoders of its state, an action head and normalizers of its own; what reads cameras and instructions,
the backbone, the world model and the shared vision towers are the same modules for all (as in CrossFormer, Doshi et al.
2024, and GR00T N1, 2025). Nothing is padded: the windows of each embodiment are computed by themselves. Tokens of a
camera that an embodiment does not have are masked, in training and at run time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from forehand.compose.making import require_module_names
from forehand.compose.parts import LossTerms
from forehand.compose.policy import ComposedPolicy
from forehand.contracts.compatibility import differences
from forehand.contracts.contract import Contract
from forehand.data.frozen_features import FrozenFeatures
from forehand.errors import ConfigurationError, ContractMismatch
from forehand.policy import Policy, Prediction, Session
from forehand.robot import Observation
from forehand.utils.option_types import wrong_option


class CrossEmbodimentPolicy(nn.Module, Policy):
    """A composed policy for each embodiment, which share everything that depends on no state or action.

    embodiments: name → contract and statistics (``{"contract": ..., "statistics": ...}``) of the data. options: those of
    :class:`~forehand.compose.policy.ComposedPolicy`, for all. Sessions are opened on what :meth:`for_robot` returns;
    opened on the policy itself they are those of the first embodiment, whose contract is :attr:`contract`.

    Raises :class:`ConfigurationError` where a policy cannot be composed for one of them.
    """

    def __init__(self, *, embodiments: Mapping[str, Mapping[str, Any]], **options: Any) -> None:
        super().__init__()
        require_module_names("embodiments", embodiments)
        if wrong := wrong_option(ComposedPolicy, options):
            raise ConfigurationError(f"policy 'composed': {wrong}")
        cameras = {c.name: c for data in embodiments.values() for c in data["contract"].cameras}
        made: dict[str, ComposedPolicy] = {}
        first: ComposedPolicy | None = None
        for name, data in embodiments.items():
            if twin := next((n for n in made if embodiments[n]["contract"] == data["contract"]), None):
                raise ConfigurationError(
                    f"embodiments {twin!r} and {name!r} have the same contract, which does not say which one a robot is. "
                    f"Give their datasets as one embodiment, {twin}: [..., ...]."
                )
            own = {camera.name for camera in data["contract"].cameras}
            absent = [camera for camera in cameras.values() if camera.name not in own]
            try:
                made[name] = ComposedPolicy(
                    contract=data["contract"],
                    statistics=data["statistics"],
                    share=first,
                    absent_cameras=absent,
                    **options,
                )
            except ConfigurationError as error:
                raise ConfigurationError(f"embodiment {name!r}: {error}") from error
            first = first or made[name]
        if first is None:
            raise ConfigurationError("A cross-embodiment policy needs the data of one embodiment or more.")
        self.embodiments: Mapping[str, ComposedPolicy] = nn.ModuleDict(made)  # type: ignore[assignment]
        self.first = next(iter(made))
        self.contract, self.history = first.contract, first.history
        self._shared = self._shared_prefixes()

    @property
    def samples(self) -> bool:  # type: ignore[override]
        """Whether actions are drawn at random."""
        return self.embodiments[self.first].samples

    @property
    def acts(self) -> bool:  # type: ignore[override]
        """Whether it predicts actions that can drive a robot."""
        return self.embodiments[self.first].acts

    @property
    def learns_partial_actions(self) -> bool:
        """Whether it can be trained on actions of which some numbers are unknown."""
        return all(policy.learns_partial_actions for policy in self.embodiments.values())

    @property
    def window(self) -> dict[str, Any]:
        """What a window of training data must hold, the same for all embodiments."""
        return self.embodiments[self.first].window

    def forward(self, batch: Mapping[str, Mapping[str, Any]]) -> tuple[Tensor, LossTerms]:
        """The loss of a batch, the windows of each embodiment by its name, and its terms, each a scalar.

        Every window counts alike; a term is the mean over the windows of the embodiments that have it.
        """
        total: Tensor | None = None
        terms: LossTerms = {}
        weights: dict[str, int] = {}
        windows = sum(len(part["target"]["valid"]) for part in batch.values())
        for name, part in batch.items():
            count = len(part["target"]["valid"])
            loss, its = self.embodiments[name](part)
            share = count / windows * loss
            total = share if total is None else total + share
            for term, value in its.items():
                terms[term] = count * value + terms[term] if term in terms else count * value
                weights[term] = weights.get(term, 0) + count
        assert total is not None
        return total, {term: value / weights[term] for term, value in terms.items()}

    def for_robot(self, contract: Contract, needer: str = "the policy", offerer: str = "the robot") -> Policy:
        """The policy of the embodiment whose contract the robot's fits; one that equals it comes first."""
        fitting = [p for p in self.embodiments.values() if not differences(p.contract, contract)]
        same = [p for p in fitting if p.contract == contract]
        if len(chosen := same or fitting) == 1:
            return chosen[0]
        names = ", ".join(self.embodiments)
        if not fitting:
            listing = "\n".join(
                f"  - {name}: {'; '.join(map(str, differences(p.contract, contract)))}"
                for name, p in self.embodiments.items()
            )
            raise ContractMismatch(f"{offerer} fits none of the embodiments of {needer} ({names}):\n{listing}")
        raise ContractMismatch(
            f"{offerer} fits several embodiments of {needer} ({names}): state more of its contract, names or units."
        )

    def open(self, instruction: str, seed: int = 0) -> Session:
        """A new session of the first embodiment."""
        return self.embodiments[self.first].open(instruction, seed)

    def step(
        self, sessions: Sequence[Session], observations: Sequence[Observation], *, forecast: bool = False
    ) -> list[Prediction]:
        """Predictions for robots of the first embodiment."""
        return self.embodiments[self.first].step(sessions, observations, forecast=forecast)

    def remember(self, session: Session, observations: Sequence[Observation]) -> None:
        """Encode frames of a robot of the first embodiment."""
        self.embodiments[self.first].remember(session, observations)

    def frozen_features(self) -> dict[str, FrozenFeatures]:
        """See :meth:`forehand.compose.composition.Composition.frozen_features`; the towers are shared."""
        return self.embodiments[self.first].frozen_features()

    def resolved_config(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """See :meth:`forehand.compose.composition.Composition.resolved_config`."""
        return self.embodiments[self.first].resolved_config(config)

    def load_pretrained(self) -> None:
        """Fill every part that does not start from scratch."""
        for policy in self.embodiments.values():
            policy.load_pretrained()

    def compile(self, *given: Any, **options: Any) -> None:
        """Let ``torch.compile`` have what computes most."""
        for policy in self.embodiments.values():
            policy.compile(*given, **options)

    def describe(self) -> dict[str, Any]:
        """Facts of the first embodiment, the names of all, and parameters in all."""
        facts = self.embodiments[self.first].describe()
        parameters = sum(p.numel() for p in self.parameters())
        return {**facts, "parameters": parameters, "embodiments": list(self.embodiments), **self.origin}

    def state_dict(self, *given: Any, **options: Any) -> dict[str, Any]:  # type: ignore[override]
        """Weights by name; those that are shared under the first embodiment alone."""
        whole = super().state_dict(*given, **options)
        return {name: value for name, value in whole.items() if not name.startswith(tuple(self._shared))}

    def load_state_dict(self, state_dict: Mapping[str, Any], *given: Any, **options: Any) -> Any:
        """The inverse of :meth:`state_dict`."""
        whole = dict(state_dict)
        for prefix, source in self._shared.items():
            whole |= {prefix + n.removeprefix(source): v for n, v in state_dict.items() if n.startswith(source)}
        return super().load_state_dict(whole, *given, **options)

    def _shared_prefixes(self) -> dict[str, str]:
        """Prefix of a shared module's weights in a later embodiment → that in the first."""
        found: dict[str, str] = {}
        seen: dict[int, str] = {}
        for name, module in self.named_modules(remove_duplicate=False):
            if any(name.startswith(prefix) for prefix in found):
                continue
            if id(module) in seen and name.split(".")[1:2] != [self.first]:
                found[f"{name}."] = f"{seen[id(module)]}."
            seen.setdefault(id(module), name)
        return found
