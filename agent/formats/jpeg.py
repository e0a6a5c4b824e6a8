"""Pictures as the camera compressed them, with EXIF: nothing is developed, their writer makes the payload at once."""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from agent.capture import Capture
from agent.film import Film
from drivers import Block, samples_dtype

PICTURES = True
"""It takes pictures, not samples."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """What TOML says of this format: nothing; size and quality are the camera's."""

    def open(self) -> "Jpeg":
        return Jpeg()


class Jpeg:
    """One picture a file."""

    suffix = ".jpg"
    media_type = "image/jpeg"

    def develop(self, film: Film, path: Path, breathe: Callable[[], None]) -> dict[str, Any]:
        """Raises ValueError: samples are no pictures."""
        raise ValueError(
            "jpeg is a format of pictures and cannot hold samples; use csv, wav or mcap for this recording"
        )

    def read(self, path: Path, capture: Capture) -> Iterator[Block]:
        """The picture, as the one block that it was."""
        stream, start = capture.document["streams"][0], capture.document["start"]
        yield Block(
            first=stream["first"],
            samples=np.empty(0, samples_dtype(())),
            observed_ns=start["boot_time_ns"],
            newest=stream["first"],
            lost=stream["lost"]["samples"],
            exact=stream["lost"]["exact"],
            jpeg=path.read_bytes(),
            metadata=stream["picture"],
        )
