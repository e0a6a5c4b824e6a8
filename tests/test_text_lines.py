"""A device that prints numbers, on a tty: columns, labels, rates, pauses, and what is said where something is wrong."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from drivers import DriverError, Identity, Noting, Samples, SettingsError
from drivers.ports.virtual.motion import Motion
from drivers.ports.virtual.text_lines import LABELS
from drivers.text_lines import Settings, TextLines, VirtualText
from tests.contracts.driver import DriverContract, read_blocks
from tests.models.text_lines import dtype, rows_of
from tests.ttys import printing


def motion(first: int, count: int, rate_hz: float = 1000.0) -> Samples:
    return Motion(1, rate_hz).rows(first, count).astype("<f8").view(dtype()).reshape(-1)


@contextmanager
def started(
    port: str = "virtual", virtual: dict[str, Any] | None = None, **options: Any
) -> Iterator[tuple[TextLines, Identity]]:
    options = {"measure_s": 0.2, "connect_timeout_s": 2} | options
    driver = Settings(port, virtual=VirtualText(**{"rate_hz": 1000.0, **(virtual or {})}), **options).open()
    try:
        yield driver, driver.start()
    finally:
        driver.close()


class TestContract(DriverContract):
    def settings(self, **virtual: Any) -> Settings:
        return Settings("virtual", measure_s=0.2, rate_hz=1000, virtual=VirtualText(rate_hz=1000.0, **virtual))

    def expected(self, first: int, count: int) -> Samples:
        return motion(first, count)


def test_text_where_numbers_should_be_is_said() -> None:
    with printing(b"1;2;3\n", 0.01) as path:
        with (
            pytest.raises(DriverError, match=r"do not seem to be all numbers: '1;2;3'"),
            started(path, connect_timeout_s=1),
        ):
            pass


def test_a_slow_device_is_read_where_its_rate_is_given() -> None:
    with printing(b"1,2\n", 0.35) as path, started(path, rate_hz=2.8) as (driver, identity):
        assert identity.rate_hz == 2.8
        assert rows_of(read_blocks(driver, 2))[:2] == [(1, 2), (1, 2)]


def test_a_device_that_prints_too_seldom_is_told_of() -> None:
    with printing(b"1,2\n", 0.35) as path:
        with pytest.raises(DriverError, match=r"only a single reading received in 0.4 second"):
            with started(path, measure_s=0.4):
                pass


@pytest.mark.parametrize("line", [b"ERR: no sensor\r\n", b"<ERR> bus\n"])
def test_err_ends_the_driver(line: bytes) -> None:
    with printing(b"1,2\n" + line, 0.01) as path:
        with pytest.raises(DriverError, match="the device says"), started(path):
            pass
    with printing(b"1,2\n" * 5, 0.01) as path, started(path) as (driver, _):
        read_blocks(driver, 1)
        assert driver._line is not None
        driver._line._decoder.feed(line + line, 0)  # the first of them may only end a line
        with pytest.raises(DriverError, match="the device says"):
            while True:
                driver.read(0.2)


@pytest.mark.alone
def test_measured_and_configured_rate() -> None:
    with started(measure_s=1.0) as (_, identity):
        assert identity.rate_hz == 1000
    with started(virtual={"rate_hz": 100.0}, rate_hz=104) as (_, identity):
        assert identity.rate_hz == 104, "within 10 Hz the configured rate stays"
    with started(virtual={"rate_hz": 200.0}, rate_hz=104) as (_, identity):
        assert identity.rate_hz == pytest.approx(200, rel=0.1), "farther away the device has been changed"


def test_labels_of_a_device() -> None:
    with started(virtual={"labelled": True}) as (driver, identity):
        assert tuple(c.name for c in identity.channels) == LABELS
        assert identity.setup == {"labelled": True}
        blocks = read_blocks(driver, 3)
    assert np.array_equal(np.array(rows_of(blocks)), Motion(1, 1000.0).rows(0, blocks[-1].end), equal_nan=False)


def test_columns_may_be_named() -> None:
    names = ("a", "b", "c", "d", "e", "f")
    with started(columns=names, units=("g",) * 6) as (_, identity):
        assert [(c.name, c.unit) for c in identity.channels] == [(name, "g") for name in names]
    with pytest.raises(DriverError, match=r"6 numbers, but `columns` names 2: a, b"), started(columns=("a", "b")):
        pass


def test_bad_lines_are_counted_and_the_last_is_shown() -> None:
    with printing(b"".join(b"%d,1\n" % n for n in range(20)) + b"20,\xff\n21,1\n", 0.02) as path:
        with started(path) as (driver, _):
            blocks = read_blocks(driver, 4)
    assert driver.counters["bad_lines"] >= 2
    assert isinstance(driver, Noting)
    assert driver.notes == {"last_bad_line": repr("20,\\xff")}
    for one, two in itertools.pairwise(blocks):
        assert two.first == one.end + two.lost
    assert {b.lost for b in blocks} == {0, 1}
    assert all(not b.exact for b in blocks if b.lost)


@pytest.mark.alone
def test_a_stalled_line_loses_about_what_time_says() -> None:
    with started() as (driver, _):
        blocks = read_blocks(driver, 1)
        driver.port.virtual.inject("stall", 0.5)
        while not blocks[-1].segment:
            blocks += read_blocks(driver, 1)
    last = blocks[-1]
    rows = {row.tobytes(): n for n, row in enumerate(motion(0, 3000))}
    assert rows[last.samples[0].tobytes()] == pytest.approx(last.first, abs=60)
    assert 400 < last.lost < 600
    assert not last.exact


def test_every_line_at_full_speed_is_the_one_that_was_sent() -> None:
    for labelled in (False, True):
        virtual = {"flat_out": True, "rows": 30_000, "labelled": labelled}
        with started(virtual=virtual, rate_hz=1000) as (driver, _):
            blocks = read_blocks(driver, 1)
            while sum(b.count for b in blocks) < 30_000:
                blocks += read_blocks(driver, 1)
        assert np.array_equal(np.array(rows_of(blocks)), Motion(1, 1000.0).rows(0, 30_000))


@pytest.mark.parametrize(
    ("options", "wrong"),
    [
        ({"port": "ttyACM0"}, "port"),
        ({"port": "virtual", "columns": ("a", "a")}, "columns"),
        ({"port": "virtual", "columns": ("a/b",)}, "columns"),
        ({"port": "virtual", "columns": ("a",), "units": ("g", "g")}, "units"),
        ({"port": "virtual", "rate_hz": 0.05}, "rate_hz"),
    ],
)
def test_wrong_settings_are_refused_at_once(options: dict[str, Any], wrong: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings(**options)
    assert [name for name, _, _ in caught.value.mistakes] == [wrong]
