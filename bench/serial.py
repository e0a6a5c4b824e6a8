"""Serial streams of six int16 a row: from a pseudo-terminal to the negative on disk, against copying bytes and what
tutorials do with pyserial; and what the decoders make of bytes in memory, whole and damaged."""

import dataclasses
import struct
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from agent.negative import NegativeWriter, identity_as_json
from bench import Measure, beside
from bench._decoding import CHECKSUM, FIELDS, PACKETS, ROWS, decoding, struct_sent
from bench._far_end import copied_cpu_s, far_end, split_cpu_s, unpacked_cpu_s
from bench._timing import where
from drivers import ssi, struct_frames, text_lines
from drivers.ports.virtual import text_lines as virtual_lines
from drivers.ports.virtual.motion import Motion
from drivers.ports.virtual.ssi import announcement, frames

_ENCODED = 50_000
"""Rows of text and of own frames, which are sent over and over."""
_SPLIT_ROWS, _UNPACKED_ROWS = 5_000, 200_000
_WARM_BYTES = 4_500_000
"""What a driver may have heard and kept before its rows are counted."""
_FLUSH_S = 0.25
_SPLIT, _UNPACKED = "pyserial readline() + split", "pyserial read(n) + struct"


@dataclasses.dataclass(frozen=True)
class Stream:
    """What a device sends, and who reads it."""

    what: str
    data: bytes
    row_bytes: float
    settings: Callable[[str], Any]
    """Of our driver, for a port."""
    count: int
    """Rows that are recorded."""
    hello: bytes = b""
    floor_aim: float = 0.0
    """How often the floor's CPU it may take; 0: shown."""
    peer_aim: float = 10.0
    """How many times the peers' rows a second it has to bring."""


def measure() -> list[Measure]:
    with tempfile.TemporaryDirectory() as name:
        folder, found = Path(name), []
        streams = _streams()
        peers = _pyserial(folder, streams)
        for stream in streams:
            its = {_SPLIT: peers[_SPLIT]} if stream.what == "text lines" else dict(peers)
            if stream.what == "struct frames":
                del its[_SPLIT]
            found += _recording(stream, its, folder)
    return [*found, *decoding()]


def _streams() -> list[Stream]:
    rows = Motion(1, 1000.0).rows(0, PACKETS * ROWS)
    packets = frames(rows, ROWS, 1).tobytes()
    lines = b"".join(virtual_lines.lines(rows[:_ENCODED], labelled=False))
    own = struct_frames.Settings("/dev/null", FIELDS, rate_hz=1000.0, checksum=CHECKSUM)
    framed = b"".join(struct_sent(own, rows[:_ENCODED]))
    return [
        Stream("SSI v2", packets, len(packets) / len(rows), ssi.Settings, 10_000_000, announcement(2, 1000, ROWS), 4.0),
        Stream(
            "text lines",
            lines,
            len(lines) / _ENCODED,
            lambda port: text_lines.Settings(port, rate_hz=1000.0, measure_s=0.2),
            500_000,
        ),
        Stream(
            "struct frames",
            framed,
            len(framed) / _ENCODED,
            lambda port: dataclasses.replace(own, port=port),
            2_000_000,
        ),
    ]


def _pyserial(folder: Path, streams: list[Stream]) -> dict[str, float]:
    """Rows a CPU second of what tutorials do with these streams."""
    lines, framed = streams[1:]
    with far_end(folder, lines.data) as path:
        split = _SPLIT_ROWS / split_cpu_s(path, _SPLIT_ROWS)
    with far_end(folder, framed.data) as path:
        row = struct.Struct(f"<2xH6h{round(framed.row_bytes) - 16}x")
        unpacked = _UNPACKED_ROWS / unpacked_cpu_s(path, row, _UNPACKED_ROWS)
    return {_SPLIT: split, _UNPACKED: unpacked}


def _recording(stream: Stream, peers: Mapping[str, float], folder: Path) -> list[Measure]:
    out, sent = folder / "out", stream.count * stream.row_bytes
    with far_end(folder, stream.data) as path:
        floor = copied_cpu_s(path, out, round(sent)) / sent * 1e9
    spent_s = _recorded(stream, folder, stream.count)
    per_gb, rate = spent_s / sent * 1e9, stream.count / spent_s
    best = max(peers.values())
    slow = bool(stream.floor_aim) and per_gb > stream.floor_aim * floor
    reason = (
        where(lambda: _recorded(stream, folder, stream.count // 5)) if slow or rate < stream.peer_aim * best else ""
    )
    what = f"{stream.what} from a pseudo-terminal to the negative"
    return [
        Measure(
            what=what,
            figure=per_gb,
            unit="CPU s/GB",
            against=beside("os.read + write", floor, "CPU s/GB"),
            ratio=per_gb / floor,
            aim=f"ratio at most {stream.floor_aim:g}" if stream.floor_aim else "shown",
            met=not slow,
            peers={"os.read + write, the floor": floor},
            reason=reason,
        ),
        Measure(
            what=f"{what}, rows",
            figure=rate,
            unit="rows/CPU s",
            against="; ".join(beside(name, its, "rows/CPU s") for name, its in peers.items()) + "; not kept",
            ratio=rate / best,
            aim=f"at least {stream.peer_aim:g} times the best of these",
            met=rate >= stream.peer_aim * best,
            lower_is_better=False,
            peers=peers,
            reason=reason,
        ),
    ]


def _recorded(stream: Stream, folder: Path, count: int) -> float:
    """CPU seconds of this process for so many rows, from the tty to the negative."""
    with far_end(folder, stream.data, stream.hello) as path:
        driver = stream.settings(path).open()
        try:
            identity = driver.start()
            head = {"uuid": "bench", "streams": [{"name": "mcu", "identity": identity_as_json(identity)}]}
            writer = NegativeWriter(folder / "negative", head)
            _write(driver, writer, round(_WARM_BYTES / stream.row_bytes))
            begun = time.process_time()
            rows = _write(driver, writer, count)
            spent_s = time.process_time() - begun
            writer.finish({})
        finally:
            driver.close()
    (folder / "negative").unlink()
    return spent_s * count / rows


def _write(driver: Any, writer: NegativeWriter, count: int) -> int:
    rows, flushed_s = 0, time.monotonic()
    while rows < count:
        block = driver.read(1.0)
        if block is None:
            raise RuntimeError(f"the line stalled after {rows} rows: {driver.counters}")
        writer.write(0, block)
        rows += block.count
        if (now_s := time.monotonic()) - flushed_s > _FLUSH_S:
            writer.flush()
            flushed_s = now_s
    return rows
