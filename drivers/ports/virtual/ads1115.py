"""A virtual ADS1115, modelled register by register: it converts voltages that rise from conversion to conversion.

From SBAS444 rev. D (sections in brackets):

- After power-up CONFIG is 0x8583: single-shot, idle [9.6.3]; the thresholds are 0x8000 and 0x7fff [9.6.4].
- In single-shot mode writing OS begins one conversion; OS reads 0 while it lasts, 1 / data rate, on the chip's own
  clock [9.4.2.1]. In continuous mode one follows the other, OS reads 0, and CONVERSION has the last that ended
  [9.4.2.2].
- Conversion n since power-up sees `volts(pin, n)`; what lies beyond the range is its end [9.3.3].
- A register is read from its pointer, two bytes, again and again: there is no moving on to the next [9.5.2].
"""

from collections.abc import Callable, Mapping
from typing import Any

from drivers.ports import boottime_ns
from drivers.ports.virtual import Wire
from drivers.ports.virtual.i2c import serve_chip

_CONVERSION, _CONFIG = 0x00, 0x01
_PAIRS = ((0, 1), (0, 3), (1, 3), (2, 3))
_RANGES_V = (6.144, 4.096, 2.048, 1.024, 0.512, 0.256, 0.256, 0.256)
_DATA_RATES = (8, 16, 32, 64, 128, 250, 475, 860)


def volts(pin: int, n: int) -> float:
    """At AIN0 ... AIN3, at conversion n since power-up."""
    return 0.4 + 0.6 * pin + 0.0005 * (n % 400) * (pin + 1)


def raw(mux: int, range_v: float, n: int) -> int:
    """What CONVERSION says after conversion n."""
    positive, negative = _PAIRS[mux] if mux < 4 else (mux - 4, None)
    value = volts(positive, n) - (0.0 if negative is None else volts(negative, n))
    return max(-32768, min(32767, round(value / range_v * 32768)))


class Ads1115:
    """The chip; `document` is a `Virtual`'s. Time passes when it is written or read."""

    def __init__(self, document: Mapping[str, Any], now_ns: Callable[[], int] = boottime_ns) -> None:
        self._clock = 1.0 + document["clock_ppm"] * 1e-6
        self._now_ns = now_ns
        self.power_on()

    def power_on(self) -> None:
        self._registers = [0, 0x0583, 0x8000, 0x7FFF]  # OS is not kept here
        self._done = 0  # conversions that have ended
        self._begun_ns = 0  # of the conversion that is going on; 0: none

    def write(self, register: int, data: bytes) -> None:
        self._pass_time()
        if register not in (_CONFIG, 2, 3) or len(data) < 2:
            return
        value = int.from_bytes(data[:2], "big")
        if register != _CONFIG:
            self._registers[register] = value
            return
        self._registers[_CONFIG] = value & 0x7FFF
        continuous = not value & 0x0100
        if continuous or (value & 0x8000 and not self._begun_ns):
            self._begun_ns = self._now_ns()

    def read(self, register: int, count: int) -> bytes:
        self._pass_time()
        value = self._registers[register & 0x03] & 0xFFFF
        if register == _CONFIG:
            value |= 0 if self._begun_ns else 0x8000
        return (value.to_bytes(2, "big") * (count // 2 + 1))[:count]

    def _pass_time(self) -> None:
        config = self._registers[_CONFIG]
        period_ns = 1e9 / (_DATA_RATES[config >> 5 & 0x07] * self._clock)
        ended = int((self._now_ns() - self._begun_ns) / period_ns) if self._begun_ns else 0
        if not ended:
            return
        if config & 0x0100:
            ended, self._begun_ns = 1, 0
        else:
            self._begun_ns += int(ended * period_ns)
        self._done += ended
        self._registers[_CONVERSION] = raw(config >> 12 & 0x07, _RANGES_V[config >> 9 & 0x07], self._done - 1)


def main(wire: Wire, document: Mapping[str, Any]) -> None:
    """The child process."""
    serve_chip(wire, Ads1115(document), document)
