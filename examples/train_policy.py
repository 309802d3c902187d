"""Record demonstrations in the simulator, train a policy on the dataset, and evaluate it.

python examples/train_policy.py --episodes 300 --steps 3000    # minutes; the defaults only show how
python examples/train_policy.py --dataset you/your_dataset --cameras top    # any LeRobotDataset v3.0, without evaluation
"""

import argparse
from pathlib import Path

from forehand import registry
from forehand.data.dataset import Dataset
from forehand.data.sampling import ShuffledBatches
from forehand.data.windows import WindowDataset
from forehand.evaluation.evaluate import evaluate
from forehand.learning.checkpoint import build_policy, load_policy
from forehand.learning.recipe import Recipe
from forehand.learning.trainer import Trainer
from forehand_apps.main import run


def configuration(cameras: list[str]) -> dict:
    """What ``forehand train policy=transformer_bc`` uses, smaller; a checkpoint keeps it as config.yaml."""
    return {
        "name": "composed",
        "dim": 48,
        "history": 1,
        "image_size": 64,
        "encoders": {
            "text": {"name": "ngram_text"},
            "state": {"name": "state_mlp"},
            "cameras": {"name": "keypoints", "cameras": cameras, "tokens": 2},
        },
        "backbone": {"name": "transformer", "layers": 2, "heads": 4},
        "action_head": {"name": "chunk_regression", "chunk": 8},
        "reads": {"observation": {"observation": "past"}, "action": {"observation": "past"}},
        "normalization": {"state": "mean_std", "action": "mean_std"},
    }


def train(dataset: str, config: dict, steps: int, folder: Path) -> None:
    """Train on ``dataset`` and leave a checkpoint in ``folder``."""
    data = Dataset.open(dataset)  # tables only; no video is decoded yet
    policy = build_policy(config, data.contract, data.statistics)
    windows = WindowDataset(data, policy.window)  # decodes the videos once, into a cache
    recipe = Recipe(steps=steps, batch_size=16, learning_rate=1e-3, seed=0)
    order = ShuffledBatches(len(windows), recipe.batch_size, recipe.seed)
    folder.mkdir(parents=True)
    trainer = Trainer(
        policy,
        lambda number: windows.batch(order.at(number)),  # a function of the batch's number: a resumed run ends the same
        recipe,
        folder,
        config=config,
        statistics=data.statistics,
        facts={"dataset": dataset, "fingerprint": data.fingerprint},
    )
    trainer.run(lambda entry: print(f"step {entry['step']}: loss {entry['loss']:.3f}"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--dataset")
    parser.add_argument("--cameras", nargs="+", default=["static", "wrist"])
    parser.add_argument("--episodes", type=int, default=4)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--trials", type=int, default=3)
    parser.add_argument("--output", type=Path, default=Path("outputs/example"))
    options = parser.parse_args()

    dataset = options.dataset or str(options.output / "dataset")
    if options.dataset is None:
        assert run(["record", "robot=tabletop", f"output={dataset}", f"episodes={options.episodes}", "workers=1"]) == 0
    train(dataset, configuration(options.cameras), options.steps, options.output / "run")
    if options.dataset is None:
        robot, benchmark = registry().create("robot", "tabletop"), registry().create("benchmark", "tabletop")
        result = evaluate(load_policy(options.output / "run"), [robot], benchmark.episodes(options.trials, seed=1))
        print(f"success {result.total.rate:.2f} {result.total.interval}")
