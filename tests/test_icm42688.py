"""The ICM-42688 driver against its virtual chip: exact rows, overflow, faults, and what it refuses."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from drivers import Block, DriverError, Samples, SettingsError, _fifo, boottime_ns
from drivers import icm42688 as driver_module
from drivers.icm42688 import Icm42688, Settings, VirtualIcm
from drivers.ports.i2c import BlockTransfers, I2cDevice
from drivers.ports.virtual import icm42688 as chip_module
from drivers.ports.virtual.icm42688 import Icm42688 as Chip
from drivers.ports.virtual.icm42688 import celsius
from drivers.ports.virtual.motion import COLUMNS, Motion
from tests import flight
from tests.contracts.driver import DriverContract, read_blocks
from tests.simulated import SimulatedBus

AXES = [f"{sensor}{axis}" for sensor in ("Accelerometer", "Gyroscope") for axis in "XYZ"]
LSB_8_2000 = (4096.0, 16.4)


def rows(samples: Samples) -> np.ndarray:
    return np.stack([samples[name] for name in AXES], axis=1)


def read_until(driver: Icm42688, end: int) -> list[Block]:
    blocks = read_blocks(driver, 1)
    while blocks[-1].end < end:
        blocks += read_blocks(driver, 1)
    return blocks


def simulated(
    monkeypatch: pytest.MonkeyPatch, *, bus_hz: int = 400_000, virtual: Any = None, **options: Any
) -> tuple[Icm42688, SimulatedBus]:
    """A driver and its chip in simulated time, on a bus as fast as it says."""
    bus = SimulatedBus(monkeypatch, _fifo, driver_module, chip_module, bus_hz=bus_hz)
    bus.chip = Chip(VirtualIcm(**(virtual or {})).document())
    return Icm42688(Settings(bus_hz=bus_hz, **options), I2cDevice(bus, "icm42688", 1, 0x68)), bus


def read_samples(driver: Icm42688, count: int) -> Samples:
    """The first `count` samples, of which none may be lost."""
    driver.start()
    blocks = read_until(driver, count)
    assert driver.counters == {"overflows": 0, "resyncs": 0}
    assert [block.lost for block in blocks] == [0] * len(blocks)
    assert max(block.newest + 1 - block.first for block in blocks) <= 0.55 * 128, "about half full at most"
    return np.concatenate([block.samples for block in blocks])[:count]


class TestContract(DriverContract):
    def settings(self, **virtual: Any) -> Settings:
        return Settings(bus="virtual", rate_hz=500, temperature=True, virtual=VirtualIcm(**virtual))

    def expected(self, first: int, count: int) -> Samples:
        samples = np.empty(count, [*((name, "<i2") for name in AXES), ("Temperature", "|i1")])
        for name, column in zip(AXES, Motion(1, 500.0, lsb=LSB_8_2000).rows(first, count).T, strict=True):
            samples[name] = column
        samples["Temperature"] = np.rint((celsius(np.arange(first, first + count), 500.0) - 25.0) * 2.07)
        return samples


@pytest.mark.parametrize("clock_ppm", [-50_000.0, 0.0, 50_000.0])
@pytest.mark.parametrize(
    ("rate_hz", "bus_hz"), [(12.5, 100_000), (500, 100_000), (1000, 400_000), (2000, 400_000), (4000, 1_000_000)]
)
def test_every_sample_comes_out_once_and_in_order(
    monkeypatch: pytest.MonkeyPatch, rate_hz: float, bus_hz: int, clock_ppm: float
) -> None:
    driver, _ = simulated(monkeypatch, bus_hz=bus_hz, rate_hz=rate_hz, virtual={"clock_ppm": clock_ppm})
    count = min(5000, int(rate_hz * 4))
    got = read_samples(driver, count)
    assert list(got.dtype.names) == AXES
    assert np.array_equal(rows(got), Motion(1, rate_hz, lsb=LSB_8_2000).rows(0, count))


@pytest.mark.parametrize(("range_g", "lsb_g"), [(2, 16384.0), (4, 8192.0), (16, 2048.0)])
@pytest.mark.parametrize(("range_dps", "lsb_dps"), [(125, 262.0), (250, 131.0), (500, 65.5), (1000, 32.8)])
def test_ranges_are_those_of_the_data_sheet(
    monkeypatch: pytest.MonkeyPatch, range_g: int, lsb_g: float, range_dps: int, lsb_dps: float
) -> None:
    driver, _ = simulated(monkeypatch, accel_range_g=range_g, gyro_range_dps=range_dps)
    sent = Motion(1, 100.0, lsb=(lsb_g, lsb_dps)).rows(0, 1000)
    assert np.array_equal(rows(read_samples(driver, 1000)), sent)


@flight.needed
def test_a_real_flight_comes_out_as_it_went_in(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = np.clip(flight.flown() * ([2048.0] * 3 + [16.4] * 3), -32768, 32767)
    driver, _ = simulated(monkeypatch, rate_hz=1000, accel_range_g=16, virtual=flight.REPLAY)
    assert np.abs(rows(read_samples(driver, len(expected))) - expected).max() < 0.5 + 1e-9, "half an LSB"


def test_an_overflow_is_counted_and_recovered_from(monkeypatch: pytest.MonkeyPatch) -> None:
    driver, bus = simulated(monkeypatch, rate_hz=1000, virtual={"clock_ppm": 50_000.0})
    driver.start()
    before = read_until(driver, 1500)[-1]
    bus.sleep(0.3)
    after = read_until(driver, before.end + 1000)
    assert driver.counters == {"overflows": 1, "resyncs": 0}
    assert [block.segment for block in after] == [1] * len(after)
    assert after[0].lost > 128
    assert not after[0].exact
    assert after[0].first == before.end + after[0].lost
    assert all(block.exact and not block.lost for block in after[1:])
    got = rows(np.concatenate([block.samples for block in after]))
    sent = Motion(1, 1000.0, lsb=LSB_8_2000).rows(before.end, 3000)
    at = int(np.flatnonzero((sent == got[0]).all(axis=1))[0])
    assert np.array_equal(sent[at : at + len(got)], got), "whole samples, in their order"
    assert abs(at - after[0].lost) <= 3, "the loss is estimated from time, on the chip's own clock"


def test_a_fifo_out_of_step_is_emptied_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    driver, bus = simulated(monkeypatch, rate_hz=500)
    driver.start()
    before = read_until(driver, 50)[-1]
    bus.sleep(0.01)
    bus.read(0x30, 5)
    after = read_until(driver, before.end + 100)
    assert driver.counters == {"overflows": 0, "resyncs": 1}
    assert {block.segment for block in after} == {1}
    got = rows(np.concatenate([block.samples for block in after]))
    sent = Motion(1, 500.0, lsb=LSB_8_2000).rows(0, 1000)
    at = int(np.flatnonzero((sent == got[0]).all(axis=1))[0])
    assert np.array_equal(sent[at : at + len(got)], got)
    assert abs(at - after[0].first) <= 3


def test_the_rotation_does_not_stand_still_where_it_passes_100_degrees_a_second(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    swing = np.zeros((1000, 6))
    swing[:, 3] = 300 * np.sin(2 * np.pi * np.arange(1000) / 500)
    file = tmp_path / "swing.csv"
    np.savetxt(file, swing, delimiter=",", header=",".join(COLUMNS), comments="")
    sent = np.rint(swing * 16.4)
    driver, _ = simulated(monkeypatch, rate_hz=1000, virtual={"replay": str(file)})
    assert np.array_equal(rows(read_samples(driver, 1000)), sent)
    chip = sampling_chip(monkeypatch, replay=str(file))
    chip.sleep(0.1)
    packets = np.frombuffer(chip.read(0x30, 16 * 99), [("header", "u1"), ("axes", ">i2", 6), ("rest", "u1", 3)])
    stands = np.flatnonzero((sent[:99] != packets["axes"]).any(axis=1))
    assert list(stands) == [28, 29], "where nobody tells it not to"


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


def test_an_adapter_with_short_transfers_cuts_no_packet(monkeypatch: pytest.MonkeyPatch) -> None:
    _, bus = simulated(monkeypatch)
    driver = Icm42688(Settings(rate_hz=1000), I2cDevice(BlockTransfers(SmBus(bus), 0x68), "icm42688", 1, 0x68))
    assert np.array_equal(rows(read_samples(driver, 1000)), Motion(1, 1000.0, lsb=LSB_8_2000).rows(0, 1000))


@pytest.mark.parametrize(
    ("rate_hz", "bus_hz", "allowed"),
    [
        (4000, 400_000, "4000 samples a second of 16 bytes are 576 kbit/s"),
        (1000, 100_000, "bus_hz = 100000 carries"),
        (300, 400_000, "one of 12.5"),
        (float("nan"), 400_000, "one of 12.5"),
    ],
)
def test_a_rate_that_chip_or_bus_cannot_have_is_refused(rate_hz: float, bus_hz: int, allowed: str) -> None:
    with pytest.raises(SettingsError, match=allowed) as caught:
        Settings(rate_hz=rate_hz, bus_hz=bus_hz)
    assert [name for name, *_ in caught.value.mistakes] == ["rate_hz"]


def test_every_mistake_is_named_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings(bus="i2c-1", address=0x6A, rate_hz=13, accel_range_g=3, gyro_range_dps=1, bus_hz=9_999)
    names = [name for name, *_ in caught.value.mistakes]
    assert sorted(names) == ["accel_range_g", "address", "bus", "bus_hz", "gyro_range_dps", "rate_hz"]


@pytest.mark.parametrize(("who_am_i", "model"), [(0x47, "ICM-42688-P"), (0x42, "ICM-42605")])
def test_parts_are_told_apart(monkeypatch: pytest.MonkeyPatch, who_am_i: int, model: str) -> None:
    driver, _ = simulated(monkeypatch, temperature=True, virtual={"who_am_i": who_am_i})
    identity = driver.start()
    assert identity.model == model
    assert [channel.name for channel in identity.channels] == [*AXES, "Temperature"]
    assert [channel.unit for channel in identity.channels] == ["g"] * 3 + ["deg/s"] * 3 + ["Celsius"]
    samples = np.concatenate([block.samples for block in read_until(driver, 1500)])
    z, temperature = identity.channels[2], identity.channels[6]
    assert samples["AccelerometerZ"][:500].mean() * z.scale == pytest.approx(1.0, abs=0.01), "1 g, lying still"
    degrees = samples["Temperature"] * temperature.scale + temperature.offset
    assert degrees[0] == pytest.approx(25.0, abs=0.3)
    assert degrees[1499] == pytest.approx(28.0, abs=0.3)


def test_another_chip_at_the_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    driver, _ = simulated(monkeypatch, virtual={"who_am_i": 0x68})
    with pytest.raises(DriverError, match=r"0x68.*0x47 ICM-42688-P"):
        driver.start()


@pytest.mark.alone
def test_noise_on_the_bus_invents_no_samples() -> None:
    driver = Settings(bus="virtual", rate_hz=500, virtual=VirtualIcm(faults=("0.7 garble 60",))).open()
    try:
        begun_ns = boottime_ns()
        driver.start()
        with pytest.raises(DriverError, match="noise"):
            for _ in range(1000):
                block = driver.read(0.2)
                assert block is None or block.newest < (boottime_ns() - begun_ns) / 1e9 * 500 * 1.15
    finally:
        driver.close()


def test_settings_reach_their_registers(monkeypatch: pytest.MonkeyPatch) -> None:
    driver, bus = simulated(monkeypatch, rate_hz=200, accel_range_g=2, gyro_range_dps=250)
    driver.start()
    assert list(bus.read(0x4C, 2)) == [0x30, 0x51]  # INTF_CONFIG0, INTF_CONFIG1 with AFSR off and the rest as it was
    assert list(bus.read(0x4E, 3)) == [0x0F, 0x67, 0x67]  # PWR_MGMT0, GYRO_CONFIG0, ACCEL_CONFIG0
    assert (bus.read(0x16, 1), bus.read(0x5F, 1)) == (b"\x40", b"\x07")  # FIFO_CONFIG, FIFO_CONFIG1


def test_a_bank_that_was_left_open_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    driver, bus = simulated(monkeypatch)
    bus.write(0x76, b"\x01")
    assert bus.read(0x75, 1) == b"\x00"
    assert driver.start().model == "ICM-42688-P"


def test_a_chip_that_does_not_keep_what_is_written_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    driver, bus = simulated(monkeypatch)
    write = bus.chip.write
    monkeypatch.setattr(bus.chip, "write", lambda register, data: None if register == 0x50 else write(register, data))
    with pytest.raises(DriverError, match="ICM-42688-P: register ACCEL_FS_SEL"):
        driver.start()


def test_a_chip_that_stays_in_its_reset_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chip_module, "RESET_S", 5.0)
    driver, _ = simulated(monkeypatch)
    with pytest.raises(DriverError, match="does not come back from its reset"):
        driver.start()


def sampling_chip(monkeypatch: pytest.MonkeyPatch, **virtual: str) -> SimulatedBus:
    """A chip at 1 kHz, 16 g and 2000 degrees/s, as it is after a reset, that fills its FIFO."""
    _, chip = simulated(monkeypatch, virtual=virtual)
    for register, value in ((0x5F, 0x07), (0x4E, 0x0F), (0x16, 0x40)):
        chip.write(register, bytes([value]))
    return chip


def test_the_chip_sleeps_until_it_is_woken_and_a_reset_forgets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    _, chip = simulated(monkeypatch)
    assert chip.read(0x4C, 5) == b"\x30\x91\x00\x06\x06"
    chip.write(0x16, b"\x40")
    chip.sleep(0.01)
    assert chip.read(0x2D, 3) == b"\x10\x00\x00"
    chip = sampling_chip(monkeypatch)
    chip.sleep(0.01)
    assert chip.read(0x2D, 1)[0] & 0x08
    chip.write(0x11, b"\x01")
    assert chip.read(0x2D, 1) == b"\x00", "it hears nothing while it resets"
    chip.sleep(0.002)
    assert (chip.read(0x4E, 1), chip.read(0x2D, 3)) == (b"\x00", b"\x10\x00\x00")


def test_a_full_fifo_loses_its_oldest_packets_and_says_so_once(monkeypatch: pytest.MonkeyPatch) -> None:
    chip = sampling_chip(monkeypatch)
    chip.sleep(0.2)
    chip.write(0x4E, b"\x00")  # off, so that nothing follows
    status, high, low = chip.read(0x2D, 3)
    assert (status & 0x02, high << 8 | low) == (0x02, 2048)
    assert not chip.read(0x2D, 1)[0] & 0x02
    data = chip.read(0x30, 2048)
    assert chip.read(0x30, 3) == b"\xff\xff\xff"
    packets = np.frombuffer(data, [("header", "u1"), ("axes", ">i2", 6), ("celsius", "i1"), ("time", ">u2")])
    sent = Motion(1, 1000.0, lsb=(2048.0, 16.4)).rows(0, 1000)
    at = next(n for n in range(500) if np.array_equal(sent[n : n + 128], packets["axes"]))
    assert at >= 70
    assert set(packets["header"]) == {0x68}
    assert set(np.diff(packets["time"].astype(int)) % 65536) == {1000}


def test_the_first_count_after_a_flush_is_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    chip = sampling_chip(monkeypatch)
    chip.sleep(0.01)
    assert chip.read(0x2E, 2) > b"\x00\x00"
    chip.write(0x4B, b"\x02")
    chip.sleep(0.01)
    assert chip.read(0x2E, 2) == b"\x00\x00"
    assert chip.read(0x2E, 2) > b"\x00\x00"
