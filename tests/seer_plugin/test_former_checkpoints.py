"""A checkpoint that an earlier release wrote: it loads, and its policy acts as it did then."""

from pathlib import Path

import numpy as np
import pytest
import torch

from forehand import Observation
from forehand.learning.checkpoint import load_policy

FOLDER = Path(__file__).parents[1] / "data/checkpoints/first_names"
RECORDED_WITH = "AVX2"  # what torch computed with then; other instructions round elsewhere


@pytest.fixture
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("_one_thread")
def test_a_checkpoint_of_an_earlier_release_acts_as_it_did():
    policy = load_policy(FOLDER)
    numbers, contract = np.random.default_rng(0), policy.contract
    session, actions = policy.open("lift the red block"), []
    for _ in range(3):
        images = {c.name: numbers.integers(0, 256, (c.height, c.width, 3), np.uint8) for c in contract.cameras}
        state = numbers.uniform(-0.5, 0.5, contract.state_size).astype(np.float32)
        (answer,) = policy.step([session], [Observation(images, state, 0.0)], forecast=True)
        actions.append(answer.actions)
    then = np.load(FOLDER / "expected.npz")
    forecast = np.stack([answer.forecast[name] for name in sorted(answer.forecast)])
    if torch.backends.cpu.get_cpu_capability() == RECORDED_WITH:
        np.testing.assert_array_equal(np.stack(actions), then["actions"])
        np.testing.assert_array_equal(forecast, then["forecast"])
    np.testing.assert_allclose(np.stack(actions), then["actions"], atol=1e-5)
    np.testing.assert_allclose(forecast.astype(int), then["forecast"].astype(int), atol=1)
