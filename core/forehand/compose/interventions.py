"""Interventions on foresight at run time: the actions read other foresight than that of their own scene. Needs torch.

Nothing is trained. Beside the tokens of a session stand those of a *donor*, and foresight tokens that read the donor
alone; the actions read these in place of the session's own. The reads table says so, so it is exact for every backbone,
cached or not:

``zero``
    Tokens of zeros, which read nothing but each other: no scene at all.
``frozen``
    The foresight of the episode's first frame, at every step.
``other_scene``, ``other_task``
    The foresight of a recorded episode, frame by frame, of the same sentence or of another one; after its end that of its
    last frame.
``oracle``
    The future itself, as far as a policy reads ahead (``+k`` in its reads table, as it was trained): frames that would
    come if an expert acted from here on, encoded as any other. A policy that reads nothing but foresight tokens, which no
    picture gives, has no oracle.

What a policy shows as its forecast is still that of its own scene.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from torch import Tensor

from forehand.compose.parts import INSTRUCTION, VALID
from forehand.compose.policy import ComposedPolicy
from forehand.compose.session import ComposedSession
from forehand.compose.tokens import ACTION, FORESIGHT, Reads, Rule, TokenGroup
from forehand.errors import ConfigurationError, nearest
from forehand.robot import Observation

ZERO, FROZEN, OTHER_SCENE, OTHER_TASK, ORACLE = "zero", "frozen", "other_scene", "other_task", "oracle"
INTERVENTIONS = (ZERO, FROZEN, OTHER_SCENE, OTHER_TASK, ORACLE)
RECORDED = (OTHER_SCENE, OTHER_TASK)
"""Those that need recorded episodes."""

DONOR = "donor."

Tokens = Mapping[str, Tensor]


class Recordings(Protocol):
    """Recorded episodes, from which donors are drawn."""

    def draw(self, instruction: str, seed: int, *, same_sentence: bool) -> tuple[str, Sequence[Observation]]:
        """The sentence and the frames of an episode, of the sentence ``instruction`` or of another one.

        The same arguments draw the same episode. Raises :class:`ConfigurationError` where there is none.
        """


class Future(Protocol):
    """What lies ahead of a robot."""

    def ahead(self, count: int) -> Sequence[Observation]:
        """The next ``count`` observations of its running episode, as if an expert acted."""


def intervene(
    policy: Any, name: str, recordings: Recordings | None = None, future: Callable[[], Future] | None = None
) -> None:
    """Let the actions of ``policy``, which is not trained any more, read the foresight of a donor from now on.

    policy: a :class:`~forehand.compose.policy.ComposedPolicy` whose actions read its world model. name: one of
    :data:`INTERVENTIONS`; recordings: of those in :data:`RECORDED`; future: of the one robot that is driven, made when
    it is needed, for ``oracle``. Raises :class:`ConfigurationError` where there is nothing to replace.
    """
    if name not in INTERVENTIONS:
        raise ConfigurationError(f"foresight: there is no {name!r}. {nearest(name, INTERVENTIONS)} Or use null.")
    _require_composed(policy, name)
    if name == ORACLE:
        _read_the_future(policy, future)
        return
    if policy.acts and ACTION not in policy.query_parts:
        raise ConfigurationError(
            f"foresight={name}: the inverse model of this policy reads a forecast, not tokens, and for a forecast there "
            f"is no donor. Leave foresight out."
        )
    if not reads_foresight(policy):
        reason = "has no world model" if policy.world_model is None else "lets its actions read no foresight"
        raise ConfigurationError(f"foresight={name}: this policy {reason}, so that there is nothing to replace.")
    if (policy.reads.get(FORESIGHT) or {}).get(ACTION) is not None:
        raise ConfigurationError(f"foresight={name}: the world model reads the actions, which a donor does not have.")
    donors = _donors(policy, name, recordings)
    policy.plans = policy.plans.with_donor(_donor_groups(policy), donor_reads(policy.reads, blank=name == ZERO))
    policy.make_session = lambda instruction, seed: IntervenedSession(instruction, seed, donors)


def _donors(policy: ComposedPolicy, name: str, recordings: Recordings | None) -> Callable[[ComposedSession], Donor]:
    """What makes the donor of a session."""
    if name == ZERO:
        return lambda session: Blank(policy)
    if name == FROZEN:
        return lambda session: FirstFrame(policy)
    if recordings is None:
        raise ConfigurationError(f"foresight={name}: it takes recorded episodes; give them with foresight_bank=DATASET.")
    same = name == OTHER_SCENE
    return lambda session: Recording(policy, *recordings.draw(session.instruction, session.seed, same_sentence=same))


def _read_the_future(policy: ComposedPolicy, future: Callable[[], Future] | None) -> None:
    require_lookahead(policy)
    if future is None:
        raise ConfigurationError("foresight=oracle: the robot's future is needed, of one simulator in this process.")
    policy.make_session = lambda instruction, seed: ForeknowingSession(instruction, seed, policy, future())


def require_lookahead(policy: Any) -> None:
    """Raise :class:`ConfigurationError` unless ``policy`` has room for what lies ahead."""
    _require_composed(policy, ORACLE)
    if not policy.lookahead:
        raise ConfigurationError(
            "foresight=oracle: what this policy's actions read are foresight tokens, which no picture gives. An oracle "
            "is for a policy that was trained to read the future itself, for example policy.reads.action.static=+3."
        )


def _require_composed(policy: Any, name: str) -> None:
    if not isinstance(policy, ComposedPolicy):
        raise ConfigurationError(
            f"foresight={name}: {type(policy).__name__} is not a composed policy of one embodiment, so that the tokens "
            f"that its actions read are not known. Leave foresight out."
        )


def reads_foresight(policy: ComposedPolicy) -> bool:
    """Whether the actions of a policy depend on its foresight tokens."""
    if policy.world_model is None or ACTION not in policy.query_parts:
        return False
    layout = policy.plans.window(1, (ACTION,), (0,), policy.device).layout
    return any(block.group.name == FORESIGHT for block in layout.blocks)


def donor_reads(reads: Reads, *, blank: bool) -> dict[str, dict[str, Rule]]:
    """The reads table in which all but the foresight itself read that of the donor, whose groups have :data:`DONOR`.

    blank: the donor's foresight reads nothing but itself.
    """
    rows: dict[str, dict[str, Rule]] = {}
    for reader, row in reads.items():
        own = reader == FORESIGHT
        rows[reader] = {DONOR + key if key == FORESIGHT and not own else key: rule for key, rule in (row or {}).items()}
        if reader != ACTION and not blank:
            rows[DONOR + reader] = {DONOR + key: rule for key, rule in (row or {}).items()}
    if blank:
        rows[DONOR + FORESIGHT] = {DONOR + FORESIGHT: "same"}
    return rows


def _donor_groups(policy: ComposedPolicy) -> list[TokenGroup]:
    assert policy.world_model is not None
    observed = [TokenGroup(DONOR + g.name, g.count, tuple(DONOR + t for t in g.tags), g.scope) for g in policy.groups]
    return [*observed, TokenGroup(DONOR + FORESIGHT, policy.world_model.group.count)]


class Donor:
    """Where one session's foresight comes from, from its first frame on: the tokens of the donor's groups."""

    def __init__(self, policy: ComposedPolicy) -> None:
        assert policy.world_model is not None
        self.policy = policy
        self._queries = {DONOR + FORESIGHT: policy.world_model.queries[None]}

    def instruction(self, own: Tokens) -> dict[str, Tensor]:
        """Tokens of the donor's instruction, given the session's ``own``, group name → (1, count, D)."""
        return _renamed(own)

    def frame(self, own: Tokens) -> dict[str, Tensor]:
        """Tokens of the donor's next frame, likewise."""
        return self._queries | _renamed(own)


class Blank(Donor):
    """No scene: foresight tokens of zeros."""

    def frame(self, own: Tokens) -> dict[str, Tensor]:
        """Zeros for the foresight; what else there is nothing reads."""
        return {name: tokens.new_zeros(tokens.shape) for name, tokens in self._queries.items()}


class FirstFrame(Donor):
    """The session's own first frame, at every step."""

    _first: dict[str, Tensor] | None = None

    def frame(self, own: Tokens) -> dict[str, Tensor]:
        """The tokens of the first frame it was given."""
        if self._first is None:
            self._first = super().frame(own)
        return self._first


class Recording(Donor):
    """A recorded episode under its own ``sentence``, one frame after the other; then its last one."""

    def __init__(self, policy: ComposedPolicy, sentence: str, frames: Sequence[Observation]) -> None:
        super().__init__(policy)
        self._sentence, self._frames, self._next = sentence, frames, 0

    def instruction(self, own: Tokens) -> dict[str, Tensor]:
        """The tokens of the episode's sentence."""
        return _renamed(self.policy.encode({INSTRUCTION: [self._sentence]}, once=True))

    def frame(self, own: Tokens) -> dict[str, Tensor]:
        """The tokens of the next frame."""
        frame = self._frames[min(self._next, len(self._frames) - 1)]
        self._next += 1
        inputs = self.policy.inputs([frame], [self._sentence])
        return self._queries | _renamed(self.policy.encode(inputs, once=False))


class IntervenedSession(ComposedSession):
    """A session with a donor beside it, a new one for each episode."""

    def __init__(self, instruction: str, seed: int, donors: Callable[[ComposedSession], Donor]) -> None:
        super().__init__(instruction, seed)
        self._donors = donors
        self._donor: Donor | None = None

    def reset(self, instruction: str | None = None) -> None:
        """As of any session, and let go of the donor."""
        super().reset(instruction)
        self._donor = None
        self.instruction_tokens = self.prefix = None  # the donor's are among them

    def keep_instruction(self, tokens: dict[str, Tensor]) -> None:
        """Keep the instruction's tokens, and the donor's."""
        super().keep_instruction(tokens | self.donor.instruction(tokens))

    def append_frame(self, frame: dict[str, Tensor], history: int) -> None:
        """Append the tokens of the newest frame, and the donor's."""
        super().append_frame(frame | self.donor.frame(frame), history)

    @property
    def donor(self) -> Donor:
        """The donor of the running episode."""
        if self._donor is None:
            self._donor = self._donors(self)
        return self._donor


class ForeknowingSession(ComposedSession):
    """A session of ``policy`` with what lies ahead as far as it reads that, in a window as long as in training."""

    def __init__(self, instruction: str, seed: int, policy: ComposedPolicy, future: Future) -> None:
        super().__init__(instruction, seed)
        self._policy, self._future = policy, future

    def append_frame(self, frame: dict[str, Tensor], history: int) -> None:
        """Append the tokens of the newest frame, and take those of the frames ahead of it that something reads."""
        policy, steps = self._policy, self._policy.lookahead
        super().append_frame(frame, history - steps)
        frames, newest = self._future.ahead(steps), len(self.frames) - 1
        needed = policy.plans.needed_timesteps(newest + 1 + steps, tuple(policy.query_parts), (newest,))
        read = [timestep - newest - 1 for timestep in needed if timestep > newest]
        self.ahead = [frame] * steps  # where nothing reads, any tokens do
        if read:
            inputs = policy.inputs([frames[i] for i in read], [self.instruction] * len(read))
            tokens = policy.encode(inputs, once=False)
            for row, i in enumerate(read):
                self.ahead[i] = {name: t[row : row + 1] for name, t in tokens.items()}

    def append_cache(self, newest: Tensor, groups: tuple[str, ...], history: int) -> None:
        """Keep none: every frame is computed anew with what lies ahead."""


def _renamed(tokens: Tokens) -> dict[str, Tensor]:
    """The tokens under their donor's names, and their validities."""
    return {
        VALID + DONOR + name.removeprefix(VALID) if name.startswith(VALID) else DONOR + name: values
        for name, values in tokens.items()
    }
