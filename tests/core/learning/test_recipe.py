"""The learning-rate schedule, and which fields of a recipe decide what comes out."""

import math

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR

from forehand.errors import ConfigurationError
from forehand.learning.recipe import Recipe

GIVEN = {"steps": 40, "batch_size": 4, "learning_rate": 3e-4, "seed": 0}


def test_the_schedule_is_torch_s_linear_warm_up_and_cosine():
    recipe = Recipe(**GIVEN, warmup_steps=10)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], recipe.learning_rate)
    warmup = LinearLR(optimizer, start_factor=1 / 10, total_iters=9)
    schedule = SequentialLR(optimizer, [warmup, CosineAnnealingLR(optimizer, T_max=30)], milestones=[10])
    for step in range(40):
        assert recipe.rate(step) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9)
        optimizer.step()
        schedule.step()


def test_without_warm_up_the_rate_begins_at_its_peak_and_ends_at_zero():
    recipe = Recipe(**GIVEN)
    rates = [recipe.rate(step) for step in range(41)]
    assert rates[0] == recipe.learning_rate
    assert rates[20] == pytest.approx(recipe.learning_rate / 2)
    assert rates[40] == 0
    assert rates == sorted(rates, reverse=True)


@pytest.mark.parametrize("warmup_steps", [40, 60])
def test_a_warm_up_as_long_as_training_only_rises(warmup_steps):
    recipe = Recipe(**GIVEN, warmup_steps=warmup_steps)
    rates = [recipe.rate(step) for step in range(40)]
    assert rates == pytest.approx([recipe.learning_rate * (step + 1) / warmup_steps for step in range(40)])


def test_a_step_learns_from_all_its_batches():
    assert Recipe(**GIVEN, gradient_accumulation_steps=3).effective_batch_size == 12


def test_what_decides_only_what_is_kept_may_change():
    one, other = Recipe(**GIVEN), Recipe(**GIVEN, log_every=1, save_every=7, keep_checkpoints=3)
    assert one.reproducibility_fields == other.reproducibility_fields
    assert Recipe(**GIVEN, compile=True).reproducibility_fields != one.reproducibility_fields


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": -1}, r"recipe\.steps must be at least 0, not -1"),
        ({"gradient_accumulation_steps": 0}, r"recipe\.gradient_accumulation_steps must be at least 1"),
        ({"learning_rate": math.nan}, r"recipe\.learning_rate must be 0 or a positive number"),
        ({"gripper_oversampling": 0}, r"recipe\.gripper_oversampling must be a positive number"),
        ({"dataset_weights": [1e308, 1]}, r"recipe\.dataset_weights must be positive numbers up to 1e\+09"),
        ({"dataset_weights": [0, 0]}, r"recipe\.dataset_weights must be positive numbers"),
        ({"precision": "float64"}, r"recipe\.precision must be float32, bfloat16 or float16, not 'float64'"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(ConfigurationError, match=message):
        Recipe(**GIVEN | changes)
