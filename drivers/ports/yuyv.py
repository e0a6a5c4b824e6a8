"""Pictures that a camera gives raw, as YUYV, compressed here."""

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_LUMA = bytes(max(0, min(255, round((value - 16) * 255 / 219))) for value in range(256))
_CHROMA = bytes(max(0, min(255, round((value - 128) * 255 / 224 + 128))) for value in range(256))
"""From the limited range of video (16 to 235, 16 to 240) to the full one of JPEG (JFIF 1.02)."""


def compressed(data: bytes, size: tuple[int, int], bytes_per_line: int, quality: int) -> bytes:
    """The JPEG of one frame; `size` is (width, height), `quality` 1 to 100.

    ValueError where there is less data than that. Source: V4L2, V4L2_PIX_FMT_YUYV:

        Y0 Cb Y1 Cr   two pixels; lines may be longer than their pixels
    """
    import numpy as np  # noqa: PLC0415  only where a camera gives raw pictures
    from PIL import Image  # noqa: PLC0415

    lines = _lines(data, size, bytes_per_line)
    luma = Image.fromarray(np.ascontiguousarray(lines[:, 0::2])).point(_LUMA)
    blue, red = (
        Image.fromarray(np.ascontiguousarray(lines[:, at::4])).point(_CHROMA).resize(size, Image.Resampling.NEAREST)
        for at in (1, 3)
    )
    jpeg = io.BytesIO()
    Image.merge("YCbCr", (luma, blue, red)).save(jpeg, format="jpeg", quality=quality)
    return jpeg.getvalue()


def luma(data: bytes, size: tuple[int, int], bytes_per_line: int) -> "npt.NDArray[np.uint8]":
    """The brightness of one frame, as (height, width) levels, as they came."""
    return _lines(data, size, bytes_per_line)[:, 0::2]


def _lines(data: bytes, size: tuple[int, int], bytes_per_line: int) -> "npt.NDArray[np.uint8]":
    import numpy as np  # noqa: PLC0415

    width, height = size
    line = max(bytes_per_line, 2 * width)
    if len(data) < line * (height - 1) + 2 * width:
        raise ValueError(f"a frame of {width} x {height} pixels came with only {len(data)} bytes")
    padded = np.frombuffer(data.ljust(line * height, b"\x80"), np.uint8, line * height)
    return padded.reshape(height, line)[:, : 2 * width]
