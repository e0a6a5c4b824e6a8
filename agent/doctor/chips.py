"""Chips: who answers on an I2C bus, and which of our drivers knows it by its hallmark."""

import dataclasses
import errno
from collections.abc import Iterator, Mapping
from typing import Any

from agent.config.modules import DRIVERS, configured_module
from agent.doctor.scene import Scene
from drivers import Hallmark
from drivers.ports.i2c_scan import FIRST, LAST, NOBODY, Bus


@dataclasses.dataclass(frozen=True)
class Chip:
    """Who answers at one address."""

    bus: int
    address: int
    model: str = ""
    """Empty: nobody of ours."""
    driver: str = ""
    sure: bool = True
    kernel: str = ""
    """The kernel's driver that has it; it was then left alone."""

    def __str__(self) -> str:
        who = f"{'' if self.sure else 'perhaps '}{self.model or 'a chip that no driver here knows'}"
        return f"0x{self.address:02x} {f'is with the kernel ({self.kernel})' if self.kernel else who}"


def numbers(scene: Scene) -> list[int]:
    """The I2C buses there are."""
    names = [path.name.removeprefix("i2c-") for path in scene.glob("dev/i2c-*")]
    return sorted(int(name) for name in names if name.isdigit())


def looked_at(scene: Scene) -> list[int]:
    """The buses that are scanned: the header's on a Pi, those in the configuration, those asked for.

    Others are left alone: displays and memory modules, cameras and power chips hang on them.
    """
    wanted = {1} if scene.is_pi else set()
    wanted |= set(scene.buses)
    for stream in scene.config.streams.values() if scene.config else ():
        bus = getattr(stream.settings, "bus", None)
        name = str(bus).rpartition("-")[2]
        wanted |= {int(name)} if name.isdigit() else set()
    return sorted(wanted & set(numbers(scene)))


def declared(name: str) -> dict[str, Any]:
    """What each driver's module has under a name, where it has it. A third party's that cannot be imported has none."""
    modules = {driver: configured_module(DRIVERS, driver, driver)[0] for driver in DRIVERS.names}
    return {driver: getattr(module, name) for driver, module in modules.items() if hasattr(module, name)}


def chips(scene: Scene, number: int, known: Mapping[str, tuple[Hallmark, ...]]) -> list[Chip]:
    """Everybody on one bus. OSError where the bus as a whole is at fault.

    A chip that may be one of ours is asked for its hallmark alone: a byte more could come out of its FIFO.
    """
    bus = scene.open_bus(scene.path(f"dev/i2c-{number}"))
    try:
        return list(_chips(scene, bus, number, known))
    finally:
        bus.close()


def _chips(scene: Scene, bus: Bus, number: int, known: Mapping[str, tuple[Hallmark, ...]]) -> Iterator[Chip]:
    for address in range(FIRST, LAST + 1):
        kernel = scene.path(f"sys/bus/i2c/devices/{number}-{address:04x}/driver")
        if kernel.exists():
            yield Chip(number, address, kernel=kernel.resolve().name)
            continue
        marks = [(name, mark) for name, those in known.items() for mark in those if address in mark.addresses]
        try:
            answers = [(name, mark, bus.read(address, mark.register, mark.length)) for name, mark in marks]
            there = bool(answers) or bus.answers(address)
        except OSError as error:
            if error.errno == errno.EBUSY:
                yield Chip(number, address, kernel="unknown")
            elif error.errno not in NOBODY:
                raise
            continue
        said = [(name, mark, mark.answers[answer]) for name, mark, answer in answers if answer in mark.answers]
        said.sort(key=lambda one: not one[1].sure)
        if said:
            name, mark, model = said[0]
            yield Chip(number, address, model, name, mark.sure)
        elif there:
            yield Chip(number, address)
