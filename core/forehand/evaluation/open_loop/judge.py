"""Open-loop judgement: a policy is given recorded observations, and its actions are compared with what was done."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forehand.errors import ConfigurationError
from forehand.evaluation.open_loop.recorded import RecordedEpisodes
from forehand.evaluation.open_loop.scores import Scores
from forehand.policy import Policy, Session, require_actions


@dataclass(frozen=True)
class JudgedEpisode:
    """What a policy predicted in one episode.

    position: of the episode. frames: (n,), those at which it was asked. predicted, done: (n, A), its action for that
    frame and the recorded one. scores: over all chunks.
    """

    position: int
    frames: NDArray[np.int64]
    predicted: NDArray[np.float32]
    done: NDArray[np.float32]
    scores: Scores


def judge(
    policy: Policy,
    episodes: RecordedEpisodes,
    positions: Sequence[int],
    *,
    every: int = 1,
    together: int = 1,
    begun: Callable[[int, int], None] = lambda position, frame: None,
    opened: Callable[[int], Session] | None = None,
) -> Iterator[JudgedEpisode]:
    """Judge the episodes at ``positions``, ``together`` of them side by side in one batch.

    A session of the policy (:meth:`forehand.policy.Policy.open`) is given every frame of its episode in order, and
    asked for actions at the first and each ``every``-th after it; the frames between are remembered. A chunk is compared
    with the recorded actions of its steps, as far as the episode has them. begun: called with the position and each frame
    before it is given. opened: opens the session of a position, where it is to be another one.
    Raises :class:`ConfigurationError` for numbers below 1, :class:`ContractMismatch` for answers of another shape.
    """
    if every < 1 or together < 1:
        raise ConfigurationError(f"open-loop evaluation: every={every} and together={together} must be 1 or more.")
    opened = opened or (lambda position: policy.open(episodes.task(position)))
    for first in range(0, len(positions), together):
        yield from _side_by_side(policy, episodes, positions[first : first + together], every, begun, opened)


def _side_by_side(
    policy: Policy,
    episodes: RecordedEpisodes,
    positions: Sequence[int],
    every: int,
    begun: Callable[[int, int], None],
    opened: Callable[[int], Session],
) -> list[JudgedEpisode]:
    chunks: dict[int, list[NDArray[np.float32]]] = {position: [] for position in positions}
    with ExitStack() as stack:
        running = {p: (opened(p), episodes.observations(p)) for p in positions}
        for session, _ in running.values():
            stack.enter_context(closing(session))
        frame = 0
        while running:
            sessions, observations, asked = [], [], []
            for position, (session, frames) in list(running.items()):
                if (observation := next(frames, None)) is None:
                    del running[position]
                    continue
                begun(position, frame)
                if frame % every:
                    policy.remember(session, [observation])
                    continue
                sessions.append(session)
                observations.append(observation)
                asked.append(position)
            if asked:
                for position, prediction in zip(asked, policy.step(sessions, observations), strict=True):
                    chunks[position].append(np.array(require_actions(prediction, policy.contract), np.float32))
            frame += 1
    return [_judged(episodes, position, chunks[position], every) for position in positions]


def _judged(
    episodes: RecordedEpisodes, position: int, chunks: Sequence[NDArray[np.float32]], every: int
) -> JudgedEpisode:
    table, rows = episodes.data.episodes, episodes.rows(position)
    done, there = table.actions[rows], table.has_action[rows]
    contract = episodes.data.contract
    frames = np.arange(len(chunks), dtype=np.int64) * every
    steps = []
    for step in range(max(map(len, chunks))):
        asked = [
            i
            for i, chunk in enumerate(chunks)
            if step < len(chunk) and frames[i] + step < len(done) and there[frames[i] + step]
        ]
        ours = [chunks[i][step] for i in asked]
        predicted = np.stack(ours) if ours else np.zeros((0, done.shape[1]), np.float32)
        steps.append(Scores.of(contract, predicted, done[frames[asked] + step] if asked else done[:0]))
    recorded = np.where(there[frames, None], done[frames], np.nan).astype(np.float32)
    return JudgedEpisode(position, frames, np.stack([chunk[0] for chunk in chunks]), recorded, Scores.by_step(steps))
