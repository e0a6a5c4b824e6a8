"""A virtual BME280 or BMP280, modelled register by register: it measures when it is told to, and each time anew.

From BST-BME280-DS002 (sections in brackets) and BST-BMP280-DS001:

- After power-up and reset it sleeps, for START_UP_S copies its trimming constants (im_update) [5.4.4], and its data
  registers say "skipped": 0x80000, humidity 0x8000 [5.4.7 to 5.4.9].
- CTRL_HUM takes effect with the next write to CTRL_MEAS [5.4.3]. Forced mode measures once, for the typical time of
  appendix B, with the bit `measuring` set, and sleeps again [3.3.3]; normal mode is not modelled. An oversampling of 0
  skips its quantity.
- Measurement n since the reset has the raw values of `raw(n)`, with 16 bits at an oversampling of 1, one more for each
  doubling, 20 with the filter on [3.4]; the filter of coefficient c makes (old * (c - 1) + new) / c of them [3.4.4].
- A write of several bytes is one of pairs, register and value [6.2.1]; reads go on from register to register.
"""

from collections.abc import Callable, Mapping
from typing import Any

from drivers.ports import boottime_ns
from drivers.ports.virtual import Wire
from drivers.ports.virtual.i2c import serve_chip

START_UP_S = 0.002
_CHIP_ID, _RESET, _CTRL_HUM, _STATUS, _CTRL_MEAS, _CONFIG, _DATA = 0xD0, 0xE0, 0xF2, 0xF3, 0xF4, 0xF5, 0xF7
_HUMID = 0x60
_SKIPPED = bytes((0x80, 0, 0, 0x80, 0, 0, 0x80, 0))

# dig_T1 ... dig_P9 of the example in BST-BMP280-DS001 3.12; humidity: as parts that are sold have them
_WORDS = (27504, 26435, -1000, 36477, -10685, 3024, 2855, 140, -7, 15500, -14600, 6000)
_H1, _H2, _H3, _H4, _H5, _H6 = 75, 370, 0, 313, 50, 30
EXAMPLE = 519888, 415148
"""Raw temperature and pressure of that example: 25.08 degrees, 100653.3 Pa."""


def raw(n: int) -> tuple[int, int, int]:
    """Temperature, pressure and humidity of measurement n, of 20, 20 and 16 bits."""
    return EXAMPLE[0] + 96 * (n % 32), EXAMPLE[1] - 80 * (n % 50), 29000 + 50 * (n % 40)


def trimming() -> tuple[bytes, bytes]:
    """0x88 ... 0x9F; and 0xA1, 0xE1 ... 0xE7."""
    middle = (_H5 & 0x0F) << 4 | _H4 & 0x0F
    humid = bytes((_H1, *_H2.to_bytes(2, "little"), _H3, _H4 >> 4, middle, _H5 >> 4, _H6))
    return b"".join((word & 0xFFFF).to_bytes(2, "little") for word in _WORDS), humid


class Bme280:
    """The chip; `document` is a `Virtual`'s with `chip_id`. Time passes when it is written or read."""

    def __init__(self, document: Mapping[str, Any], now_ns: Callable[[], int] = boottime_ns) -> None:
        self._chip_id = int(document["chip_id"])
        self._clock = 1.0 + document["clock_ppm"] * 1e-6
        self._now_ns = now_ns
        self.power_on()

    def power_on(self) -> None:
        self._registers = bytearray(256)
        self._registers[_CHIP_ID] = self._chip_id
        words, humid = trimming()
        self._registers[0x88:0xA0] = words
        if self._chip_id == _HUMID:
            self._registers[0xA1], self._registers[0xE1:0xE8] = humid[0], humid[1:]
        self._registers[_DATA : _DATA + 8] = _SKIPPED
        self._awake_ns = self._now_ns() + int(START_UP_S * 1e9)
        self._humidity = 0
        self._done_ns = 0
        self._count = 0
        self._filtered: list[int] = []

    def write(self, register: int, data: bytes) -> None:
        self._pass_time()
        pairs = [(register, data[0])] if data else []
        pairs += zip(data[1::2], data[2::2], strict=False)
        for address, value in pairs:
            if address == _RESET and value == 0xB6:
                self.power_on()
            elif address in (_CTRL_MEAS, _CONFIG) or (address == _CTRL_HUM and self._chip_id == _HUMID):
                self._registers[address] = value
            if address == _CTRL_MEAS:
                self._humidity = self._registers[_CTRL_HUM] & 0x07
                if value & 0x03 in (1, 2) and not self._done_ns:
                    self._done_ns = self._now_ns() + int(self._conversion_s() / self._clock * 1e9)

    def read(self, register: int, count: int) -> bytes:
        self._pass_time()
        return bytes(self._registers[(register + at) % 256] for at in range(count))

    def _conversion_s(self) -> float:
        temperature, pressure, humidity = (self._times(code) for code in self._codes())
        steps = 2 * temperature + 2 * pressure + 0.5 * bool(pressure) + 2 * humidity + 0.5 * bool(humidity)
        return (1 + steps) / 1e3

    def _codes(self) -> tuple[int, int, int]:
        """The oversampling of temperature, pressure and humidity, as the registers have it."""
        control = self._registers[_CTRL_MEAS]
        return control >> 5, control >> 2 & 0x07, self._humidity if self._chip_id == _HUMID else 0

    @staticmethod
    def _times(code: int) -> int:
        return 1 << min(code, 5) - 1 if code else 0

    def _pass_time(self) -> None:
        now_ns = self._now_ns()
        if self._done_ns and now_ns >= self._done_ns:
            self._done_ns = 0
            self._registers[_CTRL_MEAS] &= ~0x03
            self._measure()
        self._registers[_STATUS] = 0x08 * bool(self._done_ns) | 0x01 * (now_ns < self._awake_ns)

    def _measure(self) -> None:
        temperature, pressure, humidity = raw(self._count)
        self._count += 1
        codes = self._codes()
        coefficient = 1 << min(self._registers[_CONFIG] >> 2 & 0x07, 4)
        values = [temperature, pressure]
        if coefficient > 1:
            old = self._filtered or values
            values = self._filtered = [
                (before * (coefficient - 1) + new) // coefficient for before, new in zip(old, values, strict=True)
            ]
        else:  # of 16 bits, and one more for each doubling
            values = [
                value & ~((1 << 5 - min(max(code, 1), 5)) - 1) for value, code in zip(values, codes, strict=False)
            ]
        temperature, pressure = (value if code else 0x80000 for value, code in zip(values, codes, strict=False))
        data = (pressure << 4).to_bytes(3, "big") + (temperature << 4).to_bytes(3, "big")
        if self._chip_id == _HUMID:
            data += (humidity if codes[2] else 0x8000).to_bytes(2, "big")
        self._registers[_DATA : _DATA + len(data)] = data


def main(wire: Wire, document: Mapping[str, Any]) -> None:
    """The child process."""
    serve_chip(wire, Bme280(document), document)
