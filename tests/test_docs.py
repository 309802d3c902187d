"""The pictures in the docs show what the code does."""

import subprocess
import sys
from pathlib import Path

from PIL import Image

DOCS = Path(__file__).parent.parent / "docs"


def test_the_picture_of_the_masks_is_up_to_date(tmp_path):
    subprocess.run([sys.executable, DOCS / "draw_masks.py", tmp_path], check=True)
    drawn, shown = (Image.open(folder / "masks.png").text["Description"] for folder in (tmp_path, DOCS))
    assert "seer_calvin_pretraining, history 14: 1 text, 1 state, 6 primary" in drawn
    assert shown == drawn, "run python docs/draw_masks.py"
