"""Checkpoints: a folder that loads with no code but the plugins it names, and without pickle.

``model.safetensors`` (weights), ``config.yaml`` (the whole composition), ``contract.json`` (contract and statistics),
``provenance.json`` (versions, plugins, dataset fingerprint, seed, command).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from forehand.contract import Contract
from forehand.disk import to_disk
from forehand.errors import CheckpointError, ConfigurationError, ForehandError
from forehand.familiarity import trained_on
from forehand.policy import Policy
from forehand.provenance import FORMAT, provenance
from forehand.registry import LIMIT_VARIABLE, registry
from forehand.weights import damaged, misfits, read_tensors

WEIGHTS, CONFIG, CONTRACT, PROVENANCE = "model.safetensors", "config.yaml", "contract.json", "provenance.json"
CHECKPOINTS = "checkpoints"


def build_policy(config: Mapping[str, Any], contract: Contract, statistics: Mapping[str, Any]) -> Any:
    """A policy with fresh weights from a ``policy`` configuration (``name`` and options) and what its data is like."""
    options: Any = OmegaConf.to_container(config, resolve=True) if isinstance(config, DictConfig) else dict(config)
    name = options.pop("name", None)
    if name is None:
        raise ConfigurationError("The policy's configuration does not say which policy: it has no name.")
    return registry().create("policy", name, contract=contract, statistics=statistics, **options)


# ---- writing ----------------------------------------------------------------------------------------------------------


def save_policy(
    folder: Path,
    policy: Any,
    config: Mapping[str, Any],
    statistics: Mapping[str, Any],
    facts: Mapping[str, Any],
    extra: Callable[[Path], None] | None = None,
) -> None:
    """Write a checkpoint to a new ``folder``, which appears whole or not at all, whatever happens meanwhile.

    ``facts`` go into the provenance. ``extra`` may write further files into the folder it is given, such as a trainer's
    state. What a killed process leaves behind is a folder whose name begins with a dot.
    """
    from safetensors.torch import save_file

    if folder.exists():
        raise CheckpointError(f"{folder} exists; checkpoints are never overwritten. Remove it or choose another folder.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        # Copies, since tensors that share memory cannot be stored.
        weights = {
            name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in policy.state_dict().items()
        }
        save_file(weights, staging / WEIGHTS)
        OmegaConf.save(OmegaConf.create(dict(config)), staging / CONFIG, resolve=True)
        about = {"contract": policy.contract.to_dict(), "statistics": _plain(statistics)}
        (staging / CONTRACT).write_text(json.dumps(about, indent=2))
        (staging / PROVENANCE).write_text(json.dumps(provenance(**facts), indent=2))
        if extra is not None:
            extra(staging)
        staging.chmod(0o755)
        for file in staging.iterdir():
            file.chmod(0o644)  # safetensors lets nobody else read
            to_disk(file)
        staging.rename(folder)
        to_disk(folder.parent)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise


def remove_checkpoint(folder: Path) -> None:
    """Remove a checkpoint, which vanishes whole."""
    doomed = folder.with_name(f".{folder.name}-removed")
    folder.rename(doomed)
    shutil.rmtree(doomed)


def remove_unfinished(run: Path) -> None:
    """Remove what killed processes left of checkpoints in a run's folder. Only while nobody trains there."""
    for folder in (run / CHECKPOINTS).glob(".step_*"):
        shutil.rmtree(folder)


# ---- finding ----------------------------------------------------------------------------------------------------------


def step_folder(run: Path, step: int) -> Path:
    """Where a training run puts the checkpoint of ``step``."""
    return run / CHECKPOINTS / f"step_{step:07d}"


def checkpoints(run: Path) -> list[Path]:
    """The checkpoints of a training run, by step."""
    found = ((re.fullmatch(r"step_(\d+)", p.name), p) for p in (run / CHECKPOINTS).glob("step_*"))
    return [path for _, path in sorted((int(match[1]), path) for match, path in found if match)]


def latest_checkpoint(run: Path) -> Path | None:
    """The checkpoint with the highest step in the folder of a training run, or None."""
    return next(reversed(checkpoints(run)), None)


# ---- reading ----------------------------------------------------------------------------------------------------------


def load_policy(folder: str | Path, device: str = "cpu") -> Policy:
    """The policy of a checkpoint folder, or of the newest checkpoint of a training run's folder, ready to run.

    Its ``describe()`` names the folder and its :func:`fingerprint`. Raises :class:`CheckpointError`.
    """
    folder = Path(folder).expanduser()
    folder = latest_checkpoint(folder) or folder
    config, about = read_checkpoint(folder)
    try:
        policy = build_policy(config, Contract.from_dict(about["contract"]), about["statistics"])
    except ForehandError as error:
        raise CheckpointError(
            f"The policy in {folder.resolve()} cannot be built. {error}{_missing_plugins(folder)}"
        ) from error
    load_weights(policy, folder)
    known = trained_on(about["statistics"])
    policy.origin = {"checkpoint": str(folder.resolve()), "fingerprint": fingerprint(folder), **known}
    loaded: Policy = policy.to(device).eval()
    return loaded


def read_checkpoint(folder: Path) -> tuple[Mapping[str, Any], dict[str, Any]]:
    """(policy configuration, {"contract", "statistics"}) of a checkpoint folder, with errors that say what is wrong."""
    if not folder.is_dir():
        raise CheckpointError(f"there is no checkpoint folder {folder.resolve()}. `forehand train` writes one.")
    if (folder / CHECKPOINTS).is_dir():
        raise CheckpointError(f"The training run in {folder.resolve()} has not written a checkpoint yet.")
    if missing := [name for name in (WEIGHTS, CONFIG, CONTRACT, PROVENANCE) if not (folder / name).is_file()]:
        raise CheckpointError(f"{folder.resolve()} is not a checkpoint: it lacks {', '.join(missing)}.")
    written = read_provenance(folder).get("format")
    if written != FORMAT:
        raise CheckpointError(
            f"{folder.resolve()} has format {written!r}, and this version of Forehand reads {FORMAT}. "
            f"Use the version that wrote it; its {PROVENANCE} names it."
        )
    try:
        config = OmegaConf.to_container(OmegaConf.load(folder / CONFIG), resolve=True)
    except (OmegaConfBaseException, yaml.YAMLError, OSError, UnicodeDecodeError) as error:
        raise damaged(folder / CONFIG, error) from error
    if not isinstance(config, dict) or "name" not in config:
        raise damaged(folder / CONFIG, "it names no policy")
    about = _read_json(folder / CONTRACT)
    if missing := [key for key in ("contract", "statistics") if not isinstance(about.get(key), dict)]:
        raise damaged(folder / CONTRACT, f"it lacks {' and '.join(missing)}")
    try:
        Contract.from_dict(about["contract"])
    except ForehandError as error:
        raise damaged(folder / CONTRACT, error) from error
    return {str(k): v for k, v in config.items()}, about


def read_provenance(folder: Path) -> dict[str, Any]:
    """What ``provenance.json`` of a checkpoint says."""
    return _read_json(folder / PROVENANCE)


def load_weights(policy: Any, folder: Path) -> None:
    """Fill ``policy`` with a checkpoint's weights; raises :class:`CheckpointError` naming those that do not fit."""
    stored = read_tensors(folder / WEIGHTS)
    if listing := misfits(stored, policy.state_dict()):
        raise CheckpointError(
            f"The weights in {folder.resolve()} do not fit the policy that its {CONFIG} describes:\n{listing}\n"
            f"One of its files was changed, or a plugin builds its parts otherwise than the version named in its "
            f"{PROVENANCE}."
        )
    policy.load_state_dict(stored)


def fingerprint(folder: Path) -> str:
    """A short name for what the policy in a checkpoint folder does: its weights, composition, contract and statistics."""
    digest = hashlib.blake2b(digest_size=16)
    for name in (WEIGHTS, CONFIG, CONTRACT):
        with (folder / name).open("rb") as file:
            digest.update(hashlib.file_digest(file, hashlib.blake2b).digest())
    return digest.hexdigest()


def _missing_plugins(folder: Path) -> str:
    here = {p.name for p in registry().plugins() if not p.error}
    made_with = read_provenance(folder).get("plugins", {})
    missing = [f"{name} ({distribution})" for name, distribution in made_with.items() if name not in here]
    if not missing:
        return ""
    limit = os.environ.get(LIMIT_VARIABLE)
    advice = "pip install them" if limit is None else f"install them, and name them in {LIMIT_VARIABLE}, now {limit!r}"
    return f"\nIt was made with plugins that are missing here: {', '.join(missing)}. To use it, {advice}."


def _read_json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise damaged(path, error) from error
    if not isinstance(data, dict):
        raise damaged(path, "it holds no mapping")
    return data


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return np.asarray(value).tolist()
