"""Averages of chunks are rotations between those averaged, whatever their numbers are."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from forehand import Contract, Field, Registry
from forehand.contracts.rotations import FORMS, form
from forehand.control.chunking import Asynchronous, RecedingHorizon, RotationAverages, TemporalEnsemble, make_chunker

SIZES = {name: len(to(np.eye(3))) for name, (_, to) in FORMS.items()}


def contract_of(name: str, unit: str | None = None, mode: str | None = "absolute") -> Contract:
    turned = Field("rotation", SIZES[name], unit=unit, rotation=name, mode=mode)
    return Contract((), (), (Field("position", 3, unit="m"), turned, Field("gripper", 1, gripper="open")), 20.0)


def chunk_of(name: str, rotations: list[Rotation], unit: float = 1.0) -> np.ndarray:
    turned = [form(name)[1](rotation.as_matrix()) / unit for rotation in rotations]
    return np.array([[i, 0, 0, *numbers, 1] for i, numbers in enumerate(turned)], np.float32)


def rotation_of(name: str, action: np.ndarray, unit: float = 1.0) -> Rotation:
    return Rotation.from_matrix(form(name)[0](action[3:-1].astype(np.float64) * unit))


@pytest.mark.parametrize("name", FORMS)
def test_an_ensemble_of_an_arm_that_points_down_points_down(name):
    before, after = (Rotation.from_euler("x", angle, degrees=True) for angle in (178, 184))
    chunker = RotationAverages(TemporalEnsemble(decay=0.0), contract_of(name))
    chunker.add(chunk_of(name, [before, before]))
    chunker.next_action()
    chunker.add(chunk_of(name, [after]))
    action = chunker.next_action()
    assert action.dtype == np.float32
    assert (rotation_of(name, action).inv() * Rotation.from_euler("x", 181, degrees=True)).magnitude() < 1e-5
    assert action[[0, 1, 2, -1]].tolist() == [0.5, 0, 0, 1]


@pytest.mark.parametrize("name", FORMS)
def test_the_mean_is_scipy_s_for_random_rotations(name):
    generator = np.random.default_rng(0)
    chunker = RotationAverages(TemporalEnsemble(decay=0.4), contract_of(name))
    for _ in range(20):
        center = Rotation.random(rng=generator)
        near = [center * Rotation.from_rotvec(generator.normal(size=3) * 0.3) for _ in range(3)]
        chunker.reset()
        for i, rotation in enumerate(near):
            chunker.add(chunk_of(name, [rotation] * (3 - i)))
            action = chunker.next_action()
        expected = Rotation.concatenate(near).mean(weights=np.exp(-0.4 * np.arange(3)))
        assert (rotation_of(name, action).inv() * expected).magnitude() < 1e-5


def test_degrees_and_blended_chunks():
    down = [Rotation.from_euler("x", angle, degrees=True) for angle in (179, 179.5, 181, 182)]
    chunker = RotationAverages(Asynchronous(blend=1), contract_of("euler_xyz_extrinsic", unit="deg"))
    chunker.add(chunk_of("euler_xyz_extrinsic", down[:2], np.pi / 180))
    chunker.add(chunk_of("euler_xyz_extrinsic", down[2:], np.pi / 180))
    np.testing.assert_allclose(chunker.next_action()[3:6], [180, 0, 0], atol=1e-3)
    np.testing.assert_allclose(chunker.next_action()[3:6], [-178, 0, 0], atol=1e-3)
    assert chunker.asynchronous


@pytest.mark.parametrize("name", FORMS)
def test_what_is_not_averaged_stays_to_the_bit(name):
    generator = np.random.default_rng(1)
    given = generator.normal(size=(4, 4 + SIZES[name])).astype(np.float32)  # also numbers of no canonical form
    given[3, 3:-1] = 0  # no rotation, in some forms
    chunker = RotationAverages(RecedingHorizon(steps=4), contract_of(name))
    chunker.add(given)
    for row in given:
        np.testing.assert_array_equal(chunker.next_action(), row)
    assert chunker.next_action() is None
    assert chunker.needs_prediction


def test_opposite_rotations_have_no_mean_and_keep_their_numbers():
    plain, around = TemporalEnsemble(0.0), RotationAverages(TemporalEnsemble(0.0), contract_of("axis_angle"))
    for chunker in (plain, around):
        for angle in (0.0, np.pi):
            chunker.add(chunk_of("axis_angle", [Rotation.from_rotvec([angle, 0, 0])]))
    np.testing.assert_array_equal(around.next_action(), plain.next_action())


def test_contracts_with_absolute_rotations_have_it():
    known = Registry()
    known.add("chunking", "ensemble", TemporalEnsemble, "a mean")
    assert isinstance(make_chunker(contract_of("axis_angle"), "ensemble", registry=known), RotationAverages)
    assert isinstance(make_chunker(contract_of("axis_angle", mode=None), "ensemble", registry=known), RotationAverages)
    assert isinstance(make_chunker(contract_of("axis_angle", mode="delta"), "ensemble", registry=known), TemporalEnsemble)
