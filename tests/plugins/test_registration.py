"""What this distribution registers."""

from forehand.plugins import discover
from forehand.registry import KINDS, LIMIT_VARIABLE


def test_all_our_plugins_work_and_every_part_has_its_sentence(monkeypatch):
    monkeypatch.setenv(LIMIT_VARIABLE, "stock,seer,robots,tabletop")
    ours = discover()
    assert [(p.name, p.error) for p in ours.plugins()] == [
        (name, None) for name in ("robots", "seer", "stock", "tabletop")
    ]
    for part in ours.parts():
        assert part.kind in KINDS
        assert part.summary
        assert callable(part.load()), part.name
