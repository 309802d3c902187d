"""Key files: this computer's key pair and its trusted public keys, readable by their owner only.

Every computer has one key pair. Its public key is given to others by hand, once, as with ssh; its secret key never leaves
its file. In the folder (``$FOREHAND_KEYS``, else ``~/.config/forehand/keys``):

- ``secret``: this computer's secret key;
- ``allowed``: a line ``name key`` for each computer that may connect to endpoints here;
- ``known``: a line ``host key`` for each computer whose endpoints are trusted here (``none``: without encryption).

Lines that begin with ``#`` are comments. A line that cannot be read is ignored.

Keys are 64 hexadecimal digits: Curve25519, as in CurveZMQ (https://rfc.zeromq.org/spec/26).
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import zmq
from zmq.utils import z85

from forehand.errors import AddressUnavailable, ConfigurationError
from forehand.utils.addresses import normalized, with_port

FOLDER_VARIABLE = "FOREHAND_KEYS"
CLEAR = "none"
"""In place of the key of a host whose connections are, on purpose, not encrypted."""

_KEY = re.compile(r"[0-9a-f]{64}")
_NO_KEY = "A key is 64 hexadecimal digits; {} is not. forehand keys prints this computer's."
"""Without the key in the message: it may be a secret one, pasted by mistake."""


@dataclass(frozen=True)
class _Line:
    """A line of a list as it stands, and what it says: a name and its key, or what is wrong; neither for a comment."""

    text: str
    name: str | None = None
    key: str | None = None
    problem: str | None = None


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
        secret = path.read_text("utf-8", errors="replace").strip()
        if not _KEY.fullmatch(secret):
            raise ConfigurationError(_NO_KEY.format(f"{path}, which should hold this computer's,"))
        return bytes.fromhex(secret)

    @property
    def public(self) -> str | None:
        """The public key of this computer (hex), or None if it has no keys."""
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

    def unreadable(self, which: str) -> list[str]:
        """What is wrong with each line of the list ``allowed`` or ``known`` that cannot be read."""
        return [line.problem for line in self._lines(which) if line.problem]

    def key_of(self, host: str, port: str) -> str | None:
        """The public key that an endpoint at ``host`` has to prove it owns, or None where none is known.

        Raises :class:`ConfigurationError` where a line about it cannot be read: nothing is spoken in the clear for that.
        """
        lines = {line.name: line for line in self._lines("known")}
        for place in (normalized(with_port(host, port)), normalized(host)):
            if line := lines.get(place):
                if line.problem:
                    raise ConfigurationError(line.problem)
                return line.key
        return None

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
        """Remove an allowed or known computer; endpoints here end its connections within a second."""
        found = False
        for which in ("allowed", "known"):
            lines = self._lines(which)
            kept = [line for line in lines if line.name != (_place(name) or name if which == "known" else name)]
            if len(kept) < len(lines):
                found = True
                self._write(which, _text(kept))
        if not found:
            names = ", ".join([*self.allowed, *self.known]) or "nobody"
            raise ConfigurationError(f"There is no {name!r} in {self.folder}; there is {names}.")

    def _add(self, which: str, name: str, key: str) -> None:
        if not name or " " in name or name.startswith("#") or not name.isprintable():
            raise ConfigurationError(f"A name can be printed, has no blanks and no '#' in front; this is {name!r}.")
        line = self._line(which, f"{name} {key.lower()}")
        if line.problem:
            raise ConfigurationError(line.problem)
        others = [other for other in self._lines(which) if other.name != line.name]
        self._write(which, _text([*others, _Line(f"{line.name} {line.key}")]))

    def _read(self, which: str) -> dict[str, str]:
        return {line.name: line.key for line in self._lines(which) if line.name and line.key}

    def _lines(self, which: str) -> list[_Line]:
        path = self.folder / which
        if not path.exists():
            return []
        return [self._line(which, text) for text in path.read_text("utf-8-sig", errors="replace").splitlines()]

    def _line(self, which: str, text: str) -> _Line:
        name, _, key = " ".join(text.split()).partition(" ")
        if not name or name.startswith("#"):
            return _Line(text)
        key = key.partition("#")[0].strip()
        place = _place(name) if which == "known" else name
        if place is None:
            return _Line(text, name, problem=f"{name!r} ({self.folder / which}) is no host. Write HOST or HOST:PORT.")
        if not _KEY.fullmatch(key) and not (which == "known" and key == CLEAR):
            return _Line(text, place, problem=_NO_KEY.format(f"the key of {name!r} ({self.folder / which})"))
        return _Line(text, place, key)

    def _write(self, which: str, text: str) -> None:
        """Through a file of our own that takes the place of the old one: readers see all of it or nothing."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = self.folder / f".{which}.{os.getpid()}"
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
        temporary.replace(self.folder / which)


def _text(lines: list[_Line]) -> str:
    return "".join(f"{line.text}\n" for line in lines)


def _place(name: str) -> str | None:
    """``name`` as a host, or None if it is none."""
    try:
        return normalized(name)
    except AddressUnavailable:
        return None
