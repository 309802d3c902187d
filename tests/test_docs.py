"""The site builds without warnings, its words are those of the code, and its pictures show what the code does."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

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
