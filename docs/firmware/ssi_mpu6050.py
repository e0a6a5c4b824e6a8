"""Streams an MPU-6050 as SensiML Simple Streaming version 2, for the driver `ssi`: MicroPython, on the board main.py.

Wiring: VCC 3.3 V, GND, SDA and SCL as in PINS. The chip's own clock and FIFO pace the samples. Register numbers:
RM-MPU-6000A rev. 4.2.
"""

import json
import select
import struct
import sys
import time

PINS = {"sda": 4, "scl": 5}  # of a Raspberry Pi Pico, its I2C 0
CHIP = 0x68  # 0x69 where AD0 is high
RATE_HZ = 100  # 1000 divided by a whole number from 1 to 250
ROWS = 8  # samples in a packet
COLUMNS = ("AccelerometerX", "AccelerometerY", "AccelerometerZ", "GyroscopeX", "GyroscopeY", "GyroscopeZ")
PAYLOAD = 12 * ROWS


def frame(channel, sequence, payload):
    """One packet.

    offset 0     1              3         4        5         9        then
           0xff  payload + 6    reserved  channel  sequence  payload  XOR of all from 3 on
           u8    u16            0         u8       u32                u8       (little endian)
    """
    body = struct.pack("<BBI", 0, channel, sequence) + payload
    check = 0
    for byte in body:
        check ^= byte
    return struct.pack("<BH", 0xFF, len(body)) + body + bytes((check,))


def announcement():
    """The line that an idle device repeats."""
    said = {"version": 2, "sample_rate": RATE_HZ, "samples_per_packet": ROWS}
    said["column_location"] = {name: at for at, name in enumerate(COLUMNS)}
    return json.dumps(said) + "\n"


class Chip:
    """The MPU-6050; OSError where it does not answer."""

    def __init__(self, bus):
        self.bus = bus

    def set(self, register, value):
        self.bus.writeto_mem(CHIP, register, bytes((value,)))

    def wake_up(self):
        self.set(0x6B, 0x80)  # PWR_MGMT_1: reset
        time.sleep_ms(100)
        self.set(0x6B, 0x01)  # awake, clock of the gyroscope
        self.set(0x19, 1000 // RATE_HZ - 1)  # SMPLRT_DIV
        self.set(0x1A, 0x03)  # CONFIG: 44 Hz low pass
        self.set(0x1B, 1 << 3)  # GYRO_CONFIG: 500 degrees/s, 65.5 a degree/s
        self.set(0x1C, 1 << 3)  # ACCEL_CONFIG: 4 g, 8192 a g

    def begin(self):
        self.set(0x23, 0x00)  # FIFO_EN
        self.set(0x6A, 0x04)  # USER_CTRL: an empty FIFO
        self.set(0x6A, 0x40)
        self.ran_over()  # forgets what was before
        self.set(0x23, 0x78)  # gyroscope and accelerometer

    def ran_over(self):
        """Whether the FIFO lost something since this was last asked (INT_STATUS)."""
        return bool(self.bus.readfrom_mem(CHIP, 0x3A, 1)[0] & 0x10)

    def rows(self):
        """How many samples wait in the FIFO."""
        return struct.unpack(">H", self.bus.readfrom_mem(CHIP, 0x72, 2))[0] // 12

    def packet(self):
        """The payload of a packet, little endian; None where the FIFO ran over before all of it was read."""
        words = struct.unpack(f">{6 * ROWS}h", self.bus.readfrom_mem(CHIP, 0x74, PAYLOAD))
        return None if self.ran_over() else struct.pack(f"<{6 * ROWS}h", *words)


class Host:
    """Listens for "connect" and "disconnect", wherever in the line they stand."""

    def __init__(self):
        self.wants_data = False
        self.heard = b""
        self.poll = select.poll()
        self.poll.register(sys.stdin, select.POLLIN)

    def listen(self):
        while self.poll.poll(0):
            self.heard = (self.heard + sys.stdin.buffer.read(1))[-10:]
            if self.heard == b"disconnect":  # which ends like the other
                self.wants_data = False
            elif self.heard[-7:] == b"connect":
                self.wants_data = True


def main():
    from machine import I2C, Pin  # noqa: PLC0415  only on a board

    chip = Chip(I2C(0, sda=Pin(PINS["sda"]), scl=Pin(PINS["scl"]), freq=400000))
    host, out = Host(), sys.stdout.buffer
    chip.wake_up()
    sequence, sampling, announced_ms = 0, False, 0
    packet_ms = 1000 * ROWS // RATE_HZ
    while True:
        host.listen()
        now_ms = time.ticks_ms()
        if not host.wants_data:
            sampling = False
            if time.ticks_diff(now_ms, announced_ms) >= 500:
                announced_ms = now_ms
                out.write(announcement().encode())
            continue
        if not sampling:
            chip.begin()
            sampling, told_ms = True, time.ticks_ms()  # until when the host has all that was measured
        rows = chip.rows()
        if rows < ROWS:
            continue
        payload = chip.packet()
        if payload is None:  # the host sees by the sequence how much was lost, as well as the clock here knows
            chip.begin()
            now_ms = time.ticks_ms()
            sequence += (time.ticks_diff(now_ms, told_ms) + packet_ms // 2) // packet_ms
            told_ms = now_ms
        else:
            sequence += 1
            out.write(frame(0, sequence, payload))
            told_ms = time.ticks_add(now_ms, -(rows - ROWS) * 1000 // RATE_HZ)


if __name__ == "__main__":
    main()
