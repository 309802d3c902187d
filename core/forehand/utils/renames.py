"""Configuration keys, values and kinds of parts that were renamed: old ones keep working, and each use is logged once.

:data:`KEYS` maps an old dotted path to the new one, as they stand on a command line: ``policy.*`` is what a checkpoint's
``config.yaml`` holds. A path stands for everything below it, ``*`` for any one key (the n-th of the new path is what the
n-th of the old one stood for), and ``run:`` before a path limits it to one command. Those of :data:`PARTS` are options of
one part. :data:`VALUES` maps the present path of a key to its values' old and new spellings; :data:`KINDS` maps kinds of
parts.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator, Mapping
from typing import Any

from forehand.errors import ConfigurationError

log = logging.getLogger(__name__)

KEYS: dict[str, str] = {
    "recipe.shares": "recipe.dataset_weights",
    "recipe.gripper_events": "recipe.gripper_oversampling",
    "recipe.gradient_norm": "recipe.max_grad_norm",
    "recipe.accumulate": "recipe.gradient_accumulation_steps",
    "recipe.keep": "recipe.keep_checkpoints",
    "train:init": "init_from",
    "train:fresh": "reinitialize",
    "policy.shift": "policy.random_shift",
    "policy.hide": "policy.token_dropout",
    "policy.backbone.std": "policy.backbone.init_std",
    "policy.world_model.share": "policy.world_model.loss_fraction",
    "policy.world_model.cells": "policy.world_model.grid",
    "execution": "chunking",
    "demo:evaluation.execution": "evaluation.chunking",
    "serve:doors.*.keys": "adapters.*.key_map",
    "serve:doors": "adapters",
    "before": "preceding_tasks",
    "benchmark.options.before": "benchmark.options.preceding_tasks",
    "robot.options.look": "robot.options.render",
    "robot.options.portrait": "robot.options.overview_camera",
    "eval:policy.batch": "policy.max_batch",
    "eval:videos": "num_videos",
    "demo:evaluation.videos": "evaluation.num_videos",
    "gallery:stills": "image_height",
    "gallery:films": "video_height",
    "run:watchdog": "policy_timeout",
    "run:robot_watchdog": "command_timeout",
    "run:robot_stop": "stop_after",
    "run:patience": "reconnect_timeout",
    "run:live": "rerun",
    "run:record": "record_to",
    "serve:absence": "disconnect_timeout",
    "robot:release": "lease_timeout",
    "keys:make": "generate",
    "keys:know": "trust",
    "keys:remove": "revoke",
}

PARTS: dict[str, str] = {
    "policy.backbone.std": "seer/backbone",
    "policy.world_model.share": "appearance_flow",
    "policy.world_model.cells": "appearance_flow",
}

KINDS: dict[str, str] = {"execution": "chunking", "door": "adapter"}

VALUES: dict[str, dict[str, str]] = {
    "plugins:kind": KINDS,
    "robot.options.render": {"pretty": "high"},
    "eval:instruction": {"own": "task", "other": "counterfactual"},
}

Path = tuple[Any, ...]


@functools.cache
def log_once(message: str) -> None:
    """A warning that a process logs the first time only."""
    log.warning("%s", message)


def renamed_kind(kind: str) -> str:
    """The present name of a kind of part."""
    if kind in KINDS:
        log_once(f"The kind of part {kind!r} is now called {KINDS[kind]!r}; write that.")
    return KINDS.get(kind, kind)


def renamed_key(key: str, command: str | None = None) -> str:
    """The present name of a dotted ``key``, as an option of ``command`` or anywhere."""
    return ".".join(map(str, _renamed(tuple(key.split(".")), command)))


def renamed_value(key: str, value: Any, command: str | None = None) -> Any:
    """The present spelling of the ``value`` of a dotted ``key``, which is a present name."""
    return _renamed_value(tuple(key.split(".")), value, command)


def renamed_keys(config: Mapping[Any, Any], under: str = "", command: str | None = None) -> dict[Any, Any]:
    """A nested mapping with present names and values, in its order; ``under``: the dotted path at which it stands.

    Raises :class:`ConfigurationError` where both names of a key are given.
    """
    root = tuple(under.split(".")) if under else ()
    result: dict[Any, Any] = {}
    for path, value, part in _leaves(config, root):
        present = _renamed(path, command, part)
        *parents, last = present[len(root) :]
        place = result
        for key in parents:
            place = place.setdefault(key, {})
            if not isinstance(place, dict):
                raise given_twice(".".join(map(str, path)))
        if last in place:
            raise given_twice(".".join(map(str, path)))
        place[last] = _renamed_value(present, value, command)
    return result


def former_keys(config: Mapping[Any, Any], command: str | None = None) -> Iterator[tuple[Path, Path, Any]]:
    """Old path, present path, and present value of each key that a nested mapping holds under a former name."""
    for path, value, part in _leaves(config, ()):
        if (present := _renamed(path, command, part)) != path:
            yield path, present, _renamed_value(present, value, command)


def given_twice(key: str) -> ConfigurationError:
    """The error for a dotted ``key`` of which both names are given."""
    return ConfigurationError(f"{key} is given by its old name and by its present one. Keep one.")


def _leaves(node: Mapping[Any, Any], path: Path) -> Iterator[tuple[Path, Any, Any]]:
    """Path, value, and the name of the part whose option it is, if any."""
    for key, value in node.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, (*path, key))
        else:
            yield (*path, key), value, node.get("name")


def _renamed(path: Path, command: str | None, part: Any = None) -> Path:
    for rule, target in KEYS.items():
        pattern = _matched(rule, path, command)
        if pattern is None or part not in (None, PARTS.get(rule, part)):
            continue
        stood_for = [key for p, key in zip(pattern, path, strict=False) if p == "*"]
        head = tuple(stood_for.pop(0) if key == "*" else key for key in target.split("."))
        log_once(f"{'.'.join(map(str, path[: len(pattern)]))} is now called {'.'.join(map(str, head))}; write that.")
        return (*head, *path[len(pattern) :])
    return path


def _renamed_value(path: Path, value: Any, command: str | None) -> Any:
    for rule, spellings in VALUES.items():
        pattern = _matched(rule, path, command)
        if pattern is not None and len(pattern) == len(path) and isinstance(value, str) and value in spellings:
            key = ".".join(map(str, path))
            log_once(f"{key}={value} is now called {key}={spellings[value]}; write that.")
            return spellings[value]
    return value


def _matched(rule: str, path: Path, command: str | None) -> list[str] | None:
    """The keys of ``rule`` that stand for the first ones of ``path``; None where it is about others."""
    limit, _, dotted = rule.rpartition(":")
    pattern = dotted.split(".")
    matches = len(path) >= len(pattern) and all(p in ("*", str(k)) for p, k in zip(pattern, path, strict=False))
    return pattern if matches and limit in ("", command) else None
