"""Viam in tests: the model of its cloud with the targets that lead to it, and captures with real samples."""

import contextlib
import dataclasses
import datetime
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import grpc

from agent.capture import Capture, Payload
from agent.film import Film
from agent.formats import format_module
from agent.targets import Home, Target
from agent.targets.viam import Settings
from drivers import Block, Identity
from drivers.ports.jpeg import APP0, APP1, segments
from tests.captures import make_capture
from tests.contracts.format import IMU, START_NS, block, write_negative
from tests.models.viam import DENIED, EXHAUSTED, INVALID, KEY, KEY_ID, PART, UNAUTHENTICATED, UNAVAILABLE, Fault
from tests.models.viam_grpc import GrpcCloud
from tests.sticky_pi import V2


class Far:
    """The model, and the targets that lead to it; samples go there as files, unless told otherwise."""

    secret = KEY

    def __init__(self, cloud: GrpcCloud, folder: Path, stack: contextlib.ExitStack) -> None:
        self.cloud, self.stack = cloud, stack
        self.home = Home("bay3", "0badcafe", folder / "secrets")
        self.home.secrets.mkdir(exist_ok=True)
        (self.home.secrets / "viam-key").write_text(KEY + "\n")

    def settings(self, **more) -> Settings:
        known = {"part_id": PART, "key_id": KEY_ID, "key_file": "viam-key", "host": self.cloud.address}
        known |= {"insecure": True, "samples": "files", "idle_timeout_s": 0.5, "connect_timeout_s": 1.0}
        return Settings(**(known | more))

    def open(self, **more) -> Target:
        target = self.settings(**more).open(self.home)
        self.stack.callback(target.close)
        return target

    def open_patient(self) -> Target:
        return self.open(idle_timeout_s=60, connect_timeout_s=60)

    def open_elsewhere(self, host: str) -> Target:
        return self.open(host=host, insecure=False)

    def files(self) -> dict[str, bytes]:
        return self.cloud.files()

    def forget(self) -> None:
        self.cloud.keep = False

    def fault(self, **what) -> None:
        self.cloud.faults["uploads"].append(Fault(**what))

    def lose_answer(self) -> None:
        self.fault(store=True, cut=True)

    def cut(self, after_bytes: int) -> None:
        self.fault(cut=True, after=after_bytes)

    def deny(self) -> None:
        """The token has ended, and the key is not known any more."""
        self.fault(code=UNAUTHENTICATED, text="unauthenticated: expired")
        self.cloud.faults["Authenticate"].append(Fault(code=DENIED, text=f"failed to authenticate: {KEY}"))

    def busy(self, status: int, retry_after: str) -> None:
        code = {429: EXHAUSTED, 503: UNAVAILABLE}[status]
        self.fault(code=code, text=f"too many of {KEY}", metadata=(("grpc-retry-pushback-ms", f"{retry_after}000"),))

    def slow(self) -> None:
        self.cloud.line.pause_s = 0.002

    def answer_early(self) -> None:
        self.fault(code=INVALID, text=f"not from {KEY}", after=1000)

    def truncate_answer(self) -> None:
        self.fault(truncate=True)

    def misanswer(self, text: str) -> None:
        self.fault(answer=text.encode())

    def hang(self) -> threading.Event:
        self.fault(hang=True)
        return self.cloud.hanging


@contextlib.contextmanager
def serving(folder: Path, cloud: GrpcCloud | None = None) -> Iterator[Far]:
    with cloud or GrpcCloud() as running, contextlib.ExitStack() as stack:
        yield Far(running, folder, stack)


@contextlib.contextmanager
def awake() -> Iterator[None]:
    """gRPC's own descriptors and threads, which are there as long as anybody uses it, and are no leak of a test."""
    channel = grpc.insecure_channel("127.0.0.1:1")
    with contextlib.suppress(grpc.RpcError):
        channel.unary_unary("/nobody")(b"", timeout=5)
    yield
    channel.close()


JPEG = ("jpeg", "image/jpeg", ".jpg")
WALL = datetime.datetime(2026, 11, 21, 10, 15, 0, 123000, tzinfo=datetime.UTC)
START = {"boot_time_ns": START_NS, "boot_id": "", "wall_time": "2026-11-21T10:15:00.123000Z", "clock": "synchronised"}


def sampled(
    folder: Path, streams: dict[str, Identity], blocks: list[tuple[int, Block]], *kinds: str, fill: str = "hold", **more
) -> Capture:
    """A capture of these blocks, in these formats, as a recording would have made it; `more` goes into the sidecar."""
    folder.mkdir(parents=True, exist_ok=True)
    negative = write_negative(folder / "negative", streams, blocks, fill=fill)
    film = Film.scan(negative)
    capture = make_capture(folder, b"", **({"streams": film.describe(), "start": START, "duration_s": 1.0} | more))
    capture.files[0].unlink()
    payloads = []
    for kind in kinds or ("csv",):
        form = format_module(kind).Settings().open()
        path = capture.folder / f"{capture.name}{form.suffix}"
        form.develop(film, path, lambda: None)
        payloads.append(dataclasses.asdict(Payload.of(path, format=kind, media_type=form.media_type)))
    negative.unlink()
    capture = Capture(capture.folder, json.loads(json.dumps({**capture.document, "payloads": payloads})))
    capture.write_sidecar()
    return capture


def picture(folder, size=0, **more) -> Capture:
    """A JPEG, at least so large."""
    return make_capture(folder, _padded(V2, size), kind=JPEG, name="512858f4.2024-03-05_06-07-08", **more)


def _padded(jpeg: bytes, size: int) -> bytes:
    at = next(start for marker, start, _ in segments(jpeg) if marker not in (APP0, APP1))
    comment = b"\xff\xfe\xea\x60" + bytes(59998)
    return jpeg[:at] + comment * (max(0, size - len(jpeg) + len(comment) - 1) // len(comment)) + jpeg[at:]


def walk(folder: Path, count: int = 3000, *kinds: str, **more) -> Capture:
    """`count` samples at 1 kHz, without three of the first hundred blocks of ten."""
    blocks = [(0, block(IMU, first, 10)) for first in range(100, 100 + count, 10) if first not in (500, 510, 900)]
    return sampled(folder, {"imu": IMU}, blocks, *kinds, **more)


def taken(reading: dict) -> float:
    """Seconds since the capture's start."""
    times = reading["metadata"]
    assert times["time_requested"] == times["time_received"]
    return (datetime.datetime.fromisoformat(times["time_received"]) - WALL).total_seconds()
