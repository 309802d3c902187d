"""``forehand keys``: which computers know each other."""

from __future__ import annotations

from collections.abc import Mapping

from omegaconf import DictConfig

from forehand.errors import ConfigurationError
from forehand.wire import Keyring


def keys(config: DictConfig) -> None:
    """Do what is asked, one thing at a time; then say how things stand."""
    asked = [what for what in ("make", "allow", "know", "remove") if config[what]]
    if len(asked) > 1 or (config.key is not None) != (asked in (["allow"], ["know"])):
        raise ConfigurationError(
            "One thing at a time: make=true, allow=NAME key=…, know=HOST key=…, remove=NAME, or nothing, to look."
        )
    keyring = Keyring()
    match asked:
        case ["make"]:
            keyring.make()
        case ["allow"]:
            keyring.allow(str(config.allow), str(config.key))
        case ["know"]:
            keyring.know(str(config.know), str(config.key))
        case ["remove"]:
            keyring.remove(str(config.remove))
    print(f"this computer  {keyring.public or 'has no keys yet: forehand keys make=true'}")
    _list("may connect here", keyring.allowed, "nobody")
    _list("are known by their key", keyring.known, "no hosts")


def _list(sentence: str, entries: Mapping[str, str], nobody: str) -> None:
    print(f"\n{sentence}: {nobody if not entries else len(entries)}")
    width = max(map(len, entries), default=0)
    for name, key in entries.items():
        print(f"  {name:<{width}}  {key}")
