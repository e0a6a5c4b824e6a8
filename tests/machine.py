"""A machine for the doctor to look at: a folder as its /, programs that answer, buses with virtual chips."""

import dataclasses
import errno
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from agent.clock import Clock
from agent.config.errors import ConfigError
from agent.config.loading import load
from agent.doctor import Finding
from agent.doctor.scene import Account, Scene
from drivers import driver_module
from drivers.ports.virtual.i2c import VirtualTransfers

STRANGER = Account("edge", 65534, frozenset({65534}))


class Clocks(Clock):
    """One that says what the test wants."""

    def __init__(self, *, synchronised: bool = True, dated: bool = True, wall_ns: int | None = None) -> None:
        super().__init__()
        self._said = synchronised, dated, wall_ns

    def synchronised(self) -> bool:
        return self._said[0]

    def dated(self) -> bool:
        return self._said[1]

    def wall_ns(self, boot_ns: int | None = None) -> int:
        return self._said[2] or super().wall_ns(boot_ns)


class Chips:
    """A bus with virtual chips, each with its model in a process of its own; `others` only acknowledge."""

    def __init__(self, others: Sequence[int] = (), hung: int = 0, **models: int) -> None:
        """`mpu6050=0x68` puts that model there. hung: the errno with which every transfer ends."""
        self.asked: list[tuple[int, int | None]] = []
        self._others, self._hung = others, hung
        self._models = models
        self._chips: dict[int, VirtualTransfers] = {}

    def opened(self, path: Path) -> "Chips":
        for model, address in self._models.items():
            document = driver_module(model).Settings(bus="virtual").virtual.document()
            self._chips[address] = VirtualTransfers(model, document | {"address": address})
        return self

    def answers(self, address: int) -> bool:
        self.asked.append((address, None))
        self._break()
        return address in self._others

    def read(self, address: int, register: int, count: int) -> bytes:
        self.asked.append((address, register))
        self._break()
        if address not in self._chips:
            raise OSError(errno.EREMOTEIO, os.strerror(errno.EREMOTEIO))
        return self._chips[address].read(register, count)

    def close(self) -> None:
        for chip in self._chips.values():
            chip.close()

    def _break(self) -> None:
        if self._hung:
            raise OSError(self._hung, os.strerror(self._hung))


def machine(folder: Path, config: str = "", *, files: Mapping[str, str] | None = None, **parts: Any) -> Scene:
    """A scene in `folder`: `files` below its root, and a configuration whose data folder is there, too."""
    root, data = folder / "root", folder / "data"
    for path in (root, data):
        path.mkdir(exist_ok=True)
    for name, text in (files or {}).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    path = folder / "config.toml"
    path.write_text(
        f'[agent]\ndevice = "bay3"\ndata_dir = "{data}"\nfree_floor_bytes = 0\nfree_floor_percent = 0\n{config}'
    )
    loaded, mistakes = None, ()
    try:
        loaded = load(path)
    except ConfigError as error:
        mistakes = error.mistakes  # type: ignore[assignment]
    usual: dict[str, Any] = {"clock": Clocks(), "account": STRANGER, "run": lambda command: None}
    return Scene(path, loaded, mistakes, data, root=root, **(usual | parts))


def programs(**answers: str) -> Callable[[Sequence[str]], str | None]:
    """Programs by name (_ for -) and what they print."""
    return lambda command: answers.get(command[0].replace("-", "_"))


def worst(findings: Sequence[Finding]) -> Finding:
    """The first that is worst."""
    order = ("fail", "warn", "ok")
    return min(findings, key=lambda finding: order.index(finding.state))


def changed(scene: Scene, **parts: Any) -> Scene:
    return dataclasses.replace(scene, **parts)
