"""Key map between another protocol's names and a contract's."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forehand.contracts.contract import Camera, Contract
from forehand.errors import ConfigurationError, ContractMismatch
from forehand.utils.images import resize


@dataclass(frozen=True)
class KeyMap:
    """The mapping of one adapter.

    cameras: our camera → their key; state: their keys whose numbers, one after the other, are our state vector;
    instruction: their key of the sentence; actions: their key → how many numbers of our action vector, in order, where a
    protocol names the parts of an action (by default one key for each field); resize: scale their pictures to the size
    that the policy was trained with instead of refusing other sizes.
    """

    cameras: Mapping[str, str]
    state: Sequence[str]
    instruction: str
    actions: Mapping[str, int] | None = None
    resize: bool = False

    def read(self, theirs: Mapping[str, Any], contract: Contract) -> tuple[dict[str, Any], str]:
        """The observation as a payload of ours, and the instruction; raises :class:`ContractMismatch`."""
        if contract.sensors:
            raise ContractMismatch(
                f"The policy reads the sensor {contract.sensors[0].name!r}, which an adapter's clients cannot send: they "
                f"have cameras and a state. Serve them a policy without it, or let them speak Forehand's own protocol."
            )
        images = {camera.name: self._image(theirs, camera) for camera in contract.cameras}
        observation = {
            "images": images,
            "state": self._state(theirs, contract),
            "time": time.monotonic(),
            "success": None,
        }
        return observation, _sentence(self._take(theirs, self.instruction, "the instruction"), self.instruction)

    def split(self, actions: NDArray[np.float32], contract: Contract) -> dict[str, NDArray[np.float32]]:
        """Actions (H, A) as their parts, each (H, size)."""
        sizes = {f.name: f.size for f in contract.action} if self.actions is None else self.actions
        if sum(sizes.values()) != contract.action_size:
            raise ConfigurationError(
                f"The adapter's actions {dict(sizes)} are {sum(sizes.values())} numbers, but the policy commands "
                f"{contract.action_size}: {', '.join(f'{f.name} {f.size}' for f in contract.action)}."
            )
        ends = np.cumsum(list(sizes.values()))
        return dict(zip(sizes, np.split(actions, ends[:-1], axis=1), strict=True))

    def _image(self, theirs: Mapping[str, Any], camera: Camera) -> NDArray[np.uint8]:
        key = self.cameras.get(camera.name)
        if key is None:
            raise ContractMismatch(
                f"The policy needs camera {camera.name!r}, and the adapter has no key for it: it maps "
                f"{dict(self.cameras)}. Add its key to the adapter's cameras."
            )
        image = np.asarray(self._take(theirs, key, f"camera {camera.name!r}"))
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ContractMismatch(f"{key!r} must be (H, W, 3) uint8, but is {image.dtype} {image.shape}.")
        if image.shape[:2] != (camera.height, camera.width):
            if not self.resize:
                raise ContractMismatch(
                    f"{key!r} is {image.shape[0]} × {image.shape[1]}, but the policy's camera {camera.name!r} is "
                    f"{camera.height} × {camera.width}. Send that size, or let the adapter scale: resize=true."
                )
            image = resize(image[None], (camera.height, camera.width))[0]
        return image

    def _state(self, theirs: Mapping[str, Any], contract: Contract) -> NDArray[np.float32]:
        parts = {key: np.ravel(self._take(theirs, key, "the state")) for key in self.state}
        sizes = {key: len(part) for key, part in parts.items()}
        if sum(sizes.values()) != contract.state_size or not all(
            np.issubdtype(p.dtype, np.number) for p in parts.values()
        ):
            raise ContractMismatch(
                f"The state that came is {sum(sizes.values())} numbers ({sizes}), but the policy's is "
                f"{contract.state_size}: {', '.join(f'{f.name} {f.size}' for f in contract.state)}."
            )
        with np.errstate(over="ignore"):  # infinity then, which is refused by name
            return np.concatenate([*parts.values(), np.empty(0)]).astype(np.float32)

    def _take(self, theirs: Mapping[str, Any], key: str, what: str) -> Any:
        if key not in theirs:
            raise ContractMismatch(
                f"The observation lacks {key!r}, which the adapter takes for {what}; it has {sorted(map(str, theirs))}."
            )
        return theirs[key]


def _sentence(value: Any, key: str) -> str:
    """Sentences come bare, or in lists and arrays of one."""
    while isinstance(value, (list, tuple, np.ndarray)) and np.size(value) == 1:
        value = value.item() if isinstance(value, np.ndarray) else value[0]
    if not isinstance(value, str):
        raise ContractMismatch(f"{key!r} must be one sentence, but is {value!r}.")
    return str(value)
