"""Whole windows: those that lie inside their episode, so that nothing in them is padded. No torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forehand.data.episode_table import EpisodeTable
from forehand.data.window_spec import WindowSpec
from forehand.errors import ConfigurationError, DatasetError


@dataclass(frozen=True, kw_only=True)
class WholeWindows:
    """Choice of the windows of which ``frames`` frames, counted from the first one they hold, lie inside the episode.

    frames: None: as many as reach from the first to the last offset of all inputs and targets. Fewer are enough where
    the last timesteps give no loss; what lies beyond is padded, and masked, as in other windows. skip_last: leave out
    the last window of each episode, so that one of L frames has the starts 0 … L - frames - 1, as Seer's released
    loader does.
    """

    frames: int | None = None
    skip_last: bool = False

    def __post_init__(self) -> None:
        if self.frames is not None and self.frames < 1:
            raise ConfigurationError(f"whole windows have frames ≥ 1, not {self.frames}.")

    def choose(self, spec: WindowSpec, episodes: EpisodeTable, anchors: NDArray[np.int64]) -> NDArray[np.int64]:
        """Those of the ``anchors`` (n,), numbers of frames, whose windows are whole.

        Raises :class:`ConfigurationError` for ``frames`` that do not hold a window's inputs, and :class:`DatasetError`
        where no window is left.
        """
        first, last = spec.reach
        inputs = spec.input_reach[1] - first + 1
        frames = last - first + 1 if self.frames is None else self.frames
        if frames < inputs:
            raise ConfigurationError(f"a whole window of {frames} frames does not hold its inputs, which are {inputs}.")
        begin, end = episodes.begin[anchors], episodes.end[anchors]
        start = anchors + first
        kept = anchors[(start >= begin) & (start + frames + self.skip_last <= end)]
        if not len(kept):
            longest = int((end - begin).max(initial=0))
            last_left_out = ", and the last window of each is left out" if self.skip_last else ""
            raise DatasetError(
                f"No window of {frames} frames lies inside an episode: the longest has {longest} frames{last_left_out}. "
                f"Take shorter windows, or padded ones."
            )
        return kept
