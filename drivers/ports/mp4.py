"""MP4: frames that are compressed already, with the time of each, as one file that players know."""

import struct
from collections.abc import Iterator, Sequence
from itertools import pairwise

CODECS = ("h264", "mjpeg")
_SCALE = 90_000
"""Units of time in a second: frames are dated to 11 us."""
_MATRIX = struct.pack(">9I", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
_IDR, _SPS, _PPS = 5, 7, 8
"""Types of NAL units: ITU-T H.264, table 7-1."""


def movie(frames: Sequence[bytes], times_ns: Sequence[int], size: tuple[int, int], codec: str) -> bytes:
    """The file of these frames, taken at these times; `size` is (width, height).

    Of `h264` each frame is an access unit as in an Annex B stream, the first an IDR picture with its parameter sets; of
    `mjpeg` a JPEG. ValueError where that is not so, or there is no frame. Source: ISO/IEC 14496-12, -14 and -15.

        ftyp   mdat: frames   moov: how many, how long, how large, where, which can be begun with
    """
    if not frames:
        raise ValueError("a clip without a single frame")
    keys: Sequence[int] = range(len(frames))
    if codec == "h264":
        units, times_ns = _pictures(frames, times_ns)
        entry = _h264(units[0], size)
        keys = [at for at, unit in enumerate(units) if any(nal[0] & 31 == _IDR for nal in unit)]
        frames = [b"".join(len(nal).to_bytes(4, "big") + nal for nal in unit) for unit in units]
    else:
        entry = _mjpeg(size)
    ticks = [round((time_ns - times_ns[0]) * _SCALE / 1e9) for time_ns in times_ns]
    steps = [end - begin for begin, end in pairwise(ticks)]
    steps.append(round(ticks[-1] / len(steps)) if steps else _SCALE // 25)  # the last one lasts as long as others do
    head = _box(b"ftyp", b"isom", _u32(0x200), b"isomiso2mp41")
    moov = _moov(frames, steps, size, entry, keys, len(head) + 8)
    return b"".join((head, _box(b"mdat", *frames), moov))


def _moov(
    frames: Sequence[bytes],
    steps: Sequence[int],
    size: tuple[int, int],
    entry: bytes,
    keys: Sequence[int],
    offset: int,
) -> bytes:
    """The tables; all frames are one chunk, at `offset`."""
    whole, (width, height) = sum(steps), size
    table = _box(
        b"stbl",
        _full(b"stsd", _u32(1), entry),
        _full(b"stts", _u32(len(steps)), b"".join(_u32(1, step) for step in steps)),
        _full(b"stss", _u32(len(keys)), *(_u32(at + 1) for at in keys)),
        _full(b"stsc", _u32(1, 1, len(frames), 1)),
        _full(b"stsz", _u32(0, len(frames)), *(_u32(len(frame)) for frame in frames)),
        _full(b"stco", _u32(1, offset)),
    )
    information = _box(
        b"minf",
        _full(b"vmhd", bytes(8), flags=1),
        _box(b"dinf", _full(b"dref", _u32(1), _full(b"url ", flags=1))),
        table,
    )
    media = _box(
        b"mdia",
        _full(b"mdhd", _u32(0, 0, _SCALE, whole), b"\x55\xc4\x00\x00"),
        _full(b"hdlr", _u32(0), b"vide", bytes(12), b"video\x00"),
        information,
    )
    shown = _full(b"tkhd", _u32(0, 0, 1, 0, whole), bytes(16), _MATRIX, _u32(width << 16, height << 16), flags=3)
    movie_head = _full(b"mvhd", _u32(0, 0, _SCALE, whole, 1 << 16), b"\x01\x00", bytes(10), _MATRIX, bytes(24), _u32(2))
    return _box(b"moov", movie_head, _box(b"trak", shown, media))


def _mjpeg(size: tuple[int, int]) -> bytes:
    """A sample entry for JPEGs: object type 0x6C of ISO/IEC 14496-1."""
    decoder = b"\x04\x0d\x6c\x11" + bytes(11)
    elementary = b"\x03" + bytes([3 + len(decoder) + 3]) + b"\x00\x01\x00" + decoder + b"\x06\x01\x02"
    return _entry(b"mp4v", size, _full(b"esds", elementary))


def _h264(units: Sequence[bytes], size: tuple[int, int]) -> bytes:
    """A sample entry for H.264, with the parameter sets of the first frame."""
    sequence = next((nal for nal in units if nal[0] & 31 == _SPS), b"")
    picture = next((nal for nal in units if nal[0] & 31 == _PPS), b"")
    if not sequence or not picture or not any(nal[0] & 31 == _IDR for nal in units):
        raise ValueError("the clip does not begin with a picture that can be begun with")
    configuration = b"".join(
        (b"\x01", sequence[1:4], b"\xff\xe1", _u16(len(sequence)), sequence, b"\x01", _u16(len(picture)), picture)
    )
    return _entry(b"avc1", size, _box(b"avcC", configuration))


def _pictures(frames: Sequence[bytes], times_ns: Sequence[int]) -> tuple[list[list[bytes]], list[int]]:
    """NAL units and time of each picture; parameter sets that came by themselves go with the one after them."""
    units: list[list[bytes]] = []
    times: list[int] = []
    ahead: list[bytes] = []
    for frame, time_ns in zip(frames, times_ns, strict=True):
        ahead += _units(frame)
        if any(1 <= nal[0] & 31 <= _IDR for nal in ahead):
            units.append(ahead)
            times.append(time_ns)
            ahead = []
    if not units:
        raise ValueError("a clip without a single picture")
    return units, times


def _units(access_unit: bytes) -> Iterator[bytes]:
    """The NAL units of an Annex B byte stream: each after 00 00 01, where zeros before that belong to none."""
    for piece in access_unit.split(b"\x00\x00\x01")[1:]:
        unit = piece.rstrip(b"\x00")  # a unit never ends with a zero
        if unit:
            yield unit


def _entry(kind: bytes, size: tuple[int, int], more: bytes) -> bytes:
    dots_per_inch = _u32(72 << 16, 72 << 16)
    return _box(
        kind,
        bytes(6),
        _u16(1),
        bytes(16),
        _u16(*size),
        dots_per_inch,
        _u32(0),
        _u16(1),
        bytes(32),
        b"\x00\x18\xff\xff",
        more,
    )


def _box(kind: bytes, *content: bytes) -> bytes:
    return b"".join((_u32(8 + sum(map(len, content))), kind, *content))


def _full(kind: bytes, *content: bytes, flags: int = 0) -> bytes:
    return _box(kind, _u32(flags), *content)


def _u16(*values: int) -> bytes:
    return struct.pack(f">{len(values)}H", *values)


def _u32(*values: int) -> bytes:
    return struct.pack(f">{len(values)}I", *values)
