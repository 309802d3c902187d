"""Checks of a composition: parts and tables that do not fit each other. Needs torch."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from forehand.compose.parts import INSTRUCTION, ActionHead, Encoder, IterativeActionHead, SamplingActionHead
from forehand.compose.token_dropout import TokenDropout, check_ratios
from forehand.compose.tokens import ACTION, EPISODE, Reads, TokenGroup, check_keys, check_reads
from forehand.compose.towers import SharedTowers
from forehand.errors import ConfigurationError, nearest

LAST_FRAME = "last_frame"

MOST_TOKENS = 32_768
"""Length of the longest sequence; its attention mask takes 1 GiB."""


def check_encoders(encoders: Iterable[Encoder]) -> None:
    """Raise :class:`ConfigurationError` for an encoder of a whole episode that reads more than the instruction."""
    for encoder in encoders:
        if any(g.scope == EPISODE for g in encoder.groups) and encoder.inputs != (INSTRUCTION,):
            raise ConfigurationError(
                f"policy: {type(encoder).__name__} makes tokens once an episode, so it may read the instruction "
                f"alone, not {list(encoder.inputs)}."
            )


def check_target_features(features: Iterable[str], towers: SharedTowers) -> None:
    """Raise :class:`ConfigurationError` for targets of the world model that would be trained along."""
    for tower in (feature.partition(".")[0] for feature in features):
        if any(parameter.requires_grad for parameter in towers.towers[tower].parameters()):
            raise ConfigurationError(
                f"world_model: its target, the features of tower {tower!r}, would be trained along and could "
                f"collapse. Freeze it: policy.towers.{tower}.frozen=true."
            )


def check_detach(detach: Iterable[str], losses: Collection[str]) -> None:
    """Raise :class:`ConfigurationError` for a name in ``detach`` that is no query group with a loss."""
    for name in detach:
        if name not in losses:
            raise ConfigurationError(f"detach: {name!r} has no loss here. {nearest(name, losses)}")


def check_iterative_head(head: ActionHead | None, reads: Reads) -> None:
    """Raise :class:`ConfigurationError` where others read the tokens of a head that makes them for each pass."""
    if not isinstance(head, IterativeActionHead):
        return
    row = {key: rule for reader, r in reads.items() if head.group.matches(reader) for key, rule in (r or {}).items()}
    read_by = [reader for reader, r in reads.items() if (r or {}).get(ACTION) and not head.group.matches(reader)]
    if read_by or row.get(ACTION) not in (None, "same"):
        raise ConfigurationError(
            f"reads: {type(head).__name__} makes its tokens anew for each pass, so only they may read them, in "
            f"the same timestep; {read_by[0] if read_by else ACTION!r} reads 'action' otherwise."
        )


def check_inverse_dynamics(head: ActionHead | None, history: int, delta: bool, ahead: int) -> None:
    """Raise :class:`ConfigurationError` for what cannot find the actions between frames (:mod:`.inverse`)."""
    if head is None or isinstance(head, IterativeActionHead | SamplingActionHead):
        kind = "none" if head is None else type(head).__name__
        raise ConfigurationError(
            f"inverse_dynamics: it needs an action head that says one chunk for one readout, such as chunk_regression; "
            f"policy.action_head is {kind}."
        )
    if head.chunk >= history:
        raise ConfigurationError(
            f"inverse_dynamics: between {history} frames there are {history - 1} actions, and policy.action_head.chunk "
            f"is {head.chunk}. Raise policy.history to {head.chunk + 1}, or lower the chunk."
        )
    if delta:
        raise ConfigurationError("inverse_dynamics: it finds the contract's actions; leave policy.actions out.")
    if ahead:
        raise ConfigurationError("inverse_dynamics: its reads table may not read ahead; the newest frame is the last.")


def check_lookahead(steps: int, beyond_end: str | None, history: int) -> None:
    """Raise :class:`ConfigurationError` where no timestep of a window is left, and for another ``beyond_end``."""
    if type(steps) is not int or not 0 <= steps < history:
        raise ConfigurationError(
            f"policy.lookahead: {steps} of {history} timesteps give no loss; it is a whole number from 0 to history - 1."
        )
    if beyond_end not in (None, LAST_FRAME):
        raise ConfigurationError(f"policy.beyond_end: it is null or {LAST_FRAME}, not {beyond_end!r}.")


def check_tables(reads: Reads, dropout: TokenDropout, groups: Sequence[TokenGroup], history: int) -> None:
    """Raise :class:`ConfigurationError` for tables that name unknown groups, and for sequences that are too long."""
    check_reads(reads, groups)
    check_keys("token_dropout", dropout, groups)
    check_ratios(dropout)
    if (length := history * sum(group.count for group in groups)) > MOST_TOKENS:
        raise ConfigurationError(
            f"policy.history: {history} timesteps have {length:,} tokens, and {MOST_TOKENS:,} are the most. "
            f"Lower it, or how many tokens an encoder, the world model or the action head has."
        )
