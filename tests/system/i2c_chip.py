"""A virtual MPU-6050 behind a device file of the kernel's, by CUSE: i2c_chip.py NUMBER MAJOR makes /dev/i2c-NUMBER.

MAJOR 89 is that of real I2C buses, whose driver (i2c-dev) must not be loaded; 0 leaves it to the kernel. Structures
are those of linux/fuse.h and linux/i2c-dev.h. An ioctl comes with nothing but a pointer; it is answered with the memory
that is wanted, and comes again with it, until all is there.
"""

import errno
import os
import struct
import sys

from drivers.mpu6050 import VirtualMpu
from drivers.ports.virtual.mpu6050 import Mpu6050

ADDRESS, SEED = 0x68, 7
_REQUEST, _REPLY = struct.Struct("<IIQQIIIHH"), struct.Struct("<IiQ")
_IOCTL, _IOCTL_REPLY, _MEMORY = struct.Struct("<QIIQII"), struct.Struct("<iIII"), struct.Struct("<QQ")
_INIT, _OPEN, _RELEASE, _INTERRUPT, _DO_IOCTL = 4096, 14, 18, 36, 39
_I2C_SLAVE, _I2C_FUNCS, _I2C_RDWR = 0x0703, 0x0705, 0x0707
_FUNC_I2C = 1
_TRANSFER, _MESSAGE = struct.Struct("<QI4x"), struct.Struct("<HHH2xQ")
_READ = 1
_AGAIN = 4

Memory = list[tuple[int, int]]


class Wanted(Exception):
    """The caller's memory, (address, bytes) each, without which an ioctl cannot be answered."""

    def __init__(self, to_read: Memory, to_write: Memory) -> None:
        self.to_read, self.to_write = to_read, to_write


class Bus:
    """One bus with one chip."""

    def __init__(self, chip: Mpu6050) -> None:
        self._chip = chip
        self._register = 0

    def ioctl(self, command: int, argument: int, given: bytes, room: int) -> tuple[int, bytes]:
        """(What ioctl returns, what goes to the caller's memory). Raises Wanted, or OSError as an adapter would."""
        if command == _I2C_SLAVE:
            return 0, b""
        if command == _I2C_FUNCS:
            if room < 8:
                raise Wanted([], [(argument, 8)])
            return 0, _FUNC_I2C.to_bytes(8, "little")
        if command != _I2C_RDWR:
            raise OSError(errno.ENOTTY, os.strerror(errno.ENOTTY))
        known: Memory = [(argument, _TRANSFER.size)]
        if len(given) < _TRANSFER.size:
            raise Wanted(known, [])
        place, count = _TRANSFER.unpack_from(given)
        known.append((place, count * _MESSAGE.size))
        at = _TRANSFER.size + count * _MESSAGE.size
        if len(given) < at:
            raise Wanted(known, [])
        messages = [_MESSAGE.unpack_from(given, _TRANSFER.size + n * _MESSAGE.size) for n in range(count)]
        sent = [(buffer, length) for _, flags, length, buffer in messages if not flags & _READ]
        read = [(buffer, length) for _, flags, length, buffer in messages if flags & _READ]
        if len(given) < at + sum(length for _, length in sent) or room < sum(length for _, length in read):
            raise Wanted(known + sent, read)
        answer = b""
        for address, flags, length, _ in messages:
            if address != ADDRESS:
                raise OSError(errno.EREMOTEIO, os.strerror(errno.EREMOTEIO))
            if flags & _READ:
                answer += self._chip.read(self._register, length)
                continue
            self._register, data = given[at], given[at + 1 : at + length]
            at += length
            if data:
                self._chip.write(self._register, data)
        return count, answer


def serve(number: int, major: int) -> None:
    """Answers the kernel until it is killed."""
    bus = Bus(Mpu6050(VirtualMpu(seed=SEED).document()))
    cuse = os.open("/dev/cuse", os.O_RDWR)
    while True:
        request = os.read(cuse, 1 << 17)
        _, kind, unique, *_ = _REQUEST.unpack_from(request)
        failed, reply = 0, b""
        if kind == _INTERRUPT:
            continue
        if kind == _INIT:  # version 7.31, ioctls of any form
            name = b"DEVNAME=i2c-%d\0" % number
            reply = struct.pack("<8I40x", 7, 31, 0, 1, 65536, 65536, major, number if major else 0) + name
        elif kind == _OPEN:
            reply = struct.pack("<QII", 0, 1, 0)
        elif kind == _DO_IOCTL:
            _, _, command, argument, size, room = _IOCTL.unpack_from(request, _REQUEST.size)
            begin = _REQUEST.size + _IOCTL.size
            try:
                result, data = bus.ioctl(command, argument, request[begin : begin + size], room)
                reply = _IOCTL_REPLY.pack(result, 0, 0, 0) + data
            except Wanted as wanted:
                memory = b"".join(_MEMORY.pack(*piece) for piece in wanted.to_read + wanted.to_write)
                reply = _IOCTL_REPLY.pack(0, _AGAIN, len(wanted.to_read), len(wanted.to_write)) + memory
            except OSError as error:
                failed = error.errno or errno.EIO
        elif kind != _RELEASE:
            failed = errno.ENOSYS
        os.write(cuse, _REPLY.pack(_REPLY.size + len(reply), -failed, unique) + reply)


if __name__ == "__main__":
    serve(int(sys.argv[1]), int(sys.argv[2]))
