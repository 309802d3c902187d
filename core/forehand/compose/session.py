"""Inference session of a composed policy: the history of one robot's episode. Needs torch."""

from __future__ import annotations

import torch
from torch import Tensor

from forehand.compose.parts import VALID
from forehand.errors import ConfigurationError
from forehand.policy import Session


class ComposedSession(Session):
    """Tokens of a robot's last frames, each encoded once, and those of its instruction.

    ``prefix``: the backbone's cache of the episode's tokens, (E, M), of the groups ``prefix_groups``. While the window
    grows also that of each earlier timestep, (K, M), of the tokens of the groups ``cached_groups``. ``ahead``: tokens of
    frames after the newest one, where an intervention has them.
    """

    def __init__(self, instruction: str, seed: int = 0) -> None:
        super().__init__(instruction, seed)
        if type(seed) is not int or not 0 <= seed < 2**64:
            raise ConfigurationError(f"A session's seed is a whole number from 0 to 2**64 - 1, not {seed!r}.")
        self.frames: list[dict[str, Tensor]] = []
        self.instruction_tokens: dict[str, Tensor] | None = None
        self.prefix: Tensor | None = None
        self.prefix_groups: tuple[str, ...] = ()
        self.cached: list[Tensor] = []
        self.cached_groups: tuple[str, ...] = ()
        self.ahead: list[dict[str, Tensor]] = []
        self._generator: torch.Generator | None = None

    def reset(self, instruction: str | None = None) -> None:
        """Drop the frames, and the instruction's tokens if it changes; random numbers begin anew."""
        if instruction is not None and instruction != self.instruction:
            self.instruction_tokens = self.prefix = None
        super().reset(instruction)
        self.frames.clear()
        self.ahead.clear()
        self.cached.clear()
        self._generator = None

    def close(self) -> None:
        """Drop all tokens."""
        self.reset()
        self.instruction_tokens = self.prefix = None

    def noise(self, shape: tuple[int, ...]) -> Tensor:
        """The next standard normal numbers of the session's seed, of ``shape``, on the CPU."""
        if self._generator is None:
            self._generator = torch.Generator().manual_seed(self.seed)
        return torch.randn(shape, generator=self._generator)

    def keep_instruction(self, tokens: dict[str, Tensor]) -> None:
        """Keep the tokens of the instruction, group name → (1, count, D)."""
        self.instruction_tokens = tokens

    def append_frame(self, frame: dict[str, Tensor], history: int) -> None:
        """Append the tokens of the newest frame, group name → (1, count, D); keep no more than ``history`` frames."""
        self.frames.append(frame)
        if len(self.frames) > history:  # every frame stands at another timestep now
            del self.frames[:-history]
            self.cached.clear()

    def tokens(self, name: str) -> Tensor:
        """The tokens of one group over the window, (T, count, D), or their validity, (T, count)."""
        frames = [*self.frames, *self.ahead]
        if self.instruction_tokens and name in self.instruction_tokens:
            once = self.instruction_tokens[name]
            return once.expand(len(frames), *once.shape[1:])
        return torch.cat([frame[name] for frame in frames])

    def newest(self, name: str) -> Tensor:
        """The newest of :meth:`tokens`, (1, count, D) or (1, count)."""
        if self.instruction_tokens and name in self.instruction_tokens:
            return self.instruction_tokens[name]
        return self.frames[-1][name]

    def has(self, name: str) -> bool:
        """Whether there are tokens, or validities, of that name."""
        return name in (self.instruction_tokens or ()) or name in self.frames[-1]

    def valid(self, name: str, count: int, at: int | None = None) -> Tensor:
        """Which of the ``count`` tokens of a group are there, (count,) bool: of the frame ``at``, or of the newest."""
        if not self.has(VALID + name):
            return torch.ones(count, dtype=torch.bool, device=next(iter(self.frames[-1].values())).device)
        return self.newest(VALID + name)[0] if at is None else self.tokens(VALID + name)[at]

    def has_cache(self, groups: tuple[str, ...]) -> bool:
        """Whether the tokens of ``groups`` are cached for every timestep but the newest."""
        return (
            not self.ahead
            and len(self.cached) == len(self.frames) - 1
            and (self.cached_groups == groups or not self.cached)
        )

    def cache(self, width: int) -> Tensor:
        """The cache of earlier timesteps, (P, ``width``), timestep by timestep."""
        return torch.cat([next(iter(self.frames[-1].values())).new_empty(0, width), *self.cached])

    def append_cache(self, newest: Tensor, groups: tuple[str, ...], history: int) -> None:
        """Append the cache of the newest timestep, (K, M). A full window slides next, which makes the cache stale."""
        self.cached_groups = groups
        self.cached.append(newest)
        if len(self.frames) == history:
            self.cached.clear()
