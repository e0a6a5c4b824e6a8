"""Serial lines: which there are, and what comes in on each, at which speed; nothing is written to them."""

import dataclasses
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agent.doctor import Finding, fail, ok, warn
from agent.doctor.chips import declared
from agent.doctor.scene import Scene
from drivers.ports import DriverError
from drivers.ports.uart import open_uart

BAUDS = (115200, 9600, 921600, 460800, 230400, 57600, 38400, 19200)
"""The usual first."""
_USB_S, _UART_S = 3.5, 1.3
"""How long is listened at the first speed and at others. Boards on USB begin anew when they are opened; SSI announces
itself every second."""
_ENOUGH = 4096


@dataclasses.dataclass(frozen=True)
class Heard:
    """What one line brings."""

    port: str
    """The name that stays, where there is one."""
    baud: int = 0
    driver: str = ""
    """Empty: none of ours."""
    what: str = ""
    error: str = ""

    def __str__(self) -> str:
        speed = f" at {self.baud} baud" if self.baud else ""
        return f"{self.port}: {self.error or f'{self.what}{speed}'}"


def ports(scene: Scene) -> list[Path]:
    """Serial lines to which something may be connected, by the names that stay where they have them."""
    kinds = ("serial/by-id/*", "serial0", "ttyACM*", "ttyUSB*", "ttyAMA*")
    not_ours = {path.resolve() for path in scene.glob("dev/serial1")}  # Bluetooth
    not_ours |= {scene.path(f"dev/{name}") for name in re.findall(r"console=(\w+)", scene.text("proc/cmdline") or "")}
    found: dict[Path, Path] = {}
    for path in (path for kind in kinds for path in scene.glob(f"dev/{kind}")):
        if path.resolve() not in not_ours and path not in not_ours:
            found.setdefault(path.resolve(), path)
    return list(found.values())


def heard(path: Path, *, quick: bool = False) -> Heard:
    """Listens at each speed until something is known; `quick`: at the usual one only."""
    recognise = declared("looks_like")
    any_speed = path.resolve().name.startswith("ttyACM")  # USB itself, on which a speed means nothing
    try:
        uart = open_uart(str(path), BAUDS[0], device="", virtual={})
    except DriverError as error:
        return Heard(str(path), error=str(error).partition(": ")[2])
    some = b""
    try:
        for number, baud in enumerate(BAUDS[:1] if quick or any_speed else BAUDS):
            if number:
                uart.change_baud(baud)
            data = _listen(uart, _USB_S if number == 0 else _UART_S, recognise)
            driver, what = _recognised(data, recognise)
            if what:
                return Heard(str(path), baud, driver, what)
            some = some or data
            if number >= 1 and not some:
                break  # a line that is silent at two speeds is silent
    except DriverError as error:
        return Heard(str(path), error=str(error).partition(": ")[2])
    finally:
        uart.close()
    if some:
        return Heard(str(path), what=f"{len(some)} bytes that nobody here knows, such as {some[:16].hex(' ')}")
    return Heard(str(path), what="silence")


def _listen(uart: Any, seconds: float, recognise: dict[str, Any]) -> bytes:
    """What comes in that time; less where it is recognised earlier."""
    end_s, data, looked = time.monotonic() + seconds, b"", 0
    while (left_s := end_s - time.monotonic()) > 0 and len(data) < _ENOUGH:
        piece, _ = uart.read(min(left_s, 0.25))
        data += piece
        if len(data) >= looked + 256 or b"\n" in piece:
            looked = len(data)
            if _recognised(data, recognise)[1]:
                break
    return data


def _recognised(data: bytes, recognise: dict[str, Any]) -> tuple[str, str]:
    """(driver, what it is in words), or empty ones."""
    said = ((name, looks_like(data)) for name, looks_like in recognise.items())
    return next(((name, what) for name, what in said if what), ("", ""))


def lines(scene: Scene) -> Iterator[Finding]:
    """Each line, and each stream whose line is not there. A line that the daemon has open is left to it."""
    wanted = {}
    for name, stream in scene.config.streams.items() if scene.config else ():
        port = getattr(stream.settings, "port", "virtual")
        if port != "virtual":
            wanted[name] = stream, scene.path(port.lstrip("/"))
    for name, (_, path) in wanted.items():
        if not path.exists():
            there = ", ".join(f"/{p.relative_to(scene.root)}" for p in ports(scene)) or "no serial port at all"
            remedy = f"check its cable and power, or set port; there is {there}"
            yield fail("serial", f"stream {name}: there is no /{path.relative_to(scene.root)}", remedy)
    for path in ports(scene):
        yield _judged(heard(path), {n: s for n, (s, p) in wanted.items() if p.resolve() == path.resolve()})
    if not ports(scene) and not wanted:
        yield ok("serial", "there is no line, and none is wanted")


def _judged(line: Heard, streams: dict[str, Any]) -> Finding:
    if line.error:
        taken = "another program has it" in line.error
        if taken and streams:
            return ok("serial", f"{line.port} is open already, for stream {', '.join(streams)} or somebody else")
        return warn("serial", f"{line.port} cannot be listened to", line.error)
    for name, stream in streams.items():
        if line.driver and line.driver != stream.driver:
            return fail("serial", f"stream {name} is {stream.driver}, but {line}", f'set driver = "{line.driver}"')
        if line.driver and line.baud != stream.settings.baud and "ttyACM" not in str(Path(line.port).resolve()):
            return fail(
                "serial", f"stream {name} has baud = {stream.settings.baud}, but {line}", f"set baud = {line.baud}"
            )
        if not line.what or line.what == "silence":
            return warn("serial", f"{line} (stream {name})", "is the board powered, and does its firmware send?")
    return ok("serial", str(line))
