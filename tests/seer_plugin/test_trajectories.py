"""Short trainings by the released loop, repeated: losses, gradient norms, learning rates and some final weights."""

import json

import pytest
import torch
from hydra import compose, initialize_config_module

from forehand.learning.checkpoint import build_policy
from forehand.learning.trainer import Trainer
from forehand_apps.cli.execution import prepare
from forehand_apps.commands.train import read_recipe
from forehand_seer.mae_vit import MaskedAutoencoderViT
from forehand_seer.released import configuration, load, released_weights
from forehand_seer.released_names import released_shape

CASES = {"trajectory_finetune": "seer_calvin_scratch", "trajectory_pretrain": "seer_calvin_pretraining"}


def configured_recipe(preset, about):
    """The recipe of a preset, with the numbers of a short training."""
    batch, accumulate, batches = (int(about[key]) for key in ("batch_size", "accumulate", "micro_batches"))
    changes = {
        "learning_rate": about["learning_rate"],
        "weight_decay": about["weight_decay"],
        "epochs": about["epochs"],
        "warmup_epochs": about["warmup_epochs"],
        "batch_size": batch,
        "gradient_accumulation_steps": accumulate,
        "clip_every_batches": 1,
        "extra_schedule_steps": int(accumulate > 1),
        "log_every": 1,
    }
    prepare()
    with initialize_config_module("forehand_apps.conf", version_base="1.3"):
        overrides = [f"recipe.{key}={value}" for key, value in changes.items()]
        config = compose("train", overrides=[f"preset={preset}", "dataset=none", *overrides])
    return read_recipe(config.recipe, windows=batch * batches)


@pytest.mark.parametrize(("case", "preset"), CASES.items())
def test_a_preset_has_the_released_learning_rates(case, preset, golden):
    about, wanted = golden(case)
    recipe = configured_recipe(preset, about)
    assert recipe.steps == len(wanted["learning_rate"])
    rates = torch.tensor([recipe.rate(step) for step in range(recipe.steps)], dtype=torch.float64)
    torch.testing.assert_close(rates.float(), wanted["learning_rate"], rtol=1e-6, atol=1e-12)


@pytest.mark.trajectory
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("case", "preset"), CASES.items())
def test_a_preset_trains_as_the_released_loop(case, preset, golden, seer, tmp_path, monkeypatch):
    about, wanted = golden(case)
    recipe = configured_recipe(preset, about)
    steps, future, salt = int(about["sequence_length"]), int(about["future_steps"]), about["salt"]
    config = configuration(sequence_length=steps, future_steps=future, **json.loads(about["config"]))
    config["backbone"]["dropout"], config["random_shift"] = 0.0, {}
    policy = build_policy(config, seer.contract(1), {})
    names = {name: released_shape(name, tensor.shape) for name, tensor in released_weights(policy).items()}
    load(policy, {name: seer.weight(salt + name, shape) for name, shape in names.items()})

    encode, known = MaskedAutoencoderViT._encode, {}

    def once(tower, images):  # the same in every epoch
        key = images.contiguous().numpy().tobytes()
        if key not in known:
            known[key] = encode(tower, images)
        return known[key]

    monkeypatch.setattr(MaskedAutoencoderViT, "_encode", once)

    def batch(number):
        given = f"{case}/m{number % int(about['micro_batches'])}"
        windows = [seer.window(f"{given}b{i}", steps, future, 3, width=False) for i in range(recipe.batch_size)]
        return {
            side: {key: torch.cat([w[side][key] for w in windows]) for key in windows[0][side]} for side in windows[0]
        }

    trainer = Trainer(policy, batch, recipe, tmp_path, config=config, statistics={}, facts={})
    losses, norms, entries = [], [], []
    loss, clip = trainer._loss, trainer._clip

    def noted_loss(batch):
        found = loss(batch)
        losses.append(found[0].item())
        return found

    def noted_clip():
        norms.append(clip())
        return norms[-1]

    monkeypatch.setattr(trainer, "_loss", noted_loss)
    monkeypatch.setattr(trainer, "_clip", noted_clip)
    monkeypatch.setattr(trainer, "save", lambda: None)
    trainer.run(entries.append)

    torch.testing.assert_close(torch.tensor(losses), wanted["loss"], rtol=1e-4, atol=0)
    torch.testing.assert_close(torch.stack(norms), wanted["norm_before_clip"], rtol=1e-3, atol=0)
    rates = torch.tensor([entry["learning_rate"] for entry in entries])
    torch.testing.assert_close(rates, wanted["learning_rate"], rtol=1e-6, atol=1e-12)
    trained = released_weights(policy)
    compared = [name for name in wanted if name.startswith("weights/")]
    assert len(compared) == 7
    for name in compared:
        ours = trained[name.removeprefix("weights/")].detach().flatten()[: len(wanted[name])]
        torch.testing.assert_close(ours, wanted[name], rtol=0, atol=1e-4)
