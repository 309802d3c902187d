"""LIBERO's demonstrations: one HDF5 file a task, 50 demonstrations each (Liu et al. 2023)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from forehand import Camera, Contract, Field
from forehand.contracts.orientation import ORIENTATIONS
from forehand.contracts.rotations import form
from forehand.data.importing.importer import EpisodeContent, Importer, SourceEpisode
from forehand.data.importing.source_files import source_files
from forehand.data.importing.statements import Statements
from forehand.errors import ConfigurationError, DatasetError, nearest
from forehand_plugins.importers import hdf5, osc
from forehand_plugins.importers.no_ops import without_no_ops

CAMERAS = {"static": "agentview_rgb", "wrist": "eye_in_hand_rgb"}
DEFINITION = "definition of the format"

STATE: Mapping[str, tuple[str, Field]] = {
    "position": ("ee_pos", Field("position", 3, unit="m", frame="world", mode="absolute")),
    "rotation": ("ee_ori", Field("rotation", 3, unit="rad", frame="world", rotation="axis_angle", mode="absolute")),
    "gripper": ("gripper_states", Field("gripper", 2, unit="m")),
    "joints": ("joint_states", Field("joints", 7, unit="rad", mode="absolute")),
}
"""Name in the contract → key in ``obs``, and the field."""

_OPENGL = {"opengl": "flipped_vertically", "opencv": "upright"}
_STEPS, _RATE = (0.05, 0.5), 20.0


class LiberoImporter(Importer):
    """The files of ``source``, a folder of ``*.hdf5`` or one of them.

    cameras: name → key in ``obs``. state: names among :data:`STATE`, in this order. rotation: the form in which the
    rotation of the state is written (``axis_angle`` is what is recorded). orientation: of all pictures, where the files
    do not say it right. no_ops: ``keep``, or ``drop`` steps that command nothing, by ``no_op_threshold``.
    """

    def __init__(
        self,
        source: str,
        cameras: Mapping[str, str] | None = None,
        state: Sequence[str] = ("position", "rotation", "gripper"),
        rotation: str = "axis_angle",
        orientation: str | None = None,
        no_ops: str = "keep",
        no_op_threshold: float = 1e-4,
    ) -> None:
        self._root, self._files = source_files(source, "*.hdf5")
        self._cameras = dict(CAMERAS if cameras is None else cameras)
        if unknown := [name for name in state if name not in STATE]:
            raise ConfigurationError(f"state names {unknown[0]!r}. {nearest(unknown[0], STATE)}")
        self._state, self._rotation = tuple(state), rotation
        self._from_axis_angle = form("axis_angle")[0], form(rotation)[1]
        self.statements = Statements("libero")
        self.statements.ask("no_ops", no_ops, "whether steps that command nothing are left out", ("keep", "drop"))
        self._drop, self._threshold = no_ops == "drop", no_op_threshold
        self._first, self.contract = hdf5.readable_demonstration(self._files, self._describe)
        how = self._meaning["orientation"]
        if orientation is None:
            self.statements.know("orientation", how, self._meaning["orientation origin"])
        else:
            how = self.statements.ask("orientation", orientation, "how all pictures lie", tuple(ORIENTATIONS))
        self.orientation = dict.fromkeys(self._cameras, how)
        self._state_origins()

    def episodes(self) -> Sequence[SourceEpisode]:
        """See :meth:`Importer.episodes`."""
        return hdf5.demonstrations(self._root, self._files)

    def files(self) -> Sequence[Path]:
        """See :meth:`Importer.files`."""
        return self._files

    def read(self, episode: SourceEpisode) -> EpisodeContent:
        """See :meth:`Importer.read`."""
        path, name = Path(episode.about[0]), episode.about[1]
        with hdf5.opened_demonstrations(path) as file:
            data = file["data"]
            if (meaning := _meaning(data)) != self._meaning:
                different = next(key for key in meaning if meaning[key] != self._meaning[key])
                raise DatasetError(
                    f"{path} has another {different} than {self._first}: {meaning[different]} and not "
                    f"{self._meaning[different]}. Import them one by one."
                )
            sentence = _sentence(data)
            demo = hdf5.demonstration(file, name)
            actions = hdf5.numbers(demo, "actions")
            facts = hdf5.success(demo)
        kept = without_no_ops(actions, self._threshold) if self._drop else list(range(len(actions)))
        skipped = {"no-ops: the command moves nothing": len(actions) - len(kept)} if len(kept) < len(actions) else {}
        return EpisodeContent(self._steps(path, name, kept), sentence, facts, skipped)

    def _steps(self, path: Path, name: str, kept: Sequence[int]) -> Any:
        with hdf5.opened_demonstrations(path) as file:
            demo = hdf5.demonstration(file, name)
            states = hdf5.vectors(demo, [STATE[name][0] for name in self._state])
            if self._rotation != "axis_angle" and "rotation" in self._state:
                states = self._rotated(states)
            actions = hdf5.numbers(demo, "actions")
            yield from hdf5.steps(demo, self._cameras, states, actions, kept)

    def _rotated(self, states: Any) -> Any:
        """``states`` with the rotation in the form that is wanted."""
        first = sum(STATE[name][1].size for name in self._state[: self._state.index("rotation")])
        matrix, back = self._from_axis_angle
        turned = np.stack([back(matrix(row[first : first + 3])) for row in states])
        return np.concatenate([states[:, :first], turned, states[:, first + 3 :]], axis=1)

    def _describe(self, demo: Any) -> Contract:
        """The contract by one demonstration, and what its file says of all."""
        self._meaning = _meaning(demo.parent)
        self.robot = hdf5.robot(hdf5.json_attribute(demo.parent, "env_args")) or "panda"
        cameras = [
            Camera(name, *hdf5.picture_size(demo, key), role="wrist" if "hand" in key else "static")
            for name, key in self._cameras.items()
        ]
        fields = [STATE[name][1] for name in self._state]
        size = form(self._rotation)[1](np.eye(3)).size
        state = tuple(
            Field(f.name, size, unit=f.unit, frame=f.frame, rotation=self._rotation, mode=f.mode) if f.rotation else f
            for f in fields
        )
        action = osc.arm_fields(self._meaning["action mode"], self._meaning["steps"], "world")
        return Contract(tuple(cameras), state, action, self._meaning["rate"])

    def _state_origins(self) -> None:
        origin = self._meaning["controller origin"]
        know = self.statements.know
        know("rate", self._meaning["rate"], self._meaning["rate origin"])
        if origin != DEFINITION:
            know("action mode", self._meaning["action mode"], origin)
        else:
            reason = "env_args does not say it, and LIBERO's controller is so"
            self.statements.assume("action mode", self._meaning["action mode"], reason)
        osc.know_motions(self.statements, self._meaning["steps"], "world", origin)
        osc.know_gripper(self.statements, DEFINITION)
        know("state rotation", "recorded as axis-angle", DEFINITION)
        know("gripper state", "two finger joints in m, of opposite signs", DEFINITION)
        know("alignment", "an observation precedes the action of the same row", DEFINITION)
        know("sentence", "problem_info of each file", "the files")


def _meaning(data: Any) -> dict[str, Any]:
    """What a file says about its numbers and pictures, and what the format defines where it does not."""
    env_args = hdf5.json_attribute(data, "env_args")
    settings = osc.controller(env_args)
    convention = data.attrs.get("macros_image_convention")
    rate = (env_args.get("env_kwargs") or {}).get("control_freq")
    stated = osc.action_mode(settings), osc.steps_of(settings)
    return {
        "orientation": _OPENGL.get(str(convention), "flipped_vertically"),
        "orientation origin": DEFINITION if convention is None else "macros_image_convention of the files",
        "rate": _RATE if rate is None else float(rate),
        "rate origin": DEFINITION if rate is None else "env_args of the files",
        "action mode": stated[0] or "delta",
        "steps": stated[1] or _STEPS,
        "controller origin": DEFINITION if None in stated else "env_args of the files",
    }


def _sentence(data: Any) -> str:
    """The instruction in ``problem_info``, a string or a list of its characters."""
    words = hdf5.json_attribute(data, "problem_info").get("language_instruction")
    if not words:
        raise DatasetError(
            f"{data.file.filename} has no language_instruction in its attribute problem_info. The file's name is no "
            f"sentence; add the attribute."
        )
    return "".join(words).strip().strip('"')
