"""Docstrings of the packages: every module, public class and public function has a summary line."""

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = (
    "core/forehand",
    "plugins/forehand_plugins",
    "plugins/lerobot_policy_forehand/lerobot_policy_forehand",
    "seer_plugin/forehand_seer",
    "robots/forehand_robots",
    "robots/forehand_tabletop",
    "robots/forehand_libero",
    "robots/forehand_calvin",
    "robots/forehand_metaworld",
    "apps/forehand_apps",
)
PROGRAMS = (*FOLDERS, "performance", "experiments")
LONGEST = 122
FILM = r"(?-i:[Ff]ilms?(?![:=]))"  # a video; not FiLM, feature-wise linear modulation, nor its option
RETIRED = re.compile(
    rf"\b(asked|asks|beat|body|bodies|crew|deaf|doors|{FILM}|guests?|heard|keeper|knows|nobody|somebody|strangers?|tapes?"
    r"|tells?|things?|thinks|todo|told|whoever)\b",
    re.IGNORECASE,
)
PERSONIFIED = re.compile(
    rf"\b(broken off|deaf|{FILM}|gone on with|goes on|guests?|had better|hears?|heard|knows|nobody|sent away|somebody"
    r"|someone|strangers?|tells?|thinks|told|whoever)\b",
    re.IGNORECASE,
)
OTHER_SPELLING = re.compile(  # than the code base's: British words, with -ize
    r"\b(behaviors?|colors?|centers?|grays?|neighbors?|\w*(?:initiali|normali|optimi|quanti|seriali)s(?:e[ds]?|ing|ations?))\b",
    re.IGNORECASE,
)
CODE = re.compile(r"``.*?``", re.DOTALL)


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Line and text of all docstrings, and of strings in log calls and raised errors."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Expr):
            strings: Iterable[ast.AST] = [node.value]
        elif isinstance(node, ast.Raise) or (isinstance(node, ast.Call) and ast.unparse(node.func).startswith("log.")):
            strings = ast.walk(node)
        else:
            continue
        for string in strings:
            if isinstance(string, ast.Constant) and isinstance(string.value, str):
                yield string.lineno, string.value


def summaries(path: Path) -> dict[str, str]:
    """The first lines of a module's docstring and of its public classes' and functions', by name ("" for the module)."""
    module = ast.parse(path.read_text(encoding="utf-8"))
    documented = {"": module} | {
        node.name: node
        for node in module.body
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_")
    }
    return {name: (ast.get_docstring(node) or "").partition("\n")[0] for name, node in documented.items()}


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_public_name_has_a_summary_line(folder):
    paths = sorted((ROOT / folder).rglob("*.py"))
    assert paths
    wrong = [
        f"{path.relative_to(ROOT)} {name}: {line!r}"
        for path in paths
        for name, line in summaries(path).items()
        if not line.endswith((".", ":")) or len(line) > LONGEST
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("folder", FOLDERS)
def test_first_lines_of_modules_use_plain_terms(folder):
    retired = {
        f"{path.relative_to(ROOT)}: {word}"
        for path in (ROOT / folder).rglob("*.py")
        for word in RETIRED.findall(summaries(path)[""])
    }
    assert not retired, "\n".join(sorted(retired))


@pytest.mark.slow
@pytest.mark.parametrize("folder", PROGRAMS)
def test_texts_use_plain_terms_and_one_spelling(folder):
    found = {
        f"{path.relative_to(ROOT)}:{line}: {word}"
        for path in (ROOT / folder).rglob("*.py")
        for line, text in texts(path)
        for pattern in (PERSONIFIED, OTHER_SPELLING)
        for word in pattern.findall(CODE.sub("", text))
    }
    assert not found, "\n".join(sorted(found))
