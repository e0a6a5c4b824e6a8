"""Candidates: the devices that are attached, each as the stream that would record it."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from agent.config.modules import DRIVERS, configured_module
from agent.config.options import described, options, plain
from agent.doctor import cameras
from agent.doctor.chips import Chip, chips, declared, looked_at
from agent.doctor.lines import Heard, heard, ports
from agent.doctor.scene import Scene

_VIRTUAL = {"mpu6050": "bus", "ssi": "port", "picamera": "camera"}
"""One of each kind of port, as the demo has them."""


@dataclasses.dataclass(frozen=True)
class Candidate:
    """One device, and how to record it."""

    what: str
    """For people: which, and where."""
    driver: str
    options: Mapping[str, Any]
    """What has to stand in the TOML beside the driver."""
    pictures: bool = False


@dataclasses.dataclass(frozen=True)
class Found:
    """All that was found."""

    candidates: tuple[Candidate, ...]
    remarks: tuple[str, ...]
    """What was found and cannot be recorded just so, or could not be looked at; with what to do."""


def attached(scene: Scene, progress: Callable[[str], None] = lambda what: None) -> Found:
    """Chips on the usual buses and those asked for, serial lines that say something, cameras."""
    every = [*_chips(scene, progress), *_lines(scene, progress), *_cameras(scene, progress)]
    return Found(
        tuple(one for one in every if isinstance(one, Candidate)), tuple(one for one in every if isinstance(one, str))
    )


def virtual() -> Found:
    """Virtual devices, to try everything without hardware."""
    return Found(
        tuple(
            Candidate(f"a virtual device of driver {driver}", driver, {port: "virtual"}, driver == "picamera")
            for driver, port in _VIRTUAL.items()
        ),
        (),
    )


def _chips(scene: Scene, progress: Callable[[str], None]) -> Iterator[Candidate | str]:
    known = declared("HALLMARKS")
    for bus in looked_at(scene):
        progress(f"I2C bus {bus}")
        try:
            found = chips(scene, bus, known)
        except OSError as error:
            yield f"I2C bus {bus} could not be looked at: {error.strerror}; `capture-agent doctor` says what to do"
            continue
        for chip in found:
            yield _of_chip(chip) if chip.driver else f"I2C bus {bus}: {chip}"


def _of_chip(chip: Chip) -> Candidate:
    found: dict[str, Any] = {"bus": chip.bus}
    address = options(_settings(chip.driver)).get("address")
    if address is not None and address.default != chip.address:
        found["address"] = chip.address
    where = f"at 0x{chip.address:02x} of I2C bus {chip.bus}"
    return Candidate(f"{'' if chip.sure else 'perhaps '}{chip.model} {where}", chip.driver, found)


def _lines(scene: Scene, progress: Callable[[str], None]) -> Iterator[Candidate | str]:
    for path in ports(scene):
        progress(f"{path}, some seconds for each speed")
        line = heard(path)
        yield _of_line(line) if line.driver else str(line)


def _of_line(line: Heard) -> Candidate | str:
    settings = _settings(line.driver)
    wanting = [option.path for option in described(settings) if option.required and option.path != "port"]
    if wanting:
        return f"{line}; driver {line.driver} also needs {', '.join(wanting)}: capture-agent drivers {line.driver}"
    found: dict[str, Any] = {"port": line.port}
    if "baud" in options(settings) and plain(options(settings)["baud"].default) != line.baud:
        found["baud"] = line.baud
    return Candidate(str(line), line.driver, found)


def _cameras(scene: Scene, progress: Callable[[str], None]) -> Iterator[Candidate | str]:
    progress("cameras")
    for number, sensor in (cameras.listed(scene) or {}).items():
        if cameras.has_library():
            yield Candidate(f"camera {number}, an {sensor}", "picamera", {"camera": number} if number else {}, True)
        else:
            yield f"camera {number}, an {sensor}, needs picamera2: {cameras.LIBRARY}"
    for path in cameras.webcams(scene):
        if cameras.reads_webcams():
            yield Candidate(f"webcam {path.rpartition('/')[2]}", "v4l2camera", {"camera": path}, True)
        else:
            yield f"webcam {path} needs linuxpy: {cameras.WEBCAMS}"


def _settings(driver: str) -> type[Any]:
    module, mistake = configured_module(DRIVERS, driver, driver)
    if module is None:
        raise LookupError(str(mistake))
    settings: type[Any] = module.Settings
    return settings
