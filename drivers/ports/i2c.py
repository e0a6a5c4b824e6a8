"""The I2C port: one chip on one bus, whose registers are written and read in single combined transfers."""

import errno
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from drivers.ports import DriverError

if TYPE_CHECKING:
    from smbus2 import SMBus

SMBUS_BLOCK = 32
"""The most bytes that one SMBus block transfer carries."""
_BITS = 9
"""Of each byte, with its acknowledgement."""
_CLOCKS_HZ = 400_000, 1_000_000
"""Beyond the usual 100 kHz: fast mode, and fast mode plus, which most chips have and not every board."""
_ADAPTERS = "bus/i2c/devices", "class/i2c-adapter"
"""Where the kernel shows its buses; the second is gone since Linux 6.12, which dropped I2C_COMPAT."""


class Transfers(Protocol):
    """How one kind of adapter moves bytes to and from one chip. Raises OSError."""

    def write(self, register: int, data: bytes) -> None: ...

    def read(self, register: int, count: int) -> bytes: ...

    def read_fifo(self, register: int, count: int) -> bytes: ...

    def close(self) -> None: ...


class CombinedTransfers:
    """Plain I2C (I2C_RDWR): address write, repeated start and read of any length, with one stop at the end."""

    def __init__(self, bus: "SMBus", address: int) -> None:
        from smbus2 import i2c_msg  # noqa: PLC0415  only where there is a real bus

        self._bus = bus
        self._address = address
        self._message = i2c_msg

    def write(self, register: int, data: bytes) -> None:
        self._bus.i2c_rdwr(self._message.write(self._address, [register, *data]))

    def read(self, register: int, count: int) -> bytes:
        answer = self._message.read(self._address, count)
        self._bus.i2c_rdwr(self._message.write(self._address, [register]), answer)
        return bytes(answer)

    def read_fifo(self, register: int, count: int) -> bytes:
        return self.read(register, count)

    def close(self) -> None:
        self._bus.close()


class BlockTransfers:
    """SMBus "I2C block" transfers of at most 32 bytes, for adapters that cannot do I2C_RDWR."""

    def __init__(self, bus: "SMBus", address: int) -> None:
        self._bus = bus
        self._address = address

    def write(self, register: int, data: bytes) -> None:
        for at in range(0, len(data), SMBUS_BLOCK):
            self._bus.write_i2c_block_data(self._address, register + at, list(data[at : at + SMBUS_BLOCK]))

    def read(self, register: int, count: int) -> bytes:
        return b"".join(self._block(register + at, count - at) for at in range(0, count, SMBUS_BLOCK))

    def read_fifo(self, register: int, count: int) -> bytes:
        return b"".join(self._block(register, count - at) for at in range(0, count, SMBUS_BLOCK))

    def _block(self, register: int, count: int) -> bytes:
        return bytes(self._bus.read_i2c_block_data(self._address, register, min(count, SMBUS_BLOCK)))

    def close(self) -> None:
        self._bus.close()


class I2cDevice:
    """One chip on a bus. Every method raises DriverError, which names bus, address and chip and says what to try."""

    def __init__(self, transfers: Transfers, chip: str, bus: int | str, address: int) -> None:
        self._transfers = transfers
        self._where = chip, bus, address

    def write(self, register: int, data: bytes) -> None:
        """Writes consecutive registers, in one transfer."""
        try:
            self._transfers.write(register, data)
        except OSError as error:
            raise explained(error, *self._where) from error

    def read(self, register: int, count: int) -> bytes:
        """Reads `count` consecutive registers, in one transfer where the adapter can."""
        try:
            return self._transfers.read(register, count)
        except OSError as error:
            raise explained(error, *self._where) from error

    def read_fifo(self, register: int, count: int, *, unit: int = 1) -> bytes:
        """Reads `count` bytes out of one register behind which the chip keeps a FIFO.

        `unit`: how many of its bytes belong together, so that no transfer may end among them.
        """
        most = SMBUS_BLOCK // unit * unit if isinstance(self._transfers, BlockTransfers) else max(1, count)
        try:
            return b"".join(self._transfers.read_fifo(register, min(most, count - at)) for at in range(0, count, most))
        except OSError as error:
            raise explained(error, *self._where) from error

    def close(self) -> None:
        """Lets the bus go; may be called twice."""
        self._transfers.close()


def open_i2c(
    bus: int | str, address: int, *, chip: str, virtual: Mapping[str, Any], load: tuple[float, float] = (0.0, 0)
) -> I2cDevice:
    """Opens the chip at `address` of a bus: its number, its path, or "virtual". Moves no byte.

    `chip` is the name for error messages and, for a virtual bus, of the model in `drivers.ports.virtual`, which gets
    the document `virtual`. `load`: samples a second, and bytes on the bus of each. Raises DriverError, also where the
    bus is too slow for that.
    """
    if bus == "virtual":
        from drivers.ports.virtual.i2c import VirtualTransfers  # noqa: PLC0415  only where configured

        return I2cDevice(VirtualTransfers(chip, virtual), chip, bus, address)
    try:
        device = I2cDevice(_real(bus, address), chip, bus, address)
        clock_hz = clock_of(bus)
    except OSError as error:
        raise explained(error, chip, bus, address) from error
    if clock_hz is not None and (problem := too_much(load, clock_hz)):
        device.close()
        raise DriverError(f"{chip} at 0x{address:02x} on bus {bus}: {problem}")
    return device


def clock_of(bus: int | str, sys: Path = Path("/sys")) -> int | None:
    """Clock of a bus in Hz, as the device tree sets it; None where the kernel does not tell."""
    name = f"i2c-{bus}" if isinstance(bus, int) else Path(bus).resolve().name
    for adapters in _ADAPTERS:
        try:
            return int.from_bytes((sys / adapters / name / "of_node/clock-frequency").read_bytes(), "big")
        except OSError:
            continue
    return None


def too_much(load: tuple[float, float], clock_hz: int) -> str:
    """Why a bus with that clock does not carry so many (samples a second, bytes of each); empty where it does."""
    rate_hz, sample_bytes = load
    needed_hz = rate_hz * sample_bytes * _BITS
    if not needed_hz > clock_hz:  # nor is what is no number, of which others complain
        return ""
    faster = next((f"dtparam=i2c_arm_baudrate={hz} in config.txt, or " for hz in _CLOCKS_HZ if needed_hz <= hz), "")
    return (
        f"{rate_hz:g} samples a second of {sample_bytes:.3g} bytes are {needed_hz / 1e3:.0f} kbit/s,"
        f" {_BITS} bits a byte, and the bus has {clock_hz / 1e3:.0f};"
        f" set {faster}rate_hz to {clock_hz / _BITS / sample_bytes:.0f} at most"
    )


def _real(bus: int | str, address: int) -> Transfers:
    from smbus2 import SMBus  # noqa: PLC0415  only where there is a real bus

    opened = SMBus()
    try:
        opened.open(bus)
        return transfers_for(opened, address)
    except OSError:
        opened.close()
        raise


def transfers_for(bus: "SMBus", address: int) -> Transfers:
    """The best way that an open bus offers (I2C_FUNCS). OSError where it offers neither."""
    from smbus2 import I2cFunc  # noqa: PLC0415  only where there is a real bus

    if bus.funcs & I2cFunc.I2C:
        return CombinedTransfers(bus, address)
    if bus.funcs & I2cFunc.SMBUS_READ_I2C_BLOCK and bus.funcs & I2cFunc.SMBUS_WRITE_I2C_BLOCK:
        return BlockTransfers(bus, address)
    raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))


def explained(error: OSError, chip: str, bus: int | str, address: int) -> DriverError:
    """The DriverError for an adapter's error: where, what it means (kernel: i2c/fault-codes), what to try."""
    path = f"/dev/i2c-{bus}" if isinstance(bus, int) else "the virtual bus" if bus == "virtual" else bus
    code = error.errno or 0
    meaning = _MEANINGS.get(code, f"{error.strerror or error}; see `dmesg`")
    if code == errno.ENOENT:
        there = ", ".join(sorted(str(found) for found in Path("/dev").glob("i2c-*"))) or "no I2C bus at all"
        meaning += f" (there is {there})"
    number = path.rpartition("-")[2] if path.startswith("/dev/i2c-") else "BUS"
    text = f"{chip} at 0x{address:02x} on {path}: {meaning} [errno {code} {errno.errorcode.get(code, '')}]"
    return DriverError(text.replace("-y BUS", f"-y {number}"))


_NOBODY = (
    "nobody answers at this address; check power, ground, SDA and SCL, and the address"
    " (`i2cdetect -y BUS` lists who is there; a pin such as AD0 often chooses between two)"
)
_MEANINGS = {
    errno.EREMOTEIO: _NOBODY,  # i2c-bcm2835, the Pi's own
    errno.ENXIO: _NOBODY,  # the kernel's documented code
    errno.ENODEV: f"{_NOBODY}; or the adapter itself is gone",  # i2c-stub, some USB adapters
    errno.ETIMEDOUT: "the bus hangs: a chip holds SDA or SCL low, or stretches the clock for too long;"
    " switch the chip off and on, check the pull-up resistors, try a slower bus (dtparam=i2c_arm_baudrate=100000)",
    errno.EIO: "the transfer failed half-way; check wiring and pull-up resistors, keep cables short, try a slower bus",
    errno.EAGAIN: "another master has taken the bus; only one may use it",
    errno.EBUSY: "a kernel driver has this chip already; remove its device tree overlay",
    errno.ENOENT: "there is no such bus; enable I2C (`sudo raspi-config nonint do_i2c 0`, or dtparam=i2c_arm=on in"
    " config.txt and `sudo modprobe i2c-dev`), and check `bus`",
    errno.EACCES: "not allowed to open it; add the service's user to the group i2c (`sudo usermod -aG i2c USER`)",
    errno.EPERM: "not allowed to open it; the service may be kept from devices (DeviceAllow= in its unit)",
    errno.ENOTTY: "this is no I2C bus; `bus` is a number or a path such as /dev/i2c-1",
    errno.EOPNOTSUPP: "the adapter can do neither plain I2C transfers nor SMBus I2C block transfers; use another one",
}
