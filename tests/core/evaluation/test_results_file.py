"""Results that are kept while an evaluation runs: what is written, and what is read after a process was killed."""

import json

import pytest

from forehand import Episode
from forehand.errors import ConfigurationError
from forehand.evaluation import results
from forehand.evaluation.journal import JOURNAL
from forehand.evaluation.results import EpisodeResult, Evaluation, ResultsFile, read_record, trial_plan


def results_file(folder, count):
    trials = [(Episode("lift", "lift it", seed, 10),) for seed in range(count)]
    return ResultsFile(folder, trial_plan(trials, lambda episode: episode.instruction), {"seed": 0})


def finish(file, count):
    """Finish so many trials, the last one first, as several robots might."""
    file.folder.mkdir(exist_ok=True)
    done = []
    file.write(Evaluation(()), {})
    for i in reversed(range(count)):
        done.insert(0, EpisodeResult(i, "lift", "lift it", "lift it", i, True, 5, 1.0))
        file.add(done[:1], Evaluation(tuple(done)), {})
    return Evaluation(tuple(done))


def test_what_is_written_grows_with_the_trials_and_not_with_their_square(tmp_path, monkeypatch):
    written, replace = [], results._replace
    monkeypatch.setattr(results, "_replace", lambda path, text: (written.append(len(text)), replace(path, text)))
    sums = []
    for count in (40, 320):
        written.clear()
        finish(results_file(tmp_path / str(count), count), count)
        sums.append(sum(written))
    assert sums[1] < 2 * 8 * sums[0]  # its square would be 64 times as much


def test_a_killed_evaluation_has_lost_nothing(tmp_path):
    file = results_file(tmp_path, 20)
    whole = finish(file, 20)
    held = json.loads((tmp_path / "results.json").read_text())["episodes"]
    assert 0 < len(held) < 20
    with (tmp_path / JOURNAL).open("a") as journal:
        journal.write('{"written": "2026-01-01T00:00:00+00:00", "epis')  # the system stopped here
    assert tuple(read_record(tmp_path).episodes) == whole.episodes

    again = results_file(tmp_path, 20)
    assert tuple(again.finished()) == whole.episodes
    journal = (tmp_path / JOURNAL).read_bytes()
    again.write(whole, {})
    assert not (tmp_path / JOURNAL).exists()
    (tmp_path / JOURNAL).write_bytes(journal)  # killed after the file was written, before the journal was removed
    assert tuple(read_record(tmp_path).episodes) == whole.episodes
    assert len(json.loads((tmp_path / "results.json").read_text())["episodes"]) == 20


def test_a_journal_that_is_none_is_named(tmp_path):
    finish(results_file(tmp_path, 2), 2)
    (tmp_path / JOURNAL).write_text("no journal\n")
    with pytest.raises(ConfigurationError, match=f"not an evaluation's results \\({JOURNAL} beside it: it is not JSON"):
        read_record(tmp_path)
