"""The magnetometer of the MPU-9250 through the mpu6050 driver: axes, sensitivity, one FIFO, what is refused."""

from typing import Any

import numpy as np
import pytest

from drivers import Block, DriverError, Samples, _ak8963, _auxiliary, _fifo
from drivers import mpu6050 as driver_module
from drivers.mpu6050 import Mpu6050, Settings, VirtualMpu
from drivers.ports.i2c import I2cDevice
from drivers.ports.virtual import mpu6050 as chip_module
from drivers.ports.virtual._magnetometers import SENSITIVITY, field
from drivers.ports.virtual.motion import Motion
from drivers.ports.virtual.mpu6050 import Mpu6050 as Chip
from tests import flight
from tests.contracts.driver import DriverContract, read_blocks
from tests.simulated import SimulatedBus

AXES = [f"{sensor}{axis}" for sensor in ("Accelerometer", "Gyroscope") for axis in "XYZ"]
FIELD = [f"Magnetometer{axis}" for axis in "XYZ"]


def columns(samples: Samples, names: list[str]) -> np.ndarray:
    return np.stack([samples[name] for name in names], axis=1)


def read_until(driver: Mpu6050, end: int) -> list[Block]:
    blocks = read_blocks(driver, 1)
    while blocks[-1].end < end:
        blocks += read_blocks(driver, 1)
    return blocks


def simulated(
    monkeypatch: pytest.MonkeyPatch, who_am_i: int = 0x71, virtual: dict[str, Any] | None = None, **options: Any
) -> tuple[Mpu6050, SimulatedBus]:
    """A driver and its chip in simulated time."""
    bus = SimulatedBus(monkeypatch, _fifo, _auxiliary, _ak8963, driver_module, chip_module)
    bus.chip = Chip(VirtualMpu(who_am_i=who_am_i, **(virtual or {})).document())
    return Mpu6050(Settings(**{"magnetometer": True, **options}), I2cDevice(bus, "mpu6050", 1, 0x68)), bus


class TestContract(DriverContract):
    def settings(self, **virtual: Any) -> Settings:
        options = {"who_am_i": 0x73} | virtual
        return Settings(bus="virtual", rate_hz=200, magnetometer=True, temperature=True, virtual=VirtualMpu(**options))


@pytest.mark.parametrize("rate_hz", [4.0, 50.0, 250.0, 1000.0])
@pytest.mark.parametrize("temperature", [False, True])
def test_every_sample_comes_out_with_the_newest_field(
    monkeypatch: pytest.MonkeyPatch, rate_hz: float, temperature: bool
) -> None:
    driver, _ = simulated(monkeypatch, rate_hz=rate_hz, temperature=temperature)
    identity = driver.start()
    count = int(rate_hz * 4)
    blocks = read_until(driver, count)
    got = np.concatenate([block.samples for block in blocks])[:count]
    assert driver.counters == {"overflows": 0, "resyncs": 0}
    assert list(got.dtype.names) == AXES + FIELD + ["Temperature"] * temperature
    assert np.array_equal(columns(got, AXES), Motion(1, rate_hz, lsb=(4096.0, 16.4)).rows(0, count))
    if temperature:
        channel = identity.channels[-1]
        assert got["Temperature"][0] * channel.scale + channel.offset == pytest.approx(25.0, abs=0.1)
    sent = np.stack([field(n, 100.0) for n in range(800)])[:, (1, 0, 2)]
    fields = columns(got, FIELD)
    begin = next(n for n in range(100) if np.array_equal(sent[n], fields[0]))
    late = [
        min(abs(begin + 100 / rate_hz * n - m) for m in range(len(sent)) if np.array_equal(sent[m], fields[n]))
        for n in range(0, count, 7)
    ]
    assert max(late) < 1.01, "a field is never older than a period of the magnetometer"


@flight.needed
def test_a_real_flight_comes_out_beside_the_field_within_half_an_lsb(monkeypatch: pytest.MonkeyPatch) -> None:
    driver, _ = simulated(monkeypatch, virtual=flight.REPLAY, rate_hz=500, accel_range_g=16)
    driver.start()
    expected = np.clip(flight.flown() * ([2048.0] * 3 + [16.4] * 3), -32768, 32767)
    blocks = read_until(driver, len(expected))
    assert driver.counters == {"overflows": 0, "resyncs": 0}, "none missing"
    got = columns(np.concatenate([block.samples for block in blocks])[: len(expected)], AXES)
    assert np.abs(got - expected).max() <= 0.5001


def test_the_field_is_in_the_accelerometers_axes_with_the_parts_own_sensitivity(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    driver, _ = simulated(monkeypatch, rate_hz=200)
    identity = driver.start()
    samples = read_blocks(driver, 1)[0].samples
    channels = identity.channels[6:]
    assert [(channel.name, channel.unit) for channel in channels] == [(name, "uT") for name in FIELD]
    x, y, z = (samples[channel.name][0] * channel.scale for channel in channels)
    own = [0.15 * ((asa - 128) * 0.5 / 128 + 1) for asa in SENSITIVITY]
    assert -3 < x < 3, "the magnetometer's own y"
    assert y == pytest.approx(140 * own[0], abs=1)
    assert z == pytest.approx(-290 * own[2])
    assert channels[0].scale == pytest.approx(own[1])


def test_a_field_beyond_the_range_counts_as_clipped(monkeypatch: pytest.MonkeyPatch) -> None:
    driver, bus = simulated(monkeypatch, rate_hz=200)
    assert bus.chip.magnetometer is not None
    bus.chip.magnetometer.beyond = True
    identity = driver.start()
    samples = read_until(driver, 30)[-1].samples
    limits = identity.channels[6].limits
    assert limits == (-32760, 32760)
    assert (columns(samples, FIELD) < limits[0]).all()


@pytest.mark.parametrize("who_am_i", [0x68, 0x70, 0x74])
def test_chips_without_one_are_refused(monkeypatch: pytest.MonkeyPatch, who_am_i: int) -> None:
    driver, _ = simulated(monkeypatch, who_am_i)
    with pytest.raises(DriverError, match=r"no magnetometer.*MPU-9250 and MPU-9255 have one.*magnetometer = false"):
        driver.start()
    driver, _ = simulated(monkeypatch, who_am_i, magnetometer=False)
    assert "MagnetometerX" not in [channel.name for channel in driver.start().channels]


def test_one_that_does_not_answer_or_is_another_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    driver, bus = simulated(monkeypatch)
    bus.chip.magnetometer = None
    bus.chip.power_on()
    with pytest.raises(DriverError, match=r"does not answer at 0x0c.*magnetometer = false"):
        driver.start()
    driver, bus = simulated(monkeypatch)
    assert bus.chip.magnetometer is not None
    bus.chip.magnetometer._registers[0] = 0x05
    with pytest.raises(DriverError, match=r"0x05, and an AK8963 is 0x48"):
        driver.start()


def test_a_magnetometer_that_hangs_is_brought_back(monkeypatch: pytest.MonkeyPatch) -> None:
    driver, bus = simulated(monkeypatch, rate_hz=200)
    assert bus.chip.magnetometer is not None
    bus.chip.magnetometer.hangs = True
    driver.start()
    assert (read_until(driver, 50)[-1].samples["MagnetometerZ"] == 290).all()


def test_a_chip_that_is_started_again_does_not_make_its_magnetometer_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    driver, bus = simulated(monkeypatch, rate_hz=200)
    driver.start()
    read_until(driver, 50)
    write, resets = bus.write, 0

    def counting(register: int, data: bytes) -> None:
        nonlocal resets
        resets += register == 0x6A and bool(data[0] & 0x02)
        write(register, data)

    monkeypatch.setattr(bus, "write", counting)
    driver.start()
    assert (read_until(driver, 50)[-1].samples["MagnetometerZ"] == 290).all()
    assert resets == 0, "of its master: none was needed"


def test_an_overflow_is_recovered_from_with_the_field_in_step(monkeypatch: pytest.MonkeyPatch) -> None:
    driver, bus = simulated(monkeypatch, rate_hz=1000)
    driver.start()
    before = read_until(driver, 500)[-1]
    bus.sleep(0.2)
    after = read_until(driver, before.end + 500)
    assert driver.counters == {"overflows": 1, "resyncs": 0}
    assert after[0].lost > 26
    got = np.concatenate([block.samples for block in after])
    sent = Motion(1, 1000.0, lsb=(4096.0, 16.4)).rows(before.end, 2000)
    at = int(np.flatnonzero((sent == columns(got, AXES)[0]).all(axis=1))[0])
    assert np.array_equal(sent[at : at + len(got)], columns(got, AXES))
    assert (got["MagnetometerZ"] == 290).all()


@pytest.mark.parametrize(("who_am_i", "magnetometer"), [(0x68, False), (0x71, True)])
@pytest.mark.parametrize("gone", [1, 6, 11])
def test_a_fifo_out_of_step_is_emptied_and_counted(
    monkeypatch: pytest.MonkeyPatch, who_am_i: int, magnetometer: bool, gone: int
) -> None:
    driver, bus = simulated(monkeypatch, who_am_i, rate_hz=500, magnetometer=magnetometer)
    driver.start()
    before = read_until(driver, 50)[-1]
    bus.sleep(0.01)
    bus.read(0x74, gone)
    after = read_until(driver, before.end + 100)
    assert driver.counters == {"overflows": 0, "resyncs": 1}
    assert {block.segment for block in after} == {1}
    got = columns(np.concatenate([block.samples for block in after]), AXES)
    sent = Motion(1, 500.0, lsb=(4096.0, 16.4)).rows(0, 1000)
    at = int(np.flatnonzero((sent == got[0]).all(axis=1))[0])
    assert np.array_equal(sent[at : at + len(got)], got), "no sample that is none was handed out"
    assert abs(at - after[0].first) <= 3


def test_a_sample_that_is_being_written_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    driver, bus = simulated(monkeypatch, rate_hz=500)
    driver.start()
    read, begun_ns = bus.chip.read, bus.now_ns

    def writing(register: int, count: int) -> bytes:
        data = read(register, count)
        if register == 0x72 and (bus.now_ns - begun_ns) % 2_000_000 < 300_000:
            data = (int.from_bytes(data, "big") + 12).to_bytes(2, "big")
        return data

    monkeypatch.setattr(bus.chip, "read", writing)
    blocks = read_until(driver, 1000)
    assert driver.counters == {"overflows": 0, "resyncs": 0}
    got = columns(np.concatenate([block.samples for block in blocks])[:1000], AXES)
    assert np.array_equal(got, Motion(1, 500.0, lsb=(4096.0, 16.4)).rows(0, 1000))


def test_an_overflow_is_forgotten_once_it_was_recovered_from(monkeypatch: pytest.MonkeyPatch) -> None:
    driver, bus = simulated(monkeypatch, 0x68, rate_hz=1000, magnetometer=False)
    driver.start()
    read_until(driver, 100)
    bus.sleep(0.2)
    assert driver.read(0.2) is None
    bus.sleep(0.075)
    block = driver.read(0.2)
    assert driver.counters == {"overflows": 1, "resyncs": 0}
    assert block is not None
    assert block.count >= 75, "so full that the chip is asked whether it lost some meanwhile"


def test_settings_reach_their_registers(monkeypatch: pytest.MonkeyPatch) -> None:
    driver, bus = simulated(monkeypatch, rate_hz=250, temperature=True)
    assert driver.start().setup["mag_rate_hz"] == 100
    assert (bus.read(0x23, 5), bus.read(0x6A, 1)) == (b"\xf9\x5d\x8c\x03\x87", b"\x60")
    assert bus.chip.magnetometer is not None
    assert bus.chip.magnetometer._registers[0x0A] == 0x16
