"""The drivers' contract on an I2C bus of the kernel's: over unmodified smbus2, and by hand on a real board.

`make test` runs it on adapters that umockdev makes, with virtual chips behind them. On a board of yours, where the chip
is on bus 1: `make hardware ARGS="-k mpu6050"`; I2C_BUS=3 for another bus, I2C_ADDRESS=0x69 for another address.
"""

import dataclasses
import errno
import importlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from drivers import DriverError, DriverSettings, Samples
from drivers.ports.virtual import Wire
from tests import (
    test_ads1115,
    test_adxl345,
    test_bme280,
    test_bno055,
    test_icm20948,
    test_icm42688,
    test_ina219,
    test_lis3dh,
    test_lsm6ds,
    test_lsm303,
    test_mpu6050,
    test_mpu9250,
    test_veml7700,
)
from tests.contracts.driver import DriverContract, read_blocks

CONTRACTS = {
    "ads1115": test_ads1115.TestContract,
    "adxl345": test_adxl345.TestContract,
    "bme280": test_bme280.TestContract,
    "bno055": test_bno055.TestContract,
    "icm20948": test_icm20948.TestContract,
    "icm42688": test_icm42688.TestContract,
    "ina219": test_ina219.TestContract,
    "lis3dh": test_lis3dh.TestContract,
    "lsm6ds": test_lsm6ds.TestTaggedContract,
    "lsm303": test_lsm303.TestContractOfTheAccelerometer,
    "lsm303_magnetometer": test_lsm303.TestContractOfTheMagnetometer,
    "mpu6050": test_mpu6050.TestContract,
    "mpu6050_magnetometer": test_mpu9250.TestContract,
    "veml7700": test_veml7700.TestContract,
}
ADAPTERS = Path(__file__).parent / "peers" / "i2c_adapters.py"
SYSTEM_PYTHON = "/usr/bin/python3"
NEEDS = "import gi; gi.require_version('UMockdev', '1.0'); from gi.repository import UMockdev"

BUS = int(os.environ.get("I2C_BUS", "1"))
ADDRESS = os.environ.get("I2C_ADDRESS")
CHIPS = os.environ.get("I2C_CHIPS")
"""Where the bus is one that `i2c_adapters.py` has made: the socket by which chips are plugged in."""
NACK = os.environ.get("I2C_NACK", "")
TRIES = 5
"""Until a busy machine has kept up with five blocks: a transfer by umockdev takes 0.2 s now and then."""


class Chip:
    """A virtual chip in a thread of its own, plugged into the bus."""

    def __init__(self, address: int, model: str, document: dict[str, Any]) -> None:
        self._address = bytes([address])
        ours, theirs = socket.socketpair()
        self._thread = threading.Thread(target=self._run, args=(model, Wire(ours), json.dumps(document)))
        self._thread.start()
        with theirs, socket.socket(fileno=os.dup(int(CHIPS))) as chips:
            socket.send_fds(chips, [self._address], [theirs.fileno()])
            assert chips.recv(1)

    def _run(self, model: str, wire: Wire, document: str) -> None:
        with closing(wire), suppress(EOFError, ConnectionError):
            importlib.import_module(f"drivers.ports.virtual.{model}").main(wire, json.loads(document))

    def close(self) -> None:
        with socket.socket(fileno=os.dup(int(CHIPS))) as chips:
            chips.send(self._address)
            assert chips.recv(1)
        self._thread.join()


class OnABus(DriverContract):
    """Goes before a driver's contract: the same tests, where the chip is behind a /dev/i2c of the kernel."""

    driver = ""

    # these are about what only the virtual bus can do: to stall, and to be there twice
    test_read_returns_when_its_time_is_over = None
    test_two_at_once_leave_no_process = None
    test_unplugged_is_an_error_and_no_hang = None
    test_close_may_be_called_after_a_failed_start = None

    @pytest.fixture(autouse=True)
    def chips(self) -> Iterator[None]:
        self.plugged: dict[int, Chip] = {}
        yield
        for chip in self.plugged.values():
            chip.close()

    def settings(self, **virtual: Any) -> DriverSettings:
        settings = super().settings(**virtual)
        place: dict[str, Any] = {"bus": BUS}
        if ADDRESS:
            place["address"] = int(ADDRESS, 0)
        if CHIPS:
            document = settings.virtual.document()
            for address in (0x19, 0x1E) if self.driver == "lsm303" else (settings.address,):
                if address in self.plugged:
                    self.plugged.pop(address).close()
                self.plugged[address] = Chip(address, self.driver, {**document, "address": address})
        return dataclasses.replace(settings, **place)

    def expected(self, first: int, count: int) -> Samples | None:
        return super().expected(first, count) if CHIPS else None

    def test_blocks_hold_what_was_sent(self) -> None:
        if self.expected(0, 1) is None:
            pytest.skip("nobody knows what the chip has sent")
        for _ in range(TRIES):
            with self.started() as (driver, _):
                blocks = read_blocks(driver, self.blocks_to_read)
            if not any(block.lost for block in blocks):
                break
        for block in blocks:
            assert np.array_equal(block.samples, self.expected(block.first, block.count))

    @pytest.mark.skipif(not CHIPS, reason="nobody pulls the plug of a real board here")
    def test_unplugged_says_that_nobody_answers(self) -> None:
        driver = self.settings(faults=("0.3 unplug 60",)).open()
        try:
            with pytest.raises(DriverError, match=rf"on /dev/i2c-1: nobody answers .*\[errno {NACK} "):
                driver.start()
                read_blocks(driver, 10_000)
        finally:
            driver.close()


for _name, _contract in CONTRACTS.items():
    _test = type(_contract)(f"Test_{_name}", (OnABus, _contract), {"driver": _name.removesuffix("_magnetometer")})
    globals()[_test.__name__] = pytest.mark.hardware(_test)


BCM2835, STUB = (0x0EFF0009, errno.EREMOTEIO), (0x0C7F0000, errno.ENODEV)
"""Functions, and what a NACK looks like: of the Raspberry Pi's own adapter, and of the kernel's i2c-stub, which knows
SMBus alone."""


@pytest.mark.alone  # what a chip without a FIFO measures is read in time, or lost
@pytest.mark.parametrize(
    ("adapter", "tests"),
    [(BCM2835, ("start_says", "unplugged_says")), (BCM2835, ("follow", "hold")), (STUB, ("hold", "unplugged_says"))],
    ids=["i2c-bcm2835", "i2c-bcm2835, blocks", "i2c-stub"],
)
def test_drivers_keep_their_contract_over_unmodified_smbus2(adapter: tuple[int, int], tests: tuple[str, str]) -> None:
    if subprocess.run([SYSTEM_PYTHON, "-c", NEEDS], capture_output=True, check=False).returncode:
        pytest.skip(f"{SYSTEM_PYTHON} has no umockdev: apt-get install umockdev gir1.2-umockdev-1.0 python3-gi")
    functions, nack = adapter
    inner = [sys.executable, "-m", "pytest", "-m", "hardware", "-k", " or ".join(tests), __file__]
    done = subprocess.run(
        [SYSTEM_PYTHON, ADAPTERS, hex(functions), str(nack), *inner],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "I2C_BUS": "1", "I2C_NACK": str(nack)},
        cwd=ADAPTERS.parents[2],
    )
    assert done.returncode == 0, done.stdout + done.stderr
    silent = [each for each in CONTRACTS.values() if each.expected is DriverContract.expected]
    expected = len(tests) * len(CONTRACTS) - ("hold" in tests) * len(silent)
    assert f"{expected} passed" in done.stdout, done.stdout
