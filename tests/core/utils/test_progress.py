"""Progress in a log: plain lines now and then, with what is left."""

import io

from rich.console import Console

from forehand.utils.progress import EVERY, progress


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_log_has_a_line_every_some_seconds_and_one_at_the_end():
    log, clock = io.StringIO(), Clock()
    with progress("training", 400, done=200, console=Console(file=log), clock=clock) as show:
        show(201, "too soon")
        clock.now += EVERY
        show(210, "loss [0.5]")
        clock.now += EVERY / 2
        show(215)
        clock.now += 3600
        show(300)
        show(400, "loss 0.1")
    assert log.getvalue().splitlines() == [
        "training: 210 of 400 (52 %), loss [0.5], 0:00:10 gone, 0:03:10 left",
        "training: 300 of 400 (75 %), 1:00:15 gone, 1:00:15 left",
        "training: 400 of 400 (100 %), loss 0.1, 1:00:15 gone",
    ]


def test_short_work_that_is_to_vanish_leaves_nothing_in_a_log():
    log, clock = io.StringIO(), Clock()
    for seconds in (EVERY / 2, 2 * EVERY):
        with progress("decoding", 2, console=Console(file=log), transient=True, clock=clock) as show:
            show(1)
            clock.now += seconds
            show(2)
    assert log.getvalue().splitlines() == ["decoding: 2 of 2 (100 %), 0:00:20 gone"]


def test_nothing_to_do_is_no_mistake():
    log = io.StringIO()
    with progress("training", 0, console=Console(file=log)) as show:
        show(0)
    assert log.getvalue() == "training: 0 of 0, 0:00:00 gone\n"


def test_a_terminal_has_a_bar():
    log = io.StringIO()
    with progress("drawing [a]", 2, console=Console(file=log, force_terminal=True, width=120)) as show:
        show(2, "all [of] it")
    assert "drawing [a]" in log.getvalue()
    assert "2/2" in log.getvalue()
    assert "all [of] it" in log.getvalue()
