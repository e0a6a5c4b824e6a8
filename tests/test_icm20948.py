"""The ICM-20948 driver against its virtual chip: exact rows, banks, the magnetometer behind it, overflow, faults."""

from typing import Any

import numpy as np
import pytest

from drivers import Block, DriverError, Samples, SettingsError, _auxiliary, _fifo, boottime_ns
from drivers import icm20948 as driver_module
from drivers.icm20948 import Icm20948, Settings, VirtualIcm
from drivers.ports.i2c import I2cDevice
from drivers.ports.virtual import icm20948 as chip_module
from drivers.ports.virtual._magnetometers import field
from drivers.ports.virtual.icm20948 import Icm20948 as Chip
from drivers.ports.virtual.icm20948 import temperature
from drivers.ports.virtual.motion import Motion
from tests import flight
from tests.contracts.driver import DriverContract, read_blocks
from tests.second_opinion import Theirs
from tests.simulated import SimulatedBus

AXES = [f"{sensor}{axis}" for sensor in ("Accelerometer", "Gyroscope") for axis in "XYZ"]
FIELD = [f"Magnetometer{axis}" for axis in "XYZ"]
LSB_8_2000 = (4096.0, 16.4)


def columns(samples: Samples, names: list[str]) -> np.ndarray:
    return np.stack([samples[name] for name in names], axis=1)


def read_until(driver: Icm20948, end: int) -> list[Block]:
    blocks = read_blocks(driver, 1)
    while blocks[-1].end < end:
        blocks += read_blocks(driver, 1)
    return blocks


def simulated(monkeypatch: pytest.MonkeyPatch, *, virtual: Any = None, **options: Any) -> tuple[Icm20948, SimulatedBus]:
    """A driver and its chip in simulated time."""
    settings = Settings(**options)
    bus = SimulatedBus(monkeypatch, _fifo, _auxiliary, driver_module, chip_module, bus_hz=settings.bus_hz)
    bus.chip = Chip(VirtualIcm(**(virtual or {})).document())
    return Icm20948(settings, I2cDevice(bus, "icm20948", 1, 0x69)), bus


def read_samples(driver: Icm20948, count: int) -> Samples:
    """The first `count` samples, of which none may be lost."""
    driver.start()
    blocks = read_until(driver, count)
    assert driver.counters == {"overflows": 0, "resyncs": 0}
    assert [block.lost for block in blocks] == [0] * len(blocks)
    assert max(block.newest + 1 - block.first for block in blocks) <= 0.6 * 512 / 12, "about half full at most"
    return np.concatenate([block.samples for block in blocks])[:count]


class TestContract(DriverContract):
    def settings(self, **virtual: Any) -> Settings:
        return Settings(
            bus="virtual", rate_hz=562.5, temperature=True, magnetometer=False, virtual=VirtualIcm(**virtual)
        )

    def expected(self, first: int, count: int) -> Samples:
        samples = np.empty(count, [(name, "<i2") for name in [*AXES, "Temperature"]])
        for name, column in zip(AXES, Motion(1, 562.5, lsb=LSB_8_2000).rows(first, count).T, strict=True):
            samples[name] = column
        samples["Temperature"] = temperature(np.arange(first, first + count), 562.5)
        return samples


class TestContractWithMagnetometer(DriverContract):
    def settings(self, **virtual: Any) -> Settings:
        return Settings(bus="virtual", rate_hz=225, virtual=VirtualIcm(**virtual))


@pytest.mark.parametrize("clock_ppm", [-50_000.0, 0.0, 50_000.0])
@pytest.mark.parametrize(("rate_hz", "magnetometer"), [(1125 / 256, True), (225, True), (562.5, False), (1125, True)])
def test_every_sample_comes_out_once_and_in_order(
    monkeypatch: pytest.MonkeyPatch, rate_hz: float, magnetometer: bool, clock_ppm: float
) -> None:
    virtual = {"clock_ppm": clock_ppm}
    driver, _ = simulated(monkeypatch, rate_hz=rate_hz, magnetometer=magnetometer, virtual=virtual)
    count = min(3000, int(rate_hz * 8))
    got = read_samples(driver, count)
    assert list(got.dtype.names) == (AXES + FIELD if magnetometer else AXES)
    assert np.array_equal(columns(got, AXES), Motion(1, rate_hz, lsb=LSB_8_2000).rows(0, count))


@pytest.mark.parametrize("rate_hz", [45.0, 102.3, 225.0, 1125.0])
def test_the_field_is_the_newest_at_each_sample(monkeypatch: pytest.MonkeyPatch, rate_hz: float) -> None:
    driver, _ = simulated(monkeypatch, rate_hz=rate_hz, temperature=True)
    got = columns(read_samples(driver, int(rate_hz * 4)), FIELD)
    sent = np.stack([field(n, 100.0) for n in range(700)])
    begin = next(n for n in range(100) if np.array_equal(sent[n], got[0]))
    took = 100 / driver._settings.actual_rate_hz * np.arange(len(got))
    late = [
        min(abs(begin + passed - n) for n in range(len(sent)) if np.array_equal(sent[n], row))
        for passed, row in zip(took[::7], got[::7], strict=True)
    ]
    assert max(late) < 1.01, "a field is never older than a period of the magnetometer"


def test_all_columns_are_in_the_accelerometers_axes(monkeypatch: pytest.MonkeyPatch) -> None:
    driver, _ = simulated(monkeypatch, rate_hz=225, temperature=True)
    identity = driver.start()
    samples = read_blocks(driver, 1)[0].samples
    assert [channel.unit for channel in identity.channels] == ["g"] * 3 + ["deg/s"] * 3 + ["uT"] * 3 + ["Celsius"]
    x, y, z, celsius = (samples[channel.name][0] * channel.scale + channel.offset for channel in identity.channels[6:])
    assert (x, z) == (pytest.approx(140 * 0.15, abs=1), -290 * 0.15), "y and z point the other way"
    assert -3 < y <= 0
    assert celsius == pytest.approx(25.0, abs=0.01)


def test_a_field_beyond_the_range_counts_as_clipped(monkeypatch: pytest.MonkeyPatch) -> None:
    driver, bus = simulated(monkeypatch, rate_hz=225)
    assert bus.chip.magnetometer is not None
    bus.chip.magnetometer.beyond = True
    identity = driver.start()
    samples = read_until(driver, 30)[-1].samples
    limits = identity.channels[6].limits
    assert limits is not None
    assert limits[0] == -32752
    assert (columns(samples, FIELD) < limits[0]).all()


def test_a_magnetometer_that_does_not_answer_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    driver, bus = simulated(monkeypatch)
    bus.chip.magnetometer = None
    with pytest.raises(DriverError, match=r"magnetometer does not answer at 0x0c.*magnetometer = false"):
        driver.start()
    driver, bus = simulated(monkeypatch, magnetometer=False)
    bus.chip.magnetometer = None
    assert driver.start().model == "ICM-20948"


def test_a_magnetometer_that_hangs_is_brought_back(monkeypatch: pytest.MonkeyPatch) -> None:
    driver, bus = simulated(monkeypatch, rate_hz=225)
    assert bus.chip.magnetometer is not None
    bus.chip.magnetometer.hangs = True
    driver.start()
    assert (read_until(driver, 50)[-1].samples["MagnetometerZ"] == 290).all()


def test_a_chip_that_is_started_again_does_not_make_its_magnetometer_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    driver, bus = simulated(monkeypatch, rate_hz=225)
    driver.start()
    read_until(driver, 50)
    write, resets = bus.write, 0

    def counting(register: int, data: bytes) -> None:
        nonlocal resets
        resets += register == 0x03 and bool(data[0] & 0x02)
        write(register, data)

    monkeypatch.setattr(bus, "write", counting)
    driver.start()
    assert (read_until(driver, 50)[-1].samples["MagnetometerZ"] == 290).all()
    assert resets == 0, "of its master: none was needed"


def test_another_magnetometer_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    driver, bus = simulated(monkeypatch)
    assert bus.chip.magnetometer is not None
    bus.chip.magnetometer.power_on = lambda: None  # so that the reset leaves it as it is
    bus.chip.magnetometer._registers[1] = 0x05
    with pytest.raises(DriverError, match=r"0x05.*0x09"):
        driver.start()


@pytest.mark.parametrize(("range_g", "lsb_g"), [(2, 16384.0), (4, 8192.0), (16, 2048.0)])
@pytest.mark.parametrize(("range_dps", "lsb_dps"), [(250, 131.0), (500, 65.5), (1000, 32.8)])
def test_ranges_are_those_of_the_data_sheet(
    monkeypatch: pytest.MonkeyPatch, range_g: int, lsb_g: float, range_dps: int, lsb_dps: float
) -> None:
    driver, _ = simulated(monkeypatch, accel_range_g=range_g, gyro_range_dps=range_dps)
    got = columns(read_samples(driver, 500), AXES)
    assert np.array_equal(got, Motion(1, 112.5, lsb=(lsb_g, lsb_dps)).rows(0, 500))


@flight.needed
def test_a_real_flight_comes_out_as_it_went_in(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = np.clip(flight.flown() * ([2048.0] * 3 + [16.4] * 3), -32768, 32767)
    driver, _ = simulated(monkeypatch, rate_hz=1125, accel_range_g=16, magnetometer=False, virtual=flight.REPLAY)
    got = columns(read_samples(driver, len(expected)), AXES)
    assert np.abs(got - expected).max() < 0.5 + 1e-9, "half an LSB"


@pytest.mark.parametrize("magnetometer", [False, True])
def test_an_overflow_is_counted_and_recovered_from(monkeypatch: pytest.MonkeyPatch, magnetometer: bool) -> None:
    driver, bus = simulated(monkeypatch, rate_hz=1125, magnetometer=magnetometer, virtual={"clock_ppm": 20_000.0})
    driver.start()
    before = read_until(driver, 3000)[-1]
    bus.sleep(0.3)
    after = read_until(driver, before.end + 1000)
    assert driver.counters == {"overflows": 1, "resyncs": 0}
    assert [block.segment for block in after] == [1] * len(after)
    assert (after[0].lost > 42, after[0].exact) == (True, False)
    assert all(block.exact and not block.lost for block in after[1:])
    got = columns(np.concatenate([block.samples for block in after]), AXES)
    sent = Motion(1, 1125.0, lsb=LSB_8_2000).rows(before.end, 3000)
    at = int(np.flatnonzero((sent == got[0]).all(axis=1))[0])
    assert np.array_equal(sent[at : at + len(got)], got), "whole samples, in their order"
    assert abs(at - after[0].lost) <= 3, "the loss is estimated from time, on the chip's own clock"


@pytest.mark.parametrize("magnetometer", [False, True])
@pytest.mark.parametrize("gone", [1, 6, 11])
def test_a_fifo_out_of_step_is_emptied_and_counted(
    monkeypatch: pytest.MonkeyPatch, magnetometer: bool, gone: int
) -> None:
    driver, bus = simulated(monkeypatch, rate_hz=562.5, magnetometer=magnetometer)
    driver.start()
    before = read_until(driver, 50)[-1]
    bus.sleep(0.01)
    bus.read(0x72, gone)
    after = read_until(driver, before.end + 100)
    assert driver.counters == {"overflows": 0, "resyncs": 1}
    assert {block.segment for block in after} == {1}
    got = columns(np.concatenate([block.samples for block in after]), AXES)
    sent = Motion(1, 562.5, lsb=LSB_8_2000).rows(0, 1000)
    at = int(np.flatnonzero((sent == got[0]).all(axis=1))[0])
    assert np.array_equal(sent[at : at + len(got)], got), "no sample that is none was handed out"
    assert abs(at - after[0].first) <= 3


def test_a_fifo_that_fills_up_while_it_is_read_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    driver, bus = simulated(monkeypatch, rate_hz=1125, magnetometer=False)
    driver.start()
    read_until(driver, 100)
    read = bus.read

    def slow(register: int, count: int) -> bytes:
        if register == 0x72:
            bus.sleep(0.06)
        return read(register, count)

    monkeypatch.setattr(bus, "read", slow)
    assert driver.read(0.2) is None
    assert driver.counters == {"overflows": 1, "resyncs": 0}


@pytest.mark.parametrize(
    ("options", "allowed"),
    [
        ({"rate_hz": 1125, "bus_hz": 100_000}, "1125 samples a second of 20 bytes are 202 kbit/s"),
        ({"rate_hz": 1000}, "the nearest are 562.5 or 1125"),
        ({"rate_hz": 4}, "from 4.39 to 1125"),
        ({"rate_hz": float("nan")}, "from 4.39 to 1125"),
    ],
)
def test_a_rate_that_chip_or_bus_cannot_have_is_refused(options: dict[str, Any], allowed: str) -> None:
    with pytest.raises(SettingsError, match=allowed) as caught:
        Settings(**options)
    assert [name for name, *_ in caught.value.mistakes] == ["rate_hz"]


def test_every_mistake_is_named_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings(bus="i2c-1", address=0x6A, rate_hz=13, accel_range_g=3, gyro_range_dps=125, filter_hz=42, bus_hz=9)
    names = sorted(name for name, *_ in caught.value.mistakes)
    assert names == ["accel_range_g", "address", "bus", "bus_hz", "filter_hz", "gyro_range_dps", "rate_hz"]


def test_a_part_with_a_larger_fifo_than_the_data_sheet_says_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chip_module, "FIFO_BYTES", 4096)
    driver, bus = simulated(monkeypatch, rate_hz=1125)
    driver.start()
    blocks = read_until(driver, 500)
    bus.sleep(0.1)
    late = read_until(driver, 1000)
    assert late[0].count > 512 / 20
    assert driver.counters == {"overflows": 0, "resyncs": 0}
    got = columns(np.concatenate([block.samples for block in blocks + late])[:1000], AXES)
    assert np.array_equal(got, Motion(1, 1125.0, lsb=LSB_8_2000).rows(0, 1000))
    bus.sleep(0.25)
    assert driver.read(0.2) is None
    assert driver.counters == {"overflows": 1, "resyncs": 0}, "and more than that, too, is noticed"


def test_settings_reach_their_registers(monkeypatch: pytest.MonkeyPatch) -> None:
    driver, bus = simulated(monkeypatch, rate_hz=225, accel_range_g=2, gyro_range_dps=250, filter_hz=120)
    identity = driver.start()
    assert identity.setup == {
        "accel_range_g": 2, "gyro_range_dps": 250, "accel_filter_hz": 111.4, "gyro_filter_hz": 119.5,
        "mag_rate_hz": 100,
    }  # fmt: skip
    assert (bus.read(0x03, 1), bus.read(0x66, 2)) == (b"\x60", b"\x01\x1e")  # USER_CTRL, FIFO_EN_1 and 2
    assert bus.read(0x12, 1) == b"\x1f"  # INT_ENABLE_2
    bus.write(0x7F, b"\x20")
    assert (bus.read(0x00, 2), bus.read(0x09, 1)) == (b"\x04\x11", b"\x01")  # GYRO_*, ODR_ALIGN_EN
    assert (bus.read(0x10, 2), bus.read(0x14, 1)) == (b"\x00\x04", b"\x11")  # ACCEL_*
    bus.write(0x7F, b"\x30")
    assert (bus.read(0x01, 1), bus.read(0x03, 3)) == (b"\x17", b"\x8c\x11\x88")  # I2C_MST_CTRL, slot 0


def test_a_bank_that_was_left_open_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    driver, bus = simulated(monkeypatch)
    bus.write(0x7F, b"\x20")
    assert bus.read(0x00, 1) == b"\x00"
    assert driver.start().model == "ICM-20948"


def test_another_chip_at_the_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    driver, _ = simulated(monkeypatch, virtual={"who_am_i": 0xE1})
    with pytest.raises(DriverError, match=r"0xe1 and not 0xea"):
        driver.start()


def test_a_chip_that_does_not_keep_what_is_written_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    driver, bus = simulated(monkeypatch)
    write = bus.chip.write
    monkeypatch.setattr(bus.chip, "write", lambda register, data: None if register == 0x11 else write(register, data))
    with pytest.raises(DriverError, match="ICM-20948: register ACCEL_SMPLRT_DIV_2"):
        driver.start()


@pytest.mark.alone
def test_noise_on_the_bus_invents_no_samples() -> None:
    driver = Settings(bus="virtual", rate_hz=225, virtual=VirtualIcm(faults=("0.9 garble 60",))).open()
    try:
        begun_ns = boottime_ns()
        driver.start()
        with pytest.raises(DriverError, match="noise"):
            for _ in range(1000):
                block = driver.read(0.2)
                assert block is None or block.newest < (boottime_ns() - begun_ns) / 1e9 * 225 * 1.15
    finally:
        driver.close()


def test_the_chip_sleeps_until_it_is_woken_and_a_reset_forgets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    _, chip = simulated(monkeypatch)
    chip.sleep(0.01)
    assert (chip.read(0x06, 1), chip.read(0x1A, 1)) == (b"\x41", b"\x00")
    chip.write(0x06, b"\x01")
    chip.sleep(0.01)
    assert (chip.read(0x1A, 1), chip.read(0x1A, 1)) == (b"\x01", b"\x00")
    chip.write(0x06, b"\x80")
    assert chip.read(0x00, 1) == b"\x00", "it hears nothing while it resets"
    chip.sleep(0.02)
    assert (chip.read(0x00, 1), chip.read(0x06, 1)) == (b"\xea", b"\x41")


def test_the_driver_of_other_authors_reads_the_same(theirs: Theirs, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs.hurry()
    module = theirs("adafruit_icm20x")
    clock = iter(range(1_000_000_000, 10**15, 3_000_000))
    monkeypatch.setattr(chip_module, "boottime_ns", lambda: next(clock))
    chip = Chip(VirtualIcm().document())
    sensor = module.ICM20948(theirs.plug(_0x69=chip), 0x69)
    lsb = 4096.0, 65.5
    assert chip._felt[1] == lsb, "8 g and 500 degrees/s, as they set it"
    sent = Motion(1, 1125 / 11, lsb=lsb).rows(0, 3000)
    got = np.rint(np.array(sensor.acceleration) / module.G_TO_ACCEL * lsb[0])
    assert (sent[:, :3] == got).all(axis=1).any()
    got = np.rint(np.array(sensor.gyro) / 0.017453293 * lsb[1])
    assert (sent[:, 3:] == got).all(axis=1).any()
    fields = np.stack([field(n, 100.0) for n in range(3000)])
    assert (fields == np.rint(np.array(sensor.magnetic) / 0.15)).all(axis=1).any()
