"""robomimic's demonstrations: one HDF5 file with masks, of robosuite environments (Mandlekar et al. 2021)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from forehand import Camera, Contract, Field
from forehand.contracts.orientation import ORIENTATIONS
from forehand.data.importing.importer import EpisodeContent, Importer, SourceEpisode, Step
from forehand.data.importing.source_files import source_files
from forehand.data.importing.statements import Statements
from forehand.errors import ConfigurationError, DatasetError, nearest
from forehand_plugins.importers import hdf5, osc

SPLITS = ("train", "valid")
ENV_ARGS = "env_args of the file"

_KNOWN: Mapping[str, Field] = {
    "eef_pos": Field("position", 3, unit="m", frame="world", mode="absolute"),
    "eef_quat": Field("rotation", 4, unit="1", frame="world", rotation="quaternion_xyzw", mode="absolute"),
    "gripper_qpos": Field("gripper", 2, unit="m"),
    "joint_pos": Field("joints", 7, unit="rad", mode="absolute"),
}
_ROBOT_KEY = re.compile(r"robot(\d+)_(.+)")


class RobomimicImporter(Importer):
    """The file ``source``, or every ``*.hdf5`` of a folder.

    cameras: name → key in ``obs``, such as ``{static: agentview_image, wrist: robot0_eye_in_hand_image}``. state: keys of
    ``obs``. actions: the dataset with the actions, ``actions`` or ``actions_abs``. action_mode: ``delta`` or
    ``absolute``, where ``env_args`` does not say. orientation: camera → how its pictures lie, or one word for all.
    instruction: the sentence of all demonstrations, since the format has none; "" where nothing was said. mask: only the
    demonstrations of this mask.
    """

    def __init__(
        self,
        source: str,
        cameras: Mapping[str, str] | None = None,
        state: Sequence[str] | None = None,
        actions: str = "actions",
        action_mode: str | None = None,
        rate: float | None = None,
        orientation: Mapping[str, str] | str | None = None,
        instruction: str | None = None,
        mask: str | None = None,
    ) -> None:
        self._root, self._files = source_files(source, "*.hdf5")
        self._actions, self._mask = actions, mask
        self.statements = statements = Statements("robomimic")
        self._first, described = hdf5.readable_demonstration(
            self._files, lambda demo: _described(demo, cameras, state, actions)
        )
        self._env_args, self._cameras, self._state, sizes, size = described
        self.robot = hdf5.robot(self._env_args)
        self._instruction = statements.ask("instruction", instruction, "the sentence of all demonstrations, or ''")
        rate = self._rate(rate)
        turned = _by_camera(self._cameras, orientation)
        self.orientation = {
            camera: str(statements.ask(f"orientation.{camera}", how, "how its pictures lie", tuple(ORIENTATIONS)))
            for camera, how in turned.items()
        }
        action = self._action(size, action_mode)
        statements.require()
        self.contract = Contract(
            tuple(
                Camera(name, sizes[key][0], sizes[key][1], role="wrist" if "hand" in key else "static")
                for name, key in self._cameras.items()
            ),
            tuple(_field(key, sizes[key][0]) for key in self._state),
            action,
            float(rate or 0),
        )
        statements.know("alignment", "an observation precedes the action of the same row", "definition of the format")

    def episodes(self) -> Sequence[SourceEpisode]:
        """See :meth:`Importer.episodes`."""
        found = hdf5.demonstrations(self._root, self._files, self._actions)
        unreadable = {Path(e.about[0]) for e in found if e.fault is not None}
        masks = {path: self._masks(path) for path in self._files if path not in unreadable}
        for path in masks:
            here = [e for e in found if Path(e.about[0]) == path]
            _check_masks(path, masks[path], {e.about[1] for e in here})
            self._compare_total(path, here)
        if self._mask is None:
            return found
        if not any(self._mask in by_name for by_name in masks.values()):
            known = {name for by_name in masks.values() for name in by_name}
            raise ConfigurationError(f"mask={self._mask} is in none of the files. {nearest(self._mask, known)}")
        return [
            e
            for e in found
            if Path(e.about[0]) in unreadable or e.about[1] in masks[Path(e.about[0])].get(self._mask, ())
        ]

    def files(self) -> Sequence[Path]:
        """See :meth:`Importer.files`."""
        return self._files

    def _compare_total(self, path: Path, found: Sequence[SourceEpisode]) -> None:
        """Note it where a file states another number of samples in all than its demonstrations have."""
        with hdf5.opened_demonstrations(path) as file:
            stated = file["data"].attrs.get("total")
        there = sum(episode.length or 0 for episode in found)
        if stated is not None and int(stated) != there:
            self.statements.know(
                f"total of {path.name}",
                f"{there} samples in {len(found)} demonstrations, and the attribute total says {int(stated)}",
                "the arrays; demonstrations were added or removed without correcting the attribute",
                notice=True,
            )

    def read(self, episode: SourceEpisode) -> EpisodeContent:
        """See :meth:`Importer.read`."""
        path, name = Path(episode.about[0]), episode.about[1]
        masks = self._masks(path)
        facts: dict[str, Any] = {f"mask_{mask}": name in members for mask, members in masks.items() if mask not in SPLITS}
        if split := [mask for mask in SPLITS if name in masks.get(mask, ())]:
            facts["split"] = split[0]
        with hdf5.opened_demonstrations(path) as file:
            if (there := hdf5.json_attribute(file["data"], "env_args")) != self._env_args:
                raise DatasetError(
                    f"{path} has other env_args ({there.get('env_name')!r}) than {self._first}. Import it by itself."
                )
            facts |= hdf5.success(hdf5.demonstration(file, name))
        return EpisodeContent(self._steps(path, name), self._instruction, facts)

    def _steps(self, path: Path, name: str) -> Iterator[Step]:
        with hdf5.opened_demonstrations(path) as file:
            demo = hdf5.demonstration(file, name)
            actions = hdf5.numbers(demo, self._actions)
            yield from hdf5.steps(demo, self._cameras, hdf5.vectors(demo, self._state), actions, range(len(actions)))

    def _masks(self, path: Path) -> dict[str, set[str]]:
        with hdf5.opened_demonstrations(path) as file:
            masks = file.get("mask") or {}
            return {mask: {_text(demo) for demo in masks[mask][:]} for mask in masks}

    def _rate(self, rate: float | None) -> float | None:
        stated = (self._env_args.get("env_kwargs") or {}).get("control_freq")
        if rate is None and stated is not None:
            return float(self.statements.know("rate", float(stated), ENV_ARGS))
        return self.statements.ask("rate", rate, "control steps a second, in Hz")

    def _action(self, size: int, action_mode: str | None) -> tuple[Field, ...]:
        """The fields of the action, where everything is stated."""
        settings, statements = osc.controller(self._env_args), self.statements
        if (kind := settings.get("type", "OSC_POSE")) != "OSC_POSE" or size % osc.ARM:
            raise DatasetError(
                f"{self._first} has {size} numbers an action of a controller {kind}; actions of OSC_POSE, "
                f"{osc.ARM} for each arm, are read."
            )
        absolute = self._actions.endswith("_abs")
        mode = "absolute" if absolute else osc.action_mode(settings)
        if mode is None or action_mode is not None:
            mode = statements.ask("action_mode", action_mode, "whether actions are motions or poses", osc.MODES)
        else:
            statements.know("action mode", mode, "the name of actions_abs" if absolute else ENV_ARGS)
        steps, frame = osc.steps_of(settings), osc.frame_of(settings)
        if mode == "delta" and steps is None:
            raise DatasetError(f"{self._first} does not state the scale of its actions (output_max in env_args).")
        if mode == "delta" and steps:
            osc.know_motions(statements, steps, frame, ENV_ARGS)
        osc.know_gripper(statements)
        arms = size // osc.ARM
        prefixes = [""] if arms == 1 else [f"robot{i}_" for i in range(arms)]
        return tuple(f for prefix in prefixes for f in osc.arm_fields(mode or "delta", steps or (0, 0), frame, prefix))


def _described(
    demo: Any, cameras: Mapping[str, str] | None, state: Sequence[str] | None, actions: str
) -> tuple[Mapping[str, Any], dict[str, str], tuple[str, ...], dict[str, tuple[int, ...]], int]:
    """What one demonstration says of all: env_args, cameras, keys of the state, sizes by key, numbers of an action."""
    hdf5.member(demo, "obs")
    chosen, keys = _chosen_cameras(demo, cameras), _chosen_state(demo, state)
    sizes: dict[str, tuple[int, ...]] = {key: hdf5.picture_size(demo, key) for key in chosen.values()}
    sizes |= {key: (hdf5.vectors(demo, [key]).shape[1],) for key in keys}
    if (commands := hdf5.numbers(demo, actions)).ndim != 2:
        raise DatasetError(f"{demo.file.filename}: {demo.name}/{actions} is {commands.shape}; actions are (T, A).")
    return hdf5.json_attribute(demo.parent, "env_args"), chosen, keys, sizes, commands.shape[1]


def _check_masks(path: Path, masks: Mapping[str, set[str]], demos: set[str]) -> None:
    """Raise :class:`DatasetError` where a mask names a demonstration that is not there, or two splits share one."""
    for mask, members in masks.items():
        if missing := sorted(members - demos):
            raise DatasetError(
                f"{path}: mask/{mask} names demonstrations that are not in the file, such as {missing[0]!r} "
                f"({len(missing)} in all). Copy the file again, whole, or correct the mask."
            )
    if both := sorted(set.intersection(*(masks.get(split, set()) for split in SPLITS))):
        raise DatasetError(
            f"{path}: {both[0]!r} is in mask/train and in mask/valid ({len(both)} in all). Correct the masks."
        )


def _chosen_cameras(demo: Any, cameras: Mapping[str, str] | None) -> dict[str, str]:
    if not hasattr(demo["obs"], "keys"):
        raise DatasetError(f"{demo.file.filename}: {demo.name}/obs is an array, and a group with observations is due.")
    pictures = [key for key in demo["obs"] if key.endswith("_image")]
    if not pictures and not cameras:
        raise DatasetError(
            f"{demo.file.filename} has no pictures in obs, only {', '.join(demo['obs'])}. Render them first, with "
            f"robomimic's dataset_states_to_obs."
        )
    if cameras is not None:
        return dict(cameras)
    names = {key: "wrist" if "eye_in_hand" in key else "static" for key in pictures}
    if len(set(names.values())) < len(names):  # several of a kind keep their own names
        return {key.removesuffix("_image"): key for key in pictures}
    return {name: key for key, name in names.items()}


def _chosen_state(demo: Any, state: Sequence[str] | None) -> tuple[str, ...]:
    if state is not None:
        return tuple(state)
    robots = sorted({found[1] for key in demo["obs"] if (found := _ROBOT_KEY.fullmatch(key)) and found[2] == "eef_pos"})
    return tuple(f"robot{i}_{part}" for i in robots for part in ("eef_pos", "eef_quat", "gripper_qpos"))


def _field(key: str, size: int) -> Field:
    """The field of a column of ``obs``; only its size is stated where its meaning is not known."""
    found = _ROBOT_KEY.fullmatch(key)
    known = _KNOWN.get(found[2]) if found else None
    if not found or known is None or known.size != size:
        return Field(key, size)
    return known if found[1] == "0" else Field(f"robot{found[1]}_{known.name}", size, **_details(known))


def _details(field: Field) -> dict[str, Any]:
    return {name: getattr(field, name) for name in ("unit", "frame", "rotation", "mode")}


def _by_camera(cameras: Mapping[str, str], orientation: Mapping[str, str] | str | None) -> dict[str, str | None]:
    if isinstance(orientation, Mapping):
        return {camera: orientation.get(camera) for camera in cameras}
    return dict.fromkeys(cameras, orientation)


def _text(name: Any) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)
