"""Power and temperature: what the Pi's firmware and the kernel say of them."""

from collections.abc import Iterator

from agent.doctor import Finding, fail, ok, warn
from agent.doctor.scene import Scene
from agent.mqtt.machine import THROTTLED, throttling

_HOT_C = 80.0
"""Where a Pi begins to slow down."""
_SUPPLY = "use the supply made for this board, a short thick cable, and a powered hub for what hangs on USB"
_COOL = "cool it: a heat sink, a fan, or a place in the shade"


def power(scene: Scene) -> Iterator[Finding]:
    """Undervoltage and throttling, now and since the boot."""
    flags = _flags(scene)
    if flags is None:
        if scene.is_pi:
            yield warn("power", "the firmware does not tell whether it throttles", "apt install raspi-utils")
        return
    now, ever = throttling(flags)
    for said in now:
        yield fail("power", f"{said}, now", _SUPPLY if said == "undervoltage" else _COOL)
    for said in ever:
        if said not in now:
            yield warn("power", f"{said} since the boot", _SUPPLY if said == "undervoltage" else _COOL)
    if not now and not ever:
        yield ok("power", "no undervoltage and no throttling since the boot")


def temperature(scene: Scene) -> Iterator[Finding]:
    """Of the processor."""
    text = scene.text("sys/class/thermal/thermal_zone0/temp")
    if text is None:
        return
    celsius = int(text) / 1000
    seen = f"the processor is at {celsius:.0f} degrees Celsius"
    yield warn("power", seen, _COOL) if celsius >= _HOT_C else ok("power", seen)


def _flags(scene: Scene) -> int | None:
    for path in scene.glob(THROTTLED):
        return int(path.read_text(), 16)
    said = scene.run(["vcgencmd", "get_throttled"]) if scene.is_pi else None
    key, _, value = (said or "").strip().partition("=")
    return int(value, 16) if key == "throttled" else None
