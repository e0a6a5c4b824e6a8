"""A virtual VEML7700, modelled register by register: it gathers light that stays, or grows by so much a second.

From Vishay 84286 rev. 1.8 (tables 1 to 8) and 84323:

- After power-up it is shut down (CONFIG is 1) and its data registers are 0.
- Switched on, it has its first value after 2.5 ms and the integration time, and then one after each integration time,
  on its own clock; with power saving on, so much later each. Shut down, it keeps its last value.
- A value is the light at its end over the resolution of gain and time, of 16 bits; white is five quarters of it.
- A register is read from its pointer, two bytes, low byte first, again and again.
"""

from collections.abc import Callable, Mapping
from typing import Any

from drivers.ports import boottime_ns
from drivers.ports.virtual import Wire
from drivers.ports.virtual.i2c import serve_chip

_CONFIG, _POWER_SAVING, _LIGHT, _WHITE, _ID = 0x00, 0x03, 0x04, 0x05, 0x07
_GAINS = (1.0, 2.0, 0.125, 0.25)
_INTEGRATIONS_S = {0b1100: 0.025, 0b1000: 0.05, 0b0000: 0.1, 0b0001: 0.2, 0b0010: 0.4, 0b0011: 0.8}
_START_UP_S = 0.0025


def counts(lux: float, gain: float, integration_s: float) -> tuple[int, int]:
    """Light and white as the registers have them; 0.0672 lux a count at gain 1 and 100 ms."""
    light = lux / 0.0672 * gain * integration_s / 0.1
    return min(65535, int(light)), min(65535, int(1.25 * light))


class Veml7700:
    """The chip; `document` is a `Virtual`'s with `lux` and `lux_per_s`. Time passes when it is written or read."""

    def __init__(self, document: Mapping[str, Any], now_ns: Callable[[], int] = boottime_ns) -> None:
        self._lux, self._lux_per_s = float(document["lux"]), float(document["lux_per_s"])
        self._clock = 1.0 + document["clock_ppm"] * 1e-6
        self._now_ns = now_ns
        self._switched_on_ns = 0
        self.power_on()

    def power_on(self) -> None:
        self._registers = [0x0001, 0, 0, 0, 0, 0, 0, 0xC481]
        self._switched_on_ns = 0

    def write(self, register: int, data: bytes) -> None:
        self._pass_time()
        if register > _POWER_SAVING or len(data) < 2:
            return
        self._registers[register] = int.from_bytes(data[:2], "little")
        if register in (_CONFIG, _POWER_SAVING):
            self._switched_on_ns = 0 if self._registers[_CONFIG] & 0x01 else self._now_ns()

    def read(self, register: int, count: int) -> bytes:
        self._pass_time()
        value = self._registers[register] if register <= _ID else 0
        return (value.to_bytes(2, "little") * (count // 2 + 1))[:count]

    def _pass_time(self) -> None:
        integration_s = _INTEGRATIONS_S.get(self._registers[_CONFIG] >> 6 & 0x0F, 0.1)
        saving = self._registers[_POWER_SAVING]
        period_s = (integration_s + (0.5 * (1 << (saving >> 1 & 0x03)) if saving & 0x01 else 0)) / self._clock
        on_s = (self._now_ns() - self._switched_on_ns) / 1e9
        ended = int((on_s - _START_UP_S) / period_s)
        if not self._switched_on_ns or ended < 1:
            return
        lux = max(0.0, self._lux + self._lux_per_s * (_START_UP_S + ended * period_s))
        gain = _GAINS[self._registers[_CONFIG] >> 11 & 0x03]
        self._registers[_LIGHT], self._registers[_WHITE] = counts(lux, gain, integration_s)


def main(wire: Wire, document: Mapping[str, Any]) -> None:
    """The child process."""
    serve_chip(wire, Veml7700(document), document)
