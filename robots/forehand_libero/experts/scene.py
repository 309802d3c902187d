"""Privileged view of LIBERO's scene: where the hand, objects, fixtures and regions are, and which points they fill."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from forehand.contracts.rotations import from_quaternion
from forehand_libero.experts.geometry import Array, filled, on_triangles

KINDS = {2: "sphere", 3: "capsule", 4: "ellipsoid", 5: "cylinder", 6: "box"}
"""MuJoCo's numbers of shapes; 7 is a mesh."""


class Scene:
    """The scene of ``environment``, which is robosuite's: names are those of the task file.

    Positions are in metres in the world; what is read is the state after the latest control step.
    """

    def __init__(self, environment: Any) -> None:
        self._environment = environment
        self._model, self._data = environment.sim.model._model, environment.sim.data._data
        self._hand = environment.robots[0].eef_site_id
        self._parts = {
            name: self._bodies(thing.root_body)
            for name, thing in (*environment.objects_dict.items(), *environment.fixtures_dict.items())
            if getattr(thing, "root_body", None) in self._names()
        }
        used = {body for bodies in self._parts.values() for body in bodies}
        self._points = {body: self._local_points(body) for body in used}

    @property
    def goals(self) -> list[list[str]]:
        """The goal's predicates, each a list of its name and arguments."""
        return [list(goal) for goal in self._environment.parsed_problem["goal_state"]]

    def holds(self, goal: list[str]) -> bool:
        """Whether a predicate of the goal is true now."""
        return bool(self._environment._eval_predicate(goal))

    @property
    def hand(self) -> Array:
        """Position (3,) between the finger tips."""
        return np.array(self._data.site_xpos[self._hand])

    @property
    def hand_rotation(self) -> Array:
        """Orientation (3, 3) of the hand: see :mod:`forehand_libero.experts.grasps`."""
        return np.array(self._data.site_xmat[self._hand]).reshape(3, 3)

    @property
    def opening(self) -> float:
        """Between the fingers."""
        qpos = self._environment.robots[0]._ref_gripper_joint_pos_indexes
        return float(np.abs(self._data.qpos[qpos]).sum())

    def names(self) -> Iterable[str]:
        """Of objects and fixtures."""
        return self._parts

    def position(self, name: str) -> Array:
        """Position (3,) of an object or a fixture, where the simulator's predicates take it to be."""
        return np.array(self._data.xpos[self._parts[name][0]])

    def rotation(self, name: str) -> Array:
        """Orientation (3, 3) of an object or a fixture."""
        return np.array(self._data.xmat[self._parts[name][0]]).reshape(3, 3)

    def points(self, name: str, part: str = "") -> Array:
        """Points (n, 3) that fill an object, or those of its bodies whose names contain ``part``."""
        bodies = [body for body in self._parts[name] if part in self._model.body(body).name]
        clouds = [
            self._points[body] @ np.array(self._data.xmat[body]).reshape(3, 3).T + self._data.xpos[body]
            for body in bodies
            if len(self._points[body])
        ]
        return np.concatenate(clouds) if clouds else np.zeros((0, 3))

    def others(self, *names: str) -> Array:
        """Points (n, 3) of everything but the objects of these names, the robot and the table."""
        clouds = [self.points(other) for other in self._parts if other not in names]
        return np.concatenate(clouds) if clouds else np.zeros((0, 3))

    def region(self, name: str) -> tuple[Array, Array, Array]:
        """Centre (3,), orientation (3, 3) and half lengths (3,) of a region."""
        site = self._model.site(name).id
        size = np.asarray(self._environment.object_sites_dict[name].size, np.float64)
        return np.array(self._data.site_xpos[site]), np.array(self._data.site_xmat[site]).reshape(3, 3), size

    def parent(self, region: str) -> str:
        """The object or fixture that a region belongs to; "" for one of the table."""
        found = self._environment.object_sites_dict[region].parent_name
        return found if found in self._parts else ""

    def joint(self, name: str) -> tuple[float, Array, Array, str]:
        """Coordinate of a joint, a point of its axis (3,), its direction (3,) and the name of the body that it moves."""
        number = self._model.joint(name).id
        body = int(self._model.jnt_bodyid[number])
        value = float(self._data.qpos[self._model.jnt_qposadr[number]])
        anchor, axis = np.array(self._data.xanchor[number]), np.array(self._data.xaxis[number])
        return value, anchor, axis, str(self._model.body(body).name)

    def joints(self, name: str) -> list[str]:
        """The joints of a fixture, or those of one of its regions."""
        sites = self._environment.object_sites_dict
        return list(sites[name].joints if name in sites else self._environment.get_object(name).joints)

    def _names(self) -> set[str]:
        return {self._model.body(i).name for i in range(self._model.nbody)}

    def _bodies(self, root: str) -> list[int]:
        """The bodies of a tree, its root first."""
        found = [self._model.body(root).id]
        for body in range(self._model.nbody):  # parents come before children
            if int(self._model.body_parentid[body]) in found and body not in found:
                found.append(body)
        return found

    def _local_points(self, body: int) -> Array:
        model, clouds = self._model, [np.zeros((0, 3))]
        first = int(model.body_geomadr[body])
        for geom in range(first, first + int(model.body_geomnum[body])):
            if not (model.geom_contype[geom] or model.geom_conaffinity[geom]):
                continue
            kind = int(model.geom_type[geom])
            if kind in KINDS:
                local = filled(KINDS[kind], np.array(model.geom_size[geom]))
            else:
                mesh = int(model.geom_dataid[geom])
                v, f = int(model.mesh_vertadr[mesh]), int(model.mesh_faceadr[mesh])
                vertices = np.array(model.mesh_vert[v : v + int(model.mesh_vertnum[mesh])], np.float64)
                local = on_triangles(vertices, np.array(model.mesh_face[f : f + int(model.mesh_facenum[mesh])]))
            clouds.append(local @ _matrix(model.geom_quat[geom]).T + model.geom_pos[geom])
        return np.concatenate(clouds)


def _matrix(wxyz: Array) -> Array:

    return from_quaternion(np.roll(np.asarray(wxyz, np.float64), -1))
