"""LeRobot's ``pretrained_model`` folders, loaded as they are; nothing is fetched from the hub."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from forehand.contracts.contract import Contract
from forehand.errors import CheckpointError, ConfigurationError, ForehandError
from forehand.learning.hub import origin_of
from forehand.policy import Policy
from forehand.utils.reading import read_json

CONFIG, WEIGHTS, TRAINING = "config.json", "model.safetensors", "train_config.json"
PROCESSORS = ("policy_preprocessor.json", "policy_postprocessor.json")
PLACES = (".", "pretrained_model", "checkpoints/last/pretrained_model")
"""Where the files are, from the folder that is named: itself, a checkpoint, or the output of ``lerobot-train``."""


class LeRobotReader:
    """Loads what ``lerobot-train`` wrote: ``config.json``, ``model.safetensors`` and the processors beside them."""

    def recognizes(self, folder: Path) -> bool:
        """Whether LeRobot's configuration of a policy is there, or in ``checkpoints/last`` below."""
        return _find(folder) is not None

    def load(self, folder: Path, device: str, *, rate: float | None = None) -> Policy:
        """The policy of ``folder``; raises :class:`CheckpointError` that says what is missing."""
        folder = (_find(folder) or folder).resolve()
        if missing := [name for name in (WEIGHTS, *PROCESSORS) if not (folder / name).is_file()]:
            raise CheckpointError(
                f"{folder} is no complete checkpoint of LeRobot: it lacks {', '.join(missing)}. Checkpoints without "
                f"processors are from before LeRobot 0.4, whose migration script adds them. PEFT adapters cannot be used."
            )
        try:
            policy = _load(folder, device, rate)
        except ForehandError as error:
            raise CheckpointError(f"LeRobot's checkpoint {folder} cannot be used: {error}") from error
        policy.origin = {"checkpoint": origin_of(folder), "fingerprint": _fingerprint(folder), **policy.origin}
        return policy


def _find(folder: Path) -> Path | None:
    """The folder with LeRobot's files, in ``folder`` or below; configurations of other libraries have no features."""
    for place in PLACES:
        with contextlib.suppress(OSError, ValueError):
            found = read_json(folder / place / CONFIG)
            if isinstance(found, dict) and {"type", "input_features"} <= set(found):
                return folder / place
    return None


def _load(folder: Path, device: str, rate: float | None) -> Any:
    from forehand.learning.budget import build_within
    from forehand.learning.weights import read_shapes
    from forehand_plugins.lerobot.contracts import camera_keys, read_contract
    from forehand_plugins.lerobot.policy import LeRobotPolicy

    stated = _read(folder / CONFIG)
    if stated.get("type") == "forehand":
        if rate is not None:
            raise ConfigurationError("policy.rate: it states its control rate itself. Leave the option out.")
        return _load_composed(folder, stated).to(device).eval()
    config = _read_config(stated)
    contract = read_contract(config, _read(folder / TRAINING), rate)

    def build() -> LeRobotPolicy:
        return LeRobotPolicy(
            contract=contract,
            config=config,
            module=_with_weights(config, folder),
            make_processors=lambda device: _processors(config, folder, device),
            cameras=camera_keys(config),
        )

    policy = build_within(build, read_shapes(folder / WEIGHTS)).to(device).eval()
    policy.origin = _training_ranges(policy)
    return policy


def _read(path: Path) -> dict[str, Any]:
    """The mapping in a JSON file; {} where there is no file."""
    if not path.is_file():
        return {}
    try:
        found = read_json(path)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path.name} cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise CheckpointError(f"{path.name} holds no mapping.")
    return found


def _load_composed(folder: Path, stated: dict[str, Any]) -> Any:
    """A composed policy that LeRobot trained, by what the distribution ``lerobot_policy_forehand`` saved of it."""
    from safetensors.torch import load_model
    from torch import nn

    from forehand.learning.budget import build_within
    from forehand.learning.checkpoint import build_policy, training_ranges
    from forehand.learning.weights import read_shapes

    try:
        composition, statistics = (json.loads(stated[name]) for name in ("composition", "statistics"))
        contract = Contract.from_json(stated["contract"])
    except (KeyError, TypeError, ValueError, ForehandError) as error:
        raise CheckpointError(f"its {CONFIG} does not say what the policy is made of: {error!r}") from error
    policy = build_within(lambda: build_policy(composition, contract, statistics), read_shapes(folder / WEIGHTS))
    holder = nn.Module()
    holder.policy = policy
    try:
        load_model(holder, folder / WEIGHTS)
    except RuntimeError as error:
        raise CheckpointError(f"its weights do not fit its {CONFIG}: {error}") from error
    policy.origin = training_ranges(statistics)
    return policy


def _read_config(stated: dict[str, Any]) -> Any:
    """The ``PreTrainedConfig`` that ``config.json`` holds, on the CPU."""
    import draccus
    from lerobot.configs import PreTrainedConfig

    from forehand_plugins.lerobot.configuration import checked, policy_types

    stated = dict(stated)
    kind = stated.pop("type", None)
    if kind not in policy_types():
        raise CheckpointError(
            f"its {CONFIG} has the type {kind!r}, which no policy of LeRobot here has. Install the distribution "
            f"lerobot_policy_… that offers it."
        )
    if stated.get("use_peft"):
        raise CheckpointError("it is a PEFT adapter. Merge it into its base model first.")
    return checked(kind, lambda: draccus.decode(PreTrainedConfig.get_choice_class(kind), {**stated, "device": "cpu"}))


def _with_weights(config: Any, folder: Path) -> Any:
    """The ``PreTrainedPolicy`` with the folder's weights; on the meta device without them."""
    import torch
    from lerobot.policies.factory import get_policy_class
    from lerobot.policies.pretrained import PreTrainedPolicy

    from forehand_plugins.lerobot.configuration import FROM_SCRATCH, checked, make_module

    if torch.get_default_device().type == "meta":
        return make_module(config)
    kind = get_policy_class(config.type)
    own_loading = kind.from_pretrained.__func__ is not PreTrainedPolicy.from_pretrained.__func__
    bare = copy.deepcopy(config)
    for name, value in FROM_SCRATCH.items():
        if hasattr(bare, name):
            setattr(bare, name, value)
    with contextlib.redirect_stdout(sys.stderr):  # LeRobot prints, and commands' output is read by scripts
        try:
            strict = {} if own_loading else {"strict": True}
            return checked(config.type, lambda: kind.from_pretrained(folder, config=bare, **strict))
        except RuntimeError as error:
            raise CheckpointError(f"its weights do not fit its {CONFIG}: {error}") from error


def _processors(config: Any, folder: Path, device: str) -> Any:
    """LeRobot's saved pre- and postprocessor, for policies on ``device``; steps of LeRobot and its plugins only."""
    from lerobot.policies.factory import make_pre_post_processors

    for name in PROCESSORS:
        for step in _read(folder / name).get("steps", ()):
            module = str(step.get("class", "lerobot"))
            if not module.startswith("lerobot"):
                raise CheckpointError(f"{name} names the step {module!r}, which is none of LeRobot's or of its plugins.")
    config.device = device
    try:
        return make_pre_post_processors(
            config,
            pretrained_path=str(folder),
            preprocessor_overrides={"device_processor": {"device": device}},
        )
    except (KeyError, ValueError, TypeError, ImportError, OSError) as error:
        raise ConfigurationError(f"its processors cannot be made: {error}") from error


def _training_ranges(policy: Any) -> dict[str, Any]:
    """The ranges of states and actions that the preprocessor's statistics state."""
    from forehand.learning.checkpoint import training_ranges

    before, _ = policy.processors("cpu")
    for step in before.steps:
        if stats := getattr(step, "stats", None):
            return training_ranges(stats)
    return {}


def _fingerprint(folder: Path) -> str:
    """A short name for what the policy does: the content of its configuration, weights and processors."""
    digest = hashlib.blake2b(digest_size=16)
    states = sorted(path.name for path in folder.glob("policy_*processor*"))
    for name in (CONFIG, WEIGHTS, *states):
        with (folder / name).open("rb") as file:
            digest.update(hashlib.file_digest(file, hashlib.blake2b).digest())
    return digest.hexdigest()
