"""An I2C adapter of the kernel's kind, by umockdev, for an unmodified program: virtual chips behind /dev/i2c-1.

i2c_adapters.py FUNCTIONS NACK COMMAND...

Runs in the system's Python, which has umockdev's bindings (Debian: umockdev, gir1.2-umockdev-1.0, python3-gi). COMMAND
sees a /dev/i2c-1 that can do FUNCTIONS (a mask, linux/i2c.h) and says the errno NACK where nobody answers. It plugs a
chip in by a message of one byte, its address, to the socket $I2C_CHIPS, together with a descriptor on which the model
speaks the wire of drivers.ports.virtual; without a descriptor the chip is taken away. Each message is answered by the
same. Ends as COMMAND does.
"""

import errno
import os
import socket
import struct
import subprocess
import sys
import threading

import gi

gi.require_version("UMockdev", "1.0")
from gi.repository import GLib, UMockdev  # noqa: E402

DEVICE = """\
P: /devices/platform/soc/3f804000.i2c/i2c-1/i2c-dev/i2c-1
N: i2c-1
E: DEVNAME=/dev/i2c-1
E: MAJOR=89
E: MINOR=1
E: SUBSYSTEM=i2c-dev
A: name=bcm2835 (i2c@7e804000)\\n
"""
# linux/i2c-dev.h and linux/i2c.h
SLAVE, SLAVE_FORCE, FUNCS, RDWR, SMBUS = 0x703, 0x706, 0x705, 0x707, 0x720
PLAIN, SMBUS_READ, SMBUS_WRITE = 0x1, 0x04000000, 0x08000000  # of functions: I2C, and I2C blocks by SMBus
MESSAGE_READ = 0x1
BYTE, BYTE_DATA, WORD_DATA, I2C_BLOCK = 1, 2, 3, 8
BLOCK_MAX = 32
# the wire of drivers.ports.virtual.i2c
LENGTH, REQUEST, ANSWER = struct.Struct("<I"), struct.Struct("<BBH"), struct.Struct("<H")
WRITE, READ = 0, 1


class Chip:
    """A model at the other end of a wire, and the register pointer that its bus has left it."""

    def __init__(self, wire: socket.socket) -> None:
        self._wire = wire
        self._message()  # it is ready
        self.pointer = 0

    def write(self, data: bytes) -> None:
        """One message to the chip: a register's number, and perhaps what goes there and into the next ones."""
        self.pointer = data[0]
        if data[1:]:
            self._transfer(WRITE, len(data) - 1, data[1:])

    def read(self, count: int) -> bytes:
        return self._transfer(READ, count)

    def close(self) -> None:
        self._wire.close()

    def _transfer(self, kind: int, count: int, data: bytes = b"") -> bytes:
        request = REQUEST.pack(kind, self.pointer, count) + data
        self._wire.sendall(LENGTH.pack(len(request)) + request)
        answer = self._message()
        (code,) = ANSWER.unpack_from(answer)
        if code:
            raise OSError(code, os.strerror(code))
        return answer[ANSWER.size :]

    def _message(self) -> bytes:
        (size,) = LENGTH.unpack(self._wire.recv(LENGTH.size, socket.MSG_WAITALL))
        return self._wire.recv(size, socket.MSG_WAITALL)


class Adapter(UMockdev.IoctlBase):
    """Answers the ioctls of i2c-dev as the kernel does."""

    def __init__(self, functions: int, nack: int) -> None:
        super().__init__()
        self.chips: dict[int, Chip] = {}
        self._functions = functions
        self._nack = nack
        self._address = 0

    def do_handle_ioctl(self, client):
        try:
            answer = self._ioctl(client.get_request() & 0xFFFFFFFF, client.get_arg())
        except OSError as error:
            code = self._nack if error.errno == errno.EREMOTEIO else error.errno
            client.complete(-1, code)
        except Exception as error:  # a program that waits for ever says nothing of what is wrong here
            print(f"i2c_adapters: {error!r}", file=sys.stderr, flush=True)
            client.complete(-1, errno.EINVAL)
        else:
            client.complete(answer, 0)
        return True

    def _ioctl(self, request: int, argument) -> int:
        if request in (SLAVE, SLAVE_FORCE):
            (self._address,) = struct.unpack_from("L", taken(argument))
            return 0
        if request == FUNCS:
            argument.resolve(0, 8).update(0, list(struct.pack("L", self._functions)))
            return 0
        if request == RDWR and self._functions & PLAIN:
            return self._messages(argument.resolve(0, 16))
        if request == SMBUS:
            self._smbus(argument.resolve(0, 16))
            return 0
        raise OSError(errno.EOPNOTSUPP, "not this adapter")

    def _messages(self, top) -> int:
        """struct i2c_rdwr_ioctl_data: messages with one stop at the end."""
        (count,) = struct.unpack_from("I", taken(top), 8)
        messages = top.resolve(0, 16 * count)
        for at in range(0, 16 * count, 16):
            address, flags, length = struct.unpack_from("HHH", taken(messages), at)
            buffer, chip = messages.resolve(at + 8, length), self._chip(address)
            if flags & MESSAGE_READ:
                buffer.update(0, list(chip.read(length)))
            else:
                chip.write(taken(buffer))
        return count

    def _smbus(self, top) -> None:
        """struct i2c_smbus_ioctl_data: one transfer of SMBus, to the address that was set last."""
        reads, command, size = struct.unpack_from("BBI", taken(top))
        chip, data = self._chip(self._address), None
        if size != BYTE or reads:
            data = top.resolve(8, BLOCK_MAX + 2)
        if size == BYTE:
            if reads:
                data.update(0, list(chip.read(1)))
            else:
                chip.write(bytes([command]))
            return
        if size not in (BYTE_DATA, WORD_DATA, I2C_BLOCK) or not self._functions & (SMBUS_READ | SMBUS_WRITE):
            raise OSError(errno.EOPNOTSUPP, "not this adapter")
        begin, length = (1, taken(data)[0]) if size == I2C_BLOCK else (0, size - 1)
        if length > BLOCK_MAX:
            raise OSError(errno.EINVAL, "too long")
        if reads:
            chip.write(bytes([command]))
            data.update(begin, list(chip.read(length)))
        else:
            chip.write(bytes([command]) + taken(data)[begin : begin + length])

    def _chip(self, address: int) -> Chip:
        if address not in self.chips:
            raise OSError(errno.EREMOTEIO, "nobody answers")
        return self.chips[address]


def taken(data) -> bytes:
    """What the program's memory holds there."""
    return bytes(data.retrieve())


def main(functions: str, nack: str, *command: str) -> int:
    loop, testbed, ended = GLib.MainLoop(), UMockdev.Testbed.new(), []
    testbed.add_from_string(DEVICE)
    adapter = Adapter(int(functions, 0), int(nack))
    testbed.attach_ioctl("/dev/i2c-1", adapter)
    ours, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)

    def plug(*_) -> bool:
        message, descriptors, *_ = socket.recv_fds(ours, 1, 1)
        if not message:
            return False
        if message[0] in adapter.chips:
            adapter.chips.pop(message[0]).close()
        if descriptors:
            adapter.chips[message[0]] = Chip(socket.socket(fileno=descriptors[0]))
        ours.send(message)
        return True

    def run() -> None:
        environment = {
            **os.environ,
            "LD_PRELOAD": "libumockdev-preload.so.0",
            "UMOCKDEV_DIR": testbed.get_root_dir(),
            "I2C_CHIPS": str(theirs.fileno()),
        }
        try:
            ended.append(subprocess.call(command, env=environment, pass_fds=(theirs.fileno(),)))
        finally:
            GLib.idle_add(loop.quit)

    GLib.io_add_watch(ours.fileno(), GLib.IO_IN, plug)
    threading.Thread(target=run).start()
    loop.run()
    return ended[0] if ended else 70


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
