"""The embedded benchmarks as Gymnasium environments. Importing this module registers them:

- ``forehand/Tabletop-v0``: :class:`TabletopEnvironment`, 32 tasks and chains of five in environments A to D;
- ``forehand/TabletopBlocks-v0``: :class:`BlocksEnvironment`, three blocks to push, lift and stack.

``gymnasium.make("forehand_robots.gymnasium_env:forehand/Tabletop-v0")`` imports it by itself. A simulator is imported
only once an environment is made, and drawing begins with its first reset, so that vector environments may fork before.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector.utils import shared_memory
from numpy.typing import NDArray

from forehand import Benchmark, Episode, Field, Observation, Robot, registry
from forehand.errors import ConfigurationError, nearest

LONGEST = 256  # characters of an instruction
CHARACTERS = frozenset(string.ascii_letters + string.digits + string.punctuation + " ")
EPISODES_PER_TASK = 12  # that an environment draws from: enough for every variant and block of the benchmarks
CHAINS = 1000  # that it draws from

EnvObservation = dict[str, Any]


class Sentence(spaces.Text):
    """A sentence, of at most ``LONGEST`` characters, which may be empty.

    Asynchronous vector environments copy a plain Text out of shared memory once, and never again. This one is read as an
    array of strings (N,) that is a view of the memory itself, as images and numbers are.
    """

    def __init__(self) -> None:
        super().__init__(LONGEST, min_length=0, charset=CHARACTERS)


@shared_memory.read_from_shared_memory.register(Sentence)
def _read(space: Sentence, memory: Any, n: int = 1) -> NDArray[np.str_]:
    return np.frombuffer(memory.get_obj(), dtype=f"<U{LONGEST}", count=n)  # four bytes a character, as in memory


@shared_memory.write_to_shared_memory.register(Sentence)
def _write(space: Sentence, index: int, value: str, memory: Any) -> None:
    np.frombuffer(memory.get_obj(), dtype=f"<U{LONGEST}")[index] = value


class BenchmarkEnvironment(gymnasium.Env[EnvObservation, NDArray[np.float32]]):
    """A robot at the tasks of a benchmark: an instruction, or a chain of them in one scene.

    Observations hold each camera by its name (H, W, 3) uint8, ``state`` (S,) float32 and ``instruction``; actions (A,)
    are as in the robot's contract. The reward is 1 in the step that accomplishes an instruction, else 0. The last
    instruction's success terminates the episode; reaching ``max_steps`` truncates it. ``info`` holds ``success`` (all of
    them are accomplished), ``accomplished`` (how many are), and the present ``task`` and ``instruction``.

    ``tasks``: tasks to draw from, each an episode of its own; None: the benchmark's default trials, chains where it has
    them. Drawn are the first ``variety`` trials. ``max_steps``: for each instruction, instead of the benchmark's own.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 15}  # noqa: RUF012  (as in its base)

    def __init__(
        self,
        robot: Robot,
        benchmark: Benchmark,
        tasks: Sequence[str] | None,
        *,
        variety: int = EPISODES_PER_TASK,
        max_steps: int | None = None,
        render_mode: str | None = None,
    ) -> None:
        for name in tasks or ():
            if name not in benchmark.tasks:
                raise ConfigurationError(f"There is no task {name!r}. {nearest(name, list(benchmark.tasks))}")
        self.render_mode = render_mode
        self._robot, self._benchmark, self._connected = robot, benchmark, False
        self._tasks, self._variety, self._max_steps = tasks, variety, max_steps
        self._trial: tuple[Episode, ...] = ()
        self._accomplished = self._steps = 0
        self._last: Observation | None = None
        contract = robot.contract
        self.metadata = {**self.metadata, "render_fps": round(contract.rate)}
        self.observation_space = spaces.Dict(
            {
                **{c.name: spaces.Box(0, 255, (c.height, c.width, 3), np.uint8) for c in contract.cameras},
                "state": _box(contract.state),
                "instruction": Sentence(),
            }
        )
        self.action_space = _box(contract.action)

    @property
    def episode(self) -> Episode:
        """The present instruction: its task, sentence, seed and options."""
        if not self._trial:
            raise ConfigurationError("The environment was not reset yet, so it has no episode; call reset() first.")
        return self._trial[min(self._accomplished, len(self._trial) - 1)]

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[EnvObservation, dict[str, Any]]:
        """Start a new episode; ``seed`` determines the scene and, where ``options`` do not, the task.

        options: ``task``: its name; ``episode``: the number of the trial that ``forehand eval`` has under it with the
        same seed and tasks.
        """
        super().reset(seed=seed)
        if not self._connected:
            self._robot.connect()
            self._connected = True
        self._trial, self._accomplished = self._choose(seed, dict(options or {})), 0
        return self._begin(), self._info()

    def step(self, action: NDArray[np.float32]) -> tuple[EnvObservation, float, bool, bool, dict[str, Any]]:
        """One control step with ``action`` (A,); an invalid one raises the robot's own error before anything moves."""
        self._last = self._robot.step(np.asarray(action, np.float32))
        self._steps += 1
        success = bool(self._last.success)
        late = self._steps >= (self._max_steps or self.episode.max_steps)
        self._accomplished += success
        over = self._accomplished == len(self._trial)
        seen = self._begin() if success and not over else self._seen(self._last)
        return seen, float(success), over, late and not success, self._info()

    def render(self) -> NDArray[np.uint8] | None:
        """The first camera's latest image, (H, W, 3) uint8; None without a render mode or before the first reset."""
        if self.render_mode is None or self._last is None:
            return None
        return next(iter(self._last.images.values())).copy()

    def close(self) -> None:
        """Close the robot."""
        self._robot.close()
        self._connected = False

    def _choose(self, seed: int | None, options: dict[str, Any]) -> tuple[Episode, ...]:
        task, number = options.pop("task", None), options.pop("episode", None)
        if options or (task is not None and task not in self._benchmark.tasks) or (number is not None and number < 0):
            raise ConfigurationError(
                f"An environment is reset with the options episode, a number from 0, and task, one of "
                f"{', '.join(self._benchmark.tasks)}; not with {options or {'task': task, 'episode': number}}."
            )
        tasks = self._tasks if task is None else [str(task)]
        listing = int(self.np_random.integers(2**31)) if seed is None else seed
        if number is None:
            tasks = tasks and [str(self.np_random.choice(tasks))]
            number = self.np_random.integers(self._variety)
        return self._benchmark.trial(int(number), listing, tasks)

    def _begin(self) -> EnvObservation:
        self._steps = 0
        self._last = self._robot.reset(self.episode)
        return self._seen(self._last)

    def _seen(self, observation: Observation) -> EnvObservation:
        return {**observation.images, "state": observation.state, "instruction": self.episode.instruction}

    def _info(self) -> dict[str, Any]:
        return {
            "success": self._accomplished == len(self._trial),
            "accomplished": self._accomplished,
            "task": self.episode.task,
            "instruction": self.episode.instruction,
        }


class TabletopEnvironment(BenchmarkEnvironment):
    """``forehand/Tabletop-v0``: a table with drawer, door, slider, button, switch and three blocks.

    task: the only one, by default any of the 32; chain: five in a row instead; variant: ``A`` to ``D``, several in turn
    (``ABC``) or a YAML file; sentences: ``train``, or ``test``, which are held out; render: ``fast`` or ``high`` quality;
    disturbances: those that every episode has.
    """

    def __init__(
        self,
        task: str | None = None,
        *,
        chain: bool = False,
        variant: str = "D",
        sentences: str = "test",
        disturbances: Sequence[str] = (),
        image_size: int = 128,
        render: str = "fast",
        max_steps: int | None = None,
        render_mode: str | None = None,
    ) -> None:
        if chain and task is not None:
            raise ConfigurationError(f"Either task={task!r} or chain=True: a chain has five tasks of its own.")
        place = {"variant": variant, "sentences": sentences, "disturbances": disturbances}
        benchmark = registry().create("benchmark", "tabletop-chains", **place)
        super().__init__(
            registry().create("robot", "tabletop-chains", image_size=image_size, render=render),
            benchmark,
            None if chain else list(benchmark.tasks) if task is None else [task],
            variety=CHAINS if chain else EPISODES_PER_TASK,
            max_steps=max_steps,
            render_mode=render_mode,
        )


class BlocksEnvironment(BenchmarkEnvironment):
    """``forehand/TabletopBlocks-v0``: three coloured blocks; task: ``push``, ``lift`` or ``stack``, by default any."""

    def __init__(
        self,
        task: str | None = None,
        *,
        image_size: int = 128,
        max_steps: int | None = None,
        render_mode: str | None = None,
    ) -> None:
        benchmark = registry().create("benchmark", "tabletop")
        super().__init__(
            registry().create("robot", "tabletop", image_size=image_size),
            benchmark,
            list(benchmark.tasks) if task is None else [task],
            max_steps=max_steps,
            render_mode=render_mode,
        )


def _box(fields: Sequence[Field]) -> gymnasium.Space[NDArray[np.float32]]:
    """A Box of all fields, concatenated; unbounded where a field has no bounds."""
    low = [bound for f in fields for bound in f.low or (-np.inf,) * f.size]
    high = [bound for f in fields for bound in f.high or (np.inf,) * f.size]
    box: Any = spaces.Box(np.array(low, np.float32), np.array(high, np.float32), dtype=np.float32)
    return box


for _id, _class in (("forehand/Tabletop-v0", TabletopEnvironment), ("forehand/TabletopBlocks-v0", BlocksEnvironment)):
    gymnasium.register(_id, entry_point=f"{__name__}:{_class.__name__}")
