"""The presets of training state the published numbers."""

import math

import pytest
from hydra import compose, initialize_config_module

from forehand_apps.cli.execution import prepare
from forehand_apps.commands.train import read_recipe

# preset: T, k, g, learning rate, epochs, batch a GPU, GPUs, accumulated, warm-up epochs, finger widths, mask ratio,
# repeated gripper events, frames of a window
TABLE = {
    "seer_calvin_pretraining": (14, 3, 4, 1e-4, 20, 10, 64, 1, 1, False, 0, 0, 17),
    "seer_calvin_finetuning": (10, 3, 0, 1e-3, 20, 16, 32, 1, 1, False, 0, 0, 13),
    "seer_calvin_scratch": (10, 3, 0, 1e-3, 20, 8, 64, 1, 1, False, 0, 0, 13),
    "seer_libero_pretraining": (11, 3, 4, 1e-4, 30, 10, 8, 8, 1, True, 0.5, 0, 11),
    "seer_libero_finetuning": (7, 3, 0, 1e-3, 40, 16, 8, 4, 5, True, 0, 0, 10),
    "seer_libero_scratch": (7, 3, 0, 1e-3, 40, 16, 8, 4, 5, True, 0, 0, 10),
    "seer_droid_pretraining": (11, 3, 4, 1e-4, 30, 32, 1, 2, 3, False, 0, 0, 11),
    "seer_real_finetuning": (7, 3, 0, 1e-3, 40, 16, 8, 4, 5, False, 0, 10, 10),
    "seer_real_scratch": (7, 3, 0, 1e-3, 40, 16, 8, 4, 5, False, 0, 10, 10),
}
QUERIES = ["action_head.queries", "world_model.queries"]


@pytest.fixture(scope="module")
def configured():
    prepare()

    def make(*overrides):
        with initialize_config_module("forehand_apps.conf", version_base="1.3"):
            return compose("train", overrides=[*overrides, "dataset=somewhere"])

    return make


def goal(policy):
    rule = policy.reads.foresight.get("state")
    return 0 if rule is None else int(rule)


@pytest.mark.parametrize("name", TABLE)
def test_the_numbers_are_the_published_ones(name, configured):
    history, horizon, ahead, rate, epochs, batch, gpus, accumulated, warmup, width, hidden, around, frames = TABLE[name]
    config = configured(f"preset={name}")
    policy, windows = config.policy, 10_007
    assert (policy.history, policy.world_model.horizon, goal(policy)) == (history, horizon, ahead)
    assert policy.encoders.state.gripper == ("width" if width else "one_hot")
    assert policy.get("token_dropout", {}) == ({"action": {"foresight": hidden}} if hidden else {})
    assert policy.random_shift.primary == {"pixels": [-9, 10], "targets": True}
    assert policy.random_shift.wrist == {"pixels": [-3, 4], "targets": True}
    assert policy.initialization == {"linear": "xavier_uniform", "queries": "zeros"}
    recipe = read_recipe(config.recipe, windows)
    assert (recipe.batch_size, recipe.gradient_accumulation_steps) == (batch, gpus * accumulated)
    assert (recipe.clip_every_batches or gpus) == gpus
    in_epoch = windows // (batch * gpus)  # micro-batches, as all GPUs together have them
    assert recipe.batches_per_epoch == in_epoch * gpus
    assert recipe.steps == epochs * math.ceil(in_epoch / accumulated)
    longer = accumulated > 1
    assert recipe.schedule_steps == epochs * in_epoch // accumulated + longer
    assert recipe.warmup_steps == warmup * in_epoch // accumulated + longer
    assert recipe.warmup_from_zero
    assert (recipe.learning_rate, recipe.weight_decay, recipe.max_grad_norm, recipe.seed) == (rate, 1e-4, 0.1, 42)
    assert (recipe.precision, policy.encoders.cameras.tower.precision) == ("float32", "bfloat16")
    assert (recipe.gripper_event_repeats, recipe.gripper_oversampling, recipe.dataset_weights) == (around, 1, None)
    assert recipe.whole_windows
    assert recipe.skip_last_window
    assert (recipe.window_frames or history + horizon) == frames
    assert config.reinitialize == (QUERIES if name.endswith("finetuning") else [])  # without init_from, these are refused


@pytest.mark.parametrize("data", ["calvin", "libero", "real"])
def test_seer_large_keeps_its_queries_when_it_is_fine_tuned(data, configured):
    small, large = configured(f"preset=seer_{data}_finetuning"), configured(f"preset=seer_large_{data}_finetuning")
    assert (small.reinitialize, large.reinitialize) == (QUERIES, [])
    recipe = read_recipe(large.recipe, 10_007)
    assert (recipe.batch_size, recipe.effective_batch_size, recipe.clip_every_batches) == (8, 512, None)
    assert recipe.schedule_steps == recipe.steps
    assert large.policy.dim == 1024


@pytest.mark.parametrize("policy", ["seer_large_calvin", "seer_large_libero", "seer_large_real"])
def test_seer_large_takes_the_same_recipes(policy, configured):
    preset = policy.replace("large_", "")
    small, large = configured(f"preset={preset}_scratch"), configured(f"preset={preset}_scratch", f"policy={policy}")
    assert large.recipe == small.recipe
    assert (small.policy.dim, large.policy.dim) == (384, 1024)
    assert large.policy.history == small.policy.history
