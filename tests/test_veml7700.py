"""The VEML7700 driver against its virtual chip: counts and lux at each gain and time, faults, and what it refuses."""

from typing import Any

import numpy as np
import pytest

from drivers import DriverError, Samples, SettingsError
from drivers._polled import Polled
from drivers.ports.i2c import I2cDevice
from drivers.ports.virtual.veml7700 import Veml7700 as Chip
from drivers.ports.virtual.veml7700 import counts
from drivers.veml7700 import Settings, Veml7700, VirtualVeml
from tests.contracts.driver import DriverContract, read_blocks
from tests.second_opinion import Theirs

CHANNELS = [("Light", "<u2"), ("White", "<u2")]


class TestContract(DriverContract):
    def settings(self, **virtual: Any) -> Settings:
        return Settings(bus="virtual", rate_hz=10, integration_ms=25, virtual=VirtualVeml(**virtual))

    def expected(self, first: int, count: int) -> Samples:
        return np.array([counts(250, 0.125, 0.025)] * count, CHANNELS)


class InProcess:
    """Transfers straight to a chip model."""

    def __init__(self, chip: Any) -> None:
        self.write, self.read, self.read_fifo = chip.write, chip.read, chip.read

    def close(self) -> None:
        pass


def driver_of(chip: Any, settings: Settings) -> Polled:
    return Polled(Veml7700(settings, I2cDevice(InProcess(chip), "veml7700", 1, 0x10)), settings.rate_hz)


def chip_of(**virtual: Any) -> Chip:
    return Chip(VirtualVeml(**virtual).document())


@pytest.mark.parametrize(("gain", "code"), [(2, 1), (1, 0), (0.25, 3), (0.125, 2)])
@pytest.mark.parametrize(("integration_ms", "time_code"), [(25, 12), (50, 8), (100, 0), (200, 1)])
def test_lux_at_each_gain_and_integration_time(gain: float, code: int, integration_ms: int, time_code: int) -> None:
    chip = chip_of(lux=77.0)
    settings = Settings(rate_hz=4, gain=gain, integration_ms=integration_ms)
    driver = driver_of(chip, settings)
    identity = driver.start()
    (block,) = read_blocks(driver, 1)
    light, white = identity.channels
    assert block.samples["Light"][0] * light.scale == pytest.approx(77.0, abs=light.scale)
    assert block.samples["White"][0] == counts(77.0, gain, integration_ms / 1e3)[1]
    assert (light.unit, white.unit) == ("lux", "")
    assert int.from_bytes(chip.read(0, 2), "little") == code << 11 | time_code << 6


@pytest.mark.parametrize(
    ("gain", "integration_ms", "lux"), [(2, 800, 0.0042), (1, 100, 0.0672), (0.125, 100, 0.5376), (0.125, 25, 2.1504)]
)
def test_the_resolutions_of_the_data_sheet(gain: float, integration_ms: int, lux: float) -> None:
    assert Settings(gain=gain, integration_ms=integration_ms, rate_hz=1).lux == pytest.approx(lux)


def test_each_sample_is_a_new_value_of_growing_light() -> None:
    driver = driver_of(chip_of(lux=1000, lux_per_s=20_000, clock_ppm=-90_000), Settings(rate_hz=10, integration_ms=25))
    driver.start()
    blocks = read_blocks(driver, 8)
    light = np.concatenate([block.samples["Light"] for block in blocks]) * Settings(integration_ms=25).lux
    assert (np.diff(light) > 400).all(), "25 ms, 500 lux brighter"
    since_s = np.array([block.observed_ns - blocks[0].observed_ns for block in blocks]) / 1e9
    assert np.abs(light - light[0] - 20_000 * since_s).max() < 20_000 * 0.2, "none is much older than it may be"


def test_too_bright_is_the_greatest_value_and_a_limit() -> None:
    driver = driver_of(chip_of(lux=50_000), Settings(rate_hz=20, gain=2, integration_ms=25))
    identity = driver.start()
    (block,) = read_blocks(driver, 1)
    assert block.samples[0].item() == (65535, 65535)
    assert all(channel.limits == (-1, 65535) for channel in identity.channels), "darkness is none"


def test_the_chip_has_a_value_after_each_integration_time() -> None:
    now = [1_000_000_000]
    chip = Chip(VirtualVeml(lux=0, lux_per_s=1000).document(), lambda: now[0])
    light = lambda: int.from_bytes(chip.read(4, 2), "little")  # noqa: E731
    assert (chip.read(0, 2), chip.read(7, 2)) == (b"\x01\x00", b"\x81\xc4")
    now[0] += 1_000_000_000
    assert light() == 0, "shut down"
    chip.write(0, b"\x00\x00")
    now[0] += 102_000_000
    assert light() == 0
    now[0] += 1_000_000
    assert light() == counts(102.5, 1, 0.1)[0]
    now[0] += 99_000_000
    assert light() == counts(102.5, 1, 0.1)[0]
    now[0] += 1_000_000
    assert light() == counts(202.5, 1, 0.1)[0]
    chip.write(0, b"\x01\x00")
    now[0] += 1_000_000_000
    assert light() == counts(202.5, 1, 0.1)[0], "it keeps its last value"
    chip.write(3, b"\x01\x00")
    chip.write(0, b"\x00\x00")
    now[0] += 603_000_000
    assert light() == counts(602.5, 1, 0.1)[0], "saving power, it takes half a second longer"


def test_a_chip_that_was_without_power_for_a_moment_is_noticed() -> None:
    chip = chip_of()
    driver = driver_of(chip, Settings(rate_hz=20, integration_ms=25))
    driver.start()
    read_blocks(driver, 1)
    chip.power_on()
    with pytest.raises(DriverError, match=r"0x0001 and not 0x1300.*without power"):
        read_blocks(driver, 1)


def test_another_chip_at_the_address_is_refused() -> None:
    transfers = InProcess(chip_of())
    transfers.read = lambda register, count: b"\x26\x00"
    with pytest.raises(DriverError, match=r"0x0026.*VEML6075"):
        Veml7700(Settings(), I2cDevice(transfers, "veml7700", 1, 0x10)).start()


def test_every_mistake_is_named_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings(bus="i2c-1", address=0x48, rate_hz=0, gain=4, integration_ms=60)
    names = ["address", "bus", "gain", "integration_ms", "rate_hz"]
    assert sorted(name for name, *_ in caught.value.mistakes) == names


def test_a_rate_that_it_cannot_make_is_refused_with_the_arithmetic() -> None:
    with pytest.raises(SettingsError, match=r"at most 1\.13: gathering light takes up to 880 ms"):
        Settings(rate_hz=2, integration_ms=800)


def test_the_driver_of_other_authors_reads_the_same(theirs: Theirs) -> None:
    now = [1_000_000_000]
    adafruit = theirs("adafruit_veml7700")
    chip = Chip(VirtualVeml(lux=321.0).document(), lambda: now[0])
    sensor = adafruit.VEML7700(theirs.plug(_0x10=chip))
    for gain, integration, ms in (
        (sensor.ALS_GAIN_1_8, sensor.ALS_100MS, 100),
        (sensor.ALS_GAIN_1_4, sensor.ALS_800MS, 800),
        (sensor.ALS_GAIN_1, sensor.ALS_25MS, 25),
        (sensor.ALS_GAIN_2, sensor.ALS_50MS, 50),
    ):
        sensor.light_gain, sensor.light_integration_time = gain, integration
        now[0] += 1_000_000_000
        ours = Settings(rate_hz=1, gain=sensor.gain_value(), integration_ms=ms).lux
        assert sensor.resolution() == pytest.approx(ours)
        assert (sensor.light, sensor.white) == counts(321.0, sensor.gain_value(), ms / 1e3)
        assert sensor.light * ours == pytest.approx(321.0, abs=ours)
