"""Logs of trainings for Weights & Biases, and for trackio, which has the same interface."""

from __future__ import annotations

import importlib
import uuid
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from forehand.errors import ConfigurationError
from forehand.learning.callbacks.callback import TrainingCallback, TrainingRun


class _HostedLogger(TrainingCallback):
    """A log that a library keeps, by ``init``, ``log`` and ``finish``.

    project, run_name: default ``forehand`` and the name of the run's folder. options: others of the library's ``init``.
    Raises :class:`ConfigurationError` where the library, which is an extra of its name, is not installed.
    """

    library = ""

    def __init__(self, project: str = "forehand", run_name: str | None = None, **options: Any) -> None:
        try:
            self._library: Any = importlib.import_module(self.library)
        except ImportError as error:
            raise ConfigurationError(
                f"logger {self.library} needs the library {self.library}, which is not installed: "
                f"pip install 'forehand[{self.library}]'."
            ) from error
        self._project, self._run_name, self._options = project, run_name, options
        self._run: Any = None

    def on_start(self, run: TrainingRun) -> None:
        """Begin the run, or continue it."""
        if run.is_main:
            name = self._run_name or run.folder.resolve().name
            given = {"project": self._project, "name": name, "config": asdict(run.recipe), **self._continued(run)}
            self._run = self._library.init(**(given | self._options))

    def _continued(self, run: TrainingRun) -> Mapping[str, Any]:
        """Options by which a resumed run continues its log."""
        return {"resume": "allow"}

    def on_log(self, run: TrainingRun, entry: dict[str, Any]) -> None:
        """Hand over the entry's numbers."""
        self._run.log({name: value for name, value in entry.items() if name != "step"}, step=entry["step"])

    def close(self) -> None:
        """End the run."""
        if self._run is not None:
            self._run.finish()
            self._run = None


class WandbLogger(_HostedLogger):
    """Weights & Biases; ``mode=offline`` keeps everything in ``wandb/`` of the run's folder, for ``wandb sync``.

    A resumed run continues its log there, by the id in ``wandb_id``. project, run_name and other options: those of
    ``wandb.init``. Raises :class:`ConfigurationError` where the extra ``wandb`` is not installed.
    """

    library = "wandb"

    def _continued(self, run: TrainingRun) -> Mapping[str, Any]:
        path = run.folder / "wandb_id"
        if not path.exists():
            path.write_text(uuid.uuid4().hex[:8], encoding="utf-8")
        return {"id": path.read_text(encoding="utf-8"), "resume": "allow", "dir": str(run.folder)}


class TrackioLogger(_HostedLogger):
    """trackio, a log on this computer with a dashboard, ``trackio show``.

    project, run_name and other options: those of ``trackio.init``. Raises :class:`ConfigurationError` where the extra
    ``trackio`` is not installed.
    """

    library = "trackio"
