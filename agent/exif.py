"""EXIF: tags a JPEG without re-encoding it, in the layout that Sticky Pi reads, and reads the tags back."""

import dataclasses
import io
import math
from typing import Any

from agent.clock import utc
from drivers.ports.jpeg import APP0, APP1, missing, segments

MAKE = "RaspberryPi"
"""One word: Sticky Pi's parser evaluates it, and `Raspberry Pi` makes it fail."""

_EXIF = b"Exif\x00\x00"


@dataclasses.dataclass(frozen=True, slots=True)
class Tags:
    """What stands in a picture's EXIF. None and "" are not known, and are left out."""

    wall_ns: int
    """Unix nanoseconds at which the exposure began."""
    version: str
    """Of the software, e.g. `0.1.0`."""
    model: str = ""
    """Of the camera."""
    configuration: str = ""
    """uuid of the capture configuration."""
    capture: str = ""
    """uuid of the capture."""
    exposure_s: float | None = None
    gain: float | None = None
    """Of the whole chain; 1 is ISO 100."""
    temperature_c: float | None = None
    humidity_percent: float | None = None
    battery_percent: float | None = None
    latitude: float | None = None
    longitude: float | None = None
    altitude_m: float | None = None
    synced_s: int | None = None
    """Unix seconds at which the device last delivered."""
    button: bool | None = None
    """Whether a person asked for it."""


SURROUNDINGS = (
    "temperature_c",
    "humidity_percent",
    "battery_percent",
    "latitude",
    "longitude",
    "altitude_m",
    "synced_s",
    "button",
)
"""The tags that neither the camera nor the daemon knows by itself."""


def comment(tags: Tags) -> bytes:
    """The `UserComment`: two lines, names and values, comma-separated, no character-set prefix, no newline at the end.

    column  v        T     H     B   L                     lat,lng  a     l   b    cfg,cap
    format  8 chars  %.1f  %.1f  %i  %.2f log10(1/s)       %.5f     %.1f  %i  0/1  8 hex digits
    """
    exposure_s = _exposure_s(tags)
    columns = {
        "v": tags.version.replace(",", "").replace("\n", "")[:8],
        "T": _number("%.1f", tags.temperature_c),
        "H": _number("%.1f", tags.humidity_percent),
        "B": _number("%i", tags.battery_percent, 32767),
        "L": _number("%.2f", math.log10(1 / exposure_s) if exposure_s else None),
        "lat": _number("%.5f", tags.latitude, 90) if _placed(tags) else "",
        "lng": _number("%.5f", tags.longitude, 180) if _placed(tags) else "",
        "a": _number("%.1f", tags.altitude_m, 32767),
        "l": _number("%i", tags.synced_s),
        "b": _number("%i", tags.button),
        "cfg": _digits(tags.configuration),
        "cap": _digits(tags.capture),
    }
    known = {name: value for name, value in columns.items() if value}
    return f"{','.join(known)}\n{','.join(known.values())}".encode("ascii", "replace")


def tag(jpeg: bytes, tags: Tags) -> bytes:
    """The same picture with these tags and no other EXIF; every other byte stays. ValueError where it is no JPEG."""
    body = _dump(tags)
    pieces: list[bytes | memoryview] = [jpeg[:2]]
    at, written = 2, False
    for marker, start, end in segments(jpeg):
        if not written and marker != APP0:
            pieces += [jpeg[at:start], b"\xff\xe1", (len(body) + 2).to_bytes(2, "big"), body]
            at, written = start, True
        if marker == APP1 and jpeg[start + 4 : start + 10] == _EXIF:
            pieces.append(jpeg[at:start])
            at = end
    pieces.append(memoryview(jpeg)[at:])  # the picture data, copied once, by join
    return b"".join(pieces)


def plain(jpeg: bytes) -> bytes:
    """The picture without any EXIF: what the camera gave, where `tag` was all that happened to it."""
    pieces: list[bytes | memoryview] = []
    at = 0
    for marker, start, end in segments(jpeg):
        if marker == APP1 and jpeg[start + 4 : start + 10] == _EXIF:
            pieces.append(jpeg[at:start])
            at = end
    pieces.append(memoryview(jpeg)[at:])
    return b"".join(pieces)


def read(jpeg: bytes) -> dict[str, Any]:
    """make, model, software, taken, exposure_s, iso, latitude, longitude, altitude_m and `comment` (by column).

    Only what is there. ValueError where it is no JPEG, has no EXIF, or its UserComment is not two lines.
    """
    import piexif  # noqa: PLC0415  only where pictures are
    from piexif import GPSIFD, ExifIFD, ImageIFD  # noqa: PLC0415

    body = next((jpeg[a + 4 : b] for m, a, b in segments(jpeg) if m == APP1 and jpeg[a + 4 : a + 10] == _EXIF), None)
    if body is None:
        raise ValueError("this picture has no EXIF")
    ifds = piexif.load(body)
    zeroth, exif, gps = ifds["0th"], ifds["Exif"], ifds["GPS"]
    found: dict[str, Any] = {
        name: zeroth[key].decode("utf-8", "replace")
        for name, key in (("make", ImageIFD.Make), ("model", ImageIFD.Model), ("software", ImageIFD.Software))
        if key in zeroth
    }
    if ExifIFD.DateTimeOriginal in exif:
        date, _, clock = exif[ExifIFD.DateTimeOriginal].decode().partition(" ")
        fraction = exif.get(ExifIFD.SubSecTimeOriginal, b"0").decode()
        zone = exif.get(ExifIFD.OffsetTimeOriginal, b"").decode()
        found["taken"] = f"{date.replace(':', '-')}T{clock}.{fraction}{zone}"
    if ExifIFD.ExposureTime in exif:
        found["exposure_s"] = _quotient(exif[ExifIFD.ExposureTime])
    if ExifIFD.ISOSpeedRatings in exif:
        found["iso"] = exif[ExifIFD.ISOSpeedRatings]
    if GPSIFD.GPSLatitude in gps and GPSIFD.GPSLongitude in gps:
        found["latitude"] = _from_degrees(gps[GPSIFD.GPSLatitude], gps[GPSIFD.GPSLatitudeRef] == b"S")
        found["longitude"] = _from_degrees(gps[GPSIFD.GPSLongitude], gps[GPSIFD.GPSLongitudeRef] == b"W")
    if GPSIFD.GPSAltitude in gps:
        below = gps.get(GPSIFD.GPSAltitudeRef) == 1
        found["altitude_m"] = _quotient(gps[GPSIFD.GPSAltitude]) * (-1 if below else 1)
    if ExifIFD.UserComment in exif:
        lines = exif[ExifIFD.UserComment].decode().split("\n")
        if len(lines) != 2:
            raise ValueError(f"UserComment has {len(lines)} lines instead of two")
        found["comment"] = dict(zip(lines[0].split(","), lines[1].split(","), strict=True))
    return found


def whole(jpeg: bytes, *, decode: bool = False) -> str:
    """Empty where the JPEG is whole, else why not: by its structure, and with `decode` by decoding every pixel."""
    wrong = missing(jpeg)
    if wrong or not decode:
        return wrong
    from PIL import Image  # noqa: PLC0415  never on the daemon's hot path

    try:
        with Image.open(io.BytesIO(jpeg)) as picture:
            picture.load()
    except (OSError, SyntaxError, ValueError) as error:  # Pillow raises any of the three
        return f"cannot be decoded: {error}"
    return ""


def _dump(tags: Tags) -> bytes:
    import piexif  # noqa: PLC0415  only where pictures are
    from piexif import ExifIFD, ImageIFD  # noqa: PLC0415

    zeroth: dict[int, Any] = {ImageIFD.Make: MAKE, ImageIFD.Software: f"capture-agent {tags.version}"}
    if tags.model:
        zeroth[ImageIFD.Model] = tags.model
    moment = utc(tags.wall_ns)
    exif: dict[int, Any] = {
        ExifIFD.DateTimeOriginal: moment.strftime("%Y:%m:%d %H:%M:%S"),
        ExifIFD.SubSecTimeOriginal: f"{moment.microsecond:06d}",
        ExifIFD.OffsetTimeOriginal: "+00:00",
        ExifIFD.UserComment: comment(tags),
    }
    if exposure_s := _exposure_s(tags):
        exif[ExifIFD.ExposureTime] = (round(exposure_s * 1e6), 1_000_000)
    if tags.gain and 0 < tags.gain <= 655:
        exif[ExifIFD.ISOSpeedRatings] = round(tags.gain * 100)
    return bytes(piexif.dump({"0th": zeroth, "Exif": exif, "GPS": _gps(tags)}))


def _gps(tags: Tags) -> dict[int, Any]:
    if tags.latitude is None or tags.longitude is None or not _placed(tags):
        return {}
    from piexif import GPSIFD  # noqa: PLC0415

    gps: dict[int, Any] = {
        GPSIFD.GPSVersionID: (2, 3, 0, 0),
        GPSIFD.GPSLatitudeRef: "S" if tags.latitude < 0 else "N",
        GPSIFD.GPSLatitude: _degrees(tags.latitude),
        GPSIFD.GPSLongitudeRef: "W" if tags.longitude < 0 else "E",
        GPSIFD.GPSLongitude: _degrees(tags.longitude),
    }
    if tags.altitude_m is not None and _number("%f", tags.altitude_m, 32767):
        gps[GPSIFD.GPSAltitudeRef] = int(tags.altitude_m < 0)
        gps[GPSIFD.GPSAltitude] = (round(abs(tags.altitude_m) * 100), 100)
    return gps


def _exposure_s(tags: Tags) -> float:
    """0 where it is not known, or longer than the hour that EXIF's 32 bits of microseconds can say."""
    return tags.exposure_s if tags.exposure_s and 0 < tags.exposure_s <= 3600 else 0.0


def _placed(tags: Tags) -> bool:
    """A latitude without a longitude is no place, and neither is one that no globe has."""
    return bool(_number("%f", tags.latitude, 90)) and bool(_number("%f", tags.longitude, 180))


def _degrees(angle: float) -> tuple[tuple[int, int], ...]:
    """Degrees, minutes, seconds as EXIF's rationals; a ten-thousandth of a second is 3 mm."""
    parts, units = divmod(round(abs(angle) * 36_000_000), 600_000)
    return ((parts // 60, 1), (parts % 60, 1), (units, 10_000))


def _from_degrees(rationals: tuple[tuple[int, int], ...], negative: bool) -> float:
    degrees, minutes, seconds = map(_quotient, rationals)
    return (degrees + minutes / 60 + seconds / 3600) * (-1 if negative else 1)


def _quotient(rational: tuple[int, int]) -> float:
    return rational[0] / rational[1] if rational[1] else 0.0


def _number(form: str, value: float | None, largest: float = math.inf) -> str:
    """The value as text; empty where it is not known, not a number, or beyond what the column takes."""
    if value is None or not math.isfinite(value) or abs(value) > largest:
        return ""
    return form % value


def _digits(identifier: str) -> str:
    return identifier.replace("-", "")[:8]
