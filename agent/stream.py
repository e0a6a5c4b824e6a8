"""A stream: one named driver with its reader thread and its ring, reopened for as long as the daemon lives."""

import dataclasses
import logging
import queue
import random
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from agent.calibration import fits, give_back
from agent.clock import Clock
from agent.jitter import jitter_s
from agent.ring import Ring
from agent.worker import Worker
from drivers import (
    Block,
    Channel,
    Driver,
    DriverError,
    DriverSettings,
    Identity,
    Noting,
    SelfCalibrating,
    Snapper,
    TimeSource,
)

log = logging.getLogger(__name__)

READ_S = 0.25
"""How long one read may wait; the reader is asked to stop at least this often."""

_JITTER_S = 10.0
_MEASURE_S = 2.0


class Stream:
    """Reads one driver into one ring. Indexes count on over reopened drivers, so a sample has one index for ever."""

    def __init__(
        self,
        name: str,
        driver: str,
        settings: DriverSettings,
        *,
        ring: Ring,
        clock: Clock,
        jitter: random.Random,
        backoff_s: tuple[float, float] = (0.5, 30.0),
    ) -> None:
        """`backoff_s`: first and longest pause before the driver is opened again, each drawn at random below it."""
        self.name = name
        self.driver = driver
        self.ring = ring
        self.state = "starting"
        """starting, running, lost (being reopened) or stopped."""
        self.error = ""
        self._settings = settings
        self._clock = clock
        self._jitter = jitter
        self._backoff_s = backoff_s
        self._open_driver: Driver | None = None
        self._identities: list[tuple[int, Identity]] = []
        self._offset = 0
        self._segment = 0
        self._last: Block | None = None
        self._since_ns = 0
        self.samples = 0
        self.lost = 0
        self.lost_exact = True
        self.reopened = 0
        self._counters: dict[str, int] = {}
        self._notes: Mapping[str, str] = {}
        self._marks: list[tuple[int, int]] = []
        self._askers: queue.SimpleQueue[queue.SimpleQueue[str]] = queue.SimpleQueue()
        self.calibration: Mapping[str, Any] | None = None
        """What is known of its sensors; see `agent.calibration`."""

    def start(self, failed: Callable[[str, BaseException], None]) -> Worker:
        """Starts the reader thread."""
        return Worker(f"read {self.name}", self.run, failed, silence_s=30.0, urgent=True).start()

    @property
    def identity(self) -> Identity | None:
        """What the hardware last said of itself; None before its first start."""
        return self._identities[-1][1] if self._identities else None

    def identity_at(self, segment: int) -> Identity:
        """The identity under which a block of that segment was read."""
        return next(identity for since, identity in reversed(self._identities) if since <= segment)

    def snap(self) -> bool:
        """Asks the driver for one more picture; False where it cannot give one now. From any thread."""
        driver: object = self._open_driver
        if isinstance(driver, Snapper):
            driver.snap()
            return True
        return False

    def chip_calibration(self, within_s: float = 3.0) -> str:
        """What a chip that calibrates itself has found by now; from any thread.

        LookupError where it is none, TimeoutError where it does not answer.
        """
        driver: object = self._open_driver
        if not isinstance(driver, SelfCalibrating):
            why = "there is no chip on it that calibrates itself, or not now"
            raise LookupError(f"stream {self.name} is {self.state}: {self.error or why}")
        asker: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._askers.put(asker)
        try:
            return asker.get(timeout=within_s)
        except queue.Empty:
            raise TimeoutError(f"stream {self.name} does not answer: {self.error or 'it is slow'}") from None

    def run(self, worker: Worker) -> None:
        """Opens, reads, and opens again, until the worker stops."""
        first_s, longest_s = self._backoff_s
        pause_s = first_s
        while not worker.stopping.is_set():
            driver = None
            try:
                driver = self._settings.open()
                worker.beat()
                identity = driver.start()
                give_back(driver, self.fitting_calibration(identity), self.name)
                self._begin(identity)
                self._open_driver = driver
                # asked once: such a question costs more than a block does
                calibrating = driver if isinstance(driver, SelfCalibrating) else None
                telling = driver if isinstance(driver, TimeSource) else None
                while not worker.stopping.is_set():
                    worker.beat()
                    if calibrating is not None and not self._askers.empty():
                        self._askers.get().put(calibrating.calibration())
                    block = driver.read(READ_S)
                    if block is not None:
                        self._take(block)
                        pause_s = first_s
                        if telling is not None and (told := telling.utc()) is not None:
                            self._clock.learn(*told)
            except DriverError as error:
                self._fail(str(error))
            except MemoryError:
                self._fail("the machine has no memory for it")
            finally:
                self._open_driver = None
                worker.beat()
                if driver is not None:
                    self._add_counters(driver)
                    self._notes = self._noted(driver)
                    driver.close()
            if worker.stopping.is_set() or worker.wait(self._jitter.uniform(first_s, pause_s)):
                break
            pause_s = min(2 * pause_s, longest_s)
        self.state = "stopped"

    def _begin(self, identity: Identity) -> None:
        if self._last is not None:
            self._segment = self._last.segment + 1
            self._offset = self._last.end
            self.reopened += 1
        if self.identity != identity:
            if self._identities:
                log.warning("stream %s came back different: %s", self.name, identity.model)
            self._identities.append((self._segment, identity))
        if self.state == "lost":
            log.info("stream %s is back", self.name)
        self.state = "running"
        self.error = ""

    def _take(self, block: Block) -> None:
        if self._segment or self._offset:
            block = self._continue(block)
        self.ring.append(block)  # before it is counted: a block that no memory is left for is one that was missed
        self.samples += block.count
        if block.lost:
            self.lost += block.lost
            self.lost_exact &= block.exact
        self._last = block
        self._mark(block)

    def _continue(self, block: Block) -> Block:
        """The block as it counts on after a reopened driver; what was missed meanwhile is estimated from time."""
        last, lost, exact = self._last, block.lost, block.exact
        if last is not None and block.segment + self._segment != last.segment and last.end == self._offset:
            rate_hz = self.identity_at(self._segment).rate_hz
            newest_ns = block.observed_ns - last.observed_ns
            missed = round(newest_ns / 1e9 * rate_hz) - (block.newest - block.first + 1) + (last.newest - last.end + 1)
            lost, exact = max(0, missed), False
            self._offset += lost - block.first
        return dataclasses.replace(
            block,
            first=block.first + self._offset,
            newest=block.newest + self._offset,
            lost=lost,
            exact=exact,
            segment=block.segment + self._segment,
        )

    def _fail(self, text: str) -> None:
        if self.state != "lost" or text != self.error:
            log.warning("stream %s is lost, and tried again: %s", self.name, text)
        self.state, self.error = "lost", text

    def _add_counters(self, driver: Driver) -> None:
        for name, count in driver.counters.items():
            self._counters[name] = self._counters.get(name, 0) + count

    def _noted(self, driver: object) -> Mapping[str, str]:
        """What the driver wants shown; where it has nothing, what the one before had."""
        return (driver.notes if isinstance(driver, Noting) else {}) or self._notes

    def _mark(self, block: Block) -> None:
        """Remembers (time, newest index) about every second for ten seconds: the rate that Health shows."""
        marks = self._marks
        if not marks or block.observed_ns - marks[-1][0] > 1_000_000_000:
            marks.append((block.observed_ns, block.newest))
            del marks[:-11]

    def rate_hz(self) -> float | None:
        """Rate measured over the last ten seconds; None before there is something to measure."""
        marks, last = self._marks, self._last
        if last is None or not marks or last.observed_ns - marks[0][0] < 500_000_000:
            return None
        return (last.newest - marks[0][1]) / ((last.observed_ns - marks[0][0]) / 1e9)

    def health(self) -> dict[str, Any]:
        """Counters of this stream; `last_s` is the age of the last block."""
        driver, last, identity = self._open_driver, self._last, self.identity
        counters = dict(self._counters)
        if driver is not None:
            for name, count in dict(driver.counters).items():  # its reader may just add one
                counters[name] = counters.get(name, 0) + count
        blocks, held_bytes, held_s = self.ring.held()
        return {
            "driver": self.driver,
            "state": self.state,
            "model": identity.model if identity else "",
            "rate_hz": self.rate_hz(),
            "nominal_hz": identity.rate_hz if identity else None,
            "jitter_s": jitter_s(self.ring.cursor(_JITTER_S).take()),
            "samples": self.samples,
            "lost": self.lost,
            "lost_exact": self.lost_exact,
            "last_s": None if last is None else (self._clock.boottime_ns() - last.observed_ns) / 1e9,
            "error": self.error,
            "reopened": self.reopened,
            "ring": {"blocks": blocks, "bytes": held_bytes, "seconds": round(held_s, 3)},
            "counters": counters,
            "notes": self._noted(driver),
        }

    def preview(self) -> dict[str, Any]:
        """What a person wants to see of it now; of a camera the size of its newest picture, in bytes."""
        last, health = self._last, self.health()
        shown = (
            "driver",
            "model",
            "state",
            "error",
            "rate_hz",
            "nominal_hz",
            "jitter_s",
            "samples",
            "lost",
            "lost_exact",
        )
        return {
            **{key: health[key] for key in (*shown, "last_s", "notes")},
            "channels": {c.name: {"value": value, "unit": c.unit} for c, value in self._values(last)},
            "calibrates_itself": isinstance(self._open_driver, SelfCalibrating),
            "picture_bytes": None if last is None or not last.jpeg else len(last.jpeg),
        }

    def latest(self) -> dict[str, Any]:
        """The newest sample in physical units, by channel; empty before the first, and for pictures."""
        return {channel.name: value for channel, value in self._values(self._last)}

    def measure(self) -> dict[str, Any]:
        """Mean and deviation (of single samples) by channel over the last two seconds, in physical units."""
        blocks = [block for block in self.ring.cursor(_MEASURE_S).take() if len(block.samples)]
        blocks = [block for block in blocks if block.segment == blocks[-1].segment]
        if not blocks:
            return {"samples": 0, "channels": {}}
        samples = np.concatenate([block.samples for block in blocks])
        channels = {}
        for channel in self.identity_at(blocks[-1].segment).channels:
            values = samples[channel.name].astype(np.float64) * channel.scale + channel.offset
            channels[channel.name] = {"mean": float(values.mean()), "deviation": float(values.std())}
        return {"samples": len(samples), "channels": channels}

    def fitting_calibration(self, identity: Identity) -> Mapping[str, Any] | None:
        """What is known of the sensors of this hardware; None where it is another's."""
        known = self.calibration
        return known if known is not None and fits(known, identity) else None

    def _values(self, block: Block | None) -> list[tuple[Channel, float]]:
        if block is None or not len(block.samples):
            return []
        row = block.samples[-1]
        return [(c, float(row[c.name]) * c.scale + c.offset) for c in self.identity_at(block.segment).channels]
