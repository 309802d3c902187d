"""Training goes on exactly where it stopped, and leaves nothing half done."""

import functools
import json
import shutil
import signal
from pathlib import Path

import pytest
import torch

from forehand.errors import CheckpointError, ConfigurationError
from forehand.learning.checkpoint import checkpoints, fingerprint, latest_checkpoint, read_tensors
from forehand.learning.recipe import Recipe
from forehand.learning.run_folder import run_folder
from forehand.learning.trainer import LOG, TRAINING_STATE, TrainablePolicy, TrainingDiverged
from forehand.utils.renames import log_once

from .runs import POLICY, RECIPE, assert_same_run, ignore, ignore_all, interrupt_at, log


@pytest.fixture
def whole(begin, tmp_path) -> Path:
    """The folder of a run that nothing interrupted."""
    trainer = begin(tmp_path / "whole")
    trainer.run(ignore)
    return trainer.folder


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("step", [1, 4])  # in the warm-up and on the cosine
def test_an_interrupted_run_ends_as_if_it_had_not_been(begin, whole, tmp_path, step, number):
    handlers = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    first = begin(tmp_path / "run")
    first.run(interrupt_at(step, number))
    assert first.interrupted
    assert first.step == step
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == handlers

    second = begin(tmp_path / "run")
    second.resume(latest_checkpoint(second.folder))
    second.run(ignore)
    assert not second.interrupted
    assert_same_run(second.folder, whole)


def test_a_run_that_died_behind_its_last_checkpoint_takes_back_what_it_wrote(begin, whole, tmp_path):
    def die(entry):
        if entry["step"] == 5:
            raise MemoryError

    first = begin(tmp_path / "run", save_every=2)
    with pytest.raises(MemoryError):
        first.run(die)
    assert [e["step"] for e in log(first.folder)] == [1, 2, 3, 4, 5]
    with (first.folder / LOG).open("a") as file:
        file.write('{"step": 6, "lo')  # killed while it wrote

    second = begin(tmp_path / "run", save_every=2)
    second.resume(latest_checkpoint(second.folder))
    assert second.step == 4
    second.run(ignore)
    assert_same_run(second.folder, whole)


def test_a_run_that_died_before_its_first_checkpoint_starts_over(begin, whole, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / LOG).write_text('{"step": 1, "loss": 9}\n')
    trainer = begin(tmp_path / "run")
    trainer.run(ignore)
    assert_same_run(trainer.folder, whole)


def test_a_second_ctrl_c_ends_at_once(begin, tmp_path):
    def report(entry):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    trainer = begin(tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        trainer.run(report)
    assert latest_checkpoint(trainer.folder) is None


def test_the_gradient_of_a_step_is_the_mean_of_its_batches(begin, tmp_path):
    still = {
        "token_dropout": {},
        "random_shift": {},
        "backbone": POLICY["backbone"] | {"dropout": 0.0},
        "max_grad_norm": 1e9,
    }
    trainer = begin(tmp_path / "run", gradient_accumulation_steps=2, **still)
    trainer.policy.train()
    batches = [trainer.batches(number) for number in (0, 1)]
    losses = [trainer.policy(batch)[0] for batch in batches]
    gradients = torch.autograd.grad(sum(losses) / 2, list(trainer.parameters.values()))
    loss, terms, _ = trainer._update(iter(batches))
    for parameter, gradient in zip(trainer.parameters.values(), gradients, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)
    torch.testing.assert_close(loss, sum(losses).detach() / 2)
    torch.testing.assert_close(terms["arm"], loss)  # the only term of this policy


def test_accumulation_resumes_exactly(begin, tmp_path):
    whole = begin(tmp_path / "whole", gradient_accumulation_steps=3, batch_size=2)
    whole.run(ignore)
    first = begin(tmp_path / "run", gradient_accumulation_steps=3, batch_size=2)
    first.run(interrupt_at(2))
    second = begin(tmp_path / "run", gradient_accumulation_steps=3, batch_size=2)
    second.resume(latest_checkpoint(second.folder))
    second.run(ignore)
    assert_same_run(second.folder, whole.folder)


def test_a_step_takes_each_of_its_batches_once(begin, tmp_path):
    trainer = begin(tmp_path / "run", gradient_accumulation_steps=2, steps=3)
    numbers, batches = [], trainer.batches
    trainer.batches = lambda number: (numbers.append(number), batches(number))[1]
    trainer.run(ignore)
    assert numbers == [0, 1, 2, 3, 4, 5]


def test_it_learns(begin, tmp_path):
    trainer = begin(tmp_path / "run", steps=60, batch_size=8, token_dropout={}, random_shift={})
    trainer.run(ignore)
    losses = [e["loss"] for e in log(trainer.folder)]
    assert sum(losses[-10:]) < 0.5 * sum(losses[:10])


def test_the_learning_rate_rises_and_falls(begin, tmp_path):
    recipe = Recipe(steps=12, batch_size=1, learning_rate=0.8, seed=0, warmup_steps=4)
    assert [recipe.rate(step) for step in range(4)] == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert recipe.rate(4) == 0.8
    assert recipe.rate(8) == pytest.approx(0.4)
    assert recipe.rate(12) == pytest.approx(0)
    trainer = begin(tmp_path / "run", steps=3)
    trainer.run(ignore)
    assert [e["learning_rate"] for e in log(trainer.folder)] == [trainer.recipe.rate(step) for step in range(3)]
    assert trainer.optimizer.param_groups[0]["lr"] == trainer.recipe.rate(2)


def test_no_steps_make_an_untrained_checkpoint(begin, tmp_path):
    trainer = begin(tmp_path / "run", steps=0)
    before = {name: p.detach().clone() for name, p in trainer.parameters.items()}
    trainer.run(ignore)
    assert not trainer.interrupted
    stored = read_tensors(latest_checkpoint(trainer.folder) / "model.safetensors")
    assert all(torch.equal(stored[name], before[name]) for name in before)


def test_a_finished_run_has_nothing_left_to_do(begin, whole):
    trainer = begin(whole)
    before = fingerprint(latest_checkpoint(whole)), log(whole)
    trainer.resume(latest_checkpoint(whole))
    trainer.run(ignore)
    assert not trainer.interrupted
    assert (fingerprint(latest_checkpoint(whole)), log(whole)) == before


def test_the_newest_checkpoints_are_kept(begin, tmp_path):
    trainer = begin(tmp_path / "run", save_every=1, keep_checkpoints=2)
    trainer.run(ignore)
    assert [c.name for c in checkpoints(trainer.folder)] == ["step_0000005", "step_0000006"]
    assert len(list((trainer.folder / "checkpoints").iterdir())) == 2


@pytest.mark.parametrize("log_every", [1, 100])  # seen in the loss, or only when the weights are to be saved
def test_divergence_is_told_and_spoils_no_checkpoint(begin, tmp_path, log_every):
    trainer = begin(tmp_path / "run", steps=50, save_every=1, log_every=log_every, warmup_steps=0, learning_rate=1e30)
    with pytest.raises(TrainingDiverged) as raised:
        trainer.run(ignore)
    kept = latest_checkpoint(trainer.folder)
    assert f"{kept} is kept" in str(raised.value)
    assert "lower recipe.learning_rate (now 1e+30)" in str(raised.value)
    assert all(t.isfinite().all() for t in read_tensors(kept / "model.safetensors").values() if t.is_floating_point())


class Spoilt:
    """A trainer's policy that gives a loss which is not finite, or a gradient, at its ``count``-th batch."""

    def __init__(self, policy, count: int, loss=float("nan"), gradient=None):
        self.policy, self.left, self.loss, self.gradient, self.backwards = policy, count, loss, gradient, 0

    def __call__(self, batch):
        self.left -= 1
        loss, terms = self.policy(batch)
        if self.left == 0 and self.gradient is None:
            loss, terms = loss * self.loss, terms | {"arm": terms["arm"] * self.loss}
            loss.register_hook(self._count)
        if self.left == 0 and self.gradient is not None:
            loss.register_hook(lambda given: given * self.gradient)
        return loss, terms

    def _count(self, gradient):
        self.backwards += 1

    def __getattr__(self, name):
        return getattr(self.policy, name)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_never_reaches_the_weights(begin, tmp_path, value):
    trainer = begin(tmp_path / "run", save_every=1, log_every=100, gradient_accumulation_steps=2)
    trainer.strategy.policy = spoilt = Spoilt(trainer.policy, 6, value)  # the second batch of the third step
    with pytest.raises(TrainingDiverged, match=rf"the loss is {value} \(its term arm is {value}\) at step 3\. .*is kept"):
        trainer.run(ignore)
    assert spoilt.backwards == 0
    assert latest_checkpoint(trainer.folder).name == "step_0000002"
    assert all(p.isfinite().all() for p in trainer.parameters.values())


def test_a_gradient_that_is_not_finite_never_reaches_the_weights(begin, tmp_path):
    trainer = begin(tmp_path / "run", save_every=1, log_every=100)
    trainer.strategy.policy = Spoilt(trainer.policy, 3, gradient=float("nan"))
    with pytest.raises(TrainingDiverged, match=r"the norm of the gradient is nan at step 3"):
        trainer.run(ignore)
    assert latest_checkpoint(trainer.folder).name == "step_0000002"
    assert all(p.isfinite().all() for p in trainer.parameters.values())


def test_nothing_goes_on_from_another_run(begin, whole, slider_dataset, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(slider_dataset, other)
    (other / "meta" / "more").touch()
    changed = begin(
        whole, sources=other, learning_rate=0.5, steps=9, backbone=POLICY["backbone"] | {"layers": 2}, token_dropout={}
    )
    with pytest.raises(CheckpointError) as raised:
        changed.resume(latest_checkpoint(whole))
    lines = str(raised.value).splitlines()
    assert [line.strip("- ") for line in lines[1:5]] == [
        "policy.backbone.layers: was 1, is 2",
        "policy.token_dropout.action: was {'static': 0.5}, is None",
        "recipe.steps: was 6, is 9",
        "recipe.learning_rate: was 0.01, is 0.5",
    ]
    assert lines[5].startswith("  - dataset fingerprint: was '")
    assert "another output" in lines[6]

    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(slider_dataset, elsewhere)  # the same content in another place is the same dataset
    same = begin(whole, sources=elsewhere, log_every=7, save_every=3, keep_checkpoints=4)
    same.resume(latest_checkpoint(whole))


def test_a_run_that_recorded_former_names_of_its_recipe_goes_on(begin, whole, caplog):
    log_once.cache_clear()
    path = latest_checkpoint(whole) / "provenance.json"
    provenance = json.loads(path.read_text())
    former = {"max_grad_norm": "gradient_norm", "gradient_accumulation_steps": "accumulate", "keep_checkpoints": "keep"}
    provenance["recipe"] = {former.get(name, name): value for name, value in provenance["recipe"].items()}
    path.write_text(json.dumps(provenance))
    for _ in range(2):
        begin(whole).resume(latest_checkpoint(whole))
    assert sorted(r.message.partition(" is now")[0] for r in caplog.records) == [
        *("recipe.accumulate", "recipe.gradient_norm", "recipe.keep"),
    ]
    with pytest.raises(CheckpointError, match=r"recipe\.max_grad_norm: was 1\.0, is 2\.0"):
        begin(whole, max_grad_norm=2.0).resume(latest_checkpoint(whole))


def test_a_checkpoint_without_a_trainer_s_state_is_told(begin, whole):
    checkpoint = latest_checkpoint(whole)
    (checkpoint / TRAINING_STATE).unlink()
    with pytest.raises(CheckpointError, match=f"holds no {TRAINING_STATE}: it can be run"):
        begin(whole).resume(checkpoint)


def test_one_trains_in_a_folder_at_a_time_and_cleans_up(tmp_path):
    leftover = tmp_path / "run" / "checkpoints" / ".step_0000002-abc"
    leftover.mkdir(parents=True)
    assert checkpoints(tmp_path / "run") == []
    with run_folder(tmp_path / "run"):
        assert not leftover.exists()
        with pytest.raises(ConfigurationError, match="Another process is training in"), run_folder(tmp_path / "run"):
            pass
    with run_folder(tmp_path / "run"):
        pass


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": -1}, "recipe.steps must be at least 0, not -1"),
        ({"batch_size": 0}, "recipe.batch_size must be at least 1"),
        ({"gradient_accumulation_steps": 0}, "recipe.gradient_accumulation_steps must be at least 1"),
        ({"log_every": 0}, "recipe.log_every must be at least 1"),
        ({"keep_checkpoints": 0}, "recipe.keep_checkpoints must be at least 1"),
        ({"learning_rate": float("nan")}, "recipe.learning_rate must be 0 or a positive number, not nan"),
        ({"precision": "half"}, "recipe.precision must be float32, bfloat16 or float16, not 'half'"),
    ],
)
def test_a_recipe_that_cannot_be_is_refused(changes, message):
    with pytest.raises(ConfigurationError, match=message):
        Recipe(**(RECIPE | changes))


def test_bfloat16_trains_float32_weights(begin, tmp_path):
    trainer = begin(tmp_path / "run", precision="bfloat16", steps=2)
    trainer.run(ignore)
    exact = begin(tmp_path / "exact", steps=2)
    exact.run(ignore)
    assert all(p.dtype == torch.float32 for p in trainer.parameters.values())
    ours, theirs = log(trainer.folder)[0]["loss"], log(exact.folder)[0]["loss"]
    assert ours != theirs
    assert ours == pytest.approx(theirs, rel=0.05)


def test_bfloat16_keeps_losses_and_gradients_in_float32(begin, tmp_path):
    trainer = begin(tmp_path / "run", precision="bfloat16")
    loss, terms = trainer._loss(trainer.batches(0))
    loss.backward()
    assert {t.dtype for t in (loss, *terms.values())} == {torch.float32}
    assert {p.grad.dtype for p in trainer.parameters.values()} == {torch.float32}


def test_a_loss_that_no_trained_parameter_reaches_is_named(begin, tmp_path):
    """The head's loss is detached from the encoders, and all else is frozen."""
    frozen = {name: {"frozen": True} for name in ("backbone", "action_head")}
    trainer = begin(tmp_path / "run", detach=["action"], parameter_groups=frozen)
    with pytest.raises(ConfigurationError, match=r"none of the parameters that are trained \(encoders\): policy\.detach"):
        trainer.run(ignore)
    assert not checkpoints(trainer.folder)


def test_a_compiler_that_fails_is_told_and_changes_nothing(begin, whole, tmp_path, monkeypatch, caplog):
    def fail(*_, **__):
        raise RuntimeError("no compiler here\nand much more about it")

    trainer = begin(tmp_path / "run", compile=True)
    monkeypatch.setattr(trainer.policy.backbone, "_compiled_call_impl", fail)
    monkeypatch.setattr(trainer.policy, "compile", ignore_all)
    trainer.run(ignore)
    assert "torch.compile failed with RuntimeError: no compiler here. Training continues without it" in caplog.text
    assert log(trainer.folder) == log(whole)


@pytest.mark.slow
def test_a_compiled_policy_trains_as_it_would_uncompiled(begin, tmp_path, monkeypatch):
    """Captured as graphs, forward and backward; torch's own code generator, which takes a minute, is left out."""
    plain = {"token_dropout": {}, "random_shift": {}, "backbone": POLICY["backbone"] | {"dropout": 0.0}, "steps": 3}
    compiled, eager = begin(tmp_path / "compiled", compile=True, **plain), begin(tmp_path / "eager", **plain)
    captured = functools.partial(compiled.policy.compile, backend="aot_eager", fullgraph=True)
    monkeypatch.setattr(compiled.policy, "compile", captured)
    for trainer in (compiled, eager):
        trainer.run(ignore)
    assert compiled.policy.backbone._compiled_call_impl is not None
    assert [e["loss"] for e in log(compiled.folder)] == pytest.approx([e["loss"] for e in log(eager.folder)], rel=1e-3)
    assert compiled.policy.state_dict().keys() == eager.policy.state_dict().keys()


def test_the_composed_policy_is_a_learner(begin, tmp_path):
    assert isinstance(begin(tmp_path / "run").policy, TrainablePolicy)
    assert not isinstance(torch.nn.Linear(1, 1), TrainablePolicy)
