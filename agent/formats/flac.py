"""FLAC: what `wav` holds, lossless in about a third of the bytes; up to eight channels. Needs the extra `flac`.

Frame n is index `first` + n of the sidecar, whose gaps say which frames were filled. The header has the nominal rate,
a whole number (above 65,535 Hz, of tens); the measured one is in the sidecar.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from agent.capture import Capture
from agent.film import Film
from agent.formats import Unfit, _pcm
from agent.formats._extra import missing
from agent.formats._payload import lead_of, written
from drivers import Block, Channel, check

_CHANNELS = 8
_FASTEST_HZ = 655_350
_TENS_ABOVE_HZ = 65_535
"""Faster rates are told in tens of Hz: RFC 9639, section 9.1.2."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """FLAC has no options."""

    def __post_init__(self) -> None:
        check(self, *missing("soundfile", "flac"))

    def open(self) -> "Flac":
        """The format."""
        return Flac()


class Flac:
    """Renders a film as FLAC, channels in the order of its columns."""

    suffix = ".flac"
    media_type = "audio/flac"

    @staticmethod
    def unfit(channels: Sequence[Channel]) -> str:
        """Why these channels cannot be recorded as FLAC; empty where they can."""
        if len(channels) > _CHANNELS:
            return f"flac holds at most {_CHANNELS} channels, not {len(channels)}: choose parquet, wav or csv"
        return _pcm.unfit("flac", channels)

    def develop(self, film: Film, path: Path, breathe: Callable[[], None]) -> dict[str, Any]:
        """Writes the file, a chunk of rows at a time. Unfit where the film is nothing for a FLAC."""
        import soundfile  # noqa: PLC0415  an extra

        if why := self.unfit([column.channel for column in film.columns]):
            raise Unfit(why)
        rate_hz = max(1, round(film.lead.identity.rate_hz))
        if rate_hz > _TENS_ABOVE_HZ:
            rate_hz = round(rate_hz, -1)
        if rate_hz > _FASTEST_HZ:
            raise Unfit(f"flac tells rates up to {_FASTEST_HZ} Hz, not {rate_hz}: choose parquet, wav or csv")
        channels = len(film.columns)
        with written(path) as raw:
            if not _pcm.count(film):
                raw.write(_without_frames(rate_hz, channels))  # libsndfile would write nothing at all
                return {}
            sink = _Sink(raw)
            try:
                with soundfile.SoundFile(sink, "w", rate_hz, channels, format="FLAC", subtype="PCM_16") as file:
                    for frames in _pcm.frames(film, breathe):
                        file.write(frames)
            finally:
                if sink.error is not None:
                    raise sink.error
        return {}

    def read(self, path: Path, capture: Capture) -> Iterator[Block]:
        """Frames as blocks, without those that were filled where the fastest stream had gaps. ValueError: damaged."""
        import soundfile  # noqa: PLC0415  an extra

        if not lead_of(capture)["samples"]:
            return
        with path.open("rb") as raw:
            try:
                with soundfile.SoundFile(raw) as file:
                    sizes = range(0, file.frames, _pcm.FRAMES)
                    chunks = (file.read(_pcm.FRAMES, "int16", always_2d=True) for _ in sizes)
                    yield from _pcm.blocks(capture, chunks)
            except soundfile.LibsndfileError as error:
                raise ValueError(f"{path}: no whole FLAC file: {error}") from None


class _Sink:
    """The file as libsndfile sees it: that cannot pass an exception on, so what the disk said is kept here."""

    def __init__(self, file: BinaryIO) -> None:
        self.error: OSError | None = None
        self._file = file
        self.seek = file.seek
        self.tell = file.tell
        self.read = file.read

    def write(self, data: bytes) -> int:
        try:
            return self._file.write(data)
        except OSError as error:
            self.error = self.error or error
            return 0


def _without_frames(rate_hz: int, channels: int) -> bytes:
    """A whole FLAC file of no frames: its STREAMINFO alone (RFC 9639, section 8.2).

    bits   16          16          24         24         20    3             5         36      128
           min block   max block   min frame  max frame  rate  channels - 1  bits - 1  frames  MD5
    """
    about = rate_hz << 44 | (channels - 1) << 41 | 15 << 36
    head = b"fLaC" + bytes([0x80, 0, 0, 34])  # the last metadata block, of 34 bytes
    return head + _pcm.FRAMES.to_bytes(2, "big") * 2 + bytes(6) + about.to_bytes(8, "big") + bytes(16)
