"""Statements about a source: what its numbers and pictures mean, and who says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from forehand.errors import ConfigurationError, nearest

OPTION = "stated by option"


@dataclass(frozen=True)
class Statement:
    """One fact about a source and its origin: the definition of the format, a file of the source, or an option.

    notice: whether the command prints it, since it is worth a look: it is assumed, or contradicts the source.
    """

    value: Any
    origin: str
    notice: bool = False


class Statements:
    """Everything an importer asserts about its source; nothing is guessed.

    ::

        statements = Statements("zarr")
        rate = statements.ask("rate", rate, "control steps a second, in Hz")
        sense = statements.ask("gripper", gripper, "what a larger number means", ("open", "closed"))
        statements.know("image order", "RGB", "definition of the format")
        statements.require()   # one error that lists all that must be given
    """

    def __init__(self, importer: str) -> None:
        self._importer = importer
        self._made: dict[str, Statement] = {}
        self._missing: list[str] = []

    def know(self, name: str, value: Any, origin: str, *, notice: bool = False) -> Any:
        """Note what the format defines or the source itself says; returns ``value``. notice: say it to the user, too."""
        self._made[name] = Statement(value, origin, notice)
        return value

    def assume(self, name: str, value: Any, reason: str) -> Any:
        """Note what this very source does not say, although its like do, for a notice, too. Returns ``value``."""
        return self.know(name, value, f"assumed: {reason}", notice=True)

    def ask(self, option: str, value: Any, meaning: str, choices: Sequence[Any] | None = None) -> Any:
        """Note what an option states; without a value, :meth:`require` will name it. Returns ``value``.

        choices: the values it may have; :class:`ConfigurationError` for another.
        """
        if value is None:
            among = f": {', '.join(map(str, choices))}" if choices else ""
            self._missing.append(f"{option}=…  {meaning}{among}")
            return None
        if choices is not None and value not in choices:
            known = nearest(value, map(str, choices))
            raise ConfigurationError(f"{option}={value} is not known to the importer {self._importer!r}. {known}")
        self._made[option] = Statement(value, OPTION)
        return value

    def require(self) -> None:
        """Raise :class:`ConfigurationError` that lists all that neither the source nor an option states."""
        if self._missing:
            listing = "\n".join(f"  {line}" for line in self._missing)
            raise ConfigurationError(
                f"The source does not say the following, and it is not guessed. Give it to forehand import "
                f"{self._importer}:\n{listing}"
            )

    def made(self) -> Mapping[str, Statement]:
        """All of them by name."""
        return dict(self._made)

    def notices(self) -> list[str]:
        """What the user has to see, a line each."""
        return [f"{name}: {s.value} ({s.origin})" for name, s in self._made.items() if s.notice]

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Plain values for JSON."""
        return {name: {"value": s.value, "origin": s.origin} for name, s in self._made.items()}
