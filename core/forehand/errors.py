"""Errors a person can act on: each says what was wrong, where, and what to do."""


class ForehandError(Exception):
    """Root of every error that Forehand raises on purpose; commands print its message without a traceback."""


class UnknownName(ForehandError):
    """A part, kind or plugin was asked for by a name nobody registered."""


class BrokenPlugin(ForehandError):
    """A part was asked for whose plugin could not be loaded."""


class ContractMismatch(ForehandError):
    """Two sides describe what is measured or commanded differently; nothing may move."""


class ConfigurationError(ForehandError):
    """A configuration asks for something that cannot be built."""


class DatasetError(ForehandError):
    """A dataset is missing, unreadable, or lacks what was asked of it."""


class CheckpointError(ForehandError):
    """A checkpoint is missing, unreadable, or does not fit what is loading it."""
