"""This computer's keys, and whose keys it trusts: small text files that only their owner can read.

Every computer has one key pair. Its public key is told to others by hand, once, as with ssh; its secret key never leaves
its file. In the folder (``$FOREHAND_KEYS``, else ``~/.config/forehand/keys``):

- ``secret``: this computer's secret key;
- ``allowed``: a line ``name key`` for each computer that may connect to endpoints here;
- ``known``: a line ``host key`` for each computer whose endpoints are trusted here (``none``: without encryption).

Keys are 64 hexadecimal digits: Curve25519, as in CurveZMQ (https://rfc.zeromq.org/spec/26).
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path

import zmq
from zmq.utils import z85

from forehand.errors import ConfigurationError

FOLDER_VARIABLE = "FOREHAND_KEYS"
CLEAR = "none"
"""Stands for the key of a host that is spoken to without encryption, because someone said so."""

_KEY = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"\S+")


class Keyring:
    """The keys in ``folder``, read anew at every look, so that a change holds at once."""

    def __init__(self, folder: Path | None = None) -> None:
        stated = os.environ.get(FOLDER_VARIABLE)
        settings = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
        self.folder = folder or (Path(stated) if stated else settings / "forehand" / "keys")

    @property
    def secret(self) -> bytes | None:
        """This computer's secret key, 32 bytes, or None if none was made. Never print it."""
        path = self.folder / "secret"
        if not path.exists():
            return None
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise ConfigurationError(f"Others can read {path}, which must stay secret: chmod 600 {path}")
        return bytes.fromhex(_checked(path.read_text().strip(), f"{path}, which"))

    @property
    def public(self) -> str | None:
        """What others have to know of this computer, or None if it has no keys."""
        secret = self.secret
        return None if secret is None else z85.decode(zmq.curve_public(z85.encode(secret))).hex()

    @property
    def allowed(self) -> Mapping[str, str]:
        """Public key by name: who may connect to this computer's endpoints."""
        return self._read("allowed")

    @property
    def known(self) -> Mapping[str, str]:
        """Public key by host or ``host:port``: whose endpoints this computer trusts."""
        return self._read("known")

    def allows(self, key: str) -> bool:
        """Whether the owner of the public ``key`` may connect: an allowed computer, or this one itself."""
        return key in self.allowed.values() or key == self.public

    def key_of(self, host: str, port: str) -> str | None:
        """The public key that an endpoint at ``host`` has to prove it owns, or None where none is known."""
        known = self.known
        return known.get(f"{host}:{port}") or known.get(host)

    def make(self) -> str:
        """Make this computer's key pair; its public key. Keys that exist are never replaced."""
        if self.secret is not None:
            raise ConfigurationError(
                f"This computer has keys already, in {self.folder}. Others know it by them; delete "
                f"{self.folder / 'secret'} first if you really want new ones."
            )
        _, secret = zmq.curve_keypair()
        self._write("secret", z85.decode(secret).hex() + "\n")
        public = self.public
        assert public is not None
        return public

    def allow(self, name: str, key: str) -> None:
        """Let the owner of the public ``key`` connect to endpoints here; ``name`` is for people."""
        self._add("allowed", name, key)

    def know(self, host: str, key: str) -> None:
        """Trust endpoints at ``host`` (or ``host:port``) that own the public ``key``; ``none``: any, and in the clear."""
        self._add("known", host, key)

    def remove(self, name: str) -> None:
        """Forget an allowed or known computer; endpoints here hear no more of it within a second."""
        found = [which for which in ("allowed", "known") if name in self._read(which)]
        if not found:
            names = ", ".join([*self.allowed, *self.known]) or "nobody"
            raise ConfigurationError(f"There is no {name!r} in {self.folder}; there is {names}.")
        for which in found:
            entries = self._read(which)
            del entries[name]
            self._write_entries(which, entries)

    def _add(self, which: str, name: str, key: str) -> None:
        if not _NAME.fullmatch(name):
            raise ConfigurationError(f"A name has no blanks; this is {name!r}.")
        self._write_entries(which, {**self._read(which), name: self._entry(which, name, key.lower())})

    def _read(self, which: str) -> dict[str, str]:
        path = self.folder / which
        if not path.exists():
            return {}
        entries = {}
        for line in path.read_text().splitlines():
            name, _, key = line.partition("#")[0].strip().partition(" ")
            if name:
                entries[name] = self._entry(which, name, key.strip())
        return entries

    def _entry(self, which: str, name: str, key: str) -> str:
        if which == "known" and key == CLEAR:
            return key
        return _checked(key, f"the key of {name!r} ({self.folder / which})")

    def _write_entries(self, which: str, entries: Mapping[str, str]) -> None:
        self._write(which, "".join(f"{name} {key}\n" for name, key in entries.items()))

    def _write(self, which: str, text: str) -> None:
        """Through a file of our own that takes the place of the old one: readers see all of it or nothing."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = self.folder / f".{which}.{os.getpid()}"
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(text)
        temporary.replace(self.folder / which)


def _checked(key: str, whose: str) -> str:
    """Without the key in the message: it may be a secret one, pasted by mistake."""
    if not _KEY.fullmatch(key):
        raise ConfigurationError(f"A key is 64 hexadecimal digits; {whose} is not. forehand keys prints this computer's.")
    return key
