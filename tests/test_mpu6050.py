"""The MPU-6050 driver against its virtual chip: exact rows, overflow, faults, and what it refuses."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from drivers import Block, DriverError, Samples, SettingsError, boottime_ns
from drivers.mpu6050 import Mpu6050, Settings, VirtualMpu
from drivers.ports.i2c import I2cDevice
from drivers.ports.virtual.motion import COLUMNS, Motion
from drivers.ports.virtual.mpu6050 import Mpu6050 as Chip
from drivers.ports.virtual.mpu6050 import temperature
from tests import flight
from tests.contracts.driver import DriverContract, read_blocks
from tests.second_opinion import Theirs


def virtual_settings(*, rate_hz: float = 1000.0, virtual: dict[str, Any] | None = None, **options: Any) -> Settings:
    return Settings(bus="virtual", rate_hz=rate_hz, filter_hz=188, virtual=VirtualMpu(**(virtual or {})), **options)


def rows(samples: Samples) -> np.ndarray:
    """The six motion columns of structured samples, shape (n, 6)."""
    return np.stack([samples[name] for name in samples.dtype.names[:6]], axis=1)


def read_until(driver: Mpu6050, end: int) -> list[Block]:
    blocks = read_blocks(driver, 1)
    while blocks[-1].end < end:
        blocks += read_blocks(driver, 1)
    return blocks


def read_rows(settings: Settings, count: int) -> np.ndarray:
    """The first `count` rows, of which none may be lost."""
    driver = settings.open()
    try:
        driver.start()
        blocks = read_until(driver, count)
    finally:
        driver.close()
    assert [block.lost for block in blocks] == [0] * len(blocks)
    return rows(np.concatenate([block.samples for block in blocks]))[:count]


class TestContract(DriverContract):
    def settings(self, **virtual: Any) -> Settings:
        return virtual_settings(temperature=True, virtual=virtual)

    def expected(self, first: int, count: int) -> Samples:
        samples = np.empty(count, [(name, "<i2") for name in (*COLUMNS, "Temperature")])
        for name, column in zip(COLUMNS, Motion(1, 1000.0).rows(first, count).T, strict=True):
            samples[name] = column
        samples["Temperature"] = temperature(0x68, np.arange(first, first + count), 1000.0)
        return samples.view([(name, "<i2") for name in CHANNELS])


CHANNELS = [
    *(f"{sensor}{axis}" for sensor in ("Accelerometer", "Gyroscope") for axis in "XYZ"),
    "Temperature",
]


@pytest.mark.alone
def test_two_seconds_at_1_khz_come_out_row_for_row() -> None:
    got = read_rows(virtual_settings(), 2000)
    assert np.array_equal(got, Motion(1, 1000.0).rows(0, 2000))


@pytest.mark.alone
def test_the_smaller_fifo_of_an_mpu6500_and_late_answers_lose_nothing() -> None:
    virtual = {"who_am_i": 0x70, "delay_s": 0.004}
    settings = virtual_settings(rate_hz=500, accel_range_g=4, gyro_range_dps=500, virtual=virtual)
    got = read_rows(settings, 350)
    assert np.array_equal(got, Motion(1, 500.0, lsb=(8192.0, 65.5)).rows(0, 350))


def test_a_replayed_file_comes_out_as_it_is_and_begins_again(tmp_path: Path) -> None:
    file = tmp_path / "motion.csv"
    values = np.arange(100 * 6).reshape(100, 6)
    np.savetxt(file, values / ([2048.0] * 3 + [16.4] * 3), delimiter=",", header=",".join(COLUMNS), comments="")
    got = read_rows(virtual_settings(accel_range_g=16, virtual={"replay": str(file)}), 250)
    assert np.array_equal(got, np.concatenate([values, values, values])[:250])


@pytest.mark.alone
@flight.needed
def test_a_real_flight_comes_out_as_it_went_in() -> None:
    expected = np.clip(np.rint(flight.flown() * ([2048.0] * 3 + [16.4] * 3)), -32768, 32767)
    assert len(expected) > 5000
    settings = virtual_settings(accel_range_g=16, virtual=flight.REPLAY)
    assert np.array_equal(read_rows(settings, len(expected)), expected)


@pytest.mark.alone
def test_an_overflow_is_counted_and_recovered_from() -> None:
    driver = virtual_settings(virtual={"clock_ppm": 80000.0}).open()
    try:
        driver.start()
        before = read_until(driver, 1200)[-1]
        assert driver.counters["overflows"] == 0
        time.sleep(0.4)
        after = read_until(driver, before.end + 900)
    finally:
        driver.close()
    assert driver.counters["overflows"] == 1
    assert [block.segment for block in after] == [1] * len(after)
    assert after[0].lost > 300
    assert not after[0].exact
    assert after[0].first == before.end + after[0].lost
    assert all(block.exact and not block.lost for block in after[1:])
    got = rows(np.concatenate([block.samples for block in after]))
    sent = Motion(1, 1000.0).rows(before.end, 2000)
    at = int(np.flatnonzero((sent == got[0]).all(axis=1))[0])
    assert np.array_equal(sent[at : at + len(got)], got), "whole samples, in their order"
    assert abs(at - after[0].lost) <= 16, "the loss is estimated from time, on the chip's own clock"


@pytest.mark.parametrize(("rate_hz", "actual_hz"), [(4, 4.0), (100, 100.0), (333.3, 1000 / 3), (142.9, 1000 / 7)])
def test_rates_that_the_divider_can_make(rate_hz: float, actual_hz: float) -> None:
    assert virtual_settings(rate_hz=rate_hz).actual_rate_hz == pytest.approx(actual_hz)


@pytest.mark.parametrize(
    ("rate_hz", "allowed"),
    [(300, "333.333 or 250|250 or 333.333"), (900, "500 or 1000"), (3, "from 4 to 1000"), (float("nan"), "from 4")],
)
def test_a_rate_that_it_cannot_make_is_refused_with_the_nearest(rate_hz: float, allowed: str) -> None:
    with pytest.raises(SettingsError, match=allowed) as caught:
        virtual_settings(rate_hz=rate_hz)
    assert [name for name, *_ in caught.value.mistakes] == ["rate_hz"]


def test_every_mistake_is_named_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings(bus="i2c-1", address=0x6A, rate_hz=999, accel_range_g=3, gyro_range_dps=1, filter_hz=50)
    names = [name for name, *_ in caught.value.mistakes]
    assert sorted(names) == ["accel_range_g", "address", "bus", "filter_hz", "gyro_range_dps", "rate_hz"]


@pytest.mark.parametrize(
    ("who_am_i", "model", "gyro_filter_hz", "celsius"),
    [(0x68, "MPU-6050", 188, 25.0), (0x71, "MPU-9250", 184, 25.0)],
)
def test_parts_are_told_apart(who_am_i: int, model: str, gyro_filter_hz: int, celsius: float) -> None:
    driver = virtual_settings(rate_hz=333.3, temperature=True, virtual={"who_am_i": who_am_i}).open()
    try:
        identity = driver.start()
        (block,) = read_blocks(driver, 1)
    finally:
        driver.close()
    assert identity.model == model
    assert identity.rate_hz == pytest.approx(1000 / 3)
    assert [channel.name for channel in identity.channels] == CHANNELS
    assert identity.setup["gyro_filter_hz"] == gyro_filter_hz
    channel = identity.channels[6]
    assert block.samples["Temperature"][0] * channel.scale + channel.offset == pytest.approx(celsius, abs=0.1)
    z = identity.channels[2]
    assert block.samples["AccelerometerZ"].mean() * z.scale == pytest.approx(1.0, abs=0.02), "1 g, lying still"


def test_another_chip_at_the_address_is_refused() -> None:
    driver = virtual_settings(virtual={"who_am_i": 0x12}).open()
    try:
        with pytest.raises(DriverError, match=r"0x12.*0x68 MPU-6050"):
            driver.start()
    finally:
        driver.close()


def test_a_chip_that_no_longer_acknowledges_says_where_and_what_to_try() -> None:
    driver = virtual_settings(virtual={"faults": ("0.6 nack 60",)}).open()
    try:
        with pytest.raises(DriverError, match=r"mpu6050 at 0x68 on the virtual bus: nobody answers.*errno 121"):
            driver.start()
            read_until(driver, 60_000)
    finally:
        driver.close()


@pytest.mark.alone
def test_noise_on_the_bus_invents_no_samples() -> None:
    driver = virtual_settings(virtual={"faults": ("1 garble 60",)}).open()
    try:
        begun_ns = boottime_ns()
        driver.start()
        with pytest.raises(DriverError, match="noise"):
            for _ in range(500):
                block = driver.read(0.2)
                assert block is None or block.newest < (boottime_ns() - begun_ns) / 1e6 * 1.1
    finally:
        driver.close()


class InProcess:
    """Transfers straight to a chip model."""

    def __init__(self, chip: Chip) -> None:
        self.write, self.read, self.read_fifo = chip.write, chip.read, chip.read

    def close(self) -> None:
        pass


def awake_chip(**virtual: Any) -> Chip:
    """A chip that samples all seven words at 1 kHz into its FIFO."""
    chip = Chip(VirtualMpu(**virtual).document())
    for register, value in ((0x6B, 0x01), (0x1A, 0x01), (0x23, 0xF8), (0x6A, 0x40)):
        chip.write(register, bytes([value]))
    return chip


def count(chip: Chip) -> int:
    return int.from_bytes(chip.read(0x72, 2), "big")


def test_the_chip_sleeps_until_it_is_woken() -> None:
    chip = Chip(VirtualMpu().document())
    chip.write(0x23, b"\xf8")
    chip.write(0x6A, b"\x40")
    time.sleep(0.01)
    assert count(chip) == 0
    assert chip.read(0x6B, 1) == b"\x40"


def test_a_full_fifo_loses_its_oldest_bytes_and_says_so_once() -> None:
    chip = awake_chip()
    time.sleep(0.1)
    assert count(chip) == 1024
    chip.write(0x6A, b"\x00")
    assert chip.read(0x3A, 1)[0] & 0x10
    assert not chip.read(0x3A, 1)[0] & 0x10
    words = np.frombuffer(chip.read(0x74, 1024)[1024 % 14 :], ">i2").reshape(-1, 7)
    sent = Motion(1, 1000.0, lsb=(16384.0, 131.0)).rows(0, 5000)
    (at,) = np.flatnonzero((sent == words[0][[0, 1, 2, 4, 5, 6]]).all(axis=1))
    assert at > 0, "1024 bytes hold no whole number of samples, so a part of one comes first"
    assert np.array_equal(sent[at : at + len(words)], words[:, [0, 1, 2, 4, 5, 6]])


def test_an_empty_fifo_repeats_its_last_byte_and_its_count_is_latched() -> None:
    chip = awake_chip()
    time.sleep(0.01)
    chip.write(0x6A, b"\x00")
    high, low = chip.read(0x72, 2)
    held = high << 8 | low
    assert held >= 10 * 14
    assert held % 14 == 0
    data = chip.read(0x74, held + 5)
    assert data[held:] == data[held - 1 : held] * 5
    assert chip.read(0x73, 1) == bytes([low]), "only reading the high byte looks again"
    assert count(chip) == 0


def test_the_chip_hears_nothing_while_it_resets_and_forgets_everything() -> None:
    chip = awake_chip()
    chip.write(0x6B, b"\x80")
    chip.write(0x1C, b"\x18")
    assert chip.read(0x6B, 1)[0] & 0x80
    time.sleep(0.06)
    assert chip.read(0x6B, 1) == b"\x40"
    assert chip.read(0x1C, 1) == b"\x00"


@pytest.mark.parametrize(("who_am_i", "accel_filter"), [(0x68, 0), (0x70, 4)])
def test_settings_reach_their_registers(who_am_i: int, accel_filter: int) -> None:
    chip = Chip(VirtualMpu(who_am_i=who_am_i).document())
    settings = Settings(rate_hz=50, filter_hz=20, gyro_range_dps=500, accel_range_g=16)
    Mpu6050(settings, I2cDevice(InProcess(chip), "mpu6050", 1, 0x68)).start()
    # SMPLRT_DIV, CONFIG, GYRO_CONFIG, ACCEL_CONFIG, ACCEL_CONFIG2
    assert list(chip.read(0x19, 5)) == [19, 4, 1 << 3, 3 << 3, accel_filter]
    assert list(chip.read(0x23, 1)) == [0x78]


def test_a_chip_that_does_not_keep_what_is_written_is_refused() -> None:
    class Deaf(InProcess):
        def __init__(self, chip: Chip) -> None:
            super().__init__(chip)
            self.write = lambda register, data: None if register == 0x19 else chip.write(register, data)

    settings = virtual_settings(rate_hz=500)
    driver = Mpu6050(settings, I2cDevice(Deaf(Chip(VirtualMpu().document())), "mpu6050", 1, 0x68))
    with pytest.raises(DriverError, match="SMPLRT_DIV"):
        driver.start()


def test_the_driver_of_other_authors_reads_the_same(theirs: Theirs, tmp_path: Path) -> None:
    still = (0.5, -0.25, 0.75, 10.0, -20.0, 30.0)
    file = tmp_path / "still.csv"
    file.write_text("ax_g,ay_g,az_g,gx_dps,gy_dps,gz_dps\n" + ",".join(map(str, still)) + "\n")
    theirs.plug(_0x68=Chip(VirtualMpu(replay=str(file)).document()))
    sensor = theirs("mpu6050").mpu6050(0x68)
    for accel_range, gyro_range in (
        (sensor.ACCEL_RANGE_2G, sensor.GYRO_RANGE_250DEG),
        (sensor.ACCEL_RANGE_16G, sensor.GYRO_RANGE_1000DEG),
    ):
        sensor.set_accel_range(accel_range)
        sensor.set_gyro_range(gyro_range)
        acceleration, rotation = sensor.get_accel_data(True), sensor.get_gyro_data()
        assert [acceleration[axis] for axis in "xyz"] == pytest.approx(still[:3], abs=0.5 / 2048)
        assert [rotation[axis] for axis in "xyz"] == pytest.approx(still[3:], abs=0.5 / 32.8)
    assert 0 < sensor.get_temp() < 50
