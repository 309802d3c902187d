"""docs/guides/running.md says what is true."""

import re
from pathlib import Path

import yaml

from forehand import Contract, Field
from forehand.control.limits import Limiter
from forehand.running.control_loop import ControlLoop
from forehand.running.report import STAGES, Report

GUIDES = Path(__file__).parents[1] / "docs" / "guides"
PAGE = (GUIDES / "running.md").read_text(encoding="utf-8")


def snippets(language):
    return [re.sub(r"(?m)^   ", "", code) for code in re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)]


def test_its_python_runs(capsys):
    for code in snippets("python"):
        exec(compile(code, "running.md", "exec"), {})
    assert "[0.46 " in capsys.readouterr().out


def test_the_arm_it_describes_can_be_limited():
    (described,) = snippets("yaml")
    options = yaml.safe_load(described)["options"]

    def fields(said):
        return tuple(Field(**{k: tuple(v) if isinstance(v, list) else v for k, v in f.items()}) for f in said)

    state, action = fields(options["state_fields"]), fields(options["action_fields"])
    Limiter(Contract((), state, action, options["rate"]))


def test_it_explains_every_line_of_the_report():
    report = Report(10.0)
    explained = re.findall(r"^\| ([^|]+?) \|", PAGE, re.MULTILINE)
    for name, _ in report.rows():
        assert name in explained or name == "limits"
    assert ", ".join(STAGES) in explained
    for reason in re.findall(
        r'"(policy lost|chunk used up|policy too slow)"', Path(ControlLoop.__init__.__code__.co_filename).read_text()
    ):
        assert f"`{reason}`" in PAGE


def test_its_picture_and_links_are_there():
    links = re.findall(r"\]\((?!https?://)([^)#]+)\)", PAGE)
    assert links
    assert [link for link in links if not (GUIDES / link).exists()] == []
