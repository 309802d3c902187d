"""Work that comes too late is answered and never done, whoever notices first."""

from __future__ import annotations

import time

import pytest

from forehand.control.job_queue import Job, JobQueue
from forehand.errors import RobotStopped
from forehand.wire import DeadlineExceeded, ServerStopping


@pytest.fixture
def outcomes():
    return []


@pytest.fixture
def job(outcomes):
    def make(budget):
        now = time.monotonic()
        return Job("act", "session", now, now + budget, outcomes.append)

    return make


def first(waiting):
    return waiting[:1]


def test_who_takes_a_late_job_answers_it_instead(job, outcomes):
    queue = JobQueue()
    queue.submit(job(-1))
    assert queue.take(first) == []
    assert [type(o) for o in outcomes] == [DeadlineExceeded]
    assert "'act'" in str(outcomes[0])


def test_the_clock_answers_late_jobs_and_leaves_the_others(job, outcomes):
    queue, fresh = JobQueue(), job(60)
    queue.submit(job(-1))
    queue.submit(fresh)
    queue.expire(time.monotonic())
    assert [type(o) for o in outcomes] == [DeadlineExceeded]
    assert queue.take(first) == [fresh]


def test_a_closed_queue_refuses_what_waits_and_what_comes(job, outcomes):
    queue = JobQueue()
    queue.submit(job(60))
    queue.close()
    queue.submit(job(60))
    assert queue.take(first) is None
    assert [type(o) for o in outcomes] == [ServerStopping] * 2
    assert {str(o) for o in outcomes} == {"The server is stopping. Connect again when it is back."}


def test_a_stopped_robot_is_not_described_as_a_stopping_server():
    assert str(RobotStopped("The robot stopped.")) == "The robot stopped."
    assert "server" not in str(RobotStopped())
