"""The UART port: a serial line that pyserial sets up and that is then read in bulk, never byte by byte."""

import contextlib
import errno
import os
import select
import termios
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drivers.ports import DriverError, boottime_ns

if TYPE_CHECKING:
    import serial

    from drivers.ports.virtual.uart import VirtualLine

LARGEST_READ = 1 << 16
"""About the most bytes that one `read` returns (the last piece may go beyond it)."""
_TTY_FULL = 4095
"""What the kernel's tty buffer holds: a piece of this size or more means that the line runs flat out."""
_REST_S = 0.01
"""Bytes at a low rate are left to collect for so long: 100 wake-ups a second instead of one for each byte."""
_LONGER_REST_S = 0.025
"""As long where some have come during each of the last rests, and few: 40 wake-ups a second are cheaper still."""
_RESTS = 3
_FEW = 1024
"""Bytes of one rest, a quarter of what the tty holds."""
_WRITE_S = 1.0
_BY_ID = Path("/dev/serial/by-id")


class Uart:
    """One open serial line, 8N1 and raw. Every method raises DriverError, which names the port and what to try."""

    def __init__(self, opened: "serial.Serial", path: str, virtual: "VirtualLine | None" = None) -> None:
        self.path = path
        self._serial = opened
        self.virtual = virtual
        """What is at the far end, where it is virtual."""
        self._fd: int = opened.fileno()
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN)
        self._read_s = 0.0
        """When it was last read, on the monotonic clock."""
        self._filled = 0
        """Of the last rests so many in a row had something to read at their end, but not much."""
        self._flat_out = True

    def read(self, timeout: float) -> tuple[bytes, int]:
        """All that has come, at most about 64 KiB, and the time (CLOCK_BOOTTIME, ns) when it was got.

        Waits at most `timeout` seconds for it; empty where nothing came.
        """
        timeout = max(0.0, timeout)
        if not self._flat_out:
            longest_s = _LONGER_REST_S if self._filled >= _RESTS else _REST_S
            rest_s = min(timeout, self._read_s + longest_s - time.monotonic())
            if rest_s > 0:
                time.sleep(rest_s)
                timeout -= rest_s
        if self._fd < 0:
            raise self._closed()
        try:  # as `_explained` does, which costs more than all of this
            ready = self._poll.poll(0)
            coming = bool(ready)
            ready = ready or self._poll.poll(timeout * 1000)
            data, self._flat_out = self._drain() if ready else (b"", False)
            self._filled = self._filled + 1 if coming and len(data) < _FEW else 0
            if not data and any(events & ~select.POLLIN for _, events in ready):
                raise OSError(errno.EIO, os.strerror(errno.EIO))  # POLLHUP or POLLERR, and nothing left to read
        except OSError as error:
            raise explained(error, self.path) from error
        observed_ns = boottime_ns()
        self._read_s = time.monotonic()
        return data, observed_ns

    def write(self, data: bytes) -> None:
        """Sends all of `data`, within a second."""
        until_s = time.monotonic() + _WRITE_S
        with self._explained():
            writable = select.poll()
            writable.register(self._fd, select.POLLOUT)
            while data:
                if not writable.poll(max(0.0, until_s - time.monotonic()) * 1000):
                    raise OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
                data = data[os.write(self._fd, data) :]

    def change_baud(self, baud: int) -> None:
        """Goes on at another speed, without touching DTR; what has come and was not read is thrown away."""
        with self._explained():
            self._serial.baudrate = baud
            self._serial.reset_input_buffer()

    def close(self) -> None:
        """Lets the line go; may be called twice."""
        self._fd = -1
        self._serial.close()
        if self.virtual is not None:
            self.virtual.close()

    def _drain(self) -> tuple[bytes, bool]:
        """What there is, and whether the line was found full."""
        pieces: list[bytes] = []
        size, full = 0, False
        while size < LARGEST_READ:
            piece = os.read(self._fd, LARGEST_READ)  # pyserial sets VMIN = VTIME = 0: empty where there is nothing
            if piece:
                pieces.append(piece)
            size += len(piece)
            full = full or len(piece) >= _TTY_FULL
            if not piece or not full:
                break  # at a low rate one call gets it all: spare the one that would only say so
        return (pieces[0] if len(pieces) == 1 else b"".join(pieces)), full

    def _closed(self) -> DriverError:
        return DriverError(f"{self.path} is closed")

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        if self._fd < 0:
            raise self._closed()
        try:
            yield
        except OSError as error:
            raise explained(error, self.path) from error


def open_uart(port: str, baud: int, *, device: str, virtual: Mapping[str, Any]) -> Uart:
    """Opens the tty at the path `port`, for us alone. (That toggles DTR: many boards start anew.)

    For `port = "virtual"` the model `device` in `drivers.ports.virtual`, which gets the document `virtual`, is started
    at the far end of a pseudo-terminal, which then is opened as any other port. Raises DriverError.
    """
    if port != "virtual":
        return Uart(_opened(port, baud), port)
    from drivers.ports.virtual.uart import VirtualLine  # noqa: PLC0415  only where configured

    line = VirtualLine(device, virtual)
    try:
        return Uart(_opened(line.path, baud), line.path, line)
    except DriverError:
        line.close()
        raise


def _opened(path: str, baud: int) -> "serial.Serial":
    import serial  # noqa: PLC0415  only where a line is configured

    try:
        return serial.Serial(path, baud, timeout=0, exclusive=True)
    except (OSError, termios.error) as error:
        raise explained(error, path) from error
    except ValueError as error:
        raise DriverError(f"{path}: {error}; try a usual baud such as 115200, 460800 or 921600") from error


def explained(error: Exception, path: str) -> DriverError:
    """The DriverError for what a tty answered: where, what it means, what to try."""
    # pyserial hands some errors on as text alone: the number is then in what it caught
    caught = (error, error.__context__) if error.__context__ is not None else (error,)
    code = next((n for e in caught for n in (getattr(e, "errno", None), *e.args) if isinstance(n, int)), 0)
    if code == errno.ENOENT:
        meaning = f"there is no such port; {_there()}"
    else:
        meaning = _MEANINGS.get(code, f"{error}; see `dmesg`")
    text = f"{path}: {meaning} [errno {code} {errno.errorcode.get(code, '')}]"
    return DriverError(text.replace("PORT", path))


def _there() -> str:
    """The ports that a person may have meant, by the names that stay when a port is renamed."""
    if names := sorted(str(path) for path in _BY_ID.glob("*")):
        return "plugged in now: " + ", ".join(names)
    kinds = ("ttyACM*", "ttyUSB*", "ttyAMA*", "ttyS0", "serial?")
    names = sorted(str(path) for kind in kinds for path in Path("/dev").glob(kind))
    return f"nothing is in {_BY_ID} (is it plugged in, with a data cable?)" + "".join(f"; {n}" for n in names)


_GONE = "the device is gone: unplugged, switched off or restarting; check cable and power"
_TAKEN = (
    "another program has it: a second agent, a serial monitor, ModemManager, or the console of the system"
    " (`sudo fuser -v PORT` shows which; `sudo raspi-config nonint do_serial_cons 1` frees the Pi's own)"
)
_MEANINGS = {
    errno.EACCES: "not allowed to open it; add the service's user to the group dialout"
    " (`sudo usermod -aG dialout USER`, then start the service anew)",
    errno.EPERM: "not allowed to open it; the service may be kept from devices (DeviceAllow= in its unit)",
    errno.EBUSY: _TAKEN,
    errno.EAGAIN: _TAKEN,
    errno.EIO: _GONE,
    errno.ENXIO: _GONE,
    errno.ENODEV: _GONE,
    errno.ETIMEDOUT: "it does not take what we send; check that flow control is off, and the device",
    errno.ENOTTY: "this is no serial port; `port` is a path such as /dev/serial/by-id/usb-...",
    errno.EISDIR: "this is a folder; `port` is a path such as /dev/serial/by-id/usb-...",
}
