"""Log lines as JSON objects."""

from __future__ import annotations

import json
import logging


class JsonLines(logging.Formatter):
    """``{time, level, logger, message}``, with ``exception`` where there is one; times in seconds since 1970."""

    def __init__(self, **_: object) -> None:
        super().__init__()

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        fields = {
            "time": round(record.created, 6),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields, ensure_ascii=False)
