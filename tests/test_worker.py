"""A worker: shows life while it waits, stops twice, and is loud when it fails."""

import os
import resource
import threading

import pytest

from agent.worker import Worker


def test_it_shows_life_though_it_waits_for_longer_than_its_silence() -> None:
    beats = []

    class Counted(Worker):
        def beat(self) -> None:
            beats.append(self.overdue_s())
            super().beat()

    done = threading.Event()

    def run(worker: Worker) -> None:
        assert not worker.wait(0.4)
        done.set()

    worker = Counted("idle", run, lambda name, error: None, silence_s=0.12).start()
    assert done.wait(10)
    assert worker.stop(10)
    assert len(beats) >= 10, "three within each silence, and one when it is over"


def test_a_waiting_one_is_woken_by_stop_and_stops_twice() -> None:
    answers: list[bool] = []
    worker = Worker("idle", lambda worker: answers.append(worker.wait(600)), lambda name, error: None, silence_s=900)
    worker.start()
    assert worker.stop(10)
    assert worker.stop(10)
    assert answers == [True]


def test_a_failure_is_told_with_the_name_of_the_thread() -> None:
    told: list[tuple[str, str]] = []

    def run(worker: Worker) -> None:
        raise RuntimeError("a bug")

    worker = Worker("bad", run, lambda name, error: told.append((name, str(error))), silence_s=1).start()
    assert worker.stop(10)
    assert told == [("bad", "a bug")]


def test_one_that_does_not_end_is_told_and_so_is_its_silence() -> None:
    go_on = threading.Event()
    worker = Worker("stuck", lambda worker: (go_on.wait(), None)[1], lambda name, error: None, silence_s=0.01).start()
    assert not worker.stop(0.05)
    assert worker.overdue_s() > 0
    go_on.set()
    assert worker.stop(10)
    assert worker.overdue_s() == 0, "it has ended"


def test_one_that_the_machine_has_no_thread_for_stops_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    ran = threading.Event()
    worker = Worker("late", lambda worker: ran.set(), lambda name, error: None, silence_s=60)
    with monkeypatch.context() as machine:
        machine.setattr(threading.Thread, "start", none_left)
        with pytest.raises(RuntimeError, match="new thread"):
            worker.start()
    assert not worker.alive
    assert worker.stop(1)
    worker.start()
    assert ran.wait(10)
    assert worker.stop(10)


@pytest.fixture
def realtime(monkeypatch: pytest.MonkeyPatch) -> None:
    """The right to real-time priority, as LimitRTPRIO= gives it."""
    monkeypatch.setattr(resource, "getrlimit", lambda which: (7, 7))
    refused: list[OSError] = []

    def probe() -> None:
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(7))
        except OSError as error:
            refused.append(error)

    thread = threading.Thread(target=probe)
    thread.start()
    thread.join()
    if refused:
        pytest.skip(f"nobody here may have real-time priority: {refused[0]}")


@pytest.mark.parametrize("urgent", [True, False])
def test_an_urgent_one_goes_first_where_it_may_and_what_it_starts_does_not(realtime: None, urgent: bool) -> None:
    seen: list[tuple[int, int]] = []

    def look() -> None:
        seen.append((os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK, os.sched_getparam(0).sched_priority))

    def run(worker: Worker) -> None:
        look()
        started = threading.Thread(target=look)
        started.start()
        started.join()

    failures: list[BaseException] = []
    worker = Worker("read", run, lambda name, error: failures.append(error), silence_s=60, urgent=urgent).start()
    assert worker.stop(10)
    assert not failures
    assert seen == [(os.SCHED_FIFO, 7) if urgent else (os.SCHED_OTHER, 0), (os.SCHED_OTHER, 0)]
