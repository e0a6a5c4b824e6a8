"""A JPEG from outside: its segments, whether it is whole, what a webcam left out; and a small look into it."""

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

SOI, EOI = b"\xff\xd8", b"\xff\xd9"
SOS, DHT = 0xDA, 0xC4
APP0, APP1 = 0xE0, 0xE1

_K33 = (
    (0x00, "00010501010101010100000000000000", "000102030405060708090a0b"),  # DC luminance
    (
        0x10,  # AC luminance
        "0002010303020403050504040000017d",
        "01020300041105122131410613516107227114328191a1082342b1c11552d1f02433627282090a161718191a25262728292a3435"
        "363738393a434445464748494a535455565758595a636465666768696a737475767778797a838485868788898a92939495969798"
        "999aa2a3a4a5a6a7a8a9aab2b3b4b5b6b7b8b9bac2c3c4c5c6c7c8c9cad2d3d4d5d6d7d8d9dae1e2e3e4e5e6e7e8e9eaf1f2f3f4"
        "f5f6f7f8f9fa",
    ),
    (0x01, "00030101010101010101010000000000", "000102030405060708090a0b"),  # DC chrominance
    (
        0x11,  # AC chrominance
        "00020102040403040705040400010277",
        "000102031104052131061241510761711322328108144291a1b1c109233352f0156272d10a162434e125f11718191a262728292a"
        "35363738393a434445464748494a535455565758595a636465666768696a737475767778797a82838485868788898a9293949596"
        "9798999aa2a3a4a5a6a7a8a9aab2b3b4b5b6b7b8b9bac2c3c4c5c6c7c8c9cad2d3d4d5d6d7d8d9dae2e3e4e5e6e7e8e9eaf2f3f4"
        "f5f6f7f8f9fa",
    ),
)
"""Class and destination, counts by length, values: tables K.3 to K.6 of ITU-T T.81."""


def segments(jpeg: bytes) -> Iterator[tuple[int, int, int]]:
    """(marker, offset, end) of every segment up to and including the first start of scan.

    Raises ValueError where the bytes are no JPEG, or end before the scan. Source: ITU-T T.81, B.1.1.

        FF marker   length        parameters
        u8 u8       u16 (2 + n)   n bytes       ... and fill bytes FF may stand before a marker
    """
    if jpeg[:2] != SOI:
        raise ValueError("does not begin as a JPEG")
    at = 2
    while at + 4 <= len(jpeg):
        if jpeg[at] != 0xFF:
            raise ValueError(f"no marker at byte {at}")
        marker = jpeg[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        end = at + 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
        if end > len(jpeg):
            break
        yield marker, at, end
        if marker == SOS:
            return
        at = end
    raise ValueError("ends before its picture data")


def missing(jpeg: bytes) -> str:
    """Empty where the JPEG is whole; else what is wrong. A file cut at any place is never called whole.

    In picture data FF is followed by 00 or by a marker of what comes next, so only the end can be FF D9 there.
    """
    try:
        *_, (_, _, scan) = segments(jpeg)
    except ValueError as error:
        return str(error)
    return "" if jpeg.endswith(EOI, scan) else "does not end as a JPEG"


def standalone(frame: bytes) -> bytes:
    """A frame of Motion JPEG as a file of its own, its picture data untouched.

    Webcams leave out the Huffman tables, which are always the same, and fill their buffers up after the end.
    Source: UVC payload specification 1.5, Motion JPEG, section 3.3; ITU-T T.81, B.2.4.2 and K.3.3.
    """
    end = frame.rfind(EOI)
    frame = frame[: end + len(EOI)] if end > 0 else frame
    try:
        found = list(segments(frame))
    except ValueError:
        return frame  # not whole, which whoever takes it sees
    if any(marker == DHT for marker, _, _ in found):
        return frame
    _, scan, _ = found[-1]
    return frame[:scan] + _usual_tables() + frame[scan:]


def brightness(jpeg: bytes, width: int) -> "npt.NDArray[np.uint8] | None":
    """(height, width) levels, decoded only as far as for about that many pixels across; None where it is not whole."""
    import numpy as np  # noqa: PLC0415  only where motion is looked for
    from PIL import Image  # noqa: PLC0415

    if missing(jpeg):
        return None
    try:
        with Image.open(io.BytesIO(jpeg)) as image:
            image.draft("L", (width, width * image.height // image.width))
            return np.asarray(image.convert("L"))
    except (OSError, SyntaxError, ValueError):  # Pillow raises any of the three
        return None


def _usual_tables() -> bytes:
    """The four Huffman tables of ITU-T T.81, K.3.3, in one segment.

    FF C4   length   class, place   16 counts, of codes with 1 to 16 bits   their values   (four times)
    u8 u8   u16      u8             16 bytes                                n bytes
    """
    tables = b"".join(bytes([place]) + bytes.fromhex(counts) + bytes.fromhex(values) for place, counts, values in _K33)
    return b"\xff\xc4" + (2 + len(tables)).to_bytes(2, "big") + tables
