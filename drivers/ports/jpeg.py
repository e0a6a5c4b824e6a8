"""The outer structure of a JPEG: its segments, and whether the file is whole, without decoding it."""

from collections.abc import Iterator

SOI, EOI = b"\xff\xd8", b"\xff\xd9"
SOS = 0xDA
APP0, APP1 = 0xE0, 0xE1


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
