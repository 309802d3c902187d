"""Datasets without some of their columns, as a recording has them whose actions or states nobody kept."""

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq


def without(root: Path, target: Path, *keys: str) -> Path:
    """A copy of a dataset without these columns."""
    shutil.copytree(root, target)
    for file in target.rglob("*.parquet"):
        table = pq.read_table(file)
        gone = [c for c in table.column_names if c in keys or c.startswith(tuple(f"stats/{key}/" for key in keys))]
        pq.write_table(table.drop_columns(gone), file)
    for name, part in (("info.json", "features"), ("stats.json", None)):
        content = json.loads((target / "meta" / name).read_text())
        for key in keys:
            (content[part] if part else content).pop(key)
        (target / "meta" / name).write_text(json.dumps(content))
    contract = target / "meta/forehand_contract.json"
    stated = json.loads(contract.read_text())
    contract.write_text(json.dumps(stated | {key.removeprefix("observation."): [] for key in keys}))
    return target
