"""Making, checking and removing environments."""

from __future__ import annotations

import hashlib
import platform
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Any

from forehand.environments.distributions import EXTRA, copy_distribution, requirements_of, source_trees
from forehand.environments.location import folder_of
from forehand.environments.made import RECORD, MadeEnvironment, executable
from forehand.environments.specification import EnvironmentSpec, read_lock
from forehand.environments.uv import EnvironmentFailed, call_uv, compile_lock, installed_packages
from forehand.errors import ConfigurationError
from forehand.plugins import registry
from forehand.utils.exclusive import exclusive

FOREHAND = "forehand"
VIRTUAL = "pyvenv.cfg"


@dataclass(frozen=True)
class Plan:
    """An environment as it is to be: its specification, the plugin that states it, and the folder."""

    name: str
    spec: EnvironmentSpec
    distributions: tuple[str, ...]
    folder: Path
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, name: str, parent: str | Path | None = None, options: Mapping[str, Any] | None = None) -> Plan:
        """The plan of the registered environment ``name`` in the folder ``parent``, by default the user's."""
        part = registry().part("environment", name)
        spec: EnvironmentSpec = registry().create("environment", name, **(options or {}))
        owners = [plugin.distribution for plugin in registry().plugins() if plugin.name == part.plugin]
        distributions = tuple(dict.fromkeys([FOREHAND, *owners]))
        return cls(part.name, spec, distributions, folder_of(part.name, parent), dict(options or {}))

    @property
    def requirements(self) -> list[str]:
        """Everything that is installed: of the simulator, and of a robot host that records."""
        own = [line for name in self.distributions for line in requirements_of(name, EXTRA if name == FOREHAND else None)]
        return list(dict.fromkeys([*self.spec.requirements, *own]))

    @property
    def asked(self) -> dict[str, Any]:
        """What decides whether a made environment is up to date."""
        lock = self.spec.lock
        return {
            "requirements": self.requirements,
            "lock": hashlib.sha256(lock.read_bytes()).hexdigest() if lock and lock.exists() else None,
            "distributions": {name: metadata.version(name) for name in self.distributions},
            "source_trees": source_trees(self.distributions),
        }

    def state(self) -> str:
        """``ready``, ``outdated``, ``unfinished`` or ``not made``."""
        made = MadeEnvironment.read(self.folder)
        if made is None:
            return "unfinished" if self.folder.exists() else "not made"
        return "ready" if (made.asked, made.options) == (self.asked, self.options) else "outdated"


def make(plan: Plan, say: Callable[[str], None], again: bool = False) -> MadeEnvironment:
    """Make the environment of ``plan``, or make it anew, and check it; raises :class:`EnvironmentFailed`.

    say: called with what is being done. What was fetched is kept by uv, so that a second attempt goes faster. Where
    nothing has changed but the source tree that Forehand runs from, only the reference to it is renewed, unless
    ``again``. A folder that is no virtual environment is refused.
    """
    plan.folder.parent.mkdir(parents=True, exist_ok=True)
    with exclusive(plan.folder.with_name(f".{plan.folder.name}.lock")) as free:
        if not free:
            raise EnvironmentFailed(f"Another process is making {plan.folder}. Wait for it.")
        made = MadeEnvironment.read(plan.folder)
        if made is not None and not again and _moved(made, plan):
            say(f"{plan.folder} is to run Forehand in {', '.join(plan.asked['source_trees'].values())}")
            _copy_distributions(plan)
            return _finish(replace(made, asked=plan.asked), plan.spec, say)
        return _make(plan, say)


def _moved(made: MadeEnvironment, plan: Plan) -> bool:
    """Whether ``made`` is what ``plan`` asks for, but for where the source trees of its distributions are."""
    there, here = dict(made.asked), plan.asked
    before, now = there.pop("source_trees", {}), here.pop("source_trees")
    return before != now and before.keys() == now.keys() and (there, made.options) == (here, plan.options)


def _make(plan: Plan, say: Callable[[str], None]) -> MadeEnvironment:
    folder, spec, python = plan.folder, plan.spec, executable(plan.folder)
    if folder.exists() and any(folder.iterdir()) and not (folder / VIRTUAL).exists():
        raise ConfigurationError(f"{folder} is there and is no environment; choose another folder=… or remove it.")
    for missing in missing_system_packages(spec):
        say(f"the system package {missing} seems to be missing: apt-get install {missing}")
    (folder / RECORD).unlink(missing_ok=True)
    say(f"making {folder} with Python {spec.python}")
    call_uv("Making the environment", "venv", "--quiet", "--clear", "--no-project", "--python", spec.python, folder)
    locked = read_lock(spec.lock) if spec.lock and spec.lock.exists() else {}
    say(f"installing {', '.join(spec.requirements)}" + (f", in {len(locked)} locked versions" if locked else ""))
    constraints = ("--constraint", str(spec.lock)) if locked else ()
    call_uv("Installing", "pip", "install", "--python", python, *constraints, *plan.requirements)
    _copy_distributions(plan)
    packages = installed_packages(python)
    if unlocked := sorted(packages.keys() - locked.keys() - set(plan.distributions)) if locked else []:
        say(f"not in the lock: {', '.join(f'{name} {packages[name]}' for name in unlocked)}")
    version = _run(python, "import platform; print(platform.python_version())").strip()
    return _finish(
        MadeEnvironment(folder, plan.name, version, packages, plan.options, spec.versions, plan.asked), spec, say
    )


def _copy_distributions(plan: Plan) -> None:
    """Put Forehand and the plugin that states the environment into it."""
    folder = plan.folder
    (site,) = folder.glob("lib/python*/site-packages") if (folder / "lib").exists() else [folder / "Lib/site-packages"]
    for name in plan.distributions:
        copy_distribution(name, site)


def _finish(made: MadeEnvironment, spec: EnvironmentSpec, say: Callable[[str], None]) -> MadeEnvironment:
    """Check ``made`` and keep its record."""
    say("checking it")
    check(made, spec)
    made.write()
    return made


def check(made: MadeEnvironment, spec: EnvironmentSpec) -> None:
    """Run the specification's check in the environment; raises :class:`EnvironmentFailed` with its last lines."""
    try:
        _run(made.executable, f"import forehand.wire\n{spec.check}")
    except EnvironmentFailed as failure:
        system = missing_system_packages(spec)
        hint = f" Perhaps since {', '.join(system)} are missing: apt-get install {' '.join(system)}" if system else ""
        raise EnvironmentFailed(f"The environment {made.name!r} does not work: {failure}{hint}") from None


def write_lock(plan: Plan) -> int:
    """Resolve everything anew and write the plugin's lock; returns the number of packages."""
    lock = plan.spec.lock
    if lock is None:
        raise ConfigurationError(f"The environment {plan.name!r} names no lock; give its EnvironmentSpec one.")
    lowest = re.search(r"\d+\.\d+", plan.spec.python)
    text = compile_lock(plan.requirements, lowest[0] if lowest else ".".join(platform.python_version_tuple()[:2]))
    head = f"# Versions of the environment {plan.name!r}, written by forehand env lock {plan.name}.\n"
    lock.write_text(head + text, encoding="utf-8")
    return len(read_lock(lock))


def remove(folder: Path) -> None:
    """Remove the environment in ``folder``; a folder that is none is refused with :class:`ConfigurationError`."""
    if not (folder / VIRTUAL).exists():
        raise ConfigurationError(f"There is no environment in {folder}.")
    shutil.rmtree(folder)


def missing_system_packages(spec: EnvironmentSpec) -> list[str]:
    """Those of the specification's Debian packages that are not installed; [] where that is unknown."""
    query = shutil.which("dpkg-query")
    if query is None:
        return []
    shown = ["--show", "--showformat", "${db:Status-Status}"]
    states = {p: subprocess.run([query, *shown, p], capture_output=True, text=True).stdout for p in spec.system}
    return [package for package, state in states.items() if state != "installed"]


def _run(python: Path, program: str) -> str:
    """What ``program`` prints; run apart from this process's paths."""
    done = subprocess.run([python, "-I", "-c", program], capture_output=True, text=True)
    if done.returncode:
        lines = (done.stderr.strip() or f"status {done.returncode}").splitlines()
        raise EnvironmentFailed("\n".join(lines[-4:]))
    return done.stdout
