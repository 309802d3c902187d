"""Environment ``gymnasium``: environments of Gymnasium that cannot be installed beside a learner."""

from __future__ import annotations

import re
from collections.abc import Sequence

from forehand.environments import EnvironmentSpec
from forehand.environments.specification import normal_name
from forehand.errors import ConfigurationError

CHECK = """
import gymnasium, importlib
for module in {modules!r}:
    importlib.import_module(module)
for id in {ids!r}:
    environment = gymnasium.make(id)
    environment.reset(seed=0)
    environment.close()
"""


def gymnasium(
    packages: Sequence[str] = ("gymnasium[mujoco]",), modules: Sequence[str] = (), ids: Sequence[str] = ()
) -> EnvironmentSpec:
    """What the environments of ``packages`` need, as pip takes them.

    modules: what registers the environments, imported by the check; ids: environments that the check makes and resets.
    """
    if not packages:
        raise ConfigurationError("options.packages names none; give what pip is to install, such as [gym-pusht].")
    named = [normal_name(re.split(r"[\[<>=!~;@ ]", package, maxsplit=1)[0]) for package in packages]
    return EnvironmentSpec(
        requirements=tuple(packages),
        check=CHECK.format(modules=list(modules), ids=list(ids)),
        system=("libegl1", "libgles2", "libgl1-mesa-dri"),
        versions=tuple(dict.fromkeys([*named, "gymnasium"])),
    )
