"""The site builds without warnings, its words are those of the code, and its pictures show what the code does."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from forehand import registry

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PICTURES = DOCS / "pictures"
PACKAGES = [ROOT / folder for folder in ("core", "plugins", "seer_plugin", "robots", "apps")]
GLOSSARY = re.findall(r"^\*\*(.+?)\*\*: ", (DOCS / "glossary.md").read_text(), re.MULTILINE)
RETIRED = ("crew", "front door", "keeper", "stranger", "guest", "told", "sent away")
"""Words that module docstrings' first lines used before the field's terms took their places."""


@pytest.mark.slow
def test_the_picture_of_the_masks_is_up_to_date(tmp_path):
    subprocess.run([sys.executable, PICTURES / "draw_masks.py", tmp_path], check=True)
    drawn, shown = (Image.open(folder / "masks.png").text["Description"] for folder in (tmp_path, PICTURES))
    assert "seer_calvin_pretraining, history 14: 1 text, 1 state, 6 primary" in drawn
    assert shown == drawn, "run python docs/pictures/draw_masks.py"


@pytest.mark.slow
def test_the_site_builds_without_warnings(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    pages = {path: path.read_text() for path in tmp_path.rglob("*.html")}
    assert 'id="forehand.contracts.contract.Contract"' in pages[tmp_path / "reference/contracts/index.html"]
    loaded = re.compile(r'<(?:script|img)[^>]+src="https?:|<link[^>]+rel="(?:stylesheet|preconnect)"[^>]+href="https?:')
    assert [path.name for path, html in pages.items() if loaded.search(html)] == []
    assert [path.name for path, html in pages.items() if re.search(r":(mod|class|func|meth|attr):<", html)] == []


@pytest.mark.parametrize(
    "kind", ["encoder", "vision_tower", "backbone", "world_model", "action_head", "augmentation", "importer"]
)
def test_every_stock_part_has_a_row_in_the_reference(kind):
    rows = [row for row in (DOCS / "reference/stock_parts.md").read_text().splitlines() if row.startswith("| `")]
    stock = [part.name for part in registry().parts(kind) if part.plugin == "stock"]
    missing = [name for name in stock if not any(f"`{name}`" in row.split("|")[1] for row in rows)]
    assert stock
    assert missing == [], f"rows of docs/reference/stock_parts.md that are missing: {missing}"


@pytest.mark.parametrize("kind", ["vision_tower", "encoder"])
def test_every_preset_of_a_part_is_named_beside_it(kind):
    page = (DOCS / "reference/stock_parts.md").read_text()
    presets = {path.stem for path in (ROOT / "plugins/forehand_plugins/conf" / kind).glob("*.yaml")}
    assert presets
    assert {name for name in presets if not re.search(rf"\b{name}\b", page)} == set()


def test_every_word_of_the_glossary_is_used():
    pages = [path.read_text() for path in DOCS.rglob("*.md") if path.name != "glossary.md"]
    modules = [path.read_text() for folder in PACKAGES for path in folder.rglob("*.py")]
    text = "\n".join(pages + modules).lower()
    assert len(GLOSSARY) == 21
    assert sorted(GLOSSARY) == GLOSSARY
    assert [word for word in GLOSSARY if not re.search(rf"\b{word}\b", text)] == []


def test_first_lines_of_modules_use_no_retired_words():
    retired = re.compile(rf"\b({'|'.join(RETIRED)})s?\b", re.IGNORECASE)
    found = {}
    for path in (path for folder in PACKAGES for path in folder.rglob("*.py")):
        first = (ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n")[0]
        if retired.search(first):
            found[str(path.relative_to(ROOT))] = first
    assert found == {}
