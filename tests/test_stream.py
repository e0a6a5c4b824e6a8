"""A stream reopens its driver for ever, and its indexes count on over what was missed meanwhile."""

import random
import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from agent.clock import Clock
from agent.ring import Ring
from agent.stream import Stream
from agent.worker import Worker
from drivers import Block, Channel, DriverError, Identity, boottime_ns

IDENTITY = Identity("Counter", 1000.0, (Channel("X"),))
OTHER = Identity("Counter II", 1000.0, (Channel("X"),))


class Script:
    """A driver whose starts and reads follow a script: blocks, errors, and in the end silence."""

    def __init__(self, runs: list[list[Block | DriverError | MemoryError | Identity]]) -> None:
        self._runs = runs
        self.counters = {"resyncs": 1}
        self.closed = 0

    def open(self) -> "Script":
        self._steps = self._runs.pop(0) if self._runs else [IDENTITY]
        return self

    def start(self) -> Identity:
        step = self._steps.pop(0)
        if isinstance(step, DriverError):
            raise step
        assert isinstance(step, Identity)
        return step

    def read(self, timeout: float) -> Block | None:
        if not self._steps:
            threading.Event().wait(0.01)
            return None
        step = self._steps.pop(0)
        if isinstance(step, DriverError | MemoryError):
            raise step
        assert isinstance(step, Block)
        return step

    def close(self) -> None:
        self.closed += 1


def block(first: int, count: int, at_ms: float, **more: int) -> Block:
    samples = np.zeros(count, IDENTITY.dtype)
    return Block(first, samples, int(at_ms * 1e6), first + count - 1, **more)


@pytest.fixture
def run() -> Callable[..., Stream]:
    """Runs a script in a stream until a condition holds."""

    def until(
        script: Script,
        done: Callable[[Stream], bool],
        learn: Callable[[int, int], None] = lambda boot, wall: None,
        known: Mapping[str, Any] | None = None,
    ) -> Stream:
        clock = Clock()
        clock.learn = learn  # type: ignore[method-assign]
        stream = Stream(
            "s",
            "script",
            script,
            ring=Ring(60, 1 << 20),
            clock=clock,
            jitter=random.Random(1),
            backoff_s=(0.01, 0.02),
        )
        stream.calibration = known
        errors: list[BaseException] = []
        worker: Worker = stream.start(lambda name, error: errors.append(error))
        deadline = boottime_ns() + 5_000_000_000
        while not done(stream) and not errors and boottime_ns() < deadline:
            threading.Event().wait(0.005)
        assert worker.stop(5.0)
        assert not errors
        assert done(stream)
        return stream

    return until


Run = Callable[..., Stream]


def test_blocks_reach_the_ring_as_the_driver_gave_them(run: Run) -> None:
    blocks = [block(0, 10, 10), block(15, 5, 20, lost=5)]
    stream = run(Script([[IDENTITY, *blocks]]), lambda s: s.samples == 15)
    assert stream.ring.cursor(99).take() == blocks
    assert (stream.lost, stream.lost_exact) == (5, True)
    assert stream.state == "stopped"


def test_after_a_reopened_driver_indexes_count_on_and_the_gap_is_estimated_from_time(run: Run) -> None:
    # ten samples by 10 ms; unplugged; the next driver's first five are seen at 115 ms: 100 were missed in between
    script = Script([[IDENTITY, block(0, 10, 10), DriverError("unplugged")], [IDENTITY, block(0, 5, 115)]])
    stream = run(script, lambda s: s.samples == 15)
    first, second = stream.ring.cursor(99).take()
    assert (second.first, second.lost, second.exact) == (110, 100, False)
    assert second.newest == 114
    assert second.segment == first.segment + 1
    assert (stream.lost, stream.lost_exact, stream.reopened) == (100, False, 1)


def test_want_of_memory_is_no_end_and_costs_what_comes_meanwhile(run: Run) -> None:
    script = Script([[IDENTITY, block(0, 10, 10), MemoryError()], [IDENTITY, block(0, 5, 35)]])
    stream = run(script, lambda s: s.samples == 15)
    assert (stream.lost, stream.lost_exact, stream.reopened) == (20, False, 1)


def test_a_block_that_the_ring_had_no_memory_for_is_counted_as_lost(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    append, appended = Ring.append, list[Block]()

    def once_in_need(ring: Ring, new: Block) -> None:
        appended.append(new)
        if len(appended) == 2:
            raise MemoryError
        append(ring, new)

    monkeypatch.setattr(Ring, "append", once_in_need)
    script = Script([[IDENTITY, block(0, 10, 10), block(10, 10, 20)], [IDENTITY, block(0, 5, 35)]])
    stream = run(script, lambda s: s.samples == 15)
    assert [held.first for held in stream.ring.cursor(99).take()] == [0, 30]
    assert stream.lost == 20


def test_later_blocks_of_a_reopened_driver_keep_their_own_losses(run: Run) -> None:
    script = Script(
        [
            [IDENTITY, block(0, 10, 10), DriverError("unplugged")],
            [IDENTITY, block(0, 5, 15), block(7, 3, 18, lost=2)],
        ]
    )
    stream = run(script, lambda s: s.samples == 18)
    third = stream.ring.cursor(99).take()[2]
    assert (third.first, third.lost, third.exact) == (17, 2, True)


def test_a_failed_start_is_tried_again_and_says_why_meanwhile(run: Run) -> None:
    script = Script(
        [[DriverError("no answer; check the wiring")], [DriverError("no answer")], [IDENTITY, block(0, 1, 1)]]
    )
    stream = run(script, lambda s: s.samples == 1)
    assert script.closed >= 3
    assert stream.error == ""


def test_hardware_that_comes_back_different_is_another_identity_from_that_segment_on(run: Run) -> None:
    script = Script([[IDENTITY, block(0, 10, 10), DriverError("gone")], [OTHER, block(0, 5, 15)]])
    stream = run(script, lambda s: s.samples == 15)
    assert stream.identity_at(0) is IDENTITY
    assert stream.identity_at(1) is OTHER


def test_an_exception_that_is_no_driver_error_fails_the_thread_loudly() -> None:
    class Broken(Script):
        def read(self, timeout: float) -> Block | None:
            raise ZeroDivisionError("a mistake in the driver")

    stream = Stream("s", "broken", Broken([[IDENTITY]]), ring=Ring(10, 1000), clock=Clock(), jitter=random.Random(1))
    failed: list[BaseException] = []
    done = threading.Event()

    def note(name: str, error: BaseException) -> None:
        failed.append(error)
        done.set()

    worker = stream.start(note)
    assert done.wait(5)
    worker.stop(5)
    assert isinstance(failed[0], ZeroDivisionError)


def test_a_driver_that_knows_the_time_tells_the_clock(run: Run) -> None:
    class Receiver(Script):
        def utc(self) -> tuple[int, int]:
            return 5_000_000_000, 1_800_000_000_000_000_000

    told: list[tuple[int, int]] = []
    script = Receiver([[IDENTITY, block(0, 1, 1)]])
    run(script, lambda stream: bool(told), lambda *time: told.append(time))
    assert told == [(5_000_000_000, 1_800_000_000_000_000_000)]


def test_counters_of_all_openings_add_up(run: Run) -> None:
    script = Script([[IDENTITY, block(0, 1, 1), DriverError("gone")], [IDENTITY, block(0, 1, 2)]])
    stream = run(script, lambda s: s.samples == 2)
    assert stream.health()["counters"] == {"resyncs": 2}


class Noted(Script):
    """It has something to show until it is opened again."""

    @property
    def notes(self) -> dict[str, str]:
        return {"last_bad_line": "'x'"} if not self.closed else {}


def test_notes_of_a_driver_are_shown_and_stay_until_there_are_others(run: Run) -> None:
    script = Noted([[IDENTITY, block(0, 1, 1), DriverError("gone")], [IDENTITY, block(0, 1, 2)]])
    stream = run(script, lambda s: s.samples == 2)
    assert stream.health()["notes"] == stream.preview()["notes"] == {"last_bad_line": "'x'"}
    assert run(Script([[IDENTITY, block(0, 1, 1)]]), lambda s: s.samples == 1).health()["notes"] == {}


class Forgetful(Script):
    """A chip that takes back what it once found."""

    def __init__(self, runs: list[list[Block | DriverError | MemoryError | Identity]], error: Exception | None) -> None:
        super().__init__(runs)
        self.given: list[str] = []
        self._error = error

    def restore(self, calibration: str) -> None:
        self.given.append(calibration)
        error, self._error = self._error, None
        if error is not None:
            raise error


KEPT = {"model": "Counter", "serial": "", "sensors": {}, "chip": {"calibration": "00ff", "made": ""}}


@pytest.mark.parametrize(
    ("known", "hardware", "given"),
    [
        (KEPT, IDENTITY, ["00ff", "00ff"]),
        (KEPT, OTHER, []),
        ({**KEPT, "serial": "17"}, IDENTITY, []),
        ({key: KEPT[key] for key in ("model", "serial", "sensors")}, IDENTITY, []),
        (None, IDENTITY, []),
    ],
)
def test_a_chip_gets_back_what_it_once_found_each_time_that_it_is_opened(
    run: Run, known: dict[str, Any] | None, hardware: Identity, given: list[str]
) -> None:
    script = Forgetful([[hardware, block(0, 1, 1), DriverError("gone")], [hardware, block(0, 1, 2)]], None)
    run(script, lambda s: s.samples == 2, known=known)
    assert script.given == given


def test_what_is_kept_and_is_no_calibration_is_said_and_costs_nothing(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    stream = run(Forgetful([[IDENTITY, block(0, 1, 1)]], ValueError("too short")), lambda s: s.samples == 1, known=KEPT)
    assert "too short; calibrate again" in caplog.text
    assert stream.lost == stream.reopened == 0


def test_a_chip_that_does_not_take_it_is_tried_again_and_the_remedy_said(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    script = Forgetful([[IDENTITY], [IDENTITY, block(0, 1, 1)]], DriverError("it does not keep it"))
    run(script, lambda s: s.samples == 1, known=KEPT)
    assert script.given == ["00ff", "00ff"]
    assert "it does not keep it; where it never does, delete calibration/s.json" in caplog.text
