"""The presets of training state the published numbers."""

import pytest
from hydra import compose, initialize_config_module

from forehand_apps.cli import prepare
from forehand_apps.train import read_recipe

# preset: T, k, g, learning rate, epochs, effective batch, warm-up epochs, finger widths, mask ratio, ×10 at the gripper
TABLE = {
    "seer_calvin_pretraining": (14, 3, 4, 1e-4, 20, 640, 0, False, 0, 1),
    "seer_calvin_finetuning": (10, 3, 0, 1e-3, 20, 512, 0, False, 0, 1),
    "seer_calvin_scratch": (10, 3, 0, 1e-3, 20, 512, 0, False, 0, 1),
    "seer_libero_pretraining": (11, 3, 4, 1e-4, 30, 640, 1, True, 0.5, 1),
    "seer_libero_finetuning": (7, 3, 0, 1e-3, 40, 512, 5, True, 0, 1),
    "seer_libero_scratch": (7, 3, 0, 1e-3, 40, 512, 5, True, 0, 1),
    "seer_droid_pretraining": (11, 3, 4, 1e-4, 30, 64, 3, False, 0, 1),
    "seer_real_finetuning": (7, 3, 0, 1e-3, 40, 512, 0, False, 0, 10),
    "seer_real_scratch": (7, 3, 0, 1e-3, 40, 512, 0, False, 0, 10),
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
    history, horizon, ahead, rate, epochs, batch, warmup, width, hidden, around = TABLE[name]
    config = configured(f"preset={name}")
    policy, windows = config.policy, 10_000
    assert (policy.history, policy.world_model.horizon, goal(policy)) == (history, horizon, ahead)
    assert policy.encoders.state.gripper == ("width" if width else "one_hot")
    assert policy.get("token_dropout", {}) == ({"action": {"foresight": hidden}} if hidden else {})
    assert policy.random_shift == {"primary": 10, "wrist": 4}
    recipe = read_recipe(config.recipe, windows)
    assert (recipe.effective_batch_size, recipe.batch_size) == (batch, 64)
    assert recipe.steps == round(epochs * windows / batch)
    assert recipe.warmup_steps == round(warmup * windows / batch)
    assert (recipe.learning_rate, recipe.weight_decay, recipe.max_grad_norm, recipe.seed) == (rate, 1e-4, 0.1, 42)
    assert (recipe.precision, policy.encoders.cameras.tower.precision) == ("float32", "bfloat16")
    assert (recipe.gripper_oversampling, recipe.dataset_weights) == (around, None)
    assert config.reinitialize == (QUERIES if name.endswith("finetuning") else [])  # without init_from, these are refused


@pytest.mark.parametrize("policy", ["seer_large_calvin", "seer_large_libero", "seer_large_real"])
def test_seer_large_takes_the_same_recipes(policy, configured):
    preset = policy.replace("large_", "")
    small, large = configured(f"preset={preset}_scratch"), configured(f"preset={preset}_scratch", f"policy={policy}")
    assert large.recipe == small.recipe
    assert (small.policy.dim, large.policy.dim) == (384, 1024)
    assert large.policy.history == small.policy.history
