"""What must hold of delivered pictures of the kernel's virtual camera (vimc): camera.py FOLDER LEAST."""

import sys
from pathlib import Path

import numpy as np
import piexif
from PIL import Image

from agent.capture import Capture
from drivers.ports.jpeg import missing

SIZE = (320, 240)
BARS = 8


def check(folder: Path, least: int) -> None:
    """Each picture is whole, tagged and as its sidecar says; its number and its time go up."""
    captures = [Capture.load(sidecar) for sidecar in folder.rglob("*.json")]
    pictures = [capture for capture in captures if capture.document["streams"][0]["driver"] == "picamera"]
    assert len(pictures) >= least, f"{len(pictures)} pictures"
    pictures.sort(key=lambda capture: int(capture.document["start"]["boot_time_ns"]))
    configurations = {whole(capture) for capture in pictures}
    assert len(configurations) == 1, "one set-up has one uuid, also after the camera was opened again"
    times = [capture.document["start"]["boot_time_ns"] for capture in pictures]
    apart_s = np.diff(times) * 1e-9
    assert (apart_s > 0).all(), "each has a time of its own"
    model = pictures[0].document["streams"][0]["model"]
    print(f"{len(pictures)} pictures of {model}, {apart_s.min():.1f} to {apart_s.max():.1f} s apart")


def whole(capture: Capture) -> str:
    """The uuid of its configuration."""
    assert not capture.damage(), capture.damage()
    (payload,) = capture.payloads
    jpeg = capture.path(payload).read_bytes()
    assert not missing(jpeg), missing(jpeg)
    uuid = str(capture.document["configuration"]["uuid"])
    exif = piexif.load(jpeg)["Exif"]
    comment = exif[piexif.ExifIFD.UserComment].decode()
    assert uuid.replace("-", "")[:8] in comment, comment
    assert capture.uuid.replace("-", "")[:8] in comment, comment
    with Image.open(capture.path(payload)) as picture:
        assert picture.size == SIZE, picture.size
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    places = (np.arange(BARS) * 2 + 1) * SIZE[0] // (2 * BARS)
    above, below = pixels[SIZE[1] // 10, places], pixels[-SIZE[1] // 10, places]
    assert abs(above - below).max() < 64, (
        f"{capture.name}: the bars of the test picture do not reach from top to bottom"
    )
    assert len({tuple(bar // 64) for bar in below}) >= 6, (
        f"{capture.name}: {below.tolist()} are not the test picture's bars"
    )
    return uuid


if __name__ == "__main__":
    check(Path(sys.argv[1]), int(sys.argv[2]))
