"""The I2C port: combined transfers, the SMBus fallback, what its errors say, and the virtual bus's process."""

import ctypes
import errno
import os
import re
import select
import signal
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from smbus2 import I2cFunc, i2c_msg

from drivers import DriverError
from drivers.mpu6050 import Mpu6050, Settings, VirtualMpu
from drivers.ports.i2c import I2cDevice, clock_of, open_i2c, too_much, transfers_for
from drivers.ports.virtual.i2c import VirtualTransfers
from drivers.ports.virtual.motion import Motion
from drivers.ports.virtual.mpu6050 import Mpu6050 as Chip
from tests.contracts.driver import children, read_blocks

ADDRESS = 0x68
SMBUS_BLOCKS = I2cFunc.SMBUS_READ_I2C_BLOCK | I2cFunc.SMBUS_WRITE_I2C_BLOCK


class Adapter:
    """What smbus2 offers, over a chip model: as an adapter with these functions would answer."""

    def __init__(self, chip: Any, funcs: int) -> None:
        self.chip = chip
        self.funcs = funcs
        self.transfers: list[int] = []
        self.closed = False

    def i2c_rdwr(self, *messages: i2c_msg) -> None:
        if not self.funcs & I2cFunc.I2C:
            raise OSError(errno.EOPNOTSUPP, "no plain transfers")
        assert {message.addr for message in messages} == {ADDRESS}
        self.transfers.append(sum(message.len for message in messages))
        register, *data = bytes(messages[0])
        if data:
            self.chip.write(register, bytes(data))
        for message in messages[1:]:
            ctypes.memmove(message.buf, self.chip.read(register, message.len), message.len)

    def read_i2c_block_data(self, address: int, register: int, length: int) -> list[int]:
        assert address == ADDRESS
        assert 0 < length <= 32
        self.transfers.append(length)
        return list(self.chip.read(register, length))

    def write_i2c_block_data(self, address: int, register: int, data: list[int]) -> None:
        assert address == ADDRESS
        assert 0 < len(data) <= 32
        self.chip.write(register, bytes(data))

    def close(self) -> None:
        self.closed = True


class Memory:
    """A chip of 128 plain registers."""

    def __init__(self) -> None:
        self.registers = bytearray(range(128))

    def write(self, register: int, data: bytes) -> None:
        self.registers[register : register + len(data)] = data

    def read(self, register: int, count: int) -> bytes:
        return bytes(self.registers[register : register + count])


@pytest.mark.parametrize("funcs", [I2cFunc.I2C | SMBUS_BLOCKS, SMBUS_BLOCKS])
def test_the_driver_reads_the_same_rows_by_either_kind_of_transfer(funcs: int) -> None:
    adapter = Adapter(Chip(VirtualMpu().document()), funcs)
    device = I2cDevice(transfers_for(adapter, ADDRESS), "mpu6050", 1, ADDRESS)
    driver = Mpu6050(Settings(rate_hz=1000), device)
    driver.start()
    blocks = read_blocks(driver, 4)
    driver.close()
    samples = np.concatenate([block.samples for block in blocks])
    got = np.stack([samples[name] for name in samples.dtype.names], axis=1)
    assert np.array_equal(got, Motion(1, 1000.0).rows(0, len(got)))
    assert (max(adapter.transfers) > 256) == bool(funcs & I2cFunc.I2C), "one burst where the adapter can"
    assert adapter.closed


@pytest.mark.parametrize("funcs", [int(I2cFunc.I2C), int(SMBUS_BLOCKS)])
def test_registers_are_written_and_read_in_order(funcs: int) -> None:
    device = I2cDevice(transfers_for(Adapter(Memory(), funcs), ADDRESS), "chip", 1, ADDRESS)
    assert device.read(5, 1) == b"\x05"
    assert device.read(10, 100) == bytes(range(10, 110))
    device.write(20, bytes(reversed(range(70))))
    assert device.read(19, 72) == bytes([19, *reversed(range(70)), 90])


def test_an_adapter_that_can_do_neither_is_refused() -> None:
    with pytest.raises(OSError, match="upported"):
        transfers_for(Adapter(Memory(), int(I2cFunc.SMBUS_QUICK)), ADDRESS)


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (errno.EREMOTEIO, "SDA and SCL.*i2cdetect -y 3"),
        (errno.ENXIO, "SDA and SCL"),
        (errno.ENODEV, "adapter itself is gone"),
        (errno.ETIMEDOUT, "SDA or SCL low"),
        (errno.EACCES, "group i2c"),
        (errno.EPERM, "DeviceAllow"),
        (errno.EBUSY, "kernel driver"),
        (errno.ENOENT, "raspi-config"),
        (errno.ENOSPC, "No space left"),
    ],
)
def test_an_error_says_where_what_and_what_to_try(code: int, advice: str) -> None:
    class Broken:
        def fail(self, *_: Any) -> bytes:
            raise OSError(code, os.strerror(code))

        read = read_fifo = write = fail

    device = I2cDevice(Broken(), "mpu6050", 3, 0x69)
    where = rf"mpu6050 at 0x69 on /dev/i2c-3: .*{advice}.*\[errno {code} "
    for call, what in ((device.read, 1), (device.read_fifo, 1), (device.write, b"\0")):
        with pytest.raises(DriverError, match=where) as caught:
            call(0, what)
        assert isinstance(caught.value.__cause__, OSError)


def test_a_bus_that_is_not_there_is_an_error_that_names_those_that_are() -> None:
    with pytest.raises(DriverError, match=r"on /dev/i2c-97: there is no such bus; enable I2C.*\(there is "):
        open_i2c(97, ADDRESS, chip="mpu6050", virtual={})


@pytest.mark.parametrize("adapters", ["bus/i2c/devices", "class/i2c-adapter"])
def test_the_clock_of_a_bus_is_what_the_device_tree_says(tmp_path, adapters) -> None:
    node = tmp_path / adapters / "i2c-1/of_node"
    node.mkdir(parents=True)
    (node / "clock-frequency").write_bytes((100_000).to_bytes(4, "big"))
    assert clock_of(1, tmp_path) == clock_of("/dev/i2c-1", tmp_path) == 100_000
    assert clock_of(7, tmp_path) is None, "then nothing is refused"


@pytest.mark.parametrize(
    ("load", "clock_hz", "said"),
    [
        ((1000.0, 12), 400_000, ""),
        ((0.0, 0), 100_000, ""),
        ((1000.0, 12), 100_000, "1000 samples a second of 12 bytes are 108 kbit/s.*i2c_arm_baudrate=400000.*to 926 at"),
        ((4000.0, 16), 400_000, "576 kbit/s.*baudrate=1000000"),
        ((8000.0, 16), 1_000_000, "1152 kbit/s.*has 1000; set rate_hz to 6944 at most"),
    ],
)
def test_a_bus_that_is_too_slow_says_why_with_the_arithmetic(load, clock_hz, said) -> None:
    assert re.search(said, too_much(load, clock_hz))
    assert bool(said) == bool(too_much(load, clock_hz))


def test_a_path_that_is_no_bus_is_an_error_and_is_closed_again() -> None:
    with pytest.raises(DriverError, match="on /dev/zero: this is no I2C bus"):
        open_i2c("/dev/zero", ADDRESS, chip="mpu6050", virtual={})


def test_a_chip_plugged_in_again_has_forgotten_everything() -> None:
    transfers = VirtualTransfers("mpu6050", VirtualMpu().document())
    try:
        transfers.write(0x1C, b"\x18")
        assert transfers.read(0x1C, 1) == b"\x18"
        transfers.inject("unplug", 0.05)
        with pytest.raises(OSError, match="Remote I/O"):
            transfers.read(0x75, 1)
        answer = b""
        while not answer:
            try:
                answer = transfers.read(0x1C, 1)
            except OSError:
                continue
        assert answer == b"\x00"
    finally:
        transfers.close()


def test_a_virtual_chip_whose_process_dies_is_an_error() -> None:
    before = children()
    device = open_i2c("virtual", ADDRESS, chip="mpu6050", virtual=VirtualMpu().document())
    try:
        (child,) = children() - before
        os.kill(child, signal.SIGKILL)
        with pytest.raises(DriverError, match="mpu6050 at 0x68 on the virtual bus"):
            device.read(0x75, 1)
    finally:
        device.close()
        device.close()
    assert children() <= before


def test_a_killed_daemon_leaves_no_virtual_chip_and_a_virtual_bus_loads_no_smbus() -> None:
    code = (
        "import os, sys; from drivers.mpu6050 import Settings; d = Settings(bus='virtual').open(); d.start();"
        "assert 'smbus2' not in sys.modules;"
        "print(d._device._transfers._child._process.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    try:
        child = os.pidfd_open(int(done.stdout))
    except ProcessLookupError:
        return  # it has ended already
    try:
        assert select.select([child], [], [], 10)[0], "the child must end with its daemon"
    finally:
        os.close(child)
