"""What went wrong, in words for the person who typed the command."""

from __future__ import annotations

from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    MissingMandatoryValue,
    OmegaConfBaseException,
)

from forehand.errors import ForehandError
from forehand.registry import nearest

EXTRAS = {
    "torch": "learning",
    "lerobot": "learning",
    "safetensors": "learning",
    "open_clip": "learning",
    "mujoco": "simulation",
    "dm_control": "simulation",
    "gymnasium": "simulation",
    "websockets": "doors",
    "pyarrow": "recording",
    "filelock": "recording",
    "rerun": "live",
    "matplotlib": "pages",
    "av": "pages",
    "PIL": "pages",
    "prometheus_client": "metrics",
    "simplejpeg": "jpeg",
}
"""What pip calls the group of packages in which a module comes."""


def explain(error: BaseException, command: str) -> str | None:
    """The message for ``error``, or None if it is no mistake of the person's but of the program's."""
    if isinstance(error, ForehandError):
        return str(error)
    if isinstance(error, ModuleNotFoundError) and (extra := EXTRAS.get(str(error.name).partition(".")[0])):
        return f"forehand {command} needs {error.name}, which is not installed: pip install 'forehand[{extra}]'"
    if isinstance(error, MissingMandatoryValue):
        key = error.full_key or error.key
        return f"{key} must be given: forehand {command} {key}=… (forehand {command} --help says what it is)"
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
    key = str(error.full_key or error.key)
    siblings = error.parent_node
    prefix, _, name = key.rpartition(".")
    known = [str(k) for k in siblings if k != "hydra"] if isinstance(siblings, DictConfig) else []
    where = f" in {prefix}" if prefix else ""
    return (
        f"forehand {command} has no option {name!r}{where}. {nearest(name, known)}\n"
        f"forehand {command} --help lists them; to add one that a part takes, write +{key}=…"
    )


def _missing_option(error: MissingConfigException, command: str) -> str:
    missing = error.missing_cfg_file
    if not missing:
        return str(error)
    group, _, option = missing.rpartition("/")
    if not group:
        return f"There is no configuration {option!r} for forehand {command}. {nearest(option, error.options or ())}"
    return f"{group}={option}: there is no {group} called {option!r}. {nearest(option, error.options or ())}"
