"""Pictures for tests: the two folders, a clock that a test sets, blocks and captures."""

import dataclasses
import os
from pathlib import Path
from typing import Any

import numpy as np

from agent.capture import Capture, CaptureConfiguration
from agent.pictures import PictureWriter
from agent.take import Device
from drivers import Block, Identity, samples_dtype
from drivers.ports.virtual.picamera import render

IDENTITY = Identity("imx477", 1.0, setup={"width": 320, "height": 240, "quality": 80})
CONFIGURATION = CaptureConfiguration.of("photos", [(IDENTITY, [])])
DEVICE = Device("bay3", "512858f4", "Raspberry Pi 4 Model B Rev 1.4")
PICTURE = render(seed=1, number=0, size=(320, 240), quality=80)
BOOT_NS = 5_000_000_000
START_NS = 1709618828_000000000 - BOOT_NS
"""Wall time of boot: boot time 5 s is 2024-03-05 06:07:08."""
NAME = "512858f4.2024-03-05_06-07-0"


@dataclasses.dataclass
class SetClock:
    """A clock that a test sets."""

    offset_ns: int = START_NS
    known: bool = True
    boot_id: str = "b9f0c1de-0000-4000-8000-000000000001"

    def wall_ns(self, boot_ns: int) -> int:
        return boot_ns + self.offset_ns

    def synchronised(self) -> bool:
        return self.known

    def trust(self) -> dict[str, str]:
        return {"clock": "synchronised", "dated_by": "service"} if self.known else {"clock": "unsynchronised"}


@dataclasses.dataclass
class House:
    """The two folders and a clock."""

    root: Path
    clock: SetClock = dataclasses.field(default_factory=SetClock)

    def __post_init__(self) -> None:
        self.recording, self.captures = self.root / "recording", self.root / "captures"
        self.recording.mkdir()
        self.captures.mkdir()

    def writer(self, **options: Any) -> PictureWriter:
        options = {"recording": "photos", "device": DEVICE, "clock": self.clock} | options
        return PictureWriter(self.recording, self.captures, **options)

    def finish(self, capture: Capture) -> Capture:
        """As finishing does it: there first, then gone from here."""
        folder = self.captures / capture.document["start"]["wall_time"][:10]
        folder.mkdir(exist_ok=True)
        for path in capture.files:
            os.link(path, folder / path.name)
        for path in capture.files:
            path.unlink()
        return Capture(folder, capture.document)

    def names(self) -> list[str]:
        return sorted(path.name for path in self.root.rglob("*.*"))


def block(number: int = 0, at_s: float = 5.0, jpeg: bytes = PICTURE, **more: Any) -> Block:
    metadata = {"exposure_s": 0.0125, "gain": 2.0, "lux": 120.5}
    samples = np.empty(0, samples_dtype(()))
    return Block(number, samples, int(at_s * 1e9), number, jpeg=jpeg, metadata=metadata, **more)


def write(writer: PictureWriter, what: Block, **more: Any) -> Capture:
    options: dict[str, Any] = {"stream": "cam", "driver": "picamera", "identity": IDENTITY}
    return writer.write(what, **options, configuration=CONFIGURATION, **more)
