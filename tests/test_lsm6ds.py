"""The LSM6DS driver against its virtual chips, with tags and without: exact rows, overflow, faults, what it refuses."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from drivers import Block, DriverError, Samples, SettingsError, _fifo, boottime_ns
from drivers import lsm6ds as driver_module
from drivers.lsm6ds import Lsm6ds, Settings, VirtualLsm
from drivers.ports.i2c import BlockTransfers, I2cDevice
from drivers.ports.virtual import lsm6ds as chip_module
from drivers.ports.virtual.lsm6ds import Lsm6ds as Chip
from drivers.ports.virtual.motion import COLUMNS, Motion
from tests import flight
from tests.contracts.driver import DriverContract, read_blocks
from tests.second_opinion import Theirs
from tests.simulated import SimulatedBus

CHANNELS = [(f"{sensor}{axis}", "<i2") for sensor in ("Accelerometer", "Gyroscope") for axis in "XYZ"]
LSB_8_2000 = (1 / 0.244e-3, 1 / 70e-3)
FAMILY = {0x69: "LSM6DS3", 0x6A: "LSM6DS3TR-C", 0x6B: "ISM330DHCX", 0x6C: "LSM6DSOX"}
TAGGED, PATTERN = 0x6C, 0x6A


def virtual_settings(*, rate_hz: float = 833.0, virtual: dict[str, Any] | None = None, **options: Any) -> Settings:
    return Settings(bus="virtual", rate_hz=rate_hz, virtual=VirtualLsm(**(virtual or {})), **options)


def rows(samples: Samples) -> np.ndarray:
    return np.stack([samples[name] for name in samples.dtype.names], axis=1)


def read_until(driver: Lsm6ds, end: int) -> list[Block]:
    blocks = read_blocks(driver, 1)
    while blocks[-1].end < end:
        blocks += read_blocks(driver, 1)
    return blocks


def simulated(
    monkeypatch: pytest.MonkeyPatch, who_am_i: int, *, bus_hz: int = 400_000, virtual: Any = None, **options: Any
) -> tuple[Lsm6ds, SimulatedBus]:
    """A driver and its chip in simulated time, on a bus as fast as it says."""
    bus = SimulatedBus(monkeypatch, _fifo, driver_module, chip_module, bus_hz=bus_hz)
    bus.chip = Chip(VirtualLsm(who_am_i=who_am_i, **(virtual or {})).document())
    return Lsm6ds(Settings(bus_hz=bus_hz, **options), I2cDevice(bus, "lsm6ds", 1, 0x6A)), bus


def read_rows(driver: Lsm6ds, count: int) -> np.ndarray:
    """The first `count` rows, of which none may be lost."""
    driver.start()
    blocks = read_until(driver, count)
    assert driver.counters == {"overflows": 0, "resyncs": 0}
    assert [block.lost for block in blocks] == [0] * len(blocks)
    return rows(np.concatenate([block.samples for block in blocks]))[:count]


class TestTaggedContract(DriverContract):
    who_am_i = TAGGED

    def settings(self, **virtual: Any) -> Settings:
        return virtual_settings(virtual={"who_am_i": self.who_am_i, **virtual})

    def expected(self, first: int, count: int) -> Samples:
        sent = Motion(1, 833.0, lsb=LSB_8_2000).rows(first, count)
        return np.ascontiguousarray(sent, "<i2").view(CHANNELS)[:, 0]


class TestPatternContract(TestTaggedContract):
    who_am_i = PATTERN


@pytest.mark.parametrize("clock_ppm", [-50_000.0, 0.0, 50_000.0])
@pytest.mark.parametrize("who_am_i", FAMILY)
@pytest.mark.parametrize(("rate_hz", "bus_hz"), [(12.5, 100_000), (416, 100_000), (1660, 400_000), (6660, 1_000_000)])
def test_every_sample_comes_out_once_and_in_order(
    monkeypatch: pytest.MonkeyPatch, rate_hz: float, bus_hz: int, who_am_i: int, clock_ppm: float
) -> None:
    rate_hz = min(rate_hz, 1660 if who_am_i == 0x69 else rate_hz)
    virtual = {"clock_ppm": clock_ppm}
    driver, _ = simulated(monkeypatch, who_am_i, bus_hz=bus_hz, rate_hz=rate_hz, virtual=virtual)
    count = min(5000, int(rate_hz * 4))
    assert np.array_equal(read_rows(driver, count), Motion(1, rate_hz, lsb=LSB_8_2000).rows(0, count))


@pytest.mark.parametrize(("range_g", "mg"), [(2, 0.061), (4, 0.122), (16, 0.488)])
@pytest.mark.parametrize(("range_dps", "mdps"), [(125, 4.375), (250, 8.75), (500, 17.5), (1000, 35.0)])
def test_ranges_are_those_of_the_data_sheet(
    monkeypatch: pytest.MonkeyPatch, range_g: int, mg: float, range_dps: int, mdps: float
) -> None:
    driver, _ = simulated(monkeypatch, TAGGED, accel_range_g=range_g, gyro_range_dps=range_dps)
    sent = Motion(1, 104.0, lsb=(1000 / mg, 1000 / mdps)).rows(0, 1000)
    assert np.array_equal(read_rows(driver, 1000), sent)


@flight.needed
@pytest.mark.parametrize("who_am_i", [TAGGED, PATTERN])
def test_a_real_flight_comes_out_as_it_went_in(monkeypatch: pytest.MonkeyPatch, who_am_i: int) -> None:
    expected = np.clip(flight.flown() / ([0.488e-3] * 3 + [70e-3] * 3), -32768, 32767)
    driver, _ = simulated(monkeypatch, who_am_i, rate_hz=1660, accel_range_g=16, virtual=flight.REPLAY)
    assert np.abs(read_rows(driver, len(expected)) - expected).max() < 0.5 + 1e-9, "half an LSB"


@pytest.mark.parametrize(("who_am_i", "kept"), [(TAGGED, 256), (PATTERN, 341)])
def test_an_overflow_is_counted_and_recovered_from(monkeypatch: pytest.MonkeyPatch, who_am_i: int, kept: int) -> None:
    driver, bus = simulated(monkeypatch, who_am_i, rate_hz=833, virtual={"clock_ppm": 50_000.0})
    driver.start()
    before = read_until(driver, 1500)[-1]
    bus.sleep(0.6)
    after = read_until(driver, before.end + 1000)
    assert driver.counters == {"overflows": 1, "resyncs": 0}
    assert [block.segment for block in after] == [1] * len(after)
    assert after[0].lost > kept
    assert not after[0].exact
    assert after[0].first == before.end + after[0].lost
    assert all(block.exact and not block.lost for block in after[1:])
    got = rows(np.concatenate([block.samples for block in after]))
    sent = Motion(1, 833.0, lsb=LSB_8_2000).rows(before.end, 3000)
    at = int(np.flatnonzero((sent == got[0]).all(axis=1))[0])
    assert np.array_equal(sent[at : at + len(got)], got), "whole samples, in their order"
    assert abs(at - after[0].lost) <= 3, "the loss is estimated from time, on the chip's own clock"


@pytest.mark.parametrize(
    ("rate_hz", "bus_hz", "allowed"),
    [
        (3330, 400_000, "3330 samples a second of 14 bytes are 420 kbit/s"),
        (833, 100_000, "bus_hz = 100000 carries"),
        (200, 400_000, "one of 12.5"),
        (float("nan"), 400_000, "one of 12.5"),
    ],
)
def test_a_rate_that_chip_or_bus_cannot_have_is_refused(rate_hz: float, bus_hz: int, allowed: str) -> None:
    with pytest.raises(SettingsError, match=allowed) as caught:
        virtual_settings(rate_hz=rate_hz, bus_hz=bus_hz)
    assert [name for name, *_ in caught.value.mistakes] == ["rate_hz"]


def test_every_mistake_is_named_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings(bus="i2c-1", address=0x68, rate_hz=13, accel_range_g=3, gyro_range_dps=1, bus_hz=9_999)
    names = [name for name, *_ in caught.value.mistakes]
    assert sorted(names) == ["accel_range_g", "address", "bus", "bus_hz", "gyro_range_dps", "rate_hz"]


@pytest.mark.parametrize("who_am_i", FAMILY)
def test_parts_are_told_apart(who_am_i: int) -> None:
    driver = virtual_settings(accel_range_g=4, gyro_range_dps=250, virtual={"who_am_i": who_am_i}).open()
    try:
        identity = driver.start()
        (block,) = read_blocks(driver, 1)
    finally:
        driver.close()
    assert identity.model == FAMILY[who_am_i]
    assert [(channel.name, channel.dtype) for channel in identity.channels] == CHANNELS
    assert [channel.unit for channel in identity.channels] == ["g"] * 3 + ["deg/s"] * 3
    z = identity.channels[2]
    assert block.samples["AccelerometerZ"].mean() * z.scale == pytest.approx(1.0, abs=0.02), "1 g, lying still"


@pytest.mark.parametrize(
    ("rate_hz", "who_am_i", "message"),
    [(833, 0x68, r"0x68.*0x69 LSM6DS3, .*0x6c LSM6DSOX"), (3330, 0x69, "LSM6DS3 has at most 1660")],
)
def test_another_chip_or_one_that_is_too_slow_is_refused(rate_hz: float, who_am_i: int, message: str) -> None:
    driver = virtual_settings(rate_hz=rate_hz, bus_hz=1_000_000, virtual={"who_am_i": who_am_i}).open()
    try:
        with pytest.raises(DriverError, match=message):
            driver.start()
    finally:
        driver.close()


@pytest.mark.alone
@pytest.mark.parametrize("who_am_i", [TAGGED, PATTERN])
def test_noise_on_the_bus_invents_no_samples(who_am_i: int) -> None:
    driver = virtual_settings(virtual={"who_am_i": who_am_i, "faults": ("1 garble 60",)}).open()
    try:
        begun_ns = boottime_ns()
        driver.start()
        with pytest.raises(DriverError, match="noise"):
            for _ in range(500):
                block = driver.read(0.2)
                assert block is None or block.newest < (boottime_ns() - begun_ns) / 1e9 * 833 * 1.15
    finally:
        driver.close()


class SmBus:
    """An adapter that has block transfers of 32 bytes only."""

    def __init__(self, bus: SimulatedBus) -> None:
        self._bus = bus

    def write_i2c_block_data(self, address: int, register: int, data: list[int]) -> None:
        self._bus.write(register, bytes(data))

    def read_i2c_block_data(self, address: int, register: int, count: int) -> list[int]:
        assert count <= 32
        return list(self._bus.read(register, count))

    def close(self) -> None:
        pass


@pytest.mark.parametrize("who_am_i", [TAGGED, PATTERN])
def test_an_adapter_with_short_transfers_cuts_no_word(monkeypatch: pytest.MonkeyPatch, who_am_i: int) -> None:
    _, bus = simulated(monkeypatch, who_am_i)
    driver = Lsm6ds(Settings(rate_hz=833), I2cDevice(BlockTransfers(SmBus(bus), 0x6A), "lsm6ds", 1, 0x6A))
    assert np.array_equal(read_rows(driver, 1000), Motion(1, 833.0, lsb=LSB_8_2000).rows(0, 1000))


@pytest.mark.parametrize(("who_am_i", "gone"), [(TAGGED, 7), (TAGGED, 14), (PATTERN, 2)])
def test_a_fifo_out_of_step_is_emptied_and_counted(monkeypatch: pytest.MonkeyPatch, who_am_i: int, gone: int) -> None:
    driver, bus = simulated(monkeypatch, who_am_i, rate_hz=833)
    driver.start()
    before = read_until(driver, 50)[-1]
    bus.sleep(0.01)
    bus.read(0x78 if who_am_i == TAGGED else 0x3E, gone)
    after = read_until(driver, before.end + 100)
    assert driver.counters == {"overflows": 0, "resyncs": 1}
    assert {block.segment for block in after} == {1}
    got = rows(np.concatenate([block.samples for block in after]))
    sent = Motion(1, 833.0, lsb=LSB_8_2000).rows(0, 1000)
    at = int(np.flatnonzero((sent == got[0]).all(axis=1))[0])
    assert np.array_equal(sent[at : at + len(got)], got)
    assert abs(at - after[0].first) <= 3


def test_settings_reach_their_registers(monkeypatch: pytest.MonkeyPatch) -> None:
    driver, chip = simulated(monkeypatch, TAGGED, rate_hz=208, accel_range_g=16, gyro_range_dps=125)
    driver.start()
    assert list(chip.read(0x10, 3)) == [0x54, 0x52, 0x44]  # CTRL1_XL, CTRL2_G, CTRL3_C
    assert list(chip.read(0x09, 2)) == [0x55, 0x06]  # FIFO_CTRL3, FIFO_CTRL4
    driver, chip = simulated(monkeypatch, PATTERN, rate_hz=208, accel_range_g=4, gyro_range_dps=1000)
    driver.start()
    assert list(chip.read(0x10, 3)) == [0x58, 0x58, 0x44]
    assert list(chip.read(0x08, 3)) == [0x09, 0x00, 0x2E]  # FIFO_CTRL3, FIFO_CTRL4, FIFO_CTRL5


def test_a_chip_that_does_not_keep_what_is_written_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    driver, bus = simulated(monkeypatch, TAGGED)
    write = bus.chip.write
    monkeypatch.setattr(bus.chip, "write", lambda register, data: None if register == 0x11 else write(register, data))
    with pytest.raises(DriverError, match="LSM6DSOX: register ODR_G"):
        driver.start()


def sampling_chip(monkeypatch: pytest.MonkeyPatch, who_am_i: int) -> SimulatedBus:
    """A chip at 833 Hz, 2 g and 250 degrees/s that fills its FIFO."""
    _, chip = simulated(monkeypatch, who_am_i)
    fifo = ((0x09, 0x77), (0x0A, 0x06)) if who_am_i == TAGGED else ((0x08, 0x09), (0x0A, 0x3E))
    for register, value in ((0x10, 0x70), (0x11, 0x70), *fifo):
        chip.write(register, bytes([value]))
    return chip


@pytest.mark.parametrize("who_am_i", [TAGGED, PATTERN])
def test_the_chip_sleeps_until_it_has_a_rate_and_a_reset_forgets_it(
    monkeypatch: pytest.MonkeyPatch, who_am_i: int
) -> None:
    _, chip = simulated(monkeypatch, who_am_i)
    assert chip.read(0x12, 1) == b"\x04"
    chip.write(0x0A, b"\x06")
    chip.sleep(0.005)
    assert chip.read(0x1E, 1) == b"\x00"
    chip = sampling_chip(monkeypatch, who_am_i)
    chip.sleep(0.005)
    assert chip.read(0x1E, 1) == b"\x03"
    chip.write(0x12, b"\x05")
    chip.sleep(0.005)
    assert (chip.read(0x10, 1), chip.read(0x12, 1), chip.read(0x3A, 1)) == (b"\x00", b"\x04", b"\x00")


def test_a_full_tagged_fifo_loses_its_oldest_words_and_says_so_once(monkeypatch: pytest.MonkeyPatch) -> None:
    chip = sampling_chip(monkeypatch, TAGGED)
    chip.sleep(0.4)
    chip.write(0x10, b"\x00")  # off, so that nothing follows
    status = int.from_bytes(chip.read(0x3A, 2), "little")
    assert (status & 0x3FF, status & 0x6800) == (512, 0x6800)
    assert not chip.read(0x3B, 1)[0] & 0x08
    data = chip.read(0x78, 3) + chip.read(0x7B, 4) + chip.read(0x78, 7 * 99)
    words = np.frombuffer(data, [("tag", "u1"), ("xyz", "<i2", 3)])
    assert list(words["tag"][:2] >> 3) == [1, 2]
    sent = Motion(1, 833.0, lsb=(1 / 0.061e-3, 1 / 8.75e-3)).rows(0, 5000)
    (at,) = np.flatnonzero((sent[:, 3:] == words["xyz"][0]).all(axis=1) & (sent[:, :3] == words["xyz"][1]).all(axis=1))
    assert at > 0
    assert np.array_equal(sent[at : at + 50, 3:], words["xyz"][0::2])
    assert np.array_equal(sent[at : at + 50, :3], words["xyz"][1::2])
    assert list(words["tag"][0::2] >> 1 & 3) == [(at + n) % 4 for n in range(50)]


def test_a_full_fifo_without_tags_counts_nothing_until_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    chip = sampling_chip(monkeypatch, PATTERN)
    chip.sleep(0.5)
    status = int.from_bytes(chip.read(0x3A, 4), "little")
    assert (status & 0xFFF, status & 0x5000) == (0, 0x4000)
    pattern = status >> 16
    skipped = (6 - pattern) % 6
    chip.write(0x10, b"\x00")  # off, so that nothing follows
    words = np.frombuffer(chip.read(0x3E, 2 * skipped + 12 * 20), "<i2")[skipped:].reshape(20, 6)
    sent = Motion(1, 833.0, lsb=(1 / 0.061e-3, 1 / 8.75e-3)).rows(0, 5000)
    (at,) = np.flatnonzero((sent[:, 3:] == words[0, :3]).all(axis=1) & (sent[:, :3] == words[0, 3:]).all(axis=1))
    assert np.array_equal(np.roll(sent[at : at + 20], 3, axis=1), words)
    status = int.from_bytes(chip.read(0x3A, 4), "little")
    assert status == 2048 - skipped - 120, "in step, and no flag left"


@pytest.mark.parametrize(
    ("module", "who_am_i", "part", "lowest_g"),
    [("lsm6dsox", 0x6C, "", 2), ("lsm6ds3trc", 0x6A, "", 2), ("lsm6dso32", 0x6C, "LSM6DSO32", 4)],
)
def test_a_driver_by_other_authors_reads_the_same_values(
    module: str, who_am_i: int, part: str, lowest_g: int, theirs: Theirs, tmp_path: Path
) -> None:
    adafruit = theirs(f"adafruit_lsm6ds.{module}")
    family = theirs("adafruit_lsm6ds")
    still = (0.5, -0.25, 0.75, 10.0, -20.0, 30.0)
    file = tmp_path / "still.csv"
    file.write_text(",".join(COLUMNS) + "\n" + ",".join(map(str, still)) + "\n")
    chip = Chip(VirtualLsm(who_am_i=who_am_i, part=part, replay=str(file)).document())
    sensor = getattr(adafruit, module.upper())(theirs.plug(_0x6A=chip))
    sensor.accelerometer_range = getattr(family.AccelRange, f"RANGE_{lowest_g}G")
    sensor.gyro_range = family.GyroRange.RANGE_500_DPS
    assert np.array(sensor.acceleration) / 9.80665 == pytest.approx(still[:3], abs=0.0155e-3 * lowest_g)
    assert np.degrees(sensor.gyro) == pytest.approx(still[3:], abs=8.8e-3)
