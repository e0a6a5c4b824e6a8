"""A virtual INA219, modelled register by register: at a battery whose voltage rises and whose current turns.

From SBOS448 rev. G (sections in brackets):

- After power-up and reset CONFIG is 0x399f: both voltages, of 12 bits, again and again [8.6.2.1]; CALIBRATION is 0 and
  with it the current and power registers [8.5.1]. Resolutions below 12 bits take less time and are modelled as 12.
- In triggered mode each write to CONFIG begins one conversion of shunt and bus, in continuous mode one follows the
  other, each for the typical time of table 5, on the chip's own clock. CNVR is set at the end, and cleared by a write
  to CONFIG and by reading POWER [8.6.3.2].
- Triggered conversion n since power-up, and continuous conversion n since CONFIG was written, have the values of
  `raw(n)`; beyond the ranges of CONFIG each is its end.
- Current = shunt * CALIBRATION / 4096, power = current * bus / 5000 [8.5.1], without their fractions.
- A register is read from its pointer, two bytes, again and again.
"""

from collections.abc import Callable, Mapping
from typing import Any

from drivers.ports import boottime_ns
from drivers.ports.virtual import Wire
from drivers.ports.virtual.i2c import serve_chip

_CONFIG, _SHUNT, _BUS, _POWER, _CURRENT, _CALIBRATION = range(6)
_AFTER_RESET = 0x399F
_SHORT_S = (84e-6, 148e-6, 276e-6, 532e-6)
_AVERAGED_S = (0.000532, 0.00106, 0.00213, 0.00426, 0.00851, 0.01702, 0.03405, 0.0681)


def raw(n: int) -> tuple[int, int]:
    """Bus voltage in 4 mV and shunt voltage in 10 uV at conversion n."""
    return 900 + n % 100, 4500 - 1500 * (n % 7)


class Ina219:
    """The chip; `document` is a `Virtual`'s. Time passes when it is written or read."""

    def __init__(self, document: Mapping[str, Any], now_ns: Callable[[], int] = boottime_ns) -> None:
        self._clock = 1.0 + document["clock_ppm"] * 1e-6
        self._now_ns = now_ns
        self.power_on()

    def power_on(self) -> None:
        self._registers = [_AFTER_RESET, 0, 0, 0, 0, 0]
        self._triggered = 0  # conversions that were begun by a trigger, and have ended
        self._seen = 0  # continuous conversions whose end was noticed
        self._ready = False
        self._begun_ns = self._now_ns()  # of the conversion that is going on; 0: none

    def write(self, register: int, data: bytes) -> None:
        self._pass_time()
        value = int.from_bytes(data[:2], "big")
        if register == _CALIBRATION:
            self._registers[_CALIBRATION] = value & 0xFFFE
            self._calculate()
        elif register == _CONFIG and value & 0x8000:
            self.power_on()
        elif register == _CONFIG:
            self._registers[_CONFIG] = value
            self._ready, self._seen = False, 0
            self._begun_ns = self._now_ns() if value & 0x03 else 0

    def read(self, register: int, count: int) -> bytes:
        self._pass_time()
        value = self._registers[register] if register <= _CALIBRATION else 0
        if register == _BUS:
            value = value << 3 | self._ready << 1
        elif register == _POWER:
            self._ready = False
        return ((value & 0xFFFF).to_bytes(2, "big") * (count // 2 + 1))[:count]

    def _pass_time(self) -> None:
        config = self._registers[_CONFIG]
        taken_s = [_seconds(config >> shift & 0x0F) for shift, bit in ((3, 0x01), (7, 0x02)) if config & bit]
        period_ns = sum(taken_s) / self._clock * 1e9
        ended = int((self._now_ns() - self._begun_ns) / period_ns) if self._begun_ns and period_ns else 0
        continuous = bool(config & 0x04)
        if ended <= self._seen * continuous:
            return
        if continuous:
            n, self._seen = ended - 1, ended
        else:
            n, self._triggered, self._begun_ns = self._triggered, self._triggered + 1, 0
        self._ready = True
        bus, shunt = raw(n)
        most = 4000 << (config >> 11 & 0x03)
        if config & 0x01:
            self._registers[_SHUNT] = max(-most, min(most, shunt))
        if config & 0x02:
            self._registers[_BUS] = min(bus, 8000 if config & 0x2000 else 4000)
        self._calculate()

    def _calculate(self) -> None:
        registers = self._registers
        registers[_CURRENT] = int(registers[_SHUNT] * registers[_CALIBRATION] / 4096)
        registers[_POWER] = abs(registers[_CURRENT]) * registers[_BUS] // 5000


def _seconds(code: int) -> float:
    """How long one conversion takes; table 5."""
    return _AVERAGED_S[code & 0x07] if code & 0x08 else _SHORT_S[code & 0x03]


def main(wire: Wire, document: Mapping[str, Any]) -> None:
    """The child process."""
    serve_chip(wire, Ina219(document), document)
