"""``forehand keys``: keys of this computer, of allowed clients and of trusted hosts."""

from __future__ import annotations

from collections.abc import Mapping

from omegaconf import DictConfig

from forehand.errors import ConfigurationError
from forehand.wire import Keyring


def keys(config: DictConfig) -> None:
    """Generate, allow, trust or revoke a key, at most one of these; then print the keys."""
    asked = [what for what in ("generate", "allow", "trust", "revoke") if config[what]]
    if len(asked) > 1 or (config.key is not None) != (asked in (["allow"], ["trust"])):
        raise ConfigurationError(
            "One thing at a time: generate=true, allow=NAME key=…, trust=HOST key=…, revoke=NAME, or nothing, to look."
        )
    keyring = Keyring()
    match asked:
        case ["generate"]:
            keyring.make()
        case ["allow"]:
            keyring.allow(str(config.allow), str(config.key))
        case ["trust"]:
            keyring.know(str(config.trust), str(config.key))
        case ["revoke"]:
            keyring.remove(str(config.revoke))
    print(f"this computer  {keyring.public or 'has no keys yet: forehand keys generate=true'}")
    _list("may connect here", keyring.allowed, "nobody")
    _list("are known by their key", keyring.known, "no hosts")
    for problem in (problem for which in ("allowed", "known") for problem in keyring.unreadable(which)):
        print(f"\ncounts for nobody: {problem} Correct or remove it.")


def _list(sentence: str, entries: Mapping[str, str], none: str) -> None:
    print(f"\n{sentence}: {len(entries) if entries else none}")
    width = max(map(len, entries), default=0)
    for name, key in entries.items():
        print(f"  {name:<{width}}  {key}")
