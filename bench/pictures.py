"""A 12-megapixel picture from the camera's bytes to a capture in the recording folder: tagged, hashed, thumbnailed and
durable; against the usual way, which decodes and encodes it again with Pillow at the quality that the camera had."""

import hashlib
import io
import itertools
import os
import random
import tempfile
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from agent import exif
from agent.capture import CaptureConfiguration
from agent.clock import Clock
from agent.device import Device
from agent.pictures import PictureWriter
from agent.thumbnails import small_jpeg
from bench import Measure, beside
from bench._timing import best_cpu_s, where
from drivers import Block, Identity, boottime_ns
from drivers._camera import NO_SAMPLES

SIZE, QUALITY = (4056, 3040), 90
_ROUNDS = 9
_THUMBNAIL_PX = 160


def measure() -> list[Measure]:
    jpeg = picture()
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        works = _works(Path(folder), jpeg)
        spent = {name: cpu * 1e3 for name, cpu in best_cpu_s(works, _ROUNDS).items()}
    found = []
    for what, ours, theirs, aim in (
        (f"a picture of 12 MP, {len(jpeg) / 1e6:.1f} MB, tagged, hashed and durable", "write", "encode again", 0.25),
        (f"its thumbnail of {_THUMBNAIL_PX} pixels", "thumbnail", "thumbnail of all that was decoded", 0.5),
        ("both", "both", "both with Pillow", 0.5),
    ):
        ratio = spent[ours] / spent[theirs]
        floor = {"hash and write, the floor": spent["floor"]} if ours == "write" else {}
        found.append(
            Measure(
                what=what,
                figure=spent[ours],
                unit="CPU ms",
                against=beside(f"Pillow, {theirs}", spent[theirs], "CPU ms"),
                ratio=ratio,
                aim=f"ratio at most {aim:g}",
                met=ratio <= aim,
                peers={"Pillow": spent[theirs], **floor},
                reason="" if ratio <= aim else where(works[ours]),
            )
        )
    return found


def _works(folder: Path, jpeg: bytes) -> dict[str, Callable[[], object]]:
    """Ours and the usual way, each durable: an fsync is part of it."""
    recording, captures, number = folder / "recording", folder / "captures", itertools.count()
    recording.mkdir()
    captures.mkdir()
    writer = PictureWriter(
        recording, captures, recording="photos", device=Device("bench", "0a1b2c3d"), clock=Clock(), full_names=True
    )
    identity = Identity("imx477", 1.0, setup={"width": SIZE[0], "height": SIZE[1]})
    configuration = CaptureConfiguration.of("photos", [(identity, [])])

    def write() -> None:
        block = Block(0, NO_SAMPLES, boottime_ns(), 0, jpeg=jpeg, metadata={"exposure_s": 0.01, "gain": 2.0})
        capture = writer.write(block, stream="cam", driver="picamera", identity=identity, configuration=configuration)
        for path in capture.files:
            _sync(path)

    def thumbnail() -> bytes:
        return small_jpeg(jpeg, _THUMBNAIL_PX)

    def encode() -> None:
        path = folder / f"{next(number)}.jpg"
        with Image.open(io.BytesIO(jpeg)) as image:
            tags = image.getexif()
            tags[0x010F] = exif.MAKE
            image.save(path, quality=QUALITY, exif=tags)
        _sync(path)

    def whole_thumbnail() -> None:
        with Image.open(io.BytesIO(jpeg)) as image:
            image.load()
            small = image.resize((_THUMBNAIL_PX, _THUMBNAIL_PX * SIZE[1] // SIZE[0]))
            small.save(io.BytesIO(), "JPEG")

    def floor() -> None:
        path = folder / f"{next(number)}.jpg"
        hashlib.sha256(jpeg).hexdigest()
        path.write_bytes(jpeg)
        _sync(path)

    return {
        "write": write,
        "thumbnail": thumbnail,
        "both": lambda: (write(), thumbnail()),
        "encode again": encode,
        "thumbnail of all that was decoded": whole_thumbnail,
        "both with Pillow": lambda: (encode(), whole_thumbnail()),
        "floor": floor,
    }


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def picture() -> bytes:
    """A JPEG as large as a camera's: detail everywhere, from one seed."""
    chance = random.Random(12)
    detail = Image.frombytes("RGB", (507, 380), chance.randbytes(507 * 380 * 3))
    jpeg = io.BytesIO()
    detail.resize(SIZE, Image.Resampling.BICUBIC).save(jpeg, "jpeg", quality=QUALITY)
    return jpeg.getvalue()
