"""PCM: a film as int16 frames, one for each index of the fastest stream; what is missing repeats the value before.

Frame n is index `first` + n of the sidecar, whose gaps say which frames were filled.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from agent.capture import Capture
from agent.film import Film, Rows
from agent.formats._payload import Cutter, channels_of, lead_of, runs
from drivers import Block, Channel

FRAMES = 4096
"""The most frames handled at a time."""

Frames = npt.NDArray[np.int16]
"""Shape (frames, channels), contiguous."""


def unfit(kind: str, channels: Sequence[Channel]) -> str:
    """Why these channels are no PCM; empty where they are."""
    if not channels:
        return f"{kind} needs at least one channel"
    wrong = [f"{channel.name} is {channel.dtype}" for channel in channels if np.dtype(channel.dtype) != np.int16]
    return f"{kind} holds int16 (<i2) channels alone, and {', '.join(wrong)}: choose csv or mcap" if wrong else ""


def count(film: Film) -> int:
    """How many frames a film has."""
    return film.lead.end - film.lead.first


def frames(film: Film, breathe: Callable[[], None]) -> Iterator[Frames]:
    """All of them in order, channels in the order of the film's columns."""
    done, last = film.lead.first, np.zeros(len(film.columns), np.int16)
    for rows in film.rows():
        found = _frames(rows, last)
        for start, stop in runs(rows.sequence):
            for _ in range(done, int(rows.sequence[start]) - FRAMES, FRAMES):
                yield np.tile(last, (FRAMES, 1))
                done += FRAMES
                breathe()
            yield np.tile(last, (int(rows.sequence[start]) - done, 1))
            yield found[start:stop]
            done, last = int(rows.sequence[stop - 1]) + 1, found[stop - 1]
        breathe()


def blocks(capture: Capture, frames: Iterable[Frames]) -> Iterator[Block]:
    """Frames that were read as blocks, without those that were filled where the fastest stream had gaps."""
    lead = lead_of(capture)
    dtype = np.dtype(
        [(channel.name, "<i2") for stream in capture.document["streams"] for channel in channels_of(stream)]
    )
    gaps = np.array([(gap["first"], gap["first"] + gap["samples"]) for gap in lead["gaps"]]).reshape(-1, 2)
    cutter, index = Cutter(lead, capture), int(lead["first"])
    for some in frames:
        indexes = np.arange(index, index + len(some))
        index += len(some)
        # a frame is filled where the last gap that begins at or before it has not ended
        before = np.searchsorted(gaps[:, 0], indexes, side="right") - 1
        kept = (before < 0) | (indexes >= gaps[before, 1]) if len(gaps) else np.ones(len(indexes), np.bool_)
        yield from cutter.cut(indexes[kept], some.view(dtype)[:, 0][kept])


def _frames(rows: Rows, last: Frames) -> Frames:
    """The rows as int16, shape (rows, channels); where a slower stream has no value, its last one."""
    frames = np.empty((len(rows.sequence), len(rows.columns)), np.int16)
    for place, (values, there) in enumerate(zip(rows.columns, rows.present, strict=True)):
        frames[:, place] = np.clip(np.rint(values), -32768, 32767) if values.dtype.kind == "f" else values
        if there is not None:
            # for each row the place of the last one that has a value; -1: it was in the chunk before
            known = np.maximum.accumulate(np.where(there, np.arange(len(there)), -1))
            frames[:, place] = np.where(known < 0, last[place], frames[known, place])
    return frames
