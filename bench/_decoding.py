"""What decoders make of bytes in memory, whole and with one frame in a hundred damaged, against plain Python loops."""

import dataclasses
import random
import struct
from collections.abc import Callable, Iterator
from typing import Any

from bench import Measure, beside
from bench._timing import best_cpu_s, where
from drivers import Channel, samples_dtype
from drivers import _mplab_stream as mplab
from drivers import _ssi2 as ssi2
from drivers import _struct_frames as struct_frames
from drivers import _text_lines as text_lines
from drivers import struct_frames as frames_driver
from drivers.ports.virtual import mplab_stream as virtual_mplab
from drivers.ports.virtual import struct_frames as virtual_frames
from drivers.ports.virtual import text_lines as virtual_lines
from drivers.ports.virtual.motion import Motion
from drivers.ports.virtual.ssi import COLUMNS, frames

ROWS = 32
"""In a packet of SSI."""
PACKETS = 6400
LINES = 60_000
_CALL = 4096
"""What a tty hands over at most."""
_PERIOD_NS = 1_000_000
_START = 0xA5
FIELDS = (
    frames_driver.Field("Sequence", "uint16", "sequence"),
    *(frames_driver.Field(name, "int16") for name in COLUMNS),
)
CHECKSUM = "crc16-ccitt-false"


@dataclasses.dataclass(frozen=True)
class Case:
    """One stream, and who decodes it."""

    what: str
    sent: list[bytes]
    """Frame by frame."""
    rows: int
    """In each."""
    decoder: Callable[[], Any]
    plain: str
    """What the loop of Python does instead, in words."""
    loop: Callable[[bytes], int]
    """The rows that it makes of all that was sent, undamaged."""
    aim_m: float
    call: int = _CALL
    unit: str = "rows"


def decoding() -> list[Measure]:
    """Rows a second and core, the best of five passes."""
    return [_decoding(case, damage) for case in _cases() for damage in (False, True)]


def _cases() -> Iterator[Case]:
    motion = Motion(1, 1000.0).rows(0, PACKETS * ROWS)
    dtype = samples_dtype(tuple(Channel(name) for name in COLUMNS))
    some = motion[:LINES]
    packets = [frame.tobytes() for frame in frames(motion, ROWS, 1)]
    singles = [frame.tobytes() for frame in frames(motion[: 4 * LINES], 1, 1)]
    yield _ssi(packets, ROWS, dtype, ("calls of 64 packets", 64 * len(packets[0]), 20.0))
    yield _ssi(packets, ROWS, dtype, ("calls of 4 kB", _CALL, 4.0))
    yield _ssi(singles, 1, dtype, ("calls of 64 kB", 1 << 16, 1.0))
    yield _text("six numbers", virtual_lines.lines(some, False), _lines)
    yield _text("ax:1,ay:2 ...", virtual_lines.lines(some, True), _labelled_lines)
    yield from (_own_frames(framing, some) for framing in ("sync", "cobs"))
    yield Case(
        "mplab_stream, six int16",
        virtual_mplab.frames(virtual_mplab.variables(some, ["int16"] * 6), _START),
        1,
        lambda: mplab.Decoder(dtype, _START, 1000.0),
        "struct.iter_unpack, unchecked",
        lambda data: sum(1 for _ in struct.iter_unpack("<x6hx", data)),
        1.0,
        unit="frames",
    )


def _ssi(sent: list[bytes], rows: int, dtype: Any, calls: tuple[str, int, float]) -> Case:
    what, size, aim_m = calls
    return Case(
        f"SSI v2, {rows} rows a packet, {what}" if rows > 1 else f"SSI v2, a row a packet, {what}",
        sent,
        rows,
        lambda: ssi2.Decoder(dtype, rows, 1000.0),
        "struct.iter_unpack, unchecked",
        lambda data: rows * sum(1 for _ in struct.iter_unpack(f"<9x{6 * rows}hx", data)),
        aim_m,
        size,
    )


def _text(what: str, sent: list[bytes], loop: Callable[[bytes], int]) -> Case:
    head = b"".join(sent[:50])
    return Case(f"text_lines, {what}", sent, 1, lambda: lines_decoder(head), "split and float", loop, 0.3, unit="lines")


def _own_frames(framing: str, rows: Any) -> Case:
    settings = frames_driver.Settings("/dev/null", FIELDS, framing, checksum=CHECKSUM)
    sent = struct_sent(settings, rows)
    form = f"<2xH6h{len(sent[0]) - 16}x"
    return Case(
        f"struct_frames, {framing}, uint16 that counts, six int16, CRC-16",
        sent,
        1,
        lambda: struct_frames.Decoder(settings.layout(), cobs=framing == "cobs", rate_hz=1000.0),
        "struct.iter_unpack, unchecked",
        lambda data: sum(1 for _ in struct.iter_unpack(form, data)),
        1.0,
        unit="frames",
    )


def struct_sent(settings: frames_driver.Settings, rows: Any) -> list[bytes]:
    """The frames of these rows, as a device with those settings sends them."""
    frame = {name: getattr(settings, name) for name in ("framing", "sync", "byte_order", "rows", "checksum")}
    frame |= {name: getattr(settings, name) for name in ("checksum_order", "checksum_covers")}
    return virtual_frames.encoded({**frame, "fields": [dataclasses.asdict(f) for f in settings.fields]}, 0, rows)


def lines_decoder(head: bytes) -> text_lines.Decoder:
    """For lines that begin like `head`."""
    survey = text_lines.Survey()
    survey.count(head, 0)
    assert survey.layout is not None
    channels = tuple(Channel(f"Value{n}", "", "<f8") for n in range(survey.layout.width))
    return text_lines.Decoder(survey.layout, samples_dtype(channels), 1000.0)


def _lines(data: bytes) -> int:
    return sum(1 for line in data.splitlines() if [float(value) for value in line.split(b",")])


def _labelled_lines(data: bytes) -> int:
    count = 0
    for line in data.splitlines():
        pairs = (pair.split(b":") for pair in line.split(b","))
        count += bool({label: float(value) for label, value in pairs})
    return count


def _decoding(case: Case, damage: bool) -> Measure:
    whole = b"".join(case.sent)
    data = damaged(case.sent) if damage else whole
    pieces = [data[at : at + case.call] for at in range(0, len(data), case.call)]
    span_ns = len(case.sent) * case.rows * _PERIOD_NS
    times = [span_ns * (n + 1) // len(pieces) for n in range(len(pieces))]
    got = 0

    def ours() -> None:
        nonlocal got
        decoder = case.decoder()
        got = sum(b.count for piece, ns in zip(pieces, times, strict=True) for b in decoder.feed(piece, ns))

    rows = len(case.sent) * case.rows
    spent = best_cpu_s({"ours": ours, "plain": lambda: case.loop(whole)})
    if got < 0.95 * rows:
        raise RuntimeError(f"{case.what}: only {got} of {rows} rows were decoded")
    rate, plain = rows / spent["ours"] / 1e6, rows / spent["plain"] / 1e6
    aim_m = case.aim_m if not damage else min(case.aim_m, 2.0)
    met = rate >= aim_m
    what = case.what + (f", 1 % of {'packets' if case.rows > 1 else case.unit} damaged" if damage else "")
    return Measure(
        what=f"decoding {what}",
        figure=rate,
        unit=f"M {case.unit}/s",
        against=beside(f"{case.plain}, all whole", plain, f"M {case.unit}/s"),
        ratio=rate / plain,
        aim=f"at least {aim_m:g} M {case.unit}/s",
        met=met,
        lower_is_better=False,
        peers={f"{case.plain}, all whole": plain},
        reason="" if met else f"{spent['ours'] / rows * 1e6:.2f} us each: {where(ours)}",
    )


def damaged(sent: list[bytes]) -> bytes:
    """One frame in a hundred with a bit turned, a byte lost or a byte doubled."""
    chance = random.Random(1)
    found = []
    for frame in sent:
        changed = bytearray(frame)
        if chance.random() < 0.01:
            at = chance.randrange(len(frame))
            match chance.randrange(3):
                case 0:
                    changed[at] ^= 0x10
                case 1:
                    del changed[at]
                case _:
                    changed.insert(at, changed[at])
        found.append(bytes(changed))
    return b"".join(found)
