"""LeRobot policy composed of Forehand's parts: LeRobot's commands train and evaluate it."""

from __future__ import annotations

import json
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lerobot.policies import PreTrainedPolicy
from torch import Tensor

from forehand import Contract, Observation, Session
from forehand.data.features import read_contract
from forehand.data.window_spec import WindowSpec, read_window
from forehand.errors import ConfigurationError
from forehand.learning.checkpoint import build_policy
from forehand.utils.plain import to_plain
from forehand.wire.adapters import KeyMap
from lerobot_policy_forehand.configuration_forehand import ForehandConfig
from lerobot_policy_forehand.modeling_forehand_remote import TASK, _rows_of
from lerobot_policy_forehand.windows import ACTION_KEY, IMAGE_PREFIX, STATE_KEY, to_window


class ForehandPolicy(PreTrainedPolicy):
    """A composed policy, built for the contract of the dataset, or for that which its configuration holds.

    Each row of a batch is a robot with a session of its own.
    """

    config_class = ForehandConfig
    name = "forehand"

    def __init__(self, config: ForehandConfig, dataset_stats: Any = None, dataset_meta: Any = None, **_: Any) -> None:
        super().__init__(config)
        fresh = not config.contract
        if fresh and (dataset_meta is None or dataset_stats is None):
            raise ConfigurationError(
                "A new policy of type forehand is made for a dataset: train it with lerobot-train --dataset.repo_id=…, "
                "or name a trained one with --policy.path=…"
            )
        if fresh:
            config.contract = read_contract(Path(dataset_meta.root)).to_json()
            known = {k: of for k, of in dataset_stats.items() if k.startswith((STATE_KEY, ACTION_KEY, IMAGE_PREFIX))}
            flat = {k: {name: np.asarray(v).reshape(-1) for name, v in of.items()} for k, of in known.items()}
            config.statistics = json.dumps(to_plain(flat))
        self.contract = Contract.from_json(config.contract)
        self.policy = build_policy(json.loads(config.composition), self.contract, json.loads(config.statistics))
        if fresh and not config.pretrained_path:
            self.policy.load_pretrained()
        self.spec: WindowSpec = read_window(self.policy.window, self.contract)
        self._require_offsets()
        self._keys = KeyMap(
            {c.name: IMAGE_PREFIX + c.name for c in self.contract.cameras}, [STATE_KEY], TASK, resize=True
        )
        self.reset()

    def _require_offsets(self) -> None:
        """LeRobot reads the dataset by the configuration's offsets before the policy is built: they must agree."""
        needed = {int(o) for key in self.spec.target for o in self.spec.target_offsets(key).flat if "future" in key}
        needed |= {offset for offsets in self.spec.observation.values() for offset in offsets}
        acted = {int(o) for o in self.spec.target_offsets("actions").flat}
        if needed - set(self.config.observation_delta_indices) or acted - set(self.config.action_delta_indices):
            raise ConfigurationError(
                f"The policy needs the frames {sorted(needed)} and the actions {sorted(acted)}, but its configuration "
                f"gives {self.config.observation_delta_indices} and {self.config.action_delta_indices}. State history, "
                f"action_head.chunk and world_model.horizon in it."
            )

    def get_optim_params(self) -> Any:
        """All parameters that are trained."""
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    def forward(self, batch: dict[str, Any]) -> tuple[Tensor, dict[str, float]]:
        """The loss of a batch, and its terms."""
        config = self.config
        window = to_window(batch, self.spec, config.observation_delta_indices, config.action_delta_indices)
        loss, terms = self.policy(window)
        return loss, {name: value.item() for name, value in terms.items()}

    # ---- inference -----------------------------------------------------------------------------------------------------

    def reset(self) -> None:
        """A new episode for every robot."""
        self._sessions: list[Session] = []
        self._queues: list[deque[np.ndarray]] = []

    @torch.no_grad()
    def predict_action_chunk(self, batch: dict[str, Any], **_: Any) -> Tensor:
        """(B, H, A) float32: the chunk of each robot, in the dataset's units."""
        sessions, observations = self._observe(batch)
        predictions = self.policy.step(sessions, observations)
        return torch.from_numpy(np.stack([p.actions for p in predictions])).to(self.config.device)

    @torch.no_grad()
    def select_action(self, batch: dict[str, Any], **_: Any) -> Tensor:
        """(B, A) float32: the next action of each robot; a policy with history is shown every frame."""
        if not self._queues or not self._queues[0]:
            chunks = self.predict_action_chunk(batch).cpu().numpy()
            self._queues = [deque(chunk[: self.config.n_action_steps]) for chunk in chunks]
        else:
            for session, observation in zip(*self._observe(batch), strict=True):
                self.policy.remember(session, [observation])
        return torch.from_numpy(np.stack([queue.popleft() for queue in self._queues])).to(self.config.device)

    def _observe(self, batch: dict[str, Any]) -> tuple[list[Session], list[Observation]]:
        """The session and the observation of each row."""
        read = [self._keys.read(row, self.contract) for row in _rows_of(batch)]
        if len(self._sessions) != len(read):
            self._sessions = [self.policy.open(instruction, seed) for seed, (_, instruction) in enumerate(read)]
        for session, (_, instruction) in zip(self._sessions, read, strict=True):
            if session.instruction != instruction:
                session.reset(instruction)
        return self._sessions, [Observation(**payload) for payload, _ in read]
