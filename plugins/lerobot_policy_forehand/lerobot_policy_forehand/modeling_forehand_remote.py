"""LeRobot policy without weights: the client of a Forehand policy server."""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

import numpy as np
import torch
from lerobot.policies import PreTrainedPolicy
from torch import Tensor

from forehand import Observation
from forehand.wire import PolicyClient, RemoteSession, UnknownSession
from forehand.wire.adapters import KeyMap
from lerobot_policy_forehand.configuration_forehand_remote import ForehandRemoteConfig

TASK = "task"


class _Row:
    """One robot of the batch: its connection, its session, and the actions still to be carried out."""

    def __init__(self, config: ForehandRemoteConfig) -> None:
        self.client = PolicyClient(config.address, config.timeout)
        self.session: RemoteSession | None = None
        self.queue: deque[np.ndarray] = deque()
        contract = self.client.contract
        cameras = {c.name: config.cameras.get(c.name, f"observation.images.{c.name}") for c in contract.cameras}
        self.keys = KeyMap(cameras, config.state, TASK, resize=config.resize)

    def ask(self, theirs: dict[str, Any]) -> np.ndarray:
        """The chunk (H, A) for what this robot observes; another sentence starts anew."""
        payload, instruction = self.keys.read(theirs, self.client.contract)
        observation = Observation(**payload)
        if self.session is None:
            self.session = self.client.open(instruction)
        elif self.session.instruction != instruction:
            self.session.reset(instruction)
        try:
            return self.session.step(observation).actions
        except UnknownSession:  # the server was restarted, or forgot an idle session
            self.session = self.client.open(instruction)
            return self.session.step(observation).actions

    def reset(self) -> None:
        self.queue.clear()
        if self.session is not None:
            self.session.close()
            self.session = None


class ForehandRemotePolicy(PreTrainedPolicy):
    """Each row of a batch is a robot with a session of its own; the server computes them together."""

    config_class = ForehandRemoteConfig
    name = "forehand_remote"

    def __init__(
        self, config: ForehandRemoteConfig, dataset_stats: Any = None, dataset_meta: Any = None, **_: Any
    ) -> None:
        super().__init__(config)
        self._rows: list[_Row] = []
        self._pool = ThreadPoolExecutor(64, "forehand_remote")

    @classmethod
    def from_pretrained(cls, pretrained_name_or_path: Any, *, config: Any = None, **options: Any) -> Self:
        """From a folder with a ``config.json``: there are no weights to load."""
        config = config or ForehandRemoteConfig.from_pretrained(pretrained_name_or_path)
        return cls(config, **options)

    def get_optim_params(self) -> dict[str, Any]:
        return {}

    def forward(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Any] | None]:
        raise NotImplementedError("A served policy is not trained from here: use forehand train where it is served.")

    def reset(self) -> None:
        """A new episode for every robot."""
        for row in self._rows:
            row.reset()

    @torch.no_grad()
    def predict_action_chunk(self, batch: dict[str, Any], **_: Any) -> Tensor:
        """(B, H, A) float32, what the server answers."""
        theirs = _rows_of(batch)
        while len(self._rows) < len(theirs):
            self._rows.append(_Row(self.config))
        # All rows ask at once, so that they are computed in one batch.
        chunks = list(self._pool.map(_Row.ask, self._rows, theirs))
        return torch.from_numpy(np.stack(chunks)).to(self.config.device)

    @torch.no_grad()
    def select_action(self, batch: dict[str, Any], **_: Any) -> Tensor:
        """(B, A) float32, the next action for each robot."""
        if not self._rows or not self._rows[0].queue:
            chunk = self.predict_action_chunk(batch).cpu().numpy()
            for row, actions in zip(self._rows, chunk, strict=False):
                row.queue.extend(actions[: self.config.n_action_steps])
        count = len(_sentences(batch))
        action = np.stack([row.queue.popleft() for row in self._rows[:count]])
        return torch.from_numpy(action).to(self.config.device)


def _rows_of(batch: dict[str, Any]) -> list[dict[str, Any]]:
    """LeRobot's batch, pictures (B, 3, H, W) in [0, 1] or uint8, as one map of arrays for each row."""
    sentences = _sentences(batch)
    arrays = {key: _array(value) for key, value in batch.items() if isinstance(value, Tensor) and value.ndim > 1}
    return [
        {TASK: sentence, **{key: value[row] for key, value in arrays.items() if len(value) == len(sentences)}}
        for row, sentence in enumerate(sentences)
    ]


def _sentences(batch: dict[str, Any]) -> list[str]:
    tasks = batch.get(TASK, "")
    return [tasks] if isinstance(tasks, str) else list(tasks)


def _array(value: Tensor) -> np.ndarray:
    if value.ndim != 4:
        return value.cpu().numpy()
    pixels = value if value.dtype == torch.uint8 else (value * 255).round().clamp(0, 255).to(torch.uint8)
    return np.ascontiguousarray(pixels.permute(0, 2, 3, 1).cpu().numpy())
