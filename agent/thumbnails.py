"""Thumbnails: a small picture of a capture, of the picture it is or of the curves of its samples."""

import io

import numpy as np

from agent.capture import Capture
from agent.series import Floats, samples

_QUALITY = 70
_COLOURS = ("#1f6fb2", "#d1682b", "#3f8f4f", "#8a5ab5", "#b5475a", "#6b6b6b")


def thumbnail(capture: Capture, px: int = 160) -> tuple[bytes, str]:
    """(content, media type) of a JPEG or PNG whose longer side has at most `px` pixels.

    LookupError where there is nothing to be seen, ValueError or OSError where it cannot be read.
    """
    for payload in capture.payloads:
        if payload.media_type == "image/jpeg":
            return small_jpeg(capture.path(payload).read_bytes(), px), "image/jpeg"
    return _curves([one.values for one in samples(capture).series], px), "image/png"


def small_jpeg(content: bytes, px: int) -> bytes:
    """A picture, smaller. OSError or ValueError where it is none."""
    from PIL import Image  # noqa: PLC0415  only where pictures are shown

    with Image.open(io.BytesIO(content)) as image:
        image.draft("RGB", (px, px))  # decodes an eighth of what is not needed
        image.thumbnail((px, px))
        small = io.BytesIO()
        image.convert("RGB").save(small, "JPEG", quality=_QUALITY)
    return small.getvalue()


def _curves(channels: list[Floats], px: int) -> bytes:
    """For each channel the reach of its values from left to right, each as high as the picture."""
    from PIL import Image, ImageDraw  # noqa: PLC0415

    width, height = px, max(px * 2 // 5, 8)
    image = Image.new("RGB", (width, height), "white")
    drawing = ImageDraw.Draw(image)
    for number, values in enumerate(channels):
        known = values[~np.isnan(values)]
        if not len(known):
            continue
        low, reach = known.min(), (known.max() - known.min()) or 1.0
        heights = (height - 3) * (1 - (values - low) / reach) + 1
        for x, part in enumerate(np.array_split(heights, min(width, len(heights)))):
            there = part[~np.isnan(part)]
            if len(there):
                at = x * width // min(width, len(heights))
                drawing.line((at, there.min(), at, there.max() + 1), fill=_COLOURS[number % len(_COLOURS)])
    small = io.BytesIO()
    image.save(small, "PNG")
    return small.getvalue()
