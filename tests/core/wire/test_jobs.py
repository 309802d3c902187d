"""Work that comes too late is answered and never done, whoever notices first."""

from __future__ import annotations

import time

import pytest

from forehand.wire import DeadlineExceeded, ServerStopping
from forehand.wire.jobs import Job, JobQueue


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
    queue.put(job(-1))
    assert queue.take(first) == []
    assert [type(o) for o in outcomes] == [DeadlineExceeded]
    assert "'act'" in str(outcomes[0])


def test_the_clock_answers_late_jobs_and_leaves_the_others(job, outcomes):
    queue, fresh = JobQueue(), job(60)
    queue.put(job(-1))
    queue.put(fresh)
    queue.expire(time.monotonic())
    assert [type(o) for o in outcomes] == [DeadlineExceeded]
    assert queue.take(first) == [fresh]


def test_a_closed_queue_refuses_what_waits_and_what_comes(job, outcomes):
    queue = JobQueue()
    queue.put(job(60))
    queue.close()
    queue.put(job(60))
    assert queue.take(first) is None
    assert [type(o) for o in outcomes] == [ServerStopping] * 2
