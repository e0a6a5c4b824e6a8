"""The INA219 driver against its virtual chip: every conversion, ranges, physical values, and what it refuses."""

from typing import Any

import numpy as np
import pytest

from drivers import DriverError, Samples, SettingsError
from drivers._polled import Polled
from drivers.ina219 import Ina219, Settings
from drivers.ports.i2c import I2cDevice
from drivers.ports.virtual import Virtual
from drivers.ports.virtual.ina219 import Ina219 as Chip
from drivers.ports.virtual.ina219 import raw
from tests.contracts.driver import DriverContract, read_blocks
from tests.second_opinion import Theirs

CHANNELS = [("Voltage", "<u2"), ("Current", "<i2"), ("Power", "<f4")]


def sent(first: int, count: int, *, shunt_ohm: float = 0.1, most: int = 32000) -> Samples:
    """What triggered conversions give, of which nobody else has triggered any."""
    rows = []
    for n in range(first, first + count):
        bus, shunt = raw(n)
        shunt = max(-most, min(most, shunt))
        rows.append((bus, shunt, bus * 4e-3 * shunt * 10e-6 / shunt_ohm))
    return np.array(rows, CHANNELS)


class TestContract(DriverContract):
    on_demand = True

    def settings(self, **virtual: Any) -> Settings:
        return Settings(bus="virtual", rate_hz=10, averages=2, virtual=Virtual(**virtual))

    def expected(self, first: int, count: int) -> Samples:
        return sent(first, count)


class InProcess:
    """Transfers straight to a chip model."""

    def __init__(self, chip: Any) -> None:
        self.write, self.read, self.read_fifo = chip.write, chip.read, chip.read

    def close(self) -> None:
        pass


def driver_of(chip: Any, settings: Settings) -> Polled:
    return Polled(Ina219(settings, I2cDevice(InProcess(chip), "ina219", 1, 0x40)), settings.rate_hz)


def chip_of(**virtual: Any) -> Chip:
    return Chip(Virtual(**virtual).document())


@pytest.mark.parametrize("clock_ppm", [-90_000.0, 90_000.0])
def test_each_sample_is_a_conversion_of_its_own_in_physical_units(clock_ppm: float) -> None:
    driver = driver_of(chip_of(clock_ppm=clock_ppm), Settings(rate_hz=20, shunt_ohm=0.01, averages=8))
    identity = driver.start()
    samples = np.concatenate([block.samples for block in read_blocks(driver, 6)])
    assert np.array_equal(samples, sent(0, 6, shunt_ohm=0.01))
    voltage, current, power = (samples[c.name] * c.scale + c.offset for c in identity.channels)
    assert [channel.unit for channel in identity.channels] == ["V", "A", "W"]
    assert voltage[0] == pytest.approx(3.6)
    assert current[[0, 5]] == pytest.approx([4.5, -3.0]), "45 mV and -30 mV at 0.01 ohm"
    assert power == pytest.approx(voltage * current, rel=1e-6)


def test_what_lies_beyond_the_range_of_the_shunt_is_its_end_and_named_a_limit() -> None:
    driver = driver_of(chip_of(), Settings(rate_hz=20, shunt_range_mv=40))
    identity = driver.start()
    (block,) = read_blocks(driver, 1)
    assert block.samples["Current"][0] == 4000
    assert identity.channels[1].limits == (-4000, 4000)


@pytest.mark.parametrize(
    ("settings", "config"),
    [
        (Settings(rate_hz=1), 0x3C43),
        (Settings(rate_hz=1, bus_range_v=16, shunt_range_mv=40, averages=128), 0x07FB),
        (Settings(rate_hz=1, shunt_range_mv=160, averages=4), 0x3553),
    ],
)
def test_settings_reach_their_register(settings: Settings, config: int) -> None:
    chip = chip_of()
    driver = driver_of(chip, settings)
    driver.start()
    read_blocks(driver, 1)
    assert int.from_bytes(chip.read(0, 2), "big") == config


def test_a_chip_that_was_without_power_for_a_moment_has_nothing_to_forget() -> None:
    chip = chip_of()
    driver = driver_of(chip, Settings(rate_hz=20))
    driver.start()
    read_blocks(driver, 1)
    chip.power_on()
    (block,) = read_blocks(driver, 1)
    assert np.array_equal(block.samples, sent(0, 1)), "its conversions count anew"
    assert int.from_bytes(chip.read(0, 2), "big") == 0x3C43


def test_the_chip_converts_when_it_is_told_and_says_when_it_has() -> None:
    now = [1_000_000_000]
    chip = Chip(Virtual().document(), lambda: now[0])
    word = lambda register: int.from_bytes(chip.read(register, 2), "big")  # noqa: E731
    assert word(0) == 0x399F
    chip.write(0, b"\x3c\x43")
    assert word(2) & 0b10 == 0
    now[0] += 1_000_000
    assert word(2) & 0b10 == 0, "532 us each"
    now[0] += 100_000
    assert word(2) == raw(0)[0] << 3 | 0b10
    now[0] += 100_000_000
    assert (word(2) >> 3, word(1)) == raw(0), "triggered once, it converts once"
    assert (word(3), word(4)) == (0, 0), "not calibrated"
    assert word(2) & 0b10 == 0, "reading the power clears it"
    chip.write(5, b"\x20\x00")
    assert (word(4), word(3)) == (2 * raw(0)[1], 2 * raw(0)[1] * raw(0)[0] // 5000)
    chip.write(0, b"\x39\x9f")
    now[0] += int(10.5 * 1.064e6)
    assert (word(2) >> 3, word(1)) == raw(9), "the tenth"
    now[0] += int(191 * 1.064e6)
    assert word(1) == raw(200)[1] & 0xFFFF, "negative"


def test_another_chip_at_the_address_is_refused() -> None:
    transfers = InProcess(chip_of())
    transfers.read = lambda register, count: b"\x41\x27"
    with pytest.raises(DriverError, match=r"0x4127 and not 0x399f.*INA226"):
        Ina219(Settings(), I2cDevice(transfers, "ina219", 1, 0x40)).start()


def test_a_conversion_that_never_ends_is_an_error() -> None:
    driver = driver_of(chip_of(clock_ppm=-999_900.0), Settings(rate_hz=20))
    driver.start()
    with pytest.raises(DriverError, match="does not end"):
        read_blocks(driver, 1)


def test_every_mistake_is_named_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings(bus="i2c-1", address=0x3F, rate_hz=0, shunt_ohm=0, shunt_range_mv=50, bus_range_v=26, averages=3)
    names = ["address", "averages", "bus", "bus_range_v", "rate_hz", "shunt_ohm", "shunt_range_mv"]
    assert sorted(name for name, *_ in caught.value.mistakes) == names


def test_a_rate_that_it_cannot_make_is_refused_with_the_arithmetic() -> None:
    with pytest.raises(SettingsError, match=r"at most 6\.5\d: 2 x 128 conversions take up to 150 ms"):
        Settings(rate_hz=10, averages=128)
    assert Settings(rate_hz=300).rate_hz == 300


def test_the_driver_of_other_authors_reads_the_same(theirs: Theirs) -> None:
    now = [1_000_000_000]
    adafruit = theirs("adafruit_ina219")
    chip = Chip(Virtual().document(), lambda: now[0])
    sensor = adafruit.INA219(theirs.plug(_0x40=chip))
    for n in (0, 3, 5):  # both sides of zero
        while chip.read(1, 2) != (raw(n)[1] & 0xFFFF).to_bytes(2, "big"):
            now[0] += 500_000
        bus, shunt = raw(n)
        assert sensor.bus_voltage == pytest.approx(bus * 4e-3)
        assert sensor.shunt_voltage == pytest.approx(shunt * 1e-5)
        assert sensor.current == pytest.approx(shunt * 1e-5 / 0.1 * 1e3)
        assert sensor.power == pytest.approx(bus * 4e-3 * abs(shunt) * 1e-5 / 0.1, abs=0.002)
        assert not sensor.overflow
