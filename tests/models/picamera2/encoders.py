"""Models of picamera2's encoders: a picture comes out compressed, dated from the first one, to the output."""

import io
from fractions import Fraction
from typing import Any

from PIL import Image


class MJPEGEncoder:
    codec = "mjpeg"

    def __init__(self, bitrate: int | None = None) -> None:
        assert bitrate
        self.firsttimestamp: int | None = None
        self.output: Any = None

    def encode(self, picture: Image.Image, taken_us: int) -> None:
        if self.firsttimestamp is None:
            self.firsttimestamp = taken_us
        for frame, keyframe, after_us in self.compress(picture, taken_us - self.firsttimestamp):
            self.output.outputframe(frame, keyframe, after_us, None, False)

    def compress(self, picture: Image.Image, after_us: int) -> list[tuple[bytes, bool, int]]:
        jpeg = io.BytesIO()
        picture.save(jpeg, "jpeg")
        return [(jpeg.getvalue(), True, after_us)]


class H264Encoder(MJPEGEncoder):
    codec = "h264"

    def __init__(self, bitrate: int | None = None, repeat: bool = True, iperiod: int | None = None) -> None:
        super().__init__(bitrate)
        assert iperiod
        self._iperiod = iperiod
        self._context: Any = None

    def compress(self, picture: Image.Image, after_us: int) -> list[tuple[bytes, bool, int]]:
        import av

        if self._context is None:
            self._context = context = av.CodecContext.create("libx264", "w")
            context.width, context.height, context.pix_fmt = *picture.size, "yuv420p"
            context.time_base, context.gop_size = Fraction(1, 1_000_000), self._iperiod
            context.options = {"tune": "zerolatency", "preset": "ultrafast"}
        frame = av.VideoFrame.from_image(picture)
        frame.pts = after_us
        return [(bytes(each), each.is_keyframe, each.pts) for each in self._context.encode(frame)]
