"""WAV: int16 columns as 16-bit PCM, a frame per index of the fastest stream; what is missing repeats the value before.

Frame n is index `first` + n of the sidecar, whose gaps say which frames were filled. The header has the nominal rate,
a whole number; the measured one is in the sidecar.
"""

import dataclasses
import wave
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from agent.capture import Capture
from agent.film import Film, Rows
from agent.formats._payload import Cutter, channels_of, lead_of, runs, written
from drivers import Block, Channel, check

_LARGEST = (1 << 32) - 1 - 36
"""Bytes of samples that a RIFF header can tell."""
_FRAMES = 4096

Frames = npt.NDArray[np.int16]


@dataclasses.dataclass(frozen=True)
class Settings:
    """WAV has no options."""

    def __post_init__(self) -> None:
        check(self)

    def open(self) -> "Wav":
        """The format."""
        return Wav()


class Wav:
    """Renders a film as 16-bit PCM, channels in the order of its columns."""

    suffix = ".wav"
    media_type = "audio/wav"

    @staticmethod
    def unfit(channels: Sequence[Channel]) -> str:
        """Why these channels cannot be recorded as WAV; empty where they can."""
        if not channels:
            return "wav needs at least one channel"
        wrong = [f"{channel.name} is {channel.dtype}" for channel in channels if np.dtype(channel.dtype) != np.int16]
        return f"wav holds int16 (<i2) channels alone, and {', '.join(wrong)}: choose csv or mcap" if wrong else ""

    def develop(self, film: Film, path: Path, breathe: Callable[[], None]) -> dict[str, Any]:
        """Writes the file, a chunk of rows at a time. ValueError where the film does not fit into a WAV."""
        if why := self.unfit([column.channel for column in film.columns]):
            raise ValueError(why)
        count = film.lead.end - film.lead.first
        if count * 2 * len(film.columns) > _LARGEST:
            raise ValueError(f"{count} frames are more than a wav file can hold (4 GiB): record shorter captures")
        with written(path) as raw, wave.open(raw, "wb") as file:
            file.setnchannels(len(film.columns))
            file.setsampwidth(2)
            file.setframerate(max(1, round(film.lead.identity.rate_hz)))
            file.setnframes(count)
            done, last = film.lead.first, np.zeros(len(film.columns), np.int16)
            for rows in film.rows():
                frames = _frames(rows, last)
                for start, stop in runs(rows.sequence):
                    for _ in range(done, int(rows.sequence[start]) - _FRAMES, _FRAMES):
                        file.writeframesraw(np.tile(last, (_FRAMES, 1)).tobytes())
                        done += _FRAMES
                        breathe()
                    file.writeframesraw(np.tile(last, (int(rows.sequence[start]) - done, 1)).tobytes())
                    file.writeframesraw(frames[start:stop].tobytes())
                    done, last = int(rows.sequence[stop - 1]) + 1, frames[stop - 1]
                breathe()
        return {}

    def read(self, path: Path, capture: Capture) -> Iterator[Block]:
        """Frames as blocks, without those that were filled where the fastest stream had gaps."""
        lead = lead_of(capture)
        names = [channel.name for stream in capture.document["streams"] for channel in channels_of(stream)]
        gaps = np.array([(gap["first"], gap["first"] + gap["samples"]) for gap in lead["gaps"]]).reshape(-1, 2)
        cutter, index = Cutter(lead, capture), int(lead["first"])
        with wave.open(str(path), "rb") as file:
            while data := file.readframes(_FRAMES):
                samples = np.frombuffer(data, [(name, "<i2") for name in names])
                indexes = np.arange(index, index + len(samples))
                index += len(samples)
                # a frame is filled where the last gap that begins at or before it has not ended
                before = np.searchsorted(gaps[:, 0], indexes, side="right") - 1
                kept = (before < 0) | (indexes >= gaps[before, 1]) if len(gaps) else np.ones(len(indexes), np.bool_)
                yield from cutter.cut(indexes[kept], samples[kept])


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
