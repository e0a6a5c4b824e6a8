"""A payload as a file: written whole or not at all, and read back as blocks, by what the capture's sidecar says."""

import contextlib
import itertools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from agent.capture import Capture
from agent.film import Film
from agent.timing import Int64s
from drivers import Block, Channel, Samples

StreamDocument = Mapping[str, Any]


@contextlib.contextmanager
def written(path: Path) -> Iterator[BinaryIO]:
    """A new file to write to; it is gone again where that fails."""
    with path.open("wb") as file:
        try:
            yield file
            file.flush()
        except BaseException:
            path.unlink(missing_ok=True)
            raise


def lead_of(capture: Capture) -> StreamDocument:
    """The stream on whose clock the rows of a capture are: the fastest that has samples."""
    streams: list[StreamDocument] = capture.document["streams"]
    # of equals, max takes the first
    return max(streams, key=lambda stream: (stream["samples"] > 0, stream["rate_hz"]["nominal"]))


def channels_of(stream: StreamDocument) -> tuple[Channel, ...]:
    """The channels of one stream, under their names in files."""
    return tuple(
        Channel(channel["name"], channel["unit"], channel["dtype"], channel["scale"], channel["offset"])
        for channel in stream["channels"]
    )


def runs(indexes: Int64s) -> Iterator[tuple[int, int]]:
    """Where `indexes` go on without a gap, as (start, stop) in the array."""
    if len(indexes):
        yield from itertools.pairwise([0, *(np.flatnonzero(np.diff(indexes) != 1) + 1).tolist(), len(indexes)])


def description(film: Film) -> dict[str, str]:
    """What a reader of the file alone may want to know: texts, or JSON."""
    keys = ("uuid", "name", "recording", "configuration", "device", "software", "started", "labels", "metadata")
    known = {key: film.head[key] for key in keys if key in film.head}
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in known.items()}


class Cutter:
    """Makes blocks of samples that were read, one for each run without a gap."""

    def __init__(self, stream: StreamDocument, capture: Capture) -> None:
        rate = stream["rate_hz"]
        self._period_ns = 1e9 / (rate["measured"] or rate["nominal"] or 1.0)
        self._first = int(stream["first"])
        self._start_ns = int(capture.document["start"]["boot_time_ns"])
        self._next: int | None = None

    def cut(self, indexes: Int64s, samples: Samples) -> Iterator[Block]:
        """`indexes` rise, also from call to call; times are by the mean rate from the capture's start."""
        samples.flags.writeable = False
        for start, stop in runs(indexes):
            first, newest = int(indexes[start]), int(indexes[stop - 1])
            lost = 0 if self._next is None else first - self._next
            self._next = newest + 1
            observed_ns = self._start_ns + round((newest - self._first) * self._period_ns)
            yield Block(first, samples[start:stop], observed_ns, newest, lost)
