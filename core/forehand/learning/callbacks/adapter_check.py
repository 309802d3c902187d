"""Warning of adapters (LoRA) that have no effect."""

from __future__ import annotations

import logging

from forehand.learning.callbacks.callback import TrainingCallback, TrainingRun
from forehand.learning.lora import unused_adapters

log = logging.getLogger(__name__)


class AdapterCheck(TrainingCallback):
    """Warns after the first step of adapters that the loss does not depend on."""

    def __init__(self) -> None:
        self._done = False

    def on_step(self, run: TrainingRun) -> None:
        """Look at the gradients of the first step."""
        if not self._done and (unused := unused_adapters(run.policy)):
            log.warning(
                "policy.lora: the loss does not depend on %s adapters, such as %s: their part reads the weights by "
                "itself, or is not used. Leave them out of the pattern.",
                len(unused),
                unused[0],
            )
        self._done = True
