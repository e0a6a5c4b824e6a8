"""GPS receivers: epochs out of sentences, lost fixes, damage, what time says of losses; a second parser's opinion."""

import calendar
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers import Block, DriverError, Samples, SettingsError, TimeSource, boottime_ns
from drivers._nmea import Epoch, Epochs, Lines, checked, unix_s
from drivers.nmea import CHANNELS, Nmea, Settings, VirtualReceiver, looks_like
from drivers.ports.virtual.nmea import fix, sentence, sentences
from tests.contracts.driver import DriverContract, read_blocks
from tests.second_opinion import Theirs
from tests.ttys import printing

BEGINS = 1795255195.0  # 2026-11-21T09:59:55Z
DTYPE = [(channel.name, channel.dtype) for channel in CHANNELS]


def receiver(**options: Any) -> VirtualReceiver:
    return VirtualReceiver(**{"rate_hz": 10.0, "begins": BEGINS, **options})


def expected(virtual: VirtualReceiver, n: int) -> tuple[float, ...]:
    now = fix(virtual.document(), n)
    mtk = virtual.maker == "mtk"
    time_s = round(now.unix_s, 2) if now.timed else math.nan
    if not now.known:
        return (*[math.nan] * 5, 0, math.nan, math.nan, 0, time_s)
    accuracy = math.nan if mtk else 2.5
    return (
        now.latitude, now.longitude, round(now.altitude, 1), 11.2, now.course, 9, 0.9, accuracy, 1, time_s,
    )  # fmt: skip


def assert_same(block: Block, virtual: VirtualReceiver) -> None:
    for n, row in enumerate(block.samples, block.first):
        for name, got, sent in zip(block.samples.dtype.names, row.item(), expected(virtual, n), strict=True):
            exact = {"Latitude": 1e-9, "Longitude": 1e-9, "Time": 1e-5, "Altitude": 1e-9, "Course": 0.006}
            assert got == pytest.approx(sent, abs=exact.get(name, 1e-3), nan_ok=True), (name, n)


def epochs_of(*bodies: str) -> list[Epoch]:
    """One after the other, as a receiver without pauses sends them."""
    lines, epochs, found = Lines(), Epochs(), []
    for at, body in enumerate(bodies):
        for fields in lines.feed(sentence(body)):
            if (ended := epochs.add(fields, at)) is not None:
                found.append(ended)
    assert (lines.bad, epochs.bad) == (0, 0)
    assert epochs._open is not None
    return [*found, epochs._open]


class TestContract(DriverContract):
    def settings(self, **virtual: Any) -> Settings:
        return Settings("virtual", rate_hz=10, virtual=receiver(**virtual))

    def expected(self, first: int, count: int) -> Samples | None:
        return None  # floats through text: see below


@contextmanager
def started(virtual: VirtualReceiver, **options: Any) -> Iterator[Nmea]:
    driver = Settings("virtual", virtual=virtual, **options).open()
    try:
        assert driver.start().rate_hz == virtual.rate_hz
        yield driver
    finally:
        driver.close()


@pytest.mark.parametrize("maker", ["ublox", "mtk"])
@pytest.mark.parametrize(("latitude", "longitude"), [(47.38, 8.54), (-33.9, -70.0), (0.0, 0.0)])
def test_each_epoch_is_a_row_from_cold_start_to_lost_fixes(maker: str, latitude: float, longitude: float) -> None:
    virtual = receiver(
        maker=maker, latitude=latitude, longitude=longitude, cold_s=0.6, outage_every_s=1.2, outage_s=0.3, rate_hz=20.0
    )
    with started(virtual) as driver:
        blocks = read_blocks(driver, 30)
    assert driver.counters == {"bad_lines": 0}, "the line in whose middle the listening began is none"
    assert [(block.first, block.lost) for block in blocks] == [(n, 0) for n in range(30)]
    assert {block.samples["FixQuality"][0] for block in blocks} == {0, 1}
    for block in blocks:
        assert_same(block, virtual)


def test_an_epoch_is_there_once_all_of_it_has_come_and_not_only_with_the_next() -> None:
    with started(receiver(rate_hz=1.0)) as driver:
        read_blocks(driver, 3)
        (block,) = read_blocks(driver, 1)
        assert (boottime_ns() - block.observed_ns) / 1e9 < 0.5


def test_losses_are_counted_by_the_receivers_own_clock() -> None:
    virtual = receiver()
    with started(virtual) as driver:
        blocks = read_blocks(driver, 5)
        driver.port.virtual.inject("stall", 0.8)
        blocks += read_blocks(driver, 15)
    lost = [block for block in blocks if block.lost]
    assert len(lost) == 1
    assert lost[0].exact
    assert 6 <= lost[0].lost <= 9
    for block in blocks:
        assert_same(block, virtual)


def test_damaged_lines_are_counted_and_nothing_wrong_comes_of_them() -> None:
    virtual = receiver(faults=("1.5 garble 60",), rate_hz=25.0)
    with started(virtual) as driver:
        blocks = read_blocks(driver, 90)
    assert driver.counters["bad_lines"] > 20
    for block in blocks:
        for name, got, sent in zip(
            block.samples.dtype.names, block.samples[0].item(), expected(virtual, block.first), strict=True
        ):
            missing = (math.nan, 0)
            assert got == pytest.approx(sent, abs=0.006) or math.isnan(got) or got in missing, (name, block.first)


def test_no_sentences_are_said() -> None:
    with printing(b"\xb5b\x01\x07\n" * 5, 0.01) as path:
        with pytest.raises(DriverError, match=r"no NMEA sentence.*9600"):
            start_only(Settings(path, connect_timeout_s=1))
    with printing(b"", 0.2) as path, pytest.raises(DriverError, match="silent"):
        start_only(Settings(path, connect_timeout_s=1))
    with printing(b"".join(sentences(receiver().document(), 0)), 0.45) as path:
        with pytest.raises(DriverError, match="too few epochs"):
            start_only(Settings(path, connect_timeout_s=1))


def start_only(settings: Settings) -> None:
    driver = settings.open()
    try:
        driver.start()
    finally:
        driver.close()


RMC = "GPRMC,123519,A,4807.038,N,01131.000,E,022.4,084.4,230326,003.1,W"
GGA = "GPGGA,123519,4807.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,"


def test_sentences_of_one_time_are_one_epoch() -> None:
    one, two = epochs_of(RMC, GGA, RMC.replace("123519", "123520"))
    assert (one.latitude, one.longitude) == (pytest.approx(48.1173), pytest.approx(11 + 31 / 60))
    assert (one.altitude, one.satellites, one.hdop, one.quality) == (545.4, 8, 0.9, 1)
    assert (one.speed, one.course) == (pytest.approx(22.4 * 1852 / 3600), 84.4)
    assert unix_s(one, math.nan, 0.0) == calendar.timegm((2026, 3, 23, 12, 35, 19))
    assert math.isnan(two.altitude)


def test_talkers_of_several_systems_are_one_epoch_and_the_same_again_is_the_next() -> None:
    assert len(epochs_of(GGA, GGA.replace("GP", "GL", 1), RMC.replace("GP", "GN", 1))) == 1
    assert len(epochs_of("GNGGA,,,,,,0,00,99.99,,,,,,", "GNRMC,,V,,,,,,,,,,N", "GNGGA,,,,,,0,00,99.99,,,,,,")) == 2
    assert len(epochs_of(GGA, "GPGSA,A,3,,,,,,,,,,,,,1.6,0.9,1.3", "GPGSA,A,3,,,,,,,,,,,,,1.6,0.9,1.3")) == 1


@pytest.mark.parametrize(
    ("bodies", "quality", "placed"),
    [
        ([RMC], 1, True),
        ([RMC.replace(",A,", ",V,")], 0, False),
        ([RMC + ",D"], 2, True),
        ([GGA.replace(",1,08", ",4,08"), RMC], 4, True),
        ([RMC, GGA.replace(",1,08", ",0,08")], 0, False),
        ([GGA.replace(",1,08", ",6,08"), RMC.replace(",A,", ",V,")], 6, True),  # dead reckoning beyond its limits
        (["GNGLL,4807.038,N,01131.000,E,123519.00,A,A"], 1, True),
        ([GGA.replace("4807.038,N,01131.000,E", ",,,")], 1, False),
    ],
)
def test_what_counts_as_a_fix(bodies: list[str], quality: int, placed: bool) -> None:
    (epoch,) = epochs_of(*bodies)
    assert epoch.quality == quality
    assert math.isnan(epoch.latitude) is not placed


@pytest.mark.parametrize(
    ("quality", "placed", "timed"), [(1, True, True), (6, True, False), (7, False, False), (8, False, False)]
)
def test_only_satellites_tell_the_time_and_what_is_made_up_is_no_place(quality: int, placed: bool, timed: bool) -> None:
    text = sentence(RMC) + sentence(GGA.replace(",1,08", f",{quality},08"))
    with printing(text, 0.1) as path:
        driver = Settings(path, rate_hz=10).open()
        try:
            driver.start()
            (block,) = read_blocks(driver, 1)
        finally:
            driver.close()
    (row,) = block.samples
    assert (row["FixQuality"], row["Time"]) == (quality, calendar.timegm((2026, 3, 23, 12, 35, 19)))
    for name in ("Latitude", "Longitude", "Altitude", "Speed", "Course"):
        assert math.isnan(row[name]) is not placed, name
    assert (driver.utc() is not None) is timed


@pytest.mark.parametrize(
    ("body", "speed", "course"),
    [
        ("GNVTG,,T,,M,0.015,N,0.028,K,A", 0.028 / 3.6, math.nan),  # u-blox gives no course at rest
        ("GNVTG,77.5,T,,M,19.4,N,36.0,K,A", 10.0, 77.5),
        ("GNVTG,0.00,T,,M,0.00,N,0.00,K,N", math.nan, math.nan),
    ],
)
def test_speed_and_course(body: str, speed: float, course: float) -> None:
    (epoch,) = epochs_of(body)
    assert (epoch.speed, epoch.course) == (pytest.approx(speed, nan_ok=True), pytest.approx(course, nan_ok=True))


@pytest.mark.parametrize(
    ("body", "unix"),
    [
        ("GPZDA,201530.00,04,07,2026,00,00", calendar.timegm((2026, 7, 4, 20, 15, 30))),
        (
            "GPRMC,235960.00,A,4807.038,N,01131.000,E,,,311226,,",
            calendar.timegm((2027, 1, 1, 0, 0, 0)),
        ),  # a leap second
        ("GPRMC,000012.000,V,,,,,0.00,0.00,060180,,,N", math.nan),  # no clock yet
        ("GPRMC,101112,V,,,,,,,060406,,", math.nan),  # a week number that has run over
    ],
)
def test_dates(body: str, unix: float) -> None:
    (epoch,) = epochs_of(body)
    assert unix_s(epoch, math.nan, 0.0) == pytest.approx(unix, nan_ok=True)


def test_an_epoch_without_a_date_is_of_the_day_that_is_nearest() -> None:
    (epoch,) = epochs_of(GGA.replace("123519", "000000.50"))
    midnight = calendar.timegm((2026, 11, 22, 0, 0, 0))
    assert unix_s(epoch, midnight - 0.5, 1.0) == midnight + 0.5
    assert unix_s(epoch, midnight - 0.5, 86401.0) == midnight + 86400.5


@pytest.mark.parametrize(
    "body",
    [
        "GPGGA,123519,4860.000,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,",
        "GPGGA,123519,9107.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,",
        "GPGGA,123519,4807.038,X,01131.000,E,1,08,0.9,545.4,M,46.9,M,,",
        "GPGGA,256119,4807.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,",
        "GPGGA,123519,nan,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,",
        "GPGGA,123519,4807.038,N,01131.000,E,999,08,0.9,545.4,M,46.9,M,,",
        "GPRMC,123519,A,4807.038,N,01131.000,E,022.4,084.4,310226,003.1,W",
    ],
)
def test_fields_that_cannot_be_are_bad(body: str) -> None:
    lines, epochs = Lines(), Epochs()
    assert [epochs.add(fields, 0) for fields in lines.feed(sentence(body))] == [None]
    assert (epochs.bad, epochs._open) == (1, None)


def test_checksums() -> None:
    assert checked(b"$GPGLL,4916.45,N,12311.12,W,225444,A*31\r") == "GPGLL,4916.45,N,12311.12,W,225444,A".split(",")
    for damaged in (b"$GPGLL,4916.45,N,12311.12,W,225444,A*32", b"$GPGLL,A", b"GPGLL,A*31", b"", b"$A*", b"*$"):
        assert checked(damaged) is None
    assert checked(b"\xb5b\x01\x07$GPGLL,4916.45,N,12311.12,W,225444,A*31") is not None, "u-blox's binary before it"


def test_a_pause_within_an_epoch_does_not_end_it() -> None:
    lines, epochs = Lines(), Epochs()

    def add(*bodies: str) -> list[Epoch | None]:
        return [epochs.add(fields, 0) for body in bodies for fields in lines.feed(sentence(body))]

    assert add(RMC, GGA) == [None, None]
    assert epochs.pause() is None, "nobody knows yet what comes"
    assert add(RMC.replace("123519", "123520"))[0] is not None
    assert epochs.pause() is None
    assert add(GGA.replace("123519", "123520")) == [None]
    ended = epochs.pause()
    assert ended is not None
    assert (ended.second, ended.altitude) == (12 * 3600 + 35 * 60 + 20, 545.4)
    assert epochs.pause() is None


@given(st.lists(st.binary(max_size=80) | st.sampled_from([sentence(RMC), sentence(GGA), b"$", b"\n"]), max_size=20))
def test_any_bytes_do_no_harm_and_the_next_sentence_is_found(pieces: list[bytes]) -> None:
    lines, epochs = Lines(), Epochs()
    for piece in [*pieces, b"\n"]:
        for fields in lines.feed(piece):
            epochs.add(fields, 0)
        assert len(lines._rest) <= 1024 + 80
    assert [fields[0] for fields in lines.feed(sentence(RMC))] == ["GPRMC"]


@given(
    st.sampled_from("RMC GGA GLL VTG GSA GST ZDA".split()),
    st.lists(st.text("0123456789.NSEWAV-+e,", max_size=12), max_size=18),
)
def test_any_fields_do_no_harm(kind: str, fields: list[str]) -> None:
    epochs = Epochs()
    epochs.add([f"GN{kind}", *fields], 0)
    epoch = epochs._open
    if epoch is not None:
        assert not abs(epoch.latitude) > 90
        assert not abs(epoch.longitude) > 180
        assert 0 <= epoch.satellites <= 255
        assert math.isnan(epoch.second) or 0 <= epoch.second <= 86400


def test_a_line_that_never_ends_is_dropped() -> None:
    lines = Lines()
    for _ in range(1000):
        assert not list(lines.feed(b"x" * 100))
    assert len(lines._rest) <= 1124
    assert lines.bad > 50


def test_sentences_are_recognised() -> None:
    data = b"".join(sentences(receiver().document(), 0))
    assert looks_like(data) == "sentences of a GPS receiver: GNGGA, GNGLL, GNGSA, GNGST, GNRMC, GNVTG, GPGSV"
    assert looks_like(b"1,2,3\n" * 10) == ""


def test_every_mistake_is_named_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings("ttyACM0", baud=300, rate_hz=-1, connect_timeout_s=0)
    assert sorted(name for name, *_ in caught.value.mistakes) == ["baud", "connect_timeout_s", "port", "rate_hz"]


@pytest.mark.parametrize("maker", ["ublox", "mtk"])
def test_a_parser_of_other_authors_reads_the_same(maker: str, theirs: Theirs) -> None:
    pynmea2 = theirs("pynmea2")
    for n in range(0, 600, 7):
        virtual = receiver(maker=maker, latitude=-12.3, longitude=-77.0, cold_s=10.0)
        found = sentences(virtual.document(), n)
        (epoch,) = epochs_of(*(line.decode()[1:-5] for line in found))
        for line in found:
            parsed = pynmea2.parse(line.decode().strip(), check=True)
            if parsed.sentence_type in ("GGA", "RMC") and not math.isnan(epoch.latitude):
                assert (epoch.latitude, epoch.longitude) == pytest.approx((parsed.latitude, parsed.longitude), abs=1e-9)
            if parsed.sentence_type == "GGA" and not math.isnan(epoch.latitude):
                assert (epoch.altitude, epoch.satellites) == (parsed.altitude, int(parsed.num_sats))
                assert (epoch.hdop, epoch.quality) == (float(parsed.horizontal_dil), parsed.gps_qual)
            if parsed.sentence_type == "RMC" and not math.isnan(unix_s(epoch, math.nan, 0)):
                assert unix_s(epoch, math.nan, 0) == pytest.approx(parsed.datetime.timestamp(), abs=1e-5)
                if parsed.is_valid:
                    assert epoch.speed == pytest.approx(parsed.spd_over_grnd * 1852 / 3600)
                    assert epoch.course == parsed.true_course


def test_it_tells_the_time_where_it_has_a_fix() -> None:
    with started(receiver(cold_s=1.0), rate_hz=10) as driver:
        for _ in range(15):
            (block,) = read_blocks(driver, 1)
            told = driver.utc()
            assert isinstance(driver, TimeSource)
            if block.samples["FixQuality"][0]:
                assert told == (block.observed_ns, round(block.samples["Time"][0] * 1e6) * 1000)
            else:
                assert told is None


def test_rows_have_the_declared_columns() -> None:
    with started(receiver()) as driver:
        (block,) = read_blocks(driver, 1)
    assert block.samples.dtype == np.dtype(DTYPE)
