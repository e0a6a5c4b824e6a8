"""The ADXL345 driver against its virtual chip: exact samples, overflow, faults, and what it refuses."""

import time
from typing import Any

import numpy as np
import pytest

from drivers import Block, DriverError, Samples, SettingsError, _fifo, boottime_ns
from drivers import adxl345 as module
from drivers.adxl345 import RATES_HZ, Adxl345, Settings
from drivers.ports.i2c import I2cDevice, too_much
from drivers.ports.virtual import Virtual
from drivers.ports.virtual import adxl345 as virtual_adxl345
from drivers.ports.virtual.adxl345 import Adxl345 as Chip
from drivers.ports.virtual.motion import Motion
from tests import flight
from tests.contracts.driver import DriverContract, read_blocks
from tests.second_opinion import Theirs
from tests.simulated import SimulatedBus

CHANNELS = [(f"Accelerometer{axis}", "<i2") for axis in "XYZ"]


def virtual_settings(*, rate_hz: float = 200, virtual: dict[str, Any] | None = None, **options: Any) -> Settings:
    return Settings(bus="virtual", rate_hz=rate_hz, virtual=Virtual(**(virtual or {})), **options)


def sent(first: int, count: int, rate_hz: float = 800.0, range_g: int = 16) -> Samples:
    rows = Motion(1, rate_hz, lsb=(256.0, 1.0)).rows(first, count)[:, :3]
    rows = np.clip(rows, -256 * range_g, 256 * range_g - 1)
    return np.ascontiguousarray(rows, "<i2").view(CHANNELS)[:, 0]


def read_until(driver: Adxl345, end: int) -> list[Block]:
    blocks = read_blocks(driver, 1)
    while blocks[-1].end < end:
        blocks += read_blocks(driver, 1)
    return blocks


class InProcess:
    """Transfers straight to a chip model."""

    def __init__(self, chip: Chip) -> None:
        self.write, self.read, self.read_fifo = chip.write, chip.read, chip.read

    def close(self) -> None:
        pass


def simulated(monkeypatch: pytest.MonkeyPatch, settings: Settings, **virtual: Any) -> tuple[Adxl345, SimulatedBus]:
    """A driver and its chip in simulated time."""
    bus = SimulatedBus(monkeypatch, _fifo, virtual_adxl345)
    bus.chip = Chip(Virtual(**virtual).document())
    return Adxl345(settings, I2cDevice(bus, "adxl345", 1, settings.address)), bus


class TestContract(DriverContract):
    def settings(self, **virtual: Any) -> Settings:
        return virtual_settings(virtual=virtual)

    def expected(self, first: int, count: int) -> Samples:
        return sent(first, count, 200.0)


@pytest.mark.parametrize(("rate_hz", "range_g"), [(800, 16), (100, 2), (6.25, 8)])
def test_every_sample_comes_out_once_and_in_order(
    monkeypatch: pytest.MonkeyPatch, rate_hz: float, range_g: int
) -> None:
    driver, _ = simulated(monkeypatch, Settings(rate_hz=rate_hz, accel_range_g=range_g), clock_ppm=40000.0)
    identity = driver.start()
    blocks = read_until(driver, 3000)
    assert (identity.model, identity.rate_hz) == ("ADXL345", rate_hz)
    got = np.concatenate([block.samples for block in blocks])
    assert np.array_equal(got, sent(0, len(got), rate_hz, range_g))
    assert max(block.count for block in blocks) <= 17, "about half full at most"
    assert not driver.counters["overflows"]
    assert [channel.scale for channel in identity.channels] == [1 / 256] * 3
    assert got["AccelerometerZ"].mean() / 256 == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize(("rate_hz", "bus_hz"), [(800, 400_000), (200, 100_000)])
def test_the_slowest_bus_that_the_data_sheet_allows_carries_it(
    monkeypatch: pytest.MonkeyPatch, rate_hz: float, bus_hz: float
) -> None:
    driver, bus = simulated(monkeypatch, Settings(rate_hz=rate_hz))
    bus._byte_ns = 9e9 / bus_hz
    driver.start()
    assert read_until(driver, 2000)[-1].segment == 0


@pytest.mark.parametrize("rate_hz", list(RATES_HZ))
def test_a_bus_that_is_slower_than_the_data_sheet_allows_is_refused(
    monkeypatch: pytest.MonkeyPatch, rate_hz: float
) -> None:
    clock_hz = round(500 * rate_hz)
    monkeypatch.setattr(module, "open_i2c", lambda *_, load, **__: load)
    load = Settings(rate_hz=rate_hz).open()._device
    assert too_much(load, clock_hz) == ""
    assert too_much(load, clock_hz - 1)
    if rate_hz == 400:
        said = too_much(load, 100_000)
        assert "are 200 kbit/s" in said and "i2c_arm_baudrate=400000" in said and "rate_hz to 200 at most" in said


def test_settings_reach_their_registers() -> None:
    chip = Chip(Virtual().document())
    driver = Adxl345(Settings(rate_hz=800, accel_range_g=2), I2cDevice(InProcess(chip), "adxl345", 1, 0x53))
    assert driver.start().channels[0].limits == (-512, 511)
    assert list(chip.read(0x2C, 2)) == [0x0D, 0x08]
    assert chip.read(0x31, 1) == b"\x08"


@flight.needed
def test_a_real_flight_comes_out_within_half_a_digit(monkeypatch: pytest.MonkeyPatch) -> None:
    flown = flight.flown()[:, :3]
    driver, _ = simulated(monkeypatch, Settings(rate_hz=800), **flight.REPLAY)
    identity = driver.start()
    blocks = read_until(driver, len(flown))
    assert not any(driver.counters.values()), "none missing"
    got = np.concatenate([block.samples for block in blocks])[: len(flown)]
    for axis, channel in enumerate(identity.channels):
        assert np.abs(got[channel.name] * channel.scale - flown[:, axis]).max() <= channel.scale * 0.5001


def test_an_overflow_is_counted_and_recovered_from(monkeypatch: pytest.MonkeyPatch) -> None:
    driver, bus = simulated(monkeypatch, Settings(rate_hz=800), clock_ppm=60000.0)
    driver.start()
    before = read_until(driver, 2000)[-1]
    bus.sleep(0.3)
    after = read_until(driver, before.end + 600)
    assert driver.counters["overflows"] == 1
    assert [block.segment for block in after] == [1] * len(after)
    assert after[0].lost > 200
    assert not after[0].exact
    assert after[0].first == before.end + after[0].lost
    assert all(block.exact and not block.lost for block in after[1:])
    got = np.concatenate([block.samples for block in after])
    all_sent = sent(before.end, 2000)
    at = next(n for n in range(1000) if np.array_equal(all_sent[n : n + len(got)], got))
    assert abs(at - after[0].lost) <= 2, "the loss is estimated from time, on the chip's own clock"


@pytest.mark.alone
def test_noise_on_the_bus_invents_no_samples() -> None:
    driver = virtual_settings(rate_hz=800, virtual={"faults": ("0.5 garble 60",)}).open()
    try:
        begun_ns = boottime_ns()
        driver.start()
        with pytest.raises(DriverError, match="noise"):
            for _ in range(5000):
                block = driver.read(0.2)
                assert block is None or block.newest < (boottime_ns() - begun_ns) / 1e9 * 800 * 1.15 + 32
    finally:
        driver.close()


def test_every_mistake_is_named_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings(bus="i2c-1", address=0x54, rate_hz=1600, accel_range_g=3)
    assert sorted(name for name, *_ in caught.value.mistakes) == ["accel_range_g", "address", "bus", "rate_hz"]


def test_another_chip_at_the_address_is_refused() -> None:
    chip = InProcess(Chip(Virtual().document()))
    chip.read = lambda register, count: bytes([0x33]) * count
    with pytest.raises(DriverError, match=r"0x33 and not 0xe5"):
        Adxl345(Settings(), I2cDevice(chip, "adxl345", 1, 0x53)).start()


def test_a_chip_that_does_not_keep_what_is_written_is_refused() -> None:
    chip = InProcess(Chip(Virtual().document()))
    chip.write = lambda register, data: None
    with pytest.raises(DriverError, match="0x2c does not keep"):
        Adxl345(Settings(rate_hz=400), I2cDevice(chip, "adxl345", 1, 0x53)).start()


def test_the_chip_stands_by_until_it_measures_and_loses_its_oldest_samples() -> None:
    chip = Chip(Virtual().document())
    chip.write(0x2C, b"\x0a")  # 100 Hz: what is read at once has no time to overrun again
    chip.write(0x31, b"\x0b")
    chip.write(0x38, b"\x80")
    time.sleep(0.01)
    assert chip.read(0x39, 1) == b"\x00"
    chip.write(0x2D, b"\x08")
    time.sleep(0.45)
    assert chip.read(0x39, 1) == bytes([33])
    assert chip.read(0x30, 1)[0] & 0x01
    oldest = np.frombuffer(chip.read(0x32, 6), CHANNELS)
    assert oldest[0] in sent(10, 200, 100.0)
    assert not chip.read(0x30, 1)[0] & 0x01, "reading data clears OVERRUN"
    chip.write(0x38, b"\x00")
    assert chip.read(0x39, 1) == b"\x00"


def test_the_driver_of_other_authors_reads_the_same(theirs: Theirs) -> None:
    adafruit = theirs("adafruit_adxl34x")
    chip = Chip(Virtual().document())
    sensor = adafruit.ADXL345(theirs.plug(_0x53=chip))
    sensor.range = adafruit.Range.RANGE_8_G
    sensor.data_rate = adafruit.DataRate.RATE_50_HZ  # the FIFO lasts for more than half a second
    chip.write(0x38, b"\x80")
    time.sleep(0.25)
    got = np.array([sensor.acceleration for _ in range(10)]) / 9.80665 / 0.004
    rows = np.stack([sent(0, 1000, 50.0)[name] for name, _ in CHANNELS], axis=1)
    at = int(np.flatnonzero((rows == np.rint(got[0])).all(axis=1))[0])
    assert np.array_equal(np.rint(got), rows[at : at + 10])
