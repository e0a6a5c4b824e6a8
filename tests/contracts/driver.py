"""What every driver promises, as one test class: subclass it, give `settings`, and perhaps `expected`."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from drivers import Block, Driver, DriverError, DriverSettings, Identity, Samples, boottime_ns

PATIENCE_S = 10.0
"""How long anything may take before it counts as hanging; no measure of speed."""


def children() -> set[int]:
    """Process ids of our own child processes, ended but not waited for ones too."""
    found = set()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            stat = (entry / "stat").read_text()
        except OSError:
            continue  # it has ended meanwhile
        if int(stat.rpartition(")")[2].split()[1]) == os.getpid():
            found.add(int(entry.name))
    return found


def read_blocks(driver: Driver, count: int) -> list[Block]:
    """The next `count` blocks; fails where they do not come."""
    blocks: list[Block] = []
    deadline = boottime_ns() + int(PATIENCE_S * 1e9)
    while len(blocks) < count:
        assert boottime_ns() < deadline, f"only {len(blocks)} of {count} blocks came"
        block = driver.read(0.2)
        if block is not None:
            blocks.append(block)
    return blocks


class DriverContract:
    """Subclasses give `settings`, and may give `expected` and change `blocks_to_read`.

    The settings are those of the virtual device, quick enough that `blocks_to_read` blocks come within seconds.
    """

    blocks_to_read = 5
    on_demand = False
    """Whether the device measures only when it is asked: then what a busy machine asks for too late was never sent."""

    def settings(self, **virtual: Any) -> DriverSettings:
        """Settings for the virtual device; `virtual` are options of `[stream.NAME.virtual]`, such as faults."""
        raise NotImplementedError

    def expected(self, first: int, count: int) -> Samples | None:
        """The samples `first` ... that the virtual device has sent; None where a test cannot know."""
        return None

    @contextmanager
    def started(self, **virtual: Any) -> Iterator[tuple[Driver, Identity]]:
        driver = self.settings(**virtual).open()
        try:
            yield driver, driver.start()
        finally:
            driver.close()

    def test_open_only_opens(self) -> None:
        driver = self.settings().open()
        try:
            assert all(value == 0 for value in driver.counters.values())
        finally:
            driver.close()

    def test_start_says_what_the_hardware_is(self) -> None:
        with self.started() as (_, identity):
            assert identity.model
            assert identity.rate_hz >= 0
            names = [channel.name for channel in identity.channels]
            assert len(set(names)) == len(names)
            assert all(re.fullmatch(r"[A-Za-z0-9_ -]+", name) for name in names)
            assert all(np.dtype(channel.dtype).str == channel.dtype for channel in identity.channels)
            assert not {"bus", "port", "address", "virtual"} & set(identity.setup), (
                "where it is plugged in is no set-up"
            )

    def test_equal_settings_have_equal_identities(self) -> None:
        with self.started() as (_, one):
            pass
        with self.started() as (_, other):
            pass
        assert one == other

    def test_blocks_follow_one_another(self) -> None:
        begun_ns = boottime_ns()
        with self.started() as (driver, identity):
            blocks = read_blocks(driver, self.blocks_to_read)
        end, segment, observed_ns = 0, 0, begun_ns
        for block in blocks:
            assert block.first == end + block.lost, "the index jumps by what was lost, and by nothing else"
            assert block.count > 0
            assert block.newest >= block.end - 1
            assert observed_ns <= block.observed_ns <= boottime_ns()
            assert block.segment >= segment
            assert bool(block.jpeg) != bool(len(block.samples)), "samples or a picture"
            if not block.jpeg:
                assert block.samples.dtype == identity.dtype
            end, segment, observed_ns = block.end, block.segment, block.observed_ns

    def test_blocks_never_change(self) -> None:
        with self.started() as (driver, _):
            first, *_ = blocks = read_blocks(driver, 2)
            assert all(not block.samples.flags.writeable for block in blocks)
            kept = first.samples.tobytes(), first.jpeg
            read_blocks(driver, self.blocks_to_read)
            assert (first.samples.tobytes(), first.jpeg) == kept

    @pytest.mark.alone  # after an overflow indexes are only estimated
    def test_blocks_hold_what_was_sent(self) -> None:
        if self.expected(0, 1) is None:
            pytest.skip("this driver's test does not say what its virtual device sends")
        with self.started() as (driver, _):
            blocks = read_blocks(driver, self.blocks_to_read)
        sent = 0
        for block in blocks:
            first = sent if self.on_demand else block.first
            assert np.array_equal(block.samples, self.expected(first, block.count))
            sent += block.count

    def test_read_returns_when_its_time_is_over(self) -> None:
        deadline = boottime_ns() + int(PATIENCE_S * 1e9)
        # a port that times out may say so, which on a busy machine may be in `start` already
        with suppress(DriverError), self.started(faults=("0.8 stall 60",)) as (driver, _):
            silent = 0
            while silent < 3:  # the stall does come, and each read comes back out of it
                begun_ns = boottime_ns()
                assert begun_ns < deadline, "the stall never came"
                silent = silent + 1 if driver.read(0.05) is None else 0
                assert boottime_ns() - begun_ns < 5e9

    def test_unplugged_is_an_error_and_no_hang(self) -> None:
        driver = None
        deadline = boottime_ns() + int(PATIENCE_S * 1e9)
        try:
            with pytest.raises(DriverError) as caught:
                driver = self.settings(faults=("0.8 unplug 60",)).open()  # on a busy machine it comes before this
                driver.start()
                while boottime_ns() < deadline:
                    driver.read(0.2)
            assert len(str(caught.value)) > 20, "the message says what to try"
        finally:
            if driver is not None:
                driver.close()
                driver.close()

    def test_close_may_be_called_after_a_failed_start(self) -> None:
        driver = None
        with pytest.raises(DriverError):
            driver = self.settings(faults=("0 unplug 60",)).open()
            driver.start()
        if driver is not None:
            driver.close()
            driver.close()

    def test_close_may_be_called_twice(self) -> None:
        with self.started() as (driver, _):
            driver.close()
            driver.close()

    def test_two_at_once_leave_no_process(self) -> None:
        before = children()
        with self.started() as (one, _), self.started() as (other, _):
            read_blocks(one, 1)
            one.close()
            assert read_blocks(other, 1)
        assert children() <= before
