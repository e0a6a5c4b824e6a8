"""The BNO055 driver against its virtual chip: what it computes, its calibration saved and restored, faults."""

import time
from typing import Any

import numpy as np
import pytest

import drivers.bno055 as module
from drivers import Block, DriverError, Restorable, SettingsError
from drivers.bno055 import Bno055, Settings
from drivers.ports.i2c import I2cDevice, too_much
from drivers.ports.virtual import Virtual
from drivers.ports.virtual import bno055 as virtual_bno055
from drivers.ports.virtual.bno055 import FOUND, result
from drivers.ports.virtual.bno055 import Bno055 as Chip
from drivers.ports.virtual.motion import Motion
from tests import flight
from tests.contracts.driver import DriverContract, read_blocks
from tests.second_opinion import Theirs
from tests.simulated import SimulatedBus

FUSED = [
    *(f"Quaternion{part}" for part in "WXYZ"),
    *(f"LinearAcceleration{axis}" for axis in "XYZ"),
]
STATES = [f"Calibration{name}" for name in ("System", "Gyroscope", "Accelerometer", "Magnetometer")]


class TestContract(DriverContract):
    def settings(self, **virtual: Any) -> Settings:
        return Settings(bus="virtual", rate_hz=50, virtual=Virtual(**virtual))


def results(count: int) -> list[list[int]]:
    motion = Motion(1, 100.0)
    return [result(index, motion, 1000.0).tolist() for index in range(count)]


def simulated(monkeypatch: pytest.MonkeyPatch, settings: Settings, **virtual: Any) -> tuple[Bno055, SimulatedBus]:
    """A driver and its chip in simulated time."""
    bus = SimulatedBus(monkeypatch, module, virtual_bno055)
    bus.chip = Chip(Virtual(**virtual).document())
    return Bno055(settings, I2cDevice(bus, "bno055", 1, 0x28)), bus


def rows(blocks: list[Block], names: list[str]) -> list[list[int]]:
    return [[int(block.samples[0][name]) for name in names] for block in blocks]


@pytest.mark.parametrize(("rate_hz", "steps"), [(100, {0, 1, 2}), (50, {1, 2, 3}), (10, {9, 10, 11})])
def test_each_sample_is_what_the_chip_computed_last(
    monkeypatch: pytest.MonkeyPatch, rate_hz: float, steps: set[int]
) -> None:
    driver, _ = simulated(monkeypatch, Settings(rate_hz=rate_hz), clock_ppm=8000.0)
    identity = driver.start()
    assert [channel.name for channel in identity.channels] == FUSED + STATES
    assert identity.setup == {"fusion": "ndof"}
    assert identity.serial == bytes(range(16, 32)).hex()
    blocks = read_blocks(driver, 200)
    assert [block.first for block in blocks] == list(range(200))
    known = results(int(230 * 100 / rate_hz))
    at = [known.index(row) for row in rows(blocks, FUSED)]
    assert set(np.diff(at)) <= steps
    assert (at[-1] - at[0]) / 199 * rate_hz == pytest.approx(100.8, rel=0.01), "on the chip's own clock"
    w, z = (np.array([row[n] for row in rows(blocks, FUSED)]) * 2.0**-14 for n in (0, 3))
    assert np.hypot(w, z) == pytest.approx(1, abs=1e-3)


@flight.needed
def test_a_real_flight_comes_out_without_gravity_within_half_an_lsb(monkeypatch: pytest.MonkeyPatch) -> None:
    driver, _ = simulated(monkeypatch, Settings(rate_hz=100), **flight.REPLAY)
    identity = driver.start()
    flown = flight.flown()[:, :3] - (0, 0, 1)
    blocks = read_blocks(driver, len(flown))
    assert not any(block.lost for block in blocks), "none missing"
    scale = [channel.scale for channel in identity.channels[4:7]]
    got = np.array(rows(blocks, FUSED[4:])) * scale
    turned = np.array(rows(blocks, FUSED[:4]))
    first = next(n for n in range(5) if np.array_equal(turned[0], results(5)[n][:4]))
    at = (first + np.arange(len(got))) % len(flown)
    assert np.abs(got - flown[at]).max() <= 0.5001 * max(scale)


def test_moments_that_were_missed_are_counted_as_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    driver, bus = simulated(monkeypatch, Settings(rate_hz=50))
    driver.start()
    before = read_blocks(driver, 3)[-1]
    bus.sleep(0.2)
    late, next_one = read_blocks(driver, 2)
    assert (late.first, late.lost, late.exact) == (before.end + late.lost, 9, True)
    assert (next_one.first, next_one.lost) == (late.end, 0)
    assert driver.counters == {"missed": 9, "garbled": 0}


def test_a_quaternion_that_is_none_is_thrown_away_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    driver, bus = simulated(monkeypatch, Settings(rate_hz=50))
    driver.start()
    before = read_blocks(driver, 3)[-1]
    honest = bus.chip.read
    monkeypatch.setattr(bus.chip, "read", lambda register, count: bytes([0x12, 0x80]) + honest(register, count)[2:])
    assert driver.read(0.1) is None
    monkeypatch.setattr(bus.chip, "read", honest)
    (after,) = read_blocks(driver, 1)
    assert (after.first, after.lost, after.exact) == (before.end + 1, 1, True)
    assert driver.counters == {"missed": 0, "garbled": 1}


def test_the_calibration_is_shown_saved_and_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    driver, _ = simulated(monkeypatch, Settings(rate_hz=50))
    driver.start()
    states = rows(read_blocks(driver, 100), STATES)
    assert states[0] == [0, 0, 0, 0]
    assert all(np.diff(states, axis=0).min(axis=0) >= 0), "it only gets better"
    assert states[-1] == [3, 3, 3, 3]
    assert [0, 1, 0, 0] in states, "the gyroscope is first"
    assert [1, 3, 1, 2] in states, "the magnetometer is second, the whole as good as its worst"
    saved = driver.calibration()
    assert bytes.fromhex(saved) == FOUND
    assert rows(read_blocks(driver, 1), STATES) == [[3, 3, 3, 3]], "it goes on"

    restored, bus = simulated(monkeypatch, Settings(rate_hz=50, calibration=saved))
    restored.start()
    assert bus.chip.read(0x55, 22) == FOUND
    assert rows(read_blocks(restored, 1), STATES) == [[3, 3, 3, 3]]


def test_offsets_take_effect_beside_an_external_crystal_too(monkeypatch: pytest.MonkeyPatch) -> None:
    both = Settings(rate_hz=50, calibration=FOUND.hex(), external_crystal=True)
    driver, bus = simulated(monkeypatch, both)
    bus.chip.write(0x3F, b"\x80")  # as a daemon before us has left it
    written: list[tuple[int, int]] = []
    honest = bus.chip.write

    def write(register: int, data: bytes) -> None:
        written.append((register, bus.now_ns))
        honest(register, data)

    monkeypatch.setattr(bus.chip, "write", write)
    driver.start()
    assert rows(read_blocks(driver, 1), STATES) == [[3, 3, 3, 3]]
    assert bus.chip.read(0x55, 22) == FOUND and bus.chip.read(0x3F, 1) == b"\x80"
    crystal = max(n for n, (register, _) in enumerate(written) if register == 0x3F)
    assert crystal > max(n for n, (register, _) in enumerate(written) if register >= 0x55)
    assert written[crystal + 1][1] - written[crystal][1] >= 10_000_000, "it switches over in 10 ms"


def test_offsets_that_are_written_after_the_crystal_was_switched_on_have_no_effect(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, bus = simulated(monkeypatch, Settings())
    chip = bus.chip
    for register, data in ((0x3F, b"\x80"), (0x55, FOUND), (0x3D, b"\x0c")):
        chip.write(register, data)
    bus.sleep(0.05)
    assert chip.read(0x55, 22) == FOUND
    assert chip.read(0x35, 1) == b"\x00"


@pytest.mark.parametrize("crystal", [False, True])
def test_what_was_kept_is_given_back_to_a_chip_that_has_lost_it(monkeypatch: pytest.MonkeyPatch, crystal: bool) -> None:
    driver, bus = simulated(monkeypatch, Settings(rate_hz=50, external_crystal=crystal))
    assert isinstance(driver, Restorable)
    driver.start()
    driver.restore("07" * 22)
    (block,) = read_blocks(driver, 1)
    assert (block.first, block.lost) == (0, 0)
    assert rows([block], STATES) == [[3, 3, 3, 3]]
    assert bus.chip.read(0x55, 22) == b"\x07" * 22
    assert bus.chip.read(0x3F, 1)[0] == 0x80 * crystal


def test_what_was_kept_gives_way_to_what_the_settings_say_and_to_what_the_chip_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    driver, bus = simulated(monkeypatch, Settings(calibration="00" * 22))
    driver.start()
    driver.restore("07" * 22)
    assert bus.chip.read(0x55, 22) == bytes(22)

    driver, bus = simulated(monkeypatch, Settings())
    driver.start()
    read_blocks(driver, 100)
    again = Bno055(Settings(), I2cDevice(bus, "bno055", 1, 0x28))
    again.start()
    again.restore("07" * 22)
    assert bus.chip.read(0x55, 22) == FOUND
    for text in ("07", "no digits", ""):
        with pytest.raises(ValueError, match="hex"):
            again.restore(text)


def test_a_restarted_driver_finds_the_chip_still_calibrated(monkeypatch: pytest.MonkeyPatch) -> None:
    driver, bus = simulated(monkeypatch, Settings())
    driver.start()
    read_blocks(driver, 100)
    again = Bno055(Settings(), I2cDevice(bus, "bno055", 1, 0x28))
    again.start()
    assert rows(read_blocks(again, 1), STATES) == [[3, 3, 3, 3]]


def test_a_chip_that_was_reset_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    driver, bus = simulated(monkeypatch, Settings())
    driver.start()
    read_blocks(driver, 2)
    bus.chip.power_on()
    bus.sleep(1.0)
    with pytest.raises(DriverError, match="supply dipped"):
        driver.read(0.1)


@pytest.mark.parametrize(
    ("mode", "crystal", "registers"),
    [("imu", True, {0x3D: 8, 0x3B: 1, 0x3E: 0, 0x3F: 0x80}), ("ndof", False, {0x3D: 12})],
)
def test_settings_reach_their_registers(
    monkeypatch: pytest.MonkeyPatch, mode: str, crystal: bool, registers: dict[int, int]
) -> None:
    driver, bus = simulated(monkeypatch, Settings(mode=mode, external_crystal=crystal))
    driver.start()
    assert {register: bus.chip.read(register, 1)[0] for register in registers} == registers


@pytest.mark.parametrize(("rate_hz", "clock_hz", "carried"), [(44, 10_000, True), (50, 10_000, False)])
def test_a_bus_that_is_too_slow_for_its_samples_is_refused(
    monkeypatch: pytest.MonkeyPatch, rate_hz: float, clock_hz: int, carried: bool
) -> None:
    monkeypatch.setattr(module, "open_i2c", lambda *_, load, **__: too_much(load, clock_hz))
    refusal = Settings(rate_hz=rate_hz).open()._device
    assert refusal == "" if carried else "25 bytes" in refusal and "rate_hz to 44 at most" in refusal


def test_a_chip_that_still_boots_is_refused_with_what_to_try(monkeypatch: pytest.MonkeyPatch) -> None:
    driver, bus = simulated(monkeypatch, Settings())
    bus.chip.power_on()
    with pytest.raises(DriverError, match=r"0x00 and not 0xa0.*i2c-gpio"):
        driver.start()


def test_a_chip_that_does_not_keep_its_calibration_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    driver, _ = simulated(monkeypatch, Settings(calibration="01" * 22))
    monkeypatch.setattr(virtual_bno055, "_SETUP", set())
    with pytest.raises(DriverError, match="does not keep the calibration 0101"):
        driver.start()


def test_every_mistake_is_named_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings(bus="i2c-1", address=0x30, rate_hz=200, mode="fast", calibration="00ff")
    names = [name for name, *_ in caught.value.mistakes]
    assert sorted(names) == ["address", "bus", "calibration", "mode", "rate_hz"]
    with pytest.raises(SettingsError, match="44 hex digits"):
        Settings(calibration="zz" * 22)


def test_the_chip_takes_its_setup_in_config_mode_only(monkeypatch: pytest.MonkeyPatch) -> None:
    _, bus = simulated(monkeypatch, Settings())
    chip = bus.chip
    chip.write(0x3D, b"\x0c")
    assert chip.read(0x3D, 1) == b"\x00", "the mode changes in 7 ms"
    bus.sleep(0.008)
    assert chip.read(0x3D, 1) == b"\x0c"
    assert chip.read(0x20, 8) == bytes(8)
    chip.write(0x3B, b"\x01")
    assert chip.read(0x3B, 1) == b"\x80"
    bus.sleep(0.01)
    assert any(chip.read(0x20, 8))


def test_the_driver_of_other_authors_reads_the_same(theirs: Theirs) -> None:
    adafruit = theirs("adafruit_bno055")
    sensor = adafruit.BNO055_I2C(theirs.plug(_0x28=Chip(Virtual().document())))
    motion = Motion(1, 100.0)
    known = [result(index, motion, 980.665).tolist() for index in range(400)]
    for _ in range(3):
        time.sleep(0.02)
        quaternion = np.rint(np.array(sensor.quaternion) * 2**14).astype(int).tolist()
        acceleration = np.rint(np.array(sensor.linear_acceleration) * 100).astype(int).tolist()
        assert quaternion in [row[:4] for row in known]
        assert acceleration in [row[4:] for row in known]
    time.sleep(1.3)
    assert sensor.calibration_status == (3, 3, 3, 3)
    assert sensor.calibrated
    offsets = (*sensor.offsets_accelerometer, *sensor.offsets_magnetometer, *sensor.offsets_gyroscope)
    radii = sensor.radius_accelerometer, sensor.radius_magnetometer
    assert np.array([*offsets, *radii], "<i2").tobytes() == FOUND
