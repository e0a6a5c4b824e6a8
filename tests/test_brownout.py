"""A supply that dips: the chip forgets how it was set up and answers on, and is not taken for a quiet one."""

import itertools
import random
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from agent.clock import Clock
from agent.ring import Ring
from agent.stream import Stream
from drivers import (
    Driver,
    DriverError,
    _auxiliary,
    _fifo,
    _ready,
    adxl345,
    icm20948,
    icm42688,
    lis3dh,
    lsm6ds,
    lsm303,
    mpu6050,
)
from drivers.ports.i2c import I2cDevice
from drivers.ports.virtual import adxl345 as virtual_adxl345
from drivers.ports.virtual import icm20948 as virtual_icm20948
from drivers.ports.virtual import icm42688 as virtual_icm42688
from drivers.ports.virtual import lis3dh as virtual_lis3dh
from drivers.ports.virtual import lsm6ds as virtual_lsm6ds
from drivers.ports.virtual import lsm303 as virtual_lsm303
from drivers.ports.virtual import mpu6050 as virtual_mpu6050
from tests.simulated import SimulatedBus
from tests.test_faults import until

Made = tuple[Driver, SimulatedBus]


def of(
    driver: ModuleType, kind: str, model: ModuleType, chip: str, **options: Any
) -> Callable[[pytest.MonkeyPatch], Made]:
    """Makes a driver and its chip in simulated time."""

    def make(monkeypatch: pytest.MonkeyPatch) -> Made:
        settings = driver.Settings(**options)
        bus = SimulatedBus(monkeypatch, _fifo, _ready, _auxiliary, driver, model)
        bus.chip = getattr(model, chip)(settings.virtual.document())
        return getattr(driver, kind)(settings, I2cDevice(bus, "chip", 1, settings.address)), bus

    return make


def magnetometer(monkeypatch: pytest.MonkeyPatch) -> Made:
    """The half of the LSM303DLHC that has no FIFO."""
    settings = lsm303.Settings(sensors="magnetometer")
    bus = SimulatedBus(monkeypatch, _fifo, _ready, lsm303, virtual_lsm303)
    bus.chip = virtual_lsm303.Magnetometer(settings.virtual.document())
    device = I2cDevice(bus, "lsm303", 1, 0x1E)
    return lsm303.Lsm303(settings, device, device), bus


CHIPS = {
    "mpu6050": of(mpu6050, "Mpu6050", virtual_mpu6050, "Mpu6050"),
    "lsm6ds": of(lsm6ds, "Lsm6ds", virtual_lsm6ds, "Lsm6ds"),
    "icm42688": of(icm42688, "Icm42688", virtual_icm42688, "Icm42688"),
    "icm20948": of(icm20948, "Icm20948", virtual_icm20948, "Icm20948"),
    "adxl345": of(adxl345, "Adxl345", virtual_adxl345, "Adxl345"),
    "lis3dh": of(lis3dh, "Lis3dh", virtual_lis3dh, "Lis3dh"),
    "lis3dh in 12 bits": of(lis3dh, "Lis3dh", virtual_lis3dh, "Lis3dh", rate_hz=50, resolution_bits=12),
    "lsm303": magnetometer,
}


@pytest.mark.parametrize("name", CHIPS)
def test_a_chip_that_forgot_its_set_up_is_noticed_and_can_be_set_up_again(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    driver, bus = CHIPS[name](monkeypatch)
    identity = driver.start()
    assert any(driver.read(0.25) is not None for _ in range(10))
    bus.chip.power_on()
    dipped_ns = bus.now_ns
    with pytest.raises(DriverError, match="forgotten its set-up"):
        while bus.now_ns < dipped_ns + 30_000_000_000:
            driver.read(0.25)
    assert bus.now_ns - dipped_ns < 3_000_000_000
    assert driver.start() == identity
    assert any(driver.read(0.25) is not None for _ in range(10))


def test_a_stream_sets_the_chip_up_again_and_estimates_what_was_lost() -> None:
    settings = mpu6050.Settings(bus="virtual", rate_hz=200, virtual=mpu6050.VirtualMpu())
    stream = Stream(
        "imu",
        "mpu6050",
        settings,
        ring=Ring(60, 1 << 22),
        clock=Clock(),
        jitter=random.Random(1),
        backoff_s=(0.01, 0.02),
    )
    broken: list[BaseException] = []
    worker = stream.start(lambda name, error: broken.append(error))
    try:
        until(lambda: stream.samples > 100)
        driver: Any = stream._open_driver
        driver._device._transfers.inject("brownout", 0.2)
        until(lambda: stream.reopened == 1)
        before = stream.samples
        until(lambda: stream.samples > before + 50)
    finally:
        assert worker.stop(10)
    assert not broken
    assert stream.reopened == 1
    assert not stream.lost_exact
    assert stream.lost > 150, "a second and more of 200 a second"
    blocks = stream.ring.cursor(99).take()
    assert all(later.first == block.end + later.lost for block, later in itertools.pairwise(blocks))
