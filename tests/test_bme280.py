"""The BME280 driver against its virtual chip, and the schedule it shares with others: exact samples, missed slots."""

import itertools
import math
import time
from typing import Any

import numpy as np
import pytest

from drivers import Block, DriverError, Samples, SettingsError
from drivers._polled import Polled
from drivers.bme280 import Bme280, Settings, Trimming, VirtualBme
from drivers.ports.i2c import I2cDevice
from drivers.ports.virtual.bme280 import EXAMPLE, raw, trimming
from drivers.ports.virtual.bme280 import Bme280 as Chip
from tests.contracts.driver import DriverContract, read_blocks
from tests.second_opinion import Theirs

CHANNELS = [("Temperature", "<f4"), ("Humidity", "<f4"), ("Pressure", "<f4")]
TRIMMING = Trimming.of(*trimming())


def virtual_settings(*, rate_hz: float = 10.0, virtual: dict[str, Any] | None = None, **options: Any) -> Settings:
    return Settings(bus="virtual", rate_hz=rate_hz, virtual=VirtualBme(**(virtual or {})), **options)


def physical(temperature: float, pressure: float, humidity: float) -> tuple[float, float, float]:
    fine = TRIMMING.fine(temperature)
    return fine / 5120, TRIMMING.percent(humidity, fine), TRIMMING.pascal(pressure, fine) / 100


def sent(first: int, count: int, bits: int = 16) -> Samples:
    mask = ~((1 << (20 - bits)) - 1)
    rows = [raw(n) for n in range(first, first + count)]
    return np.array([physical(t & mask, p & mask, h) for t, p, h in rows], CHANNELS)


class TestContract(DriverContract):
    on_demand = True

    def settings(self, **virtual: Any) -> Settings:
        return virtual_settings(virtual=virtual)

    def expected(self, first: int, count: int) -> Samples:
        return sent(first, count)


class InProcess:
    """Transfers straight to a chip model."""

    def __init__(self, chip: Any) -> None:
        self.write, self.read, self.read_fifo = chip.write, chip.read, chip.read

    def close(self) -> None:
        pass


def driver_of(chip: Any, settings: Settings) -> Polled:
    return Polled(Bme280(settings, I2cDevice(InProcess(chip), "bme280", 1, 0x76)), settings.rate_hz)


def chip_of(**virtual: Any) -> Chip:
    return Chip(VirtualBme(**virtual).document())


def test_the_example_of_the_data_sheet() -> None:
    fine = TRIMMING.fine(EXAMPLE[0])
    assert fine / 5120 == pytest.approx(25.08, abs=0.005)
    assert TRIMMING.pascal(EXAMPLE[1], fine) == pytest.approx(100653.27, abs=0.01)


def whole(temperature: int, pressure: int, humidity: int) -> tuple[float, float, float]:
    """The data sheet's other form of the compensation, in whole numbers of 32 and 64 bits (4.2.3)."""
    (t1, t2, t3), (p1, p2, p3, p4, p5, p6, p7, p8, p9), (h1, h2, h3, h4, h5, h6) = TRIMMING
    beside = (temperature >> 4) - t1
    fine = (((temperature >> 3) - (t1 << 1)) * t2 >> 11) + ((beside * beside >> 12) * t3 >> 14)
    var1 = fine - 128000
    var2 = var1 * var1 * p6 + (var1 * p5 << 17) + (p4 << 35)
    var1 = (var1 * var1 * p3 >> 8) + (var1 * p2 << 12)
    var1 = ((1 << 47) + var1) * p1 >> 33
    p = ((1048576 - pressure << 31) - var2) * 3125 // var1
    p = (p + (p9 * (p >> 13) * (p >> 13) >> 25) + (p8 * p >> 19) >> 8) + (p7 << 4)
    v = fine - 76800
    left = (humidity << 14) - (h4 << 20) - h5 * v + 16384 >> 15
    right = ((v * h6 >> 10) * ((v * h3 >> 11) + 32768) >> 10) + 2097152
    v = left * (right * h2 + 8192 >> 14)
    v -= ((v >> 15) * (v >> 15) >> 7) * h1 >> 4
    return (fine * 5 + 128 >> 8) / 100, max(0, min(v, 419430400)) / 4096 / 1024, p / 25600


@pytest.mark.parametrize("n", range(0, 60, 7))
def test_both_forms_of_the_compensation_agree(n: int) -> None:
    assert physical(*raw(n)) == pytest.approx(whole(*raw(n)), abs=0.01)
    assert 0 < physical(*raw(n))[1] < 100


def test_humidity_stays_from_0_to_100() -> None:
    fine = TRIMMING.fine(EXAMPLE[0])
    assert (TRIMMING.percent(0, fine), TRIMMING.percent(65535, fine)) == (0.0, 100.0)


def test_samples_come_one_a_slot_and_none_is_missed() -> None:
    driver = virtual_settings(rate_hz=10, oversampling=2).open()
    try:
        identity = driver.start()
        blocks = read_blocks(driver, 12)
    finally:
        driver.close()
    assert (identity.model, identity.rate_hz) == ("BME280", 10)
    assert [c.name for c in identity.channels] == [name for name, _ in CHANNELS]
    assert [block.first for block in blocks] == list(range(12))
    assert driver.counters == {"missed_slots": 0}
    assert np.array_equal(np.concatenate([block.samples for block in blocks]), sent(0, 12, bits=17))
    spacing_s = np.diff([block.observed_ns for block in blocks]).mean() / 1e9
    assert spacing_s == pytest.approx(0.1, rel=0.1), "slots do not shift by what a measurement takes"


def test_missed_slots_are_lost_exactly() -> None:
    driver = driver_of(chip_of(), Settings(rate_hz=10))
    driver.start()
    before = read_blocks(driver, 2)
    time.sleep(0.45)
    after = read_blocks(driver, 2)
    assert [block.lost for block in before] == [0, 0]
    assert after[0].lost >= 3
    assert after[0].first == 2 + after[0].lost
    assert driver.counters["missed_slots"] == after[0].lost
    assert all(block.exact and block.segment == 0 for block in after)
    behind_s = (after[0].observed_ns - before[0].observed_ns) / 1e9 - after[0].first / 10
    assert -0.05 < behind_s < 0.2, "a sample's index is that of its slot"
    assert np.array_equal(after[0].samples, sent(2, 1)), "the chip has measured only twice before"


def test_reading_waits_no_longer_than_it_may_within_a_conversion() -> None:
    driver = driver_of(chip_of(), Settings(rate_hz=2, oversampling=16))
    driver.start()
    waits, block = 0, None
    while block is None:
        block = driver.read(0.01)
        waits += 1
    assert waits >= 3, "a conversion of 113 ms, in waits of 10"
    assert block.first == 0


def test_a_bmp280_has_no_humidity() -> None:
    driver = driver_of(chip_of(chip_id=0x58), Settings(rate_hz=20))
    identity = driver.start()
    (block,) = read_blocks(driver, 1)
    assert identity.model == "BMP280"
    assert [channel.name for channel in identity.channels] == ["Temperature", "Pressure"]
    assert block.samples["Pressure"][0] == sent(0, 1)["Pressure"][0]


def test_settings_reach_their_registers_and_the_filter_follows_slowly() -> None:
    chip = chip_of()
    driver = driver_of(chip, Settings(rate_hz=20, oversampling=4, filter=16))
    driver.start()
    first, second = (block.samples["Temperature"][0] for block in read_blocks(driver, 2))
    assert list(chip.read(0xF2, 4)) == [3, 0, 3 << 5 | 3 << 2, 4 << 2]
    assert first == sent(0, 1, bits=20)["Temperature"][0]
    assert second == np.float32(physical((raw(0)[0] * 15 + raw(1)[0]) // 16, 0, 0)[0])


@pytest.mark.parametrize(("chip_id", "named"), [(0x61, "0x61.*BME680"), (0x55, "0x55")])
def test_another_chip_at_the_address_is_refused(chip_id: int, named: str) -> None:
    with pytest.raises(DriverError, match=named):
        driver_of(chip_of(chip_id=chip_id), Settings()).start()


def test_a_chip_that_was_without_power_for_a_moment_is_noticed() -> None:
    chip = chip_of()
    driver = driver_of(chip, Settings(rate_hz=20))
    driver.start()
    read_blocks(driver, 1)
    chip.power_on()
    with pytest.raises(DriverError, match=r"0xf2 says 0x00 and not 0x01.*without power"):
        read_blocks(driver, 1)


def test_a_conversion_that_never_ends_is_an_error() -> None:
    chip = chip_of(clock_ppm=-999_999.0)
    driver = driver_of(chip, Settings(rate_hz=20))
    driver.start()
    with pytest.raises(DriverError, match="does not end"):
        read_blocks(driver, 1)


@pytest.mark.parametrize("noise", [0, 1])
def test_wrong_trimming_constants_are_refused(noise: int) -> None:
    answers = itertools.count()
    transfers = InProcess(chip_of())
    transfers.read = lambda register, count: bytes(
        [0x60] if register == 0xD0 else [noise * next(answers) % 200] * count
    )
    with pytest.raises(DriverError, match="trimming"):
        Bme280(Settings(), I2cDevice(transfers, "bme280", 1, 0x76)).start()


def test_noise_on_the_bus_is_an_error_or_a_sample_but_no_crash() -> None:
    driver = virtual_settings(rate_hz=50, virtual={"faults": ("1 garble 60",)}).open()
    try:
        driver.start()
        with pytest.raises(DriverError, match=r"0xf[245] says|does not end"):
            for _ in range(200):
                block: Block | None = driver.read(0.2)
                assert block is None or block.count == 1
    finally:
        driver.close()


def test_every_mistake_is_named_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings(bus="i2c-1", address=0x70, rate_hz=200, oversampling=3, filter=1)
    assert sorted(name for name, *_ in caught.value.mistakes) == ["address", "bus", "filter", "oversampling", "rate_hz"]


@pytest.mark.parametrize("rate_hz", [9.0, 0.0, -1.0, math.nan])
def test_a_rate_that_it_cannot_make_is_refused_with_the_arithmetic(rate_hz: float) -> None:
    with pytest.raises(SettingsError, match=r"at most 8\.7.*113 ms.*1\.8 ms"):
        Settings(rate_hz=rate_hz, oversampling=16)


def test_the_driver_of_other_authors_reads_the_same(theirs: Theirs) -> None:
    basic = theirs("adafruit_bme280.basic")
    sensor = basic.Adafruit_BME280_I2C(theirs.plug(_0x76=chip_of()), 0x76)  # oversampling 1, of the pressure 16
    for n in (0, 3, 6):  # each of these measures anew
        got = sensor.temperature, sensor.humidity, sensor.pressure
        temperature, humidity, pressure = (raw(n + at) for at in range(3))
        assert got[0] == pytest.approx(physical(temperature[0] & ~15, 0, 0)[0], abs=0.001)
        assert got[1] == pytest.approx(physical(humidity[0] & ~15, 0, humidity[2])[1], abs=0.001)
        assert got[2] == pytest.approx(physical(pressure[0] & ~15, pressure[1], 0)[2], abs=0.001)


def test_another_driver_of_other_authors_reads_the_same(theirs: Theirs) -> None:
    bus, other = theirs.plug(_0x76=chip_of()), theirs("bme280")
    constants = other.load_calibration_params(bus, 0x76)
    for n in range(3):
        got = other.sample(bus, 0x76, constants)
        t, p, h = raw(n)
        assert (got.temperature, got.humidity, got.pressure) == pytest.approx(physical(t & ~15, p & ~15, h), abs=1e-3)
