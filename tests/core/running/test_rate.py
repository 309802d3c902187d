"""The beat of the loop, by a clock that only sleeping and working move on."""

import pytest

from forehand.running import Rate


class Clock:
    def __init__(self):
        self.now, self.slept = 100.0, []

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def clock():
    return Clock()


def test_steps_are_due_on_one_beat_however_long_each_takes(clock):
    pace = Rate(10, clock, clock.sleep)
    starts = []
    for work in (0.01, 0.09, 0.05, 0.0999):
        starts.append(clock.now)
        clock.now += work
        assert pace.wait() == 0
    assert starts == pytest.approx([100.0, 100.1, 100.2, 100.3])
    assert pace.overruns == 0


def test_errors_of_sleeping_do_not_add_up(clock):
    def oversleep(seconds):
        clock.sleep(seconds + 0.004)

    pace = Rate(10, clock, oversleep)
    for _ in range(1000):
        clock.now += 0.02
        pace.wait()
    assert clock.now == pytest.approx(200.004)


def test_a_step_that_overruns_is_counted_and_moves_the_beat(clock):
    pace = Rate(10, clock, clock.sleep)
    clock.now += 0.13
    assert pace.wait() == pytest.approx(0.03)
    assert (pace.overruns, clock.slept) == (1, [])
    clock.now += 0.02
    pace.wait()
    assert clock.now == pytest.approx(100.23)  # a whole period after the last command: nothing is caught up


def test_a_second_start_forgets_what_was_due(clock):
    pace = Rate(10, clock, clock.sleep)
    clock.now += 50
    pace.start()
    clock.now += 0.05
    assert pace.wait() == 0
