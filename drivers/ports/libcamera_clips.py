"""Clips of a Pi's camera: picamera2's encoder runs all the time into its circular output, which holds the pre-roll."""

import io
from collections.abc import Mapping
from typing import Any

from drivers.ports.mp4 import movie

_KEY_S = 1.0
"""A clip can only begin at a key frame, of which H.264 has one so often, or twice in the length of a clip."""


class _Frame(bytes):
    """A frame that knows when it was taken: the circular output gives a frame the time of one that came later."""

    taken_us: int
    """Since the encoder's first frame."""


class _Reel(io.BufferedIOBase):
    """What the circular output writes into: each write is a frame."""

    def __init__(self) -> None:
        self.frames: list[_Frame] = []

    def write(self, frame: Any) -> int:
        self.frames.append(frame)
        return len(frame)


class Clips:
    """Used by the camera's thread; frames come in one of picamera2's."""

    def __init__(self, clip: Mapping[str, Any], size: tuple[int, int]) -> None:
        """`clip` is of `Clip.wanted`, `size` (width, height) of the stream that is encoded."""
        from picamera2.encoders import H264Encoder, MJPEGEncoder  # noqa: PLC0415  only where clips are configured
        from picamera2.outputs import CircularOutput  # noqa: PLC0415

        self.newest_ns = 0
        """CLOCK_BOOTTIME of the newest frame that has been encoded."""
        rate_hz, h264 = clip["frames_hz"], clip["codec"] == "h264"
        key_s = min(_KEY_S, clip["length_s"] / 2)
        before_s = clip["pre_roll_s"] + (key_s if h264 else 0)
        self.output: Any = CircularOutput(buffersize=max(1, round(before_s * rate_hz)))
        take = self.output.outputframe

        def dated(frame: bytes, keyframe: bool = True, timestamp: int = 0, *more: Any) -> None:
            known = _Frame(frame)
            known.taken_us = timestamp
            take(known, keyframe, timestamp, *more)
            self.newest_ns = self._date(known)

        self.output.outputframe = dated
        self.encoder: Any = (
            H264Encoder(bitrate=clip["bitrate"], iperiod=max(1, round(key_s * rate_hz)))
            if h264
            else MJPEGEncoder(bitrate=clip["bitrate"])
        )
        self._codec: str = clip["codec"]
        self._size = size
        self._reel = _Reel()

    def begin(self) -> None:
        """A clip, with what the circular output holds by now."""
        self._reel = _Reel()
        self.output.fileoutput = self._reel
        self.output.start()

    def end(self) -> tuple[bytes, int, int]:
        """(file, CLOCK_BOOTTIME of its first frame, of its last) of the clip; ValueError where no frame has come."""
        self.output.stop()
        frames = self._reel.frames
        dates = [self._date(frame) for frame in frames]
        return movie(frames, dates, self._size, self._codec), dates[0], dates[-1]

    def _date(self, frame: _Frame) -> int:
        first_us: int = self.encoder.firsttimestamp
        return 1000 * (first_us + frame.taken_us)
