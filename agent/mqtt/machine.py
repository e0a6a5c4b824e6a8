"""The machine: what the kernel tells of load, temperature and power, as far as it does."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

THROTTLED = "sys/devices/platform/soc*/soc*:firmware/get_throttled"
"""Where the Raspberry Pi's firmware tells it, below the root: boards differ in what comes after soc."""
_BITS = {
    0: "undervoltage",
    1: "frequency capped",
    2: "throttled",
    3: "soft temperature limit",
}
"""Of the Raspberry Pi's firmware, vcgencmd get_throttled; 16 more: since the boot."""


def throttling(flags: int) -> tuple[list[str], list[str]]:
    """What holds it back, now and since the boot, of the firmware's bits."""
    now, ever = ([said for bit, said in _BITS.items() if flags >> shift >> bit & 1] for shift in (0, 16))
    return now, ever


class Machine:
    """Read from time to time; what cannot be read is None."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self._last = (0, 0)

    def read(self) -> dict[str, Any]:
        """cpu_percent since the last call (of all cores together), temperature_c, and what throttles, now and ever."""
        throttled = next((self._text(path) for path in self._root.glob(THROTTLED)), None)
        flags = int(throttled, 16) if throttled else None
        millidegrees = self._text("sys/class/thermal/thermal_zone0/temp")
        return {
            "cpu_percent": self._cpu_percent(),
            "temperature_c": None if millidegrees is None else int(millidegrees) / 1000,
            "throttled": None if flags is None else throttling(flags)[0],
            "throttled_since_boot": None if flags is None else throttling(flags)[1],
        }

    def _cpu_percent(self) -> float | None:
        """proc(5), /proc/stat: user nice system idle iowait irq softirq steal."""
        text = self._text("proc/stat")
        if text is None:
            return None
        fields: Sequence[int] = [int(field) for field in text.splitlines()[0].split()[1:9]]
        idle, total = fields[3] + fields[4], sum(fields)
        before, self._last = self._last, (idle, total)
        spent = total - before[1]
        return round(100 * (1 - (idle - before[0]) / spent), 1) if spent > 0 else 0.0

    def _text(self, path: str | Path) -> str | None:
        try:
            return (self._root / path).read_text().strip() or None
        except OSError:
            return None
