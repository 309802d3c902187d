"""Checkout of ``calvin_env``: where it is, and of which commit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from forehand.environments import MadeEnvironment, find
from forehand.errors import ConfigurationError

NAME = "calvin"
MODULE = Path("calvin_env/envs/play_table_env.py")
GET = "git clone https://github.com/mees/calvin_env, then forehand env make calvin +options.checkout=<its folder>"


def find_checkout(checkout: str | Path | None, environment: str | None = None) -> Path:
    """The folder of ``calvin_env``'s repository, also where ``checkout`` is one of ``mees/calvin`` around it.

    None: the one that ``environment`` was made with; without that, the environment of this Python. Raises
    :class:`ConfigurationError` where there is none.
    """
    if checkout is None:
        made = MadeEnvironment.read(Path(sys.prefix)) if environment is None else find(environment)
        checkout = None if made is None else made.options.get("checkout")
    if checkout is None:
        raise ConfigurationError(f"It is not stated where calvin_env is (checkout=…). Get it: {GET}")
    folder = Path(checkout).expanduser().absolute()
    for candidate in (folder, folder / "calvin_env"):
        if (candidate / MODULE).exists() and (candidate / "conf").exists():
            return candidate
    raise ConfigurationError(f"{folder} is no checkout of calvin_env: it has no {MODULE} and no conf. Get it: {GET}")


def commit(folder: Path) -> str:
    """The commit of a checkout, with ``+`` where files differ from it; "unknown" where git does not say."""
    describe = ["git", "-C", str(folder), "describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*"]
    done = subprocess.run(describe, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else "unknown"
