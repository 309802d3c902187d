"""Error messages of the command line."""

from __future__ import annotations

import errno
from typing import Any

from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    MissingMandatoryValue,
    OmegaConfBaseException,
)

from forehand.errors import ForehandError, describe, nearest
from forehand.registry import limit_note
from forehand_apps.cli.options import unknown

EXTRAS = {
    "torch": "learning",
    "lerobot": "learning",
    "safetensors": "learning",
    "scipy": "learning",
    "open_clip": "learning",
    "huggingface_hub": "learning",
    "mujoco": "simulation",
    "dm_control": "simulation",
    "gymnasium": "simulation",
    "websockets": "adapters",
    "pyarrow": "recording",
    "filelock": "recording",
    "h5py": "importing",
    "rerun": "rerun",
    "matplotlib": "report",
    "av": "report",
    "PIL": "report",
    "jinja2": "report",
    "prometheus_client": "metrics",
    "simplejpeg": "jpeg",
    "transformers": "transformers",
    "peft": "peft",
    "diffusers": "diffusion",
}
"""Module → the extra of the distribution that installs it."""

LAUNCHERS = {"joblib": "cluster", "submitit_local": "cluster", "submitit_slurm": "cluster", "ray": "ray"}
"""Launcher of Hydra → the extra that installs it."""

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
"""Error numbers of a disk that cannot be written to any more."""


def error_message(error: BaseException, command: str) -> str | None:
    """The message for ``error``; None for an unexpected error, which is a fault of the program."""
    if isinstance(error, ForehandError):
        return describe(error)
    if getattr(error, "errno", None) in DISK_FULL:  # an OSError, or one of FFmpeg's
        return f"A file could not be written: {describe(error)}\nMake room, or write elsewhere (output=…)."
    if isinstance(error, ModuleNotFoundError) and (extra := EXTRAS.get(str(error.name).partition(".")[0])):
        return f"forehand {command} needs {error.name}, which is not installed: pip install 'forehand[{extra}]'"
    if isinstance(error, MissingMandatoryValue):
        key = error.full_key or error.key
        return f"{key} must be given: forehand {command} {key}=… (forehand {command} --help describes it)"
    if isinstance(error, MissingConfigException):
        return _missing_option(error, command)
    if isinstance(error, HydraException):
        cause = error.__cause__
        if isinstance(cause, ConfigAttributeError | ConfigKeyError):
            return _unknown_key(cause, command)
        if isinstance(cause, OmegaConfBaseException):
            return f"{error}: {str(cause).splitlines()[0]}"
        return str(error)
    return None


def _unknown_key(error: OmegaConfBaseException, command: str) -> str:
    at = error.parent_node
    root: Any = OmegaConf.to_container(at._get_root(), resolve=False) if isinstance(at, DictConfig) else {}
    root.pop("hydra", None)
    return unknown(command, root, str(error.full_key or error.key))


def _missing_option(error: MissingConfigException, command: str) -> str:
    missing = error.missing_cfg_file
    if not missing:
        return str(error)
    group, _, option = missing.rpartition("/")
    if not group:
        return f"There is no configuration {option!r} for forehand {command}. {nearest(option, error.options or ())}"
    if group == "hydra/launcher" and (extra := LAUNCHERS.get(option)):
        return f"{group}={option} is not installed: pip install 'forehand[{extra}]'"
    hint = nearest(option, error.options or ())
    return f"{group}={option}: there is no {group} called {option!r}. {hint}{limit_note()}"
