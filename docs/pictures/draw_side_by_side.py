"""Draw side_by_side.webp: two policies in one chain of D, without and with a forecast that video taught.

Trial 0 of training seed 2 of study=foresight (docs/results/foresight.md), driven again with its videos:

forehand eval replay=outputs/foresight/judge/D/few/labels_only/seed-2 'trials=[0]' output=outputs/film/labels_only
forehand eval replay=outputs/foresight/judge/D/few/read/seed-2 'trials=[0]' output=outputs/film/read
python docs/pictures/draw_side_by_side.py outputs/film/labels_only outputs/film/read
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import av
from PIL import Image, ImageDraw, ImageFont

SIDE, GAP, BAR = 320, 10, 26  # pixels
EVERY = 3  # frames of the videos, of which one is drawn
INK, PAPER, GREY, GREEN, RED = "#24292f", "#fbfbfc", "#d0d7de", "#2da44e", "#cf222e"
NAMES = ("480 demonstrations", "and 2,800 videos, by a forecast")
CHAIN = 5  # instructions


@dataclass(frozen=True)
class Moment:
    """What is seen of a policy: an image, the instruction, and how the instructions until now have ended."""

    image: Image.Image
    instruction: str
    ended: tuple[bool, ...]


def moments(folder: Path) -> list[Moment]:
    """The frames of an evaluation's only chain, each instruction's last one for a while."""
    found: list[Moment] = []
    ended: tuple[bool, ...] = ()
    for episode in json.loads((folder / "results.json").read_text())["episodes"]:
        with av.open(str(folder / episode["video"])) as video:
            frames = [frame.to_image() for frame in video.decode(video=0)]
        shown = [frame.crop((0, frame.height - frame.width // 2, frame.width // 2, frame.height)) for frame in frames]
        found += [Moment(image, episode["heard"], ended) for image in shown]
        ended = (*ended, episode["success"])
        found += [Moment(shown[-1], episode["heard"], ended)] * 4
    return found


def draw(sides: tuple[Moment, Moment]) -> Image.Image:
    """Both policies at the same time."""
    frame = Image.new("RGB", (3 * GAP + 2 * SIDE, 2 * GAP + 3 * BAR + SIDE), PAPER)
    pen = ImageDraw.Draw(frame)
    for number, (name, moment) in enumerate(zip(NAMES, sides, strict=True)):
        left = GAP + number * (SIDE + GAP)
        pen.text((left, GAP), name, fill=INK, font=ImageFont.load_default(17))
        frame.paste(moment.image.resize((SIDE, SIDE), Image.Resampling.BICUBIC), (left, GAP + BAR))
        below = GAP + BAR + SIDE
        pen.text((left, below + 6), f"“{moment.instruction}”", fill=INK, font=ImageFont.load_default(15))
        for i in range(CHAIN):
            colour = GREY if i >= len(moment.ended) else GREEN if moment.ended[i] else RED
            at = left + 24 * i
            pen.ellipse((at, below + BAR + 6, at + 14, below + BAR + 20), fill=colour)
    return frame


def film(folders: tuple[Path, Path]) -> list[Image.Image]:
    """Both chains side by side; the one that has ended keeps its last moment."""
    first, second = (moments(folder) for folder in folders)
    length = max(len(first), len(second))
    first, second = (one + one[-1:] * (length - len(one)) for one in (first, second))
    drawn = [draw(pair) for pair in list(zip(first, second, strict=True))[::EVERY]]
    return [*drawn, *drawn[-1:] * 12]


if __name__ == "__main__":
    first, *rest = film((Path(sys.argv[1]), Path(sys.argv[2])))
    path = Path(__file__).with_name("side_by_side.webp")
    first.save(path, save_all=True, append_images=rest, duration=100, loop=0, quality=60, method=6)
    print(f"{path}: {1 + len(rest)} frames, {path.stat().st_size / 1e6:.2f} MB")
