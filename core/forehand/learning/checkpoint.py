"""Checkpoint folders: loaded without pickle, with no code but the plugins they name.

``model.safetensors`` (weights), ``config.yaml`` (the whole composition), ``contract.json`` (contract and statistics; of
each embodiment, where there are several), ``provenance.json`` (versions, plugins, dataset fingerprint, seed, command).
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from forehand.contracts.contract import Contract
from forehand.errors import CheckpointError, ConfigurationError, ForehandError
from forehand.learning.checkpoint_reader import reader_of
from forehand.learning.hub import locate_checkpoint, origin_of
from forehand.learning.lora import LORA, inject_lora, read_lora
from forehand.learning.lora import merge_lora as merge_adapters
from forehand.learning.weights import AVERAGED_WEIGHTS, corrupt_file, read_shapes, read_tensors, state_dict_mismatch
from forehand.plugins import registry
from forehand.policy import TRAINING_ACTION_RANGE, TRAINING_STATE_RANGE, Policy
from forehand.registry import LIMIT_VARIABLE
from forehand.utils.files import fsync_path
from forehand.utils.plain import to_plain
from forehand.utils.provenance import FORMAT, provenance
from forehand.utils.reading import read_json, read_yaml, require_literal
from forehand.utils.renames import renamed_keys

WEIGHTS, CONFIG, CONTRACT, PROVENANCE = "model.safetensors", "config.yaml", "contract.json", "provenance.json"
CHECKPOINTS = "checkpoints"
RAW, EMA = "raw", "ema"
COMPOSED, CROSS_EMBODIMENT = "composed", "cross_embodiment"


def build_policy(config: Mapping[str, Any], contract: Contract, statistics: Mapping[str, Any]) -> Any:
    """A policy with fresh weights from a ``policy`` configuration (``name`` and options) and what its data is like.

    Adapters that it asks for are put in behind pretrained weights (:func:`forehand.learning.lora.inject_lora`).
    """
    name, options = _name_and_options(config)
    return registry().create("policy", name, contract=contract, statistics=statistics, **options)


def build_cross_embodiment(config: Mapping[str, Any], embodiments: Mapping[str, Mapping[str, Any]]) -> Any:
    """A policy with fresh weights for several embodiments: name → the contract and statistics of its data.

    ``config`` is that of a composed policy. Raises :class:`ConfigurationError` for any other.
    """
    name, options = _name_and_options(config)
    if name != COMPOSED:
        raise ConfigurationError(
            f"policy {name!r} has one embodiment. Data of several, dataset={{name: ...}}, train a {COMPOSED!r} policy."
        )
    return registry().create("policy", CROSS_EMBODIMENT, embodiments=embodiments, **options)


def _name_and_options(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    options: Any = OmegaConf.to_container(config, resolve=True) if isinstance(config, DictConfig) else dict(config)
    name = options.pop("name", None)
    options.pop(LORA, None)
    if name is None:
        raise ConfigurationError("The policy's configuration has no name, which selects the policy.")
    return name, options


# ---- writing ----------------------------------------------------------------------------------------------------------


def save_policy(
    folder: Path,
    policy: Any,
    config: Mapping[str, Any],
    statistics: Mapping[str, Any],
    facts: Mapping[str, Any],
    extra: Callable[[Path], None] | None = None,
    embodiments: Mapping[str, Mapping[str, Any]] | None = None,
    weights: Mapping[str, Any] | None = None,
) -> None:
    """Write a checkpoint to a new ``folder``, which appears whole or not at all, whatever happens meanwhile.

    ``facts`` go into the provenance. ``extra`` may write further files into the folder it is given, such as a trainer's
    state. ``embodiments``: contract and statistics of each, of a policy that has several. ``weights``: whole, on
    the CPU; None: those of ``policy``. A killed process leaves a folder whose name begins with a dot.
    """
    from safetensors.torch import save_file

    from forehand.learning.distributed.sharding import gathered

    if folder.exists():
        raise CheckpointError(f"{folder} exists; checkpoints are never overwritten. Remove it or choose another folder.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        # Copies, since tensors that share memory cannot be stored.
        save_file(gathered(policy.state_dict()) if weights is None else dict(weights), staging / WEIGHTS)
        OmegaConf.save(OmegaConf.create(dict(config)), staging / CONFIG, resolve=True)
        about = {"contract": policy.contract.to_dict(), "statistics": to_plain(statistics)}
        if embodiments:
            about["embodiments"] = {
                name: {"contract": of["contract"].to_dict(), "statistics": to_plain(of["statistics"])}
                for name, of in embodiments.items()
            }
        (staging / CONTRACT).write_text(json.dumps(about, indent=2))
        (staging / PROVENANCE).write_text(json.dumps(provenance(plugins=registry().versions(), **facts), indent=2))
        if extra is not None:
            extra(staging)
        staging.chmod(0o755)
        for file in staging.iterdir():
            file.chmod(0o644)  # safetensors makes it readable by its owner alone
            fsync_path(file)
        staging.rename(folder)
        fsync_path(folder.parent)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise


def remove_checkpoint(folder: Path) -> None:
    """Remove a checkpoint, which vanishes whole."""
    doomed = folder.with_name(f".{folder.name}-removed")
    folder.rename(doomed)
    shutil.rmtree(doomed)


def remove_unfinished(run: Path) -> None:
    """Remove the unfinished checkpoints of killed processes. Only while no process trains in the run's folder."""
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


def find_checkpoint(source: str | Path, *, training_state: bool = False) -> Path:
    """The folder of the checkpoint that ``source`` names, or of the newest one of the training run there.

    source, training_state: as :func:`forehand.learning.hub.locate_checkpoint` takes them. Whether it is a checkpoint is
    seen by :func:`read_checkpoint`. Raises :class:`CheckpointError` for what the hub does not give.
    """
    folder = locate_checkpoint(source, training_state=training_state)
    return latest_checkpoint(folder) or folder


# ---- reading ----------------------------------------------------------------------------------------------------------


def load_policy(
    folder: str | Path,
    device: str = "cpu",
    *,
    rate: float | None = None,
    weights: str | None = None,
    merge_lora: bool = False,
) -> Policy:
    """The policy of a checkpoint folder, or of the newest checkpoint of a training run's folder, ready to run.

    ``hf://owner/name[@revision]`` is one on the hub (:func:`forehand.learning.hub.locate_checkpoint`).
    A checkpoint of another project is loaded by the plugin that recognizes it
    (:class:`~forehand.learning.checkpoint_reader.CheckpointReader`); rate: its control rate in Hz, if it states none.
    weights: ``ema``, the averages of a recipe with ``ema``, or ``raw``; None: the averages, where there are any.
    merge_lora: add adapters (LoRA) to the weights that they adapt: faster, and the same up to rounding.

    Its ``describe()`` names the folder and its :func:`fingerprint`. Raises :class:`CheckpointError`. A policy that is far
    larger than the stored weights is not built; to see that, its parts' constructors run twice, first on torch's ``meta``
    device.
    """
    from forehand.learning.budget import build_within

    folder = find_checkpoint(folder)
    if not (folder / CONFIG).is_file() and (reader := reader_of(folder)) is not None:
        if weights is not None:
            raise ConfigurationError(f"policy.weights: {folder} is of another project. Leave it out.")
        return reader.load(folder, device, rate=rate)
    config, about = read_checkpoint(folder)
    if rate is not None:
        raise ConfigurationError(f"policy.rate: {folder} states its control rate itself. Leave it out.")
    contract = Contract.from_dict(about["contract"])
    build = functools.partial(build_policy, config, contract, about["statistics"])
    if embodiments := _embodiments(about):
        build = functools.partial(build_cross_embodiment, config, embodiments)
    try:
        policy = build_within(lambda: _adapted(build(), config), read_shapes(folder / WEIGHTS))
    except ForehandError as error:
        raise CheckpointError(
            f"The policy in {folder.resolve()} cannot be built. {error}{_missing_plugins(folder)}"
        ) from error
    weights = available_weights(folder, weights)
    load_weights(policy, folder, weights)
    if merge_lora:
        merge_adapters(policy)
    known = training_ranges(about["statistics"])
    origin = {"checkpoint": origin_of(folder), "fingerprint": fingerprint(folder, weights)}
    if weights != RAW:
        origin["weights"] = weights
    policy.origin = {**origin, **known}
    for name, of in embodiments.items():
        policy.embodiments[name].origin = {**origin, "embodiment": name, **training_ranges(of["statistics"])}
    loaded: Policy = policy.to(device).eval()
    return loaded


def _adapted(policy: Any, config: Mapping[str, Any]) -> Any:
    inject_lora(policy, read_lora(config))
    return policy


def read_checkpoint(folder: Path) -> tuple[Mapping[str, Any], dict[str, Any]]:
    """(policy configuration, {"contract", "statistics"}) of a checkpoint folder, with errors that say what is wrong.

    The configuration is read literally, with the present names of keys; one that holds interpolations is refused.
    """
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
        config = read_yaml(folder / CONFIG)
        require_literal(config)
    except (OSError, ValueError) as error:
        raise corrupt_file(folder / CONFIG, error) from error
    if not isinstance(config, dict) or "name" not in config:
        raise corrupt_file(folder / CONFIG, "it names no policy")
    about = _read_json(folder / CONTRACT)
    if missing := [key for key in ("contract", "statistics") if not isinstance(about.get(key), dict)]:
        raise corrupt_file(folder / CONTRACT, f"it lacks {' and '.join(missing)}")
    try:
        Contract.from_dict(about["contract"])
        _embodiments(about)
    except (ForehandError, KeyError, TypeError, AttributeError) as error:
        raise corrupt_file(folder / CONTRACT, error) from error
    return renamed_keys({str(k): v for k, v in config.items()}, under="policy"), about


def _embodiments(about: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Contract and statistics by embodiment, of a checkpoint that has several; else {}."""
    return {
        name: {"contract": Contract.from_dict(of["contract"]), "statistics": dict(of["statistics"])}
        for name, of in about.get("embodiments", {}).items()
    }


def read_provenance(folder: Path) -> dict[str, Any]:
    """The contents of a checkpoint's ``provenance.json``."""
    return _read_json(folder / PROVENANCE)


def available_weights(folder: Path, weights: str | None = None) -> str:
    """:data:`EMA` or :data:`RAW`, as ``weights`` says; None: the averages, where ``folder`` has any.

    Raises :class:`ConfigurationError` for others, and :class:`CheckpointError` for averages that there are not.
    """
    if weights not in (None, EMA, RAW):
        raise ConfigurationError(f"policy.weights is {EMA} or {RAW}, not {weights!r}.")
    averaged = (folder / AVERAGED_WEIGHTS).is_file()
    if weights == EMA and not averaged:
        raise CheckpointError(f"{folder.resolve()} has no averaged weights: it was trained without recipe.ema.")
    return weights or (EMA if averaged else RAW)


def read_weights(folder: Path, weights: str = RAW) -> dict[str, Any]:
    """The tensors of a checkpoint by name; :data:`EMA`: averages in place of what was trained."""
    stored = read_tensors(folder / WEIGHTS)
    return stored if weights == RAW else stored | read_tensors(folder / AVERAGED_WEIGHTS)


def load_weights(policy: Any, folder: Path, weights: str = RAW) -> None:
    """Fill ``policy`` with a checkpoint's weights; raises :class:`CheckpointError` naming those that do not fit."""
    from forehand.learning.distributed.sharding import like

    stored = read_weights(folder, weights)
    if listing := state_dict_mismatch(stored, policy.state_dict()):
        raise CheckpointError(
            f"The weights in {folder.resolve()} do not fit the policy that its {CONFIG} describes:\n{listing}\n"
            f"One of its files was changed, or a plugin builds its parts otherwise than the version named in its "
            f"{PROVENANCE}."
        )
    policy.load_state_dict({name: like(stored[name], value) for name, value in policy.state_dict().items()})


def fingerprint(folder: Path, weights: str = RAW) -> str:
    """A short name for what the policy in a checkpoint folder does: its weights, composition, contract and statistics."""
    digest = hashlib.blake2b(digest_size=16)
    for name in (WEIGHTS, CONFIG, CONTRACT, *([AVERAGED_WEIGHTS] if weights == EMA else [])):
        with (folder / name).open("rb") as file:
            digest.update(hashlib.file_digest(file, hashlib.blake2b).digest())
    return digest.hexdigest()


def fingerprints(folder: Path) -> dict[str, str]:
    """The :func:`fingerprint` of each of a checkpoint's weights, :data:`RAW` and, where it has any, :data:`EMA`."""
    kinds = [RAW, EMA] if (folder / AVERAGED_WEIGHTS).is_file() else [RAW]
    return {weights: fingerprint(folder, weights) for weights in kinds}


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
        data = read_json(path)
    except (OSError, ValueError) as error:
        raise corrupt_file(path, error) from error
    if not isinstance(data, dict):
        raise corrupt_file(path, "it holds no mapping")
    return data


def training_ranges(statistics: Mapping[str, Any]) -> dict[str, Any]:
    """The ranges of states and actions in the data of these statistics, as facts about the policy; {} if not known."""
    found = {}
    for fact, key in ((TRAINING_STATE_RANGE, "observation.state"), (TRAINING_ACTION_RANGE, "action")):
        known = statistics.get(key, {})
        if "min" in known and "max" in known:
            found[fact] = {name: [float(x) for x in known[name]] for name in ("min", "max")}
    return found
