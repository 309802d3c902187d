"""Datasets whose action is stated by axis."""

import json
import shutil
from pathlib import Path


def by_axis(root: Path, copy: Path) -> Path:
    """A copy whose action has two fields, x and y, instead of one of two numbers."""
    shutil.copytree(root, copy)
    contract = json.loads((copy / "meta/forehand_contract.json").read_text())
    (position,) = contract["action"]
    contract["action"] = [
        {**position, "name": name, "size": 1, **{bound: position[bound][i : i + 1] for bound in ("low", "high")}}
        for i, name in enumerate("xy")
    ]
    (copy / "meta/forehand_contract.json").write_text(json.dumps(contract))
    return copy
