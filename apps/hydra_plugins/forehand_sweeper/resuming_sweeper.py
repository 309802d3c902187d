"""Grid sweep that goes on where it stopped."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict
from yaml import YAMLError

if TYPE_CHECKING:  # Hydra imports this file in every application; the rest is for sweeps of forehand
    from forehand_apps.jobs.sweep import SweepJob


class ResumingSweeper(Sweeper):
    """Hydra sweeper over every combination of comma-separated values, like Hydra's own.

    Each job's folder follows from its values, so that the same sweep finds its jobs again: those that have finished are
    left out, those that run already are left alone, all others go to the launcher. A table in the end says what has
    become of each, and the exit status is 1 unless all have finished.
    params: further options to sweep, {recipe.seed: "0,1,2"}. jobs: a YAML file of named jobs, {name: [option, …]}, each
    of which gets the command line's options, too, and a folder of its name.
    """

    def __init__(self, params: Mapping[str, Any] | None = None, jobs: str | None = None) -> None:
        self.params, self.jobs = dict(params or {}), jobs
        self.config: DictConfig | None = None
        self.hydra_context: HydraContext | None = None
        self.launcher: Launcher | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take the configuration, and make the launcher."""
        from hydra.core.plugins import Plugins

        self.config, self.hydra_context = config, hydra_context
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        """Launch what is not done; raises SystemExit unless everything is in the end."""
        from forehand_apps.jobs.sweep import carry_out

        assert self.config is not None
        assert self.launcher is not None
        jobs = self._jobs([*(f"{key}={value}" for key, value in self.params.items()), *arguments])
        folder = Path(self.config.hydra.sweep.dir)
        folder.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(self.config, folder / "multirun.yaml")
        return carry_out(jobs, self.config, self.launcher)

    def _jobs(self, arguments: Sequence[str]) -> list[SweepJob]:
        from forehand_apps.cli.execution import check_options
        from forehand_apps.jobs.records import job_name
        from forehand_apps.jobs.sweep import SweepJob

        assert self.config is not None
        assert self.hydra_context is not None
        loader = self.hydra_context.config_loader
        parser = OverridesParser.create(config_loader=loader)
        given = any(str(o).startswith("hydra.sweep.subdir=") for o in self.config.hydra.overrides.hydra)
        jobs = []
        choices = [_choices(override) for override in parser.parse_overrides(list(arguments))]
        named = {"": list[str]()} if self.jobs is None else _read_jobs(Path(self.jobs))
        for number, (name, chosen) in enumerate(itertools.product(named, itertools.product(*choices))):
            overrides = [*(text for text, _ in chosen), *named[name]]
            varied = parser.parse_overrides([text for text, is_varied in chosen if is_varied])
            if not given:
                place = "/".join(filter(None, (name, job_name(varied) if varied or not name else "")))
                overrides.append(f"hydra.sweep.subdir='{place}'")
            config = loader.load_sweep_config(self.config, overrides)
            # Mistakes are found before anything starts.
            check_options(str(config.hydra.job.name), config, list(config.hydra.overrides.task))
            with open_dict(config.hydra.job):
                config.hydra.job.num = number
            folder = Path(str(config.hydra.sweep.dir)) / str(config.hydra.sweep.subdir)
            jobs.append(
                SweepJob(" ".join([*([name] if name else []), *(str(o.input_line) for o in varied)]), overrides, folder)
            )
        return jobs


def _read_jobs(path: Path) -> dict[str, list[str]]:
    """The named jobs of a file; raises HydraException for one that is not such."""
    try:
        found = OmegaConf.to_container(OmegaConf.load(path))
    except (OSError, ValueError, YAMLError) as error:
        raise HydraException(f"hydra.sweeper.jobs: {path} cannot be read: {error}") from error
    if not isinstance(found, dict) or not all(isinstance(options, list) for options in found.values()):
        raise HydraException(f"hydra.sweeper.jobs: {path} must be named lists of options, {{name: [key=value, …]}}.")
    return {str(name): [str(option) for option in options] for name, options in found.items()}


def _choices(override: Override) -> list[tuple[str, bool]]:
    """What an option may be in a job, and whether the sweep varies it."""
    if not override.is_sweep_override():
        return [(str(override.input_line), False)]
    if not override.is_discrete_sweep():
        raise HydraException(f"{override.input_line}: a sweep over every combination needs values, not an interval.")
    key = override.get_key_element()
    return [(f"{key}={value}", True) for value in override.sweep_string_iterator()]
