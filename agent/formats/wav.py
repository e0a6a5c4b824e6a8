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

from agent.capture import Capture
from agent.film import Film
from agent.formats import Unfit, _pcm
from agent.formats._payload import written
from drivers import Block, Channel, check

_LARGEST = (1 << 32) - 1 - 36
"""Bytes of samples that a RIFF header can tell."""


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
        return _pcm.unfit("wav", channels)

    def develop(self, film: Film, path: Path, breathe: Callable[[], None]) -> dict[str, Any]:
        """Writes the file, a chunk of rows at a time. Unfit where the film is nothing for a WAV."""
        if why := self.unfit([column.channel for column in film.columns]):
            raise Unfit(why)
        count = _pcm.count(film)
        if count * 2 * len(film.columns) > _LARGEST:
            raise Unfit(f"{count} frames are more than a wav file can hold (4 GiB): record shorter captures")
        with written(path) as raw, wave.open(raw, "wb") as file:
            file.setnchannels(len(film.columns))
            file.setsampwidth(2)
            file.setframerate(max(1, round(film.lead.identity.rate_hz)))
            file.setnframes(count)
            for frames in _pcm.frames(film, breathe):
                file.writeframesraw(frames.tobytes())
        return {}

    def read(self, path: Path, capture: Capture) -> Iterator[Block]:
        """Frames as blocks, without those that were filled where the fastest stream had gaps."""
        with wave.open(str(path), "rb") as file:
            channels = file.getnchannels()
            data = iter(lambda: file.readframes(_pcm.FRAMES), b"")
            yield from _pcm.blocks(capture, (np.frombuffer(some, "<i2").reshape(-1, channels) for some in data))
