"""The ADS1115 driver against its virtual chip: every conversion, ranges, both modes, faults, and what it refuses."""

import itertools
from typing import Any

import numpy as np
import pytest

from drivers import DriverError, Samples, SettingsError
from drivers._polled import Polled
from drivers.ads1115 import Ads1115, Settings
from drivers.ports.i2c import I2cDevice
from drivers.ports.virtual import Virtual
from drivers.ports.virtual.ads1115 import Ads1115 as Chip
from drivers.ports.virtual.ads1115 import raw, volts
from tests.contracts.driver import DriverContract, read_blocks
from tests.second_opinion import Theirs

MUXES = {"AIN0-AIN1": 0, "AIN0-AIN3": 1, "AIN1-AIN3": 2, "AIN2-AIN3": 3, "AIN0": 4, "AIN1": 5, "AIN2": 6, "AIN3": 7}
FOUR = ("AIN0", "AIN1", "AIN2", "AIN3")


def sent(first: int, count: int, inputs: tuple[str, ...] = FOUR, range_v: float = 4.096) -> Samples:
    """Samples of `inputs`, converted one after the other and never otherwise."""
    width = len(inputs)
    rows = [
        tuple(raw(MUXES[name], range_v, k * width + at) for at, name in enumerate(inputs))
        for k in range(first, first + count)
    ]
    return np.array(rows, [(name, "<i2") for name in inputs])


class TestContract(DriverContract):
    on_demand = True

    def settings(self, **virtual: Any) -> Settings:
        return Settings(bus="virtual", rate_hz=10, data_rate=475, virtual=Virtual(**virtual))

    def expected(self, first: int, count: int) -> Samples:
        return sent(first, count)


class InProcess:
    """Transfers straight to a chip model."""

    def __init__(self, chip: Any) -> None:
        self.write, self.read, self.read_fifo = chip.write, chip.read, chip.read

    def close(self) -> None:
        pass


def driver_of(chip: Any, settings: Settings) -> Polled:
    return Polled(Ads1115(settings, I2cDevice(InProcess(chip), "ads1115", 1, 0x48)), settings.rate_hz)


def chip_of(**virtual: Any) -> Chip:
    return Chip(Virtual(**virtual).document())


@pytest.mark.parametrize(
    ("inputs", "range_v"),
    [(FOUR, 6.144), (("AIN0-AIN1", "AIN2-AIN3"), 2.048), (("AIN3", "AIN1-AIN3", "AIN0-AIN3"), 2.048)],
)
@pytest.mark.parametrize("clock_ppm", [-90_000.0, 90_000.0])
def test_each_input_is_converted_once_a_sample(inputs: tuple[str, ...], range_v: float, clock_ppm: float) -> None:
    settings = Settings(rate_hz=20, inputs=inputs, range_v=range_v, data_rate=250)
    driver = driver_of(chip_of(clock_ppm=clock_ppm), settings)
    identity = driver.start()
    blocks = read_blocks(driver, 8)
    assert [channel.name for channel in identity.channels] == list(inputs)
    samples = np.concatenate([block.samples for block in blocks])
    assert np.array_equal(samples, sent(0, 8, inputs, range_v))
    for at, (name, channel) in enumerate(zip(inputs, identity.channels, strict=True)):
        pins = [int(pin[-1]) for pin in name.split("-")]
        expected = volts(pins[0], at) - (volts(pins[1], at) if pins[1:] else 0)
        expected = max(-range_v, min(expected, range_v))
        assert samples[name][0] * channel.scale == pytest.approx(expected, abs=range_v / 30000)


def test_what_lies_beyond_the_range_is_its_end() -> None:
    driver = driver_of(chip_of(), Settings(inputs=("AIN3", "AIN0-AIN3"), range_v=0.512))
    driver.start()
    (block,) = read_blocks(driver, 1)
    assert block.samples[0].item() == (32767, -32768)


def test_continuous_mode_reads_what_was_converted_last() -> None:
    chip = chip_of()
    settings = Settings(rate_hz=20, inputs=("AIN2",), data_rate=64, mode="continuous")
    driver = driver_of(chip, settings)
    driver.start()
    got = [int(block.samples["AIN2"][0]) for block in read_blocks(driver, 6)]
    known = [raw(6, 4.096, n) for n in range(400)]
    at = [known.index(value) for value in got]
    assert at[0] <= 20
    assert all(later > earlier for earlier, later in itertools.pairwise(at)), "none is read twice"
    assert int.from_bytes(chip.read(1, 2), "big") == 0x6000 | 1 << 9 | 3 << 5 | 3


def test_the_chip_converts_at_its_rate_until_told_otherwise() -> None:
    now = [1_000_000_000]
    chip = Chip(Virtual().document(), lambda: now[0])
    assert chip.read(1, 2) == b"\x85\x83"
    chip.write(1, (0xC000 | 1 << 9 | 0x0100 | 4 << 5 | 3).to_bytes(2, "big"))
    assert not chip.read(1, 2)[0] & 0x80, "it converts"
    assert chip.read(0, 2) == b"\x00\x00"
    now[0] += 8_000_000
    assert chip.read(1, 2)[0] & 0x80
    assert int.from_bytes(chip.read(0, 2), "big") == raw(4, 4.096, 0)
    now[0] += 80_000_000
    assert int.from_bytes(chip.read(0, 2), "big") == raw(4, 4.096, 0), "one shot is one conversion"
    chip.write(1, (0x4000 | 1 << 9 | 4 << 5 | 3).to_bytes(2, "big"))
    now[0] += int(5.5e9 / 128)
    assert int.from_bytes(chip.read(0, 2), "big") == raw(4, 4.096, 5)
    assert not chip.read(1, 2)[0] & 0x80


@pytest.mark.parametrize("mode", ["single", "continuous"])
def test_a_chip_that_was_without_power_for_a_moment_is_noticed(mode: str) -> None:
    chip = chip_of()
    driver = driver_of(chip, Settings(rate_hz=10, inputs=("AIN0",), data_rate=16, mode=mode))
    driver.start()
    if mode == "single":
        assert driver.read(0.01) is None, "the conversion has begun"
    else:
        read_blocks(driver, 1)
    chip.power_on()
    with pytest.raises(DriverError, match=r"0x8583 and not.*without power"):
        read_blocks(driver, 1)


def test_another_chip_at_the_address_is_refused() -> None:
    transfers = InProcess(chip_of())
    transfers.write = lambda register, data: None
    device = I2cDevice(transfers, "ads1115", 1, 0x48)
    with pytest.raises(DriverError, match="another chip"):
        Ads1115(Settings(), device).start()


def test_noise_on_the_bus_is_an_error_or_a_sample_but_no_crash() -> None:
    driver = Settings(bus="virtual", rate_hz=50, data_rate=860, virtual=Virtual(faults=("1 garble 60",))).open()
    try:
        driver.start()
        with pytest.raises(DriverError, match=r"noise|does not end"):
            read_blocks(driver, 300)
    finally:
        driver.close()


@pytest.mark.parametrize("inputs", [(), ("AIN0", "AIN0"), ("AIN4",), ("AIN1-AIN0",)])
def test_inputs_that_there_are_not_are_refused(inputs: tuple[str, ...]) -> None:
    with pytest.raises(SettingsError, match="each once, of AIN0-AIN1"):
        Settings(inputs=inputs)


def test_every_mistake_is_named_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings(bus="i2c-1", address=0x50, rate_hz=1e3, range_v=5.0, mode="fast")
    assert sorted(name for name, *_ in caught.value.mistakes) == ["address", "bus", "mode", "range_v", "rate_hz"]
    with pytest.raises(SettingsError, match='one, where mode is "continuous"'):
        Settings(mode="continuous")


@pytest.mark.parametrize(
    ("count", "allowed"), [(1, r"at most 95\.93: 1 conversion at 128"), (4, r"at most 23\.98: 4 conversions")]
)
def test_a_rate_that_it_cannot_make_is_refused_with_the_arithmetic(count: int, allowed: str) -> None:
    with pytest.raises(SettingsError, match=allowed):
        Settings(rate_hz=100, inputs=FOUR[:count])


def test_the_driver_of_other_authors_reads_the_same(theirs: Theirs) -> None:
    ads1x15 = theirs("adafruit_ads1x15")
    sensor = ads1x15.ADS1115(theirs.plug(_0x48=chip_of()), gain=1, data_rate=860)
    for n, pins in enumerate([(0,), (1,), (2,), (3,), (0, 1), (2, 3)]):
        name = "-".join(f"AIN{pin}" for pin in pins)
        analog = ads1x15.AnalogIn(sensor, *pins)
        value = analog.value
        assert value == raw(MUXES[name], 4.096, n)
        assert analog.convert_to_voltage(value) == pytest.approx(value * 4.096 / 32768, rel=1e-4)
