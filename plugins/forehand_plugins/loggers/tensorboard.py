"""Log of a training for TensorBoard."""

from __future__ import annotations

from typing import Any

from forehand.errors import ConfigurationError
from forehand.learning.callbacks.callback import TrainingCallback, TrainingRun


class TensorBoardLogger(TrainingCallback):
    """Event files of TensorBoard, in a folder of the run's folder: ``tensorboard --logdir outputs``.

    folder: its name. A resumed run hides what was logged behind its checkpoint. Raises :class:`ConfigurationError` where
    the extra ``tensorboard`` is not installed.
    """

    def __init__(self, folder: str = "tensorboard") -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ConfigurationError(
                "logger tensorboard needs the library tensorboard, which is not installed: "
                "pip install 'forehand[tensorboard]'."
            ) from error
        self._make: Any = SummaryWriter
        self._folder = folder
        self._writer: Any = None

    def on_start(self, run: TrainingRun) -> None:
        """Open the event file."""
        if run.is_main:
            self._writer = self._make(str(run.folder / self._folder), purge_step=run.step + 1 if run.step else None)

    def on_log(self, run: TrainingRun, entry: dict[str, Any]) -> None:
        """Write the entry's numbers."""
        for name, value in entry.items():
            if name != "step":
                self._writer.add_scalar(name, value, entry["step"])
        self._writer.flush()

    def close(self) -> None:
        """Close the event file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
