"""A model of the kernel's side of a webcam, under unmodified linuxpy: its node is a FIFO, ioctls are answered here.

Python imports a module of this name when it starts; with this folder in PYTHONPATH a camera's process has a webcam.
MODEL_WEBCAM, as JSON, says what kind: pixels, capabilities, stamps, damaged (each so manieth frame), unplug_after
and moves_from (frames), busy.
"""

import errno
import fcntl
import io
import json
import mmap
import os
import threading
import time
from typing import Any

OPTIONS: dict[str, Any] = json.loads(os.environ.get("MODEL_WEBCAM", "null") or "null") or {}
FRAME_S = 0.05
SIZES = [(320, 240), (640, 480)]
DATA_BYTES = 1 << 19
CONTROLS = {
    0x00980900: {"name": b"Brightness", "type": 1, "minimum": -64, "maximum": 64, "value": 0},
    0x0098090C: {"name": b"White Balance, Automatic", "type": 2, "minimum": 0, "maximum": 1, "value": 1},
    0x009A0901: {"name": b"Auto Exposure", "type": 3, "minimum": 0, "maximum": 3, "value": 3},
    0x009A0902: {"name": b"Exposure Time, Absolute", "type": 1, "minimum": 3, "maximum": 2047, "value": 250},
}
MENU = {1: b"Manual Mode", 3: b"Aperture Priority Mode"}


def fourcc(text: str) -> int:
    return int.from_bytes(text.encode(), "little")


def picture(number: int, size: tuple[int, int]) -> bytes:
    """What the camera sees in its frame `number`, as any JPEG has it."""
    from PIL import Image

    jpeg = io.BytesIO()
    still = "moves_from" in OPTIONS
    image = Image.linear_gradient("L").rotate(0 if still else number * 30).resize(size).convert("RGB")
    if still and number >= OPTIONS["moves_from"]:
        image.paste((255, 255, 255), (0, 0, size[0] // 2, size[1] // 4))
    image.save(jpeg, "jpeg", quality=80)
    return jpeg.getvalue()


def as_a_webcam_sends_it(jpeg: bytes) -> bytes:
    """Without Huffman tables, and filled up at the end."""
    at, kept = 2, jpeg[:2]
    while jpeg[at + 1] != 0xDA:
        end = at + 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
        kept += b"" if jpeg[at + 1] == 0xC4 else jpeg[at:end]
        at = end
    return kept + jpeg[at:] + bytes(37)


class Kernel:
    """One webcam."""

    def __init__(self) -> None:
        self.pixels = [fourcc(each) for each in OPTIONS.get("pixels", ["YUYV", "MJPG"])]
        self.format = (self.pixels[0], *SIZES[0])
        self.queued: list[int] = []
        self.done: list[tuple[int, int, int, bytes]] = []
        self.maps: list[mmap.mmap] = []
        self.number = 0
        self.streaming = threading.Event()
        self.lock = threading.Lock()
        self.gone = False

    def ioctl(self, fd: int, request: int, argument: Any) -> int:
        """As fcntl.ioctl: the number in the request says what is wanted."""
        if self.gone:
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
        known = {
            0: self.querycap,
            2: self.enum_fmt,
            4: self.g_fmt,
            5: self.s_fmt,
            8: lambda _: None,  # REQBUFS: as many as are wanted
            9: self.querybuf,
            15: self.qbuf,
            17: self.dqbuf,
            18: lambda _: self.stream_on(fd),
            19: lambda _: self.streaming.clear(),
            22: lambda _: None,  # S_PARM: any rate
            37: self.querymenu,
            71: self.g_ext_ctrls,
            72: self.s_ext_ctrls,
            74: self.enum_framesizes,
            103: self.query_ext_ctrl,
        }
        known[request & 0xFF](argument)
        return 0

    def querycap(self, cap: Any) -> None:
        cap.card = b"Model Webcam"
        cap.device_caps = cap.capabilities = 0x04000000 | OPTIONS.get("capabilities", 0x1)

    def enum_fmt(self, form: Any) -> None:
        if form.index >= len(self.pixels):
            raise OSError(errno.EINVAL, "no more")
        form.pixelformat = self.pixels[form.index]

    def enum_framesizes(self, size: Any) -> None:
        if size.index >= len(SIZES):
            raise OSError(errno.EINVAL, "no more")
        size.type = 1
        size.m1.discrete.width, size.m1.discrete.height = SIZES[size.index]

    def s_fmt(self, form: Any) -> None:
        if OPTIONS.get("busy"):
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
        pix = form.fmt.pix
        nearest = min(SIZES, key=lambda size: abs(size[0] - pix.width))
        self.format = (pix.pixelformat if pix.pixelformat in self.pixels else self.pixels[0], *nearest)
        self.g_fmt(form)

    def g_fmt(self, form: Any) -> None:
        pix = form.fmt.pix
        pix.pixelformat, pix.width, pix.height = self.format
        pix.bytesperline = 2 * pix.width + 64 if pix.pixelformat == fourcc("YUYV") else 0
        pix.sizeimage = DATA_BYTES

    def querybuf(self, buffer: Any) -> None:
        buffer.length, buffer.m.offset = DATA_BYTES, buffer.index * DATA_BYTES

    def qbuf(self, buffer: Any) -> None:
        with self.lock:
            self.queued.append(buffer.index)

    def dqbuf(self, buffer: Any) -> None:
        with self.lock:
            if not self.done:
                raise BlockingIOError(errno.EAGAIN, "no frame yet")
            index, number, stamp_ns, data = self.done.pop(0)
        os.read(self.fifo, 1)
        self.maps[index][: len(data)] = data
        buffer.index, buffer.sequence, buffer.bytesused = index, number, len(data)
        buffer.timestamp.secs, rest = divmod(stamp_ns, 1_000_000_000)
        buffer.timestamp.usecs = rest // 1000
        monotonic = OPTIONS.get("stamps") != "none"
        damaged = OPTIONS.get("damaged") and number % OPTIONS["damaged"] == 0
        buffer.flags = (0x12000 if monotonic else 0) | (0x40 if damaged else 0)

    def stream_on(self, fd: Any) -> None:
        self.fifo = fd.fileno()
        self.streaming.set()
        threading.Thread(target=self.frames, daemon=True).start()

    def frames(self) -> None:
        """A frame whenever its time comes and a buffer is there."""
        while self.streaming.is_set():
            time.sleep(FRAME_S)
            ahead_ns = 900_000_000 if OPTIONS.get("stamps") == "ahead" else -10_000_000
            exposed_ns = time.clock_gettime_ns(time.CLOCK_MONOTONIC) + ahead_ns
            self.number += 1
            if self.number > OPTIONS.get("unplug_after", 1 << 30):
                self.gone = True
                os.write(self.fifo, b"!")
                return
            with self.lock:
                if self.queued:
                    self.done.append((self.queued.pop(0), self.number, exposed_ns, self.frame()))
                    os.write(self.fifo, b".")

    def frame(self) -> bytes:
        pixels, *(width, height) = self.format
        if pixels == fourcc("YUYV"):
            line = bytes([235, 128, 16, 128]) * (width // 2) + bytes(64)
            moved = height // 8 if self.number >= OPTIONS.get("moves_from", 1 << 30) else 0
            return bytes([16, 128, 16, 128]) * (len(line) // 4) * moved + line * (height - moved)
        return as_a_webcam_sends_it(picture(self.number, (width, height)))

    def query_ext_ctrl(self, control: Any) -> None:
        following = [number for number in CONTROLS if number > control.id & 0x0FFFFFFF]
        if not following:
            raise OSError(errno.EINVAL, "no more")
        control.id = following[0]
        known = CONTROLS[control.id]
        control.name, control.type = known["name"], known["type"]
        control.minimum, control.maximum, control.step = known["minimum"], known["maximum"], 1

    def querymenu(self, menu: Any) -> None:
        if menu.index not in MENU:
            raise OSError(errno.EINVAL, "no such entry")
        menu.name = MENU[menu.index]

    def g_ext_ctrls(self, controls: Any) -> None:
        controls.controls[0].value = CONTROLS[controls.controls[0].id]["value"]

    def s_ext_ctrls(self, controls: Any) -> None:
        control = controls.controls[0]
        if control.id == 0x009A0902 and CONTROLS[0x009A0901]["value"] != 1:
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        CONTROLS[control.id]["value"] = control.value


if "MODEL_WEBCAM" in os.environ:
    kernel, real_ioctl, RealMap = Kernel(), fcntl.ioctl, mmap.mmap

    def ioctl(fd: Any, request: int, *arguments: Any) -> Any:
        if request >> 8 & 0xFF != ord("V"):
            return real_ioctl(fd, request, *arguments)
        return kernel.ioctl(fd, request, *arguments)

    def mapped(fd: int, length: int, *arguments: Any, **options: Any) -> mmap.mmap:
        kernel.maps.append(RealMap(-1, length))
        return kernel.maps[-1]

    fcntl.ioctl, mmap.mmap = ioctl, mapped  # type: ignore[assignment,misc]
