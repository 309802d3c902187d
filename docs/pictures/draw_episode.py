"""Draw episode.webp: camera images beside the policy's forecasts, while it carries out an instruction.

The checkpoint took 85 s of one CPU core to train:

forehand record robot=tabletop output=data/lift tasks=[lift] episodes=150 noise.std=0.01
forehand train dataset=data/lift output=outputs/lift recipe.steps=700 recipe.batch_size=32 recipe.learning_rate=2e-3
python docs/pictures/draw_episode.py outputs/lift
"""

import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from forehand import Policy, registry
from forehand.control.chunking import TemporalEnsemble
from forehand.control.chunking.gripper import BinaryGripper
from forehand.learning.checkpoint import load_policy
from forehand.running.rollout import Step, rollout

SIDE, GAP, BAR = 220, 8, 30  # pixels
INK, PAPER, BLUE, VIOLET = "#24292f", "#fbfbfc", "#3b82c4", "#8a5cd1"
SEED, EPISODES = 2, 3  # held-out scenes; episodes that succeed


def panel(frame: Image.Image, column: int, words: str, colour: str, image: Image.Image) -> None:
    """One image with a coloured frame and words above it."""
    left, top, draw = GAP + column * (SIDE + GAP), BAR + GAP, ImageDraw.Draw(frame)
    draw.text((left, GAP), words, fill=colour, font=ImageFont.load_default(17))
    draw.rectangle((left - 2, top - 2, left + SIDE + 1, top + SIDE + 1), fill=colour)
    frame.paste(image.resize((SIDE, SIDE), Image.Resampling.BICUBIC), (left, top))


def draw(step: Step, instruction: str, rate: float) -> Image.Image:
    """Both cameras now, and both as they are predicted to be some steps ahead."""
    prediction = step.prediction
    assert prediction is not None
    assert prediction.forecast is not None
    ahead = f"predicted, {prediction.forecast_horizon / rate:.1f} s ahead"
    frame = Image.new("RGB", (GAP + 4 * (SIDE + GAP), 2 * GAP + 2 * BAR + SIDE), PAPER)
    for number, camera in enumerate(("static", "wrist")):
        panel(frame, 2 * number, f"{camera} camera", BLUE, Image.fromarray(step.observation.images[camera]))
        panel(frame, 2 * number + 1, ahead, VIOLET, Image.fromarray(prediction.forecast[camera]))
    place = (frame.width / 2, frame.height - GAP)
    ImageDraw.Draw(frame).text(
        place, f"“{instruction}”, at half speed", fill=INK, font=ImageFont.load_default(19), anchor="mb"
    )
    return frame


def film(policy: Policy) -> list[Image.Image]:
    """The frames of the first episodes that succeed."""
    robot = registry().create("robot", "tabletop")
    robot.connect()
    frames: list[Image.Image] = []
    succeeded = 0
    for episode in registry().create("benchmark", "tabletop").episodes(10 * EPISODES, SEED, ["lift"]):
        steps: list[Step] = []
        chunker = BinaryGripper(TemporalEnsemble(), robot.contract)
        outcome = rollout(robot, policy, episode, chunker, forecast=True, on_step=steps.append)
        print(episode.instruction, outcome)
        if outcome.success:
            drawn = [draw(s, episode.instruction, robot.contract.rate) for s in steps if s.prediction is not None]
            frames += [*drawn, *drawn[-1:] * 6]
            succeeded += 1
        if succeeded == EPISODES:
            break
    robot.close()
    return frames


if __name__ == "__main__":
    first, *rest = film(load_policy(sys.argv[1]))
    path = Path(__file__).with_name("episode.webp")
    first.save(path, save_all=True, append_images=rest, duration=133, loop=0, quality=75, method=6)
    print(f"{path}: {1 + len(rest)} frames, {path.stat().st_size / 1e6:.2f} MB")
