"""Recorded future: the frames that follow in a recording, for policies that were trained to read ahead. Needs torch.

What reads them is no policy: no robot can be driven with it. Its error says what reading the future could gain at best.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from forehand.compose.interventions import ForeknowingSession, require_lookahead
from forehand.evaluation.open_loop.recorded import RecordedEpisodes
from forehand.robot import Observation


class RecordedFuture:
    """What follows in the episode at ``position`` of ``episodes``, from its first frame on; at its end its last frame."""

    def __init__(self, episodes: RecordedEpisodes, position: int) -> None:
        self._frames = episodes.observations(position)
        self._ahead = deque([next(self._frames)])

    def ahead(self, count: int) -> list[Observation]:
        """The ``count`` observations behind the present frame, which is another one at each call."""
        while len(self._ahead) <= count and (frame := next(self._frames, None)) is not None:
            self._ahead.append(frame)
        if len(self._ahead) > 1:
            self._ahead.popleft()
            following = list(self._ahead)[:count]
        else:
            following = list(self._ahead)
        return following + [following[-1]] * (count - len(following))


def foreknowing(policy: Any, episodes: RecordedEpisodes) -> Callable[[int], ForeknowingSession]:
    """What opens a session that reads the recorded future of the episode at a position.

    Raises :class:`ConfigurationError` for a policy that has no room for what lies ahead.
    """
    require_lookahead(policy)
    return lambda position: ForeknowingSession(episodes.task(position), 0, policy, RecordedFuture(episodes, position))
