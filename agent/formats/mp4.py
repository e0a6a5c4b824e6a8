"""Clips as the camera made them, as MP4: nothing is developed, their writer makes the payload at once."""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from agent.capture import Capture
from agent.film import Film
from drivers import Block, samples_dtype

PICTURES = True
"""It takes what cameras give, not samples."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """What TOML says of this format: nothing; length, size and codec are the camera's."""

    def open(self) -> "Mp4":
        return Mp4()


class Mp4:
    """One clip a file."""

    suffix = ".mp4"
    media_type = "video/mp4"

    def develop(self, film: Film, path: Path, breathe: Callable[[], None]) -> dict[str, Any]:
        """Raises ValueError: samples are no clips."""
        raise ValueError("mp4 is a format of clips and cannot hold samples; use csv, wav or mcap for this recording")

    def read(self, path: Path, capture: Capture) -> Iterator[Block]:
        """The clip, as the one block that it was."""
        document = capture.document
        stream, begin_ns = document["streams"][0], document["start"]["boot_time_ns"]
        yield Block(
            first=stream["first"],
            samples=np.empty(0, samples_dtype(())),
            observed_ns=begin_ns + round(stream["picture"].get("moment_s", 0) * 1e9),
            newest=stream["first"],
            lost=stream["lost"]["samples"],
            exact=stream["lost"]["exact"],
            mp4=path.read_bytes(),
            begin_ns=begin_ns,
            end_ns=begin_ns + round(document["duration_s"] * 1e9),
            metadata=stream["picture"],
        )
