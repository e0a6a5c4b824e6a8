"""I2C: whether buses are enabled, and whether the chips that streams want are there."""

import errno
from collections.abc import Iterator

from agent.doctor import Finding, fail, ok, warn
from agent.doctor.chips import Chip, chips, declared, looked_at, numbers
from agent.doctor.scene import Scene
from drivers.ports.i2c import explained

_ENABLE = "sudo raspi-config nonint do_i2c 0 (dtparam=i2c_arm=on in config.txt), then reboot"


def buses(scene: Scene) -> Iterator[Finding]:
    """Enabled or not; who answers; which streams find nobody, or somebody else."""
    there, wanted = numbers(scene), _wanted(scene)
    if not there:
        yield from _none(scene, needed=bool(wanted))
    for number in sorted({number for number, _ in wanted.values()} - set(there)) if there else ():
        names = ", ".join(name for name, (bus, _) in wanted.items() if bus == number)
        has = ", ".join(map(str, there))
        yield fail(
            "i2c", f"there is no bus {number}, which stream {names} wants", f"set bus to one of {has}; or {_ENABLE}"
        )
    known = declared("HALLMARKS")
    for number in looked_at(scene):
        try:
            found = chips(scene, number, known)
        except OSError as error:
            yield fail("i2c", f"bus {number}: {error.strerror}", _why(error, number))
            continue
        said = ", ".join(map(str, found)) or "nobody answers"
        yield (
            ok("i2c", f"bus {number}: {said}")
            if found
            else warn("i2c", f"bus {number}: {said}", "check power and wiring")
        )
        for name, (bus, address) in wanted.items():
            if bus == number and address is not None and scene.config is not None:
                driver = scene.config.streams[name].driver
                yield from _met(name, driver, address, {chip.address: chip for chip in found})
    if left := sorted(set(there) - set(looked_at(scene))):
        yield ok("i2c", f"left alone: bus {', '.join(map(str, left))} (--bus N looks there)")


def _met(stream: str, driver: str, address: int, found: dict[int, Chip]) -> Iterator[Finding]:
    """Whether a stream meets its chip."""
    chip = found.get(address)
    if chip is None:
        yield fail(
            "i2c",
            f"stream {stream}: nobody answers at 0x{address:02x}",
            "check power, ground, SDA and SCL, and `address`; the bus line above says who answers",
        )
    elif chip.kernel:
        remedy = "remove its overlay (dtoverlay=...) from config.txt, and reboot"
        yield fail("i2c", f"stream {stream}: 0x{address:02x} is with the kernel's driver {chip.kernel}", remedy)
    elif chip.driver and chip.driver != driver and chip.sure:
        remedy = f'set driver = "{chip.driver}", or the other address'
        yield fail("i2c", f"stream {stream}: at 0x{address:02x} is a {chip.model} and no {driver}", remedy)


def _none(scene: Scene, *, needed: bool) -> Iterator[Finding]:
    config, modules = scene.boot_text("config.txt"), scene.text("proc/modules") or ""
    if not needed and not scene.is_pi:
        yield ok("i2c", "there is no bus, and none is wanted")
        return
    report = fail if needed else warn
    lines = [line.strip() for line in (config or "").splitlines()]
    if config is not None and not any(line.startswith(("dtparam=i2c_arm=on", "dtparam=i2c=on")) for line in lines):
        yield report("i2c", "there is no bus: config.txt does not enable it", _ENABLE)
    elif "i2c_dev " not in modules and not scene.path("sys/module/i2c_dev").exists():
        yield report(
            "i2c",
            "there is no bus: the module i2c-dev is not loaded",
            "sudo modprobe i2c-dev, and add it to /etc/modules",
        )
    else:
        yield report("i2c", "there is no bus", f"{_ENABLE}; an adapter on USB shows in `dmesg`")


def _why(error: OSError, number: int) -> str:
    if error.errno == errno.EACCES:
        return "run this as root, or add yourself to the group i2c"
    return str(explained(error, "bus", number, 0)).partition(": ")[2]


def _wanted(scene: Scene) -> dict[str, tuple[int, int | None]]:
    """Bus and address of each stream that has a bus; None: the driver has its own addresses."""
    found = {}
    for name, stream in scene.config.streams.items() if scene.config else ():
        bus = getattr(stream.settings, "bus", "virtual")
        digits = str(bus).rpartition("-")[2]
        if digits.isdigit():
            found[name] = int(digits), getattr(stream.settings, "address", None)
    return found
