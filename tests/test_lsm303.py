"""The LSM303DLHC driver against its two virtual chips: either alone, both in one stream, overflow, faults."""

import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from drivers import Block, DriverError, Samples, SettingsError, _fifo, _ready
from drivers import lsm303 as module
from drivers.lsm303 import Lsm303, Settings
from drivers.ports.i2c import I2cDevice, too_much
from drivers.ports.virtual import Virtual
from drivers.ports.virtual import lis3dh as virtual_lis3dh
from drivers.ports.virtual import lsm303 as virtual_lsm303
from drivers.ports.virtual.lis3dh import Lis3dh
from drivers.ports.virtual.lsm303 import Magnetometer, field
from drivers.ports.virtual.motion import Motion
from tests import flight
from tests.contracts.driver import DriverContract, read_blocks
from tests.second_opinion import Theirs
from tests.simulated import SimulatedBus

ACCELERATION = [(f"Accelerometer{axis}", "<i2") for axis in "XYZ"]
FIELD = [(f"Magnetometer{axis}", "<i2") for axis in "XYZ"]


def virtual_settings(*, sensors: str = "both", virtual: dict[str, Any] | None = None, **options: Any) -> Settings:
    return Settings(
        bus="virtual", rate_hz=200, mag_rate_hz=30, sensors=sensors, virtual=Virtual(**(virtual or {})), **options
    )


def accelerations(first: int, count: int, rate_hz: float = 200.0) -> Samples:
    rows = np.clip(Motion(1, rate_hz, lsb=(500.0, 1.0)).rows(first, count)[:, :3], -2048, 2047) >> 2
    return np.ascontiguousarray(rows, "<i2").view(ACCELERATION)[:, 0]


def fields(first: int, count: int, rate_hz: float = 30.0, gain: int = 1) -> Samples:
    rows = np.array([field(index, rate_hz, gain, 1) for index in range(first, first + count)], "<i2")
    return rows.view(FIELD)[:, 0]


def read_until(driver: Lsm303, end: int) -> list[Block]:
    blocks = read_blocks(driver, 1)
    while blocks[-1].end < end:
        blocks += read_blocks(driver, 1)
    return blocks


def simulated(monkeypatch: pytest.MonkeyPatch, settings: Settings, **virtual: Any) -> tuple[Lsm303, SimulatedBus]:
    """A driver and its chips in simulated time."""
    document = Virtual(**virtual).document()
    one = SimulatedBus(monkeypatch, _fifo, _ready, virtual_lis3dh, virtual_lsm303)
    one.chip = Lis3dh(document)
    other = one.beside(Magnetometer(document))
    return Lsm303(settings, I2cDevice(one, "lsm303", 1, 0x19), I2cDevice(other, "lsm303", 1, 0x1E)), one


class TestContractOfBoth(DriverContract):
    def settings(self, **virtual: Any) -> Settings:
        return virtual_settings(virtual=virtual)


class TestContractOfTheAccelerometer(DriverContract):
    def settings(self, **virtual: Any) -> Settings:
        return virtual_settings(sensors="accelerometer", virtual=virtual)

    def expected(self, first: int, count: int) -> Samples:
        return accelerations(first, count)


class TestContractOfTheMagnetometer(DriverContract):
    def settings(self, **virtual: Any) -> Settings:
        return virtual_settings(sensors="magnetometer", virtual=virtual)

    def expected(self, first: int, count: int) -> Samples:
        return fields(first, count)


@pytest.mark.parametrize(("rate_hz", "mag_rate_hz"), [(1344, 220), (100, 30), (10, 75)])
def test_in_one_stream_the_field_is_that_of_the_same_moment(
    monkeypatch: pytest.MonkeyPatch, rate_hz: float, mag_rate_hz: float
) -> None:
    driver, _ = simulated(monkeypatch, Settings(rate_hz=rate_hz, mag_rate_hz=mag_rate_hz))
    identity = driver.start()
    assert [channel.name for channel in identity.channels] == [name for name, _ in ACCELERATION + FIELD]
    assert (identity.model, identity.rate_hz) == ("LSM303DLHC", rate_hz)
    got = np.concatenate([block.samples for block in read_until(driver, int(4 * rate_hz))])
    all_sent = accelerations(0, len(got), rate_hz)
    assert all(np.array_equal(got[name], all_sent[name]) for name, _ in ACCELERATION), "none missing"
    assert driver.counters == {"overflows": 0, "resyncs": 0}
    known = fields(0, int(5 * mag_rate_hz), mag_rate_hz)
    x, y, z = (known[name] for name, _ in FIELD)
    for index in range(len(got) // 4, len(got)):
        row = [got[index][name] for name, _ in FIELD]
        measured = np.flatnonzero((x == row[0]) & (y == row[1]) & (z == row[2]))
        apart_s = (measured + 1) / mag_rate_hz - (index + 1) / rate_hz
        assert np.abs(apart_s).min() < max(0.01, 1 / mag_rate_hz) + 1 / mag_rate_hz + 0.005


@pytest.mark.parametrize("clock_ppm", [-40000.0, 0.0, 40000.0])
@pytest.mark.parametrize(("rate_hz", "range_gauss", "gain"), [(220, 1.3, 1), (15, 8.1, 7)])
def test_alone_every_field_comes_out_once(
    monkeypatch: pytest.MonkeyPatch, clock_ppm: float, rate_hz: float, range_gauss: float, gain: int
) -> None:
    settings = Settings(sensors="magnetometer", mag_rate_hz=rate_hz, mag_range_gauss=range_gauss)
    driver, _ = simulated(monkeypatch, settings, clock_ppm=clock_ppm)
    identity = driver.start()
    got = np.concatenate([block.samples for block in read_until(driver, 500)])
    assert np.array_equal(got, fields(0, 500, rate_hz, gain))
    assert driver.counters == {"overruns": 0}
    x, y, z = (got[name] * channel.scale for (name, _), channel in zip(FIELD, identity.channels, strict=True))
    assert np.hypot(x, y) == pytest.approx(20, abs=1)
    assert z == pytest.approx(-44, abs=1)


@flight.needed
def test_a_real_flight_comes_out_of_the_fifo_as_its_ten_bits_had_it(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(sensors="accelerometer", rate_hz=100, accel_range_g=16)
    driver, _ = simulated(monkeypatch, settings, **flight.REPLAY)
    driver.start()
    flown = np.rint(flight.flown()[:, :3] * 1000 / 12).astype(int) >> 2
    got = np.concatenate([block.samples for block in read_until(driver, len(flown))])[: len(flown)]
    assert not any(driver.counters.values()), "none missing"
    assert np.array_equal(np.stack([got[name] for name, _ in ACCELERATION], axis=1), flown)


def test_lost_fields_are_estimated(monkeypatch: pytest.MonkeyPatch) -> None:
    driver, bus = simulated(monkeypatch, Settings(sensors="magnetometer", mag_rate_hz=75))
    driver.start()
    before = read_until(driver, 10)[-1]
    bus.sleep(0.2)
    (late,) = read_blocks(driver, 1)
    assert (late.segment, late.exact, late.lost) == (before.segment + 1, False, 14)
    assert np.array_equal(late.samples, fields(late.first, 1, 75.0))


def test_an_overflow_is_counted_and_recovered_from(monkeypatch: pytest.MonkeyPatch) -> None:
    driver, bus = simulated(monkeypatch, Settings(rate_hz=400), clock_ppm=50000.0)
    driver.start()
    before = read_until(driver, 1000)[-1]
    bus.sleep(0.4)
    after = read_until(driver, before.end + 400)
    assert driver.counters == {"overflows": 1, "resyncs": 0}
    assert (after[0].segment, after[0].exact) == (1, False)
    got = np.concatenate([block.samples for block in after])
    all_sent = accelerations(before.end, 1000, 400.0)
    at = next(n for n in range(500) if all_sent[n].tolist() == got[0].tolist()[:3])
    assert abs(at - after[0].lost) <= 2
    assert all(np.array_equal(got[name], all_sent[name][at : at + len(got)]) for name, _ in ACCELERATION)


def test_a_field_beyond_the_range_counts_as_clipped() -> None:
    assert field(0, 30.0, 1, 1).min() > -2048
    chip = Magnetometer(Virtual().document())
    driver = Lsm303(Settings(), *(I2cDevice(chip, "lsm303", 1, 0x1E),) * 2)  # type: ignore[arg-type]
    low, high = driver._magnetometer.channels[0].limits or (0, 0)
    assert -4096 <= low <= -2048 < 2047 <= high


def test_another_chip_at_the_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    driver, _ = simulated(monkeypatch, Settings())
    monkeypatch.setattr(Magnetometer, "read", lambda *_: b"\x00\x00\x00")
    with pytest.raises(DriverError, match="say 00 00 00 and not 48 34 33"):
        driver.start()


@pytest.mark.parametrize(
    ("options", "clock_hz", "refused"),
    [
        ({"rate_hz": 1344, "mag_rate_hz": 220}, 100_000, ""),
        ({"rate_hz": 100}, 10_000, ""),
        ({"rate_hz": 200}, 10_000, "200 samples a second of 8 bytes are 14 kbit/s"),
        ({"rate_hz": 10, "mag_rate_hz": 75}, 1_000, "10 samples a second of 15 bytes"),
        ({"rate_hz": 200, "sensors": "accelerometer"}, 10_000, "of 6 bytes are 11 kbit/s"),
        ({"sensors": "magnetometer", "rate_hz": 1344}, 100_000, ""),
    ],
)
def test_a_bus_that_is_too_slow_for_both_sensors_is_refused(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], clock_hz: int, refused: str
) -> None:
    monkeypatch.setattr(
        module, "open_i2c", lambda *_, load, **__: SimpleNamespace(said=too_much(load, clock_hz), close=lambda: None)
    )
    said = Settings(**options).open()._devices[0].said  # type: ignore[attr-defined]
    assert refused in said
    assert bool(said) == bool(refused)


def test_every_mistake_is_named_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings(bus="i2c-1", sensors="none", rate_hz=99, accel_range_g=3, mag_rate_hz=1, mag_range_gauss=1)
    names = [name for name, *_ in caught.value.mistakes]
    assert sorted(names) == ["accel_range_g", "bus", "mag_range_gauss", "mag_rate_hz", "rate_hz", "sensors"]


def test_the_magnetometer_sleeps_until_it_is_woken_and_holds_a_sample_that_is_being_read() -> None:
    chip = Magnetometer(Virtual().document())
    chip.write(0x00, b"\x1c")
    time.sleep(0.01)
    assert chip.read(0x09, 1) == b"\x00"
    chip.write(0x02, b"\x00")
    time.sleep(0.02)
    assert chip.read(0x09, 1) == b"\x01"
    first = chip.read(0x03, 1)
    assert chip.read(0x09, 1) == b"\x03"
    time.sleep(0.01)
    rest = chip.read(0x04, 5)
    assert chip.read(0x09, 1)[0] & 0x02 == 0
    x, z, y = np.frombuffer(first + rest, ">i2")
    assert [x, y, z] in [list(row) for row in (field(n, 220.0, 1, 1) for n in range(400))]
    assert chip.read(0x0A, 4) == b"H43" + chip.read(0x00, 1)


def test_the_drivers_of_other_authors_read_the_same(theirs: Theirs) -> None:
    accel, mag = theirs("adafruit_lsm303_accel"), theirs("adafruit_lsm303dlh_mag")
    bus = theirs.plug(_0x19=Lis3dh(Virtual().document()), _0x1e=Magnetometer(Virtual().document()))
    compass = mag.LSM303DLH_Mag(bus)
    compass.mag_rate = mag.MAGRATE_220
    compass.mag_gain = mag.MAGGAIN_2_5
    time.sleep(0.02)
    xy, z = 6.7, 6.0
    got = np.rint(np.array(compass.magnetic) * (xy, xy, z)).astype(int)
    assert list(got) in [list(field(n, 220.0, 3, 1)) for n in range(400)]
    accelerometer = accel.LSM303_Accel(bus)
    time.sleep(0.15)
    # they take 10 bits for 3.9 mg each where the data sheet has 4 (1 mg of 12 bits): the bits are compared
    got = np.rint(np.array(accelerometer.acceleration) / 9.80665 / 0.0039)
    rows = Motion(1, 10.0, lsb=(1000.0, 1.0)).rows(0, 100)[:, :3]
    assert (rows >> 2 == got).all(axis=1).any(), "in normal mode it has 10 bits"
