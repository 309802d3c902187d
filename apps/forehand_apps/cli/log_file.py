"""Log file handler that survives a full disk."""

from __future__ import annotations

import logging
import sys


class LogFile(logging.FileHandler):
    """A file handler that stops writing, with one error on the other handlers, when its disk cannot be written to."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Log the error once; errors other than OSError, such as a wrong format, are shown as usual."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
        elif self in logging.getLogger().handlers:
            logging.getLogger().removeHandler(self)
            logging.getLogger(__name__).error("no more is written to %s: %s", self.baseFilename, error)
