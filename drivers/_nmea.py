"""NMEA 0183: bytes into checked sentences, sentences into what a receiver says of one epoch.

Fields as IEC 61162-1 (NMEA 0183 4.11) and the protocol descriptions of u-blox (M8, M10) and MediaTek have them; second
source: gpsd, "NMEA Revealed". Any talker counts (GP, GN, GL, GA, GB, GQ ...); what is not known is empty.

    RMC  time, status, lat, N/S, lon, E/W, knots, course, ddmmyy, variation, E/W, mode, ...
    GGA  time, lat, N/S, lon, E/W, quality, satellites, HDOP, altitude, M, geoid, M, age, station
    GLL  lat, N/S, lon, E/W, time, status, mode
    VTG  course, T, course, M, knots, N, km/h, K, mode
    GSA  A/M, 1 none 2 flat 3 whole, 12 satellites, PDOP, HDOP, VDOP, ...
    GST  time, RMS, major, minor, angle, lat sigma, lon sigma, altitude sigma
    ZDA  time, day, month, year, ...
"""

import calendar
import dataclasses
import datetime
import math
from collections.abc import Callable, Iterator

PAUSE_NS = 60_000_000
"""More than two sentences take at 9600 baud: within an epoch only a busy receiver pauses for so long."""
_SEVERAL = ("GSA",)
"""Comes several times in an epoch, once for each system."""
_LONGEST = 1024
"""Of a line; the standard says 82, receivers say more."""
_LONGEST_NUMBER = 20
_DAY_S = 86400.0
_EARLIEST_YEAR = 2020
"""Receivers without a clock begin in 1980, and old ones, whose week number has run over, are 1024 weeks behind."""
_KNOT_M_S, _KMH_M_S = 1852 / 3600, 1 / 3.6
_QUALITY_OF_MODE = {"A": 1, "D": 2, "P": 3, "R": 4, "F": 5, "E": 6, "M": 7, "S": 8, "N": 0}
NAN = math.nan


class Malformed(ValueError):
    """A sentence whose checksum is good and whose fields are not."""


@dataclasses.dataclass
class Epoch:
    """What the sentences of one epoch say; NaN (or None) is not known."""

    observed_ns: int
    """CLOCK_BOOTTIME at which the first of them came."""
    second: float = NAN
    """Of the day, UTC."""
    midnight: float = NAN
    """Unix time at which the day began, where the date is known."""
    latitude: float = NAN
    longitude: float = NAN
    altitude: float = NAN
    speed: float = NAN
    course: float = NAN
    satellites: int = 0
    hdop: float = NAN
    accuracy: float = NAN
    quality: int | None = None
    """As GGA says it: 0 none, 1 GPS, 2 DGPS, 4 and 5 RTK, 6 estimated, 7 typed in, 8 simulator."""
    by_gga: bool = False
    """Whether quality and position are GGA's, whose word counts more than others'."""
    said: list[str] = dataclasses.field(default_factory=list)
    """Talker and kind of each of its sentences, but for those that come several times."""


class Lines:
    """Cuts a line's bytes into sentences whose checksum is right. Bounded memory, never raises."""

    def __init__(self) -> None:
        self.bad = 0
        """Lines that are damaged; the one in which the listening began is not counted."""
        self._rest = b""
        self._begun = False

    def feed(self, data: bytes) -> Iterator[list[str]]:
        """The fields of each whole sentence, the first of which is talker and kind: `GNRMC`."""
        *lines, rest = (self._rest + data).split(b"\n")
        self._rest = rest
        for line in lines:
            fields = checked(line)
            if fields is not None:
                yield fields
            elif self._begun and line.strip():
                self.bad += 1
            self._begun = True
        if len(self._rest) > _LONGEST:
            self._rest = b""
            self.bad += self._begun
            self._begun = True


def checked(line: bytes) -> list[str] | None:
    """The fields of `$....*hh`; None where it is damaged. What stands before the last $ is no part of it."""
    start, end = line.rfind(b"$"), line.rfind(b"*")
    if start < 0 or end < start or len(line) > _LONGEST:
        return None
    body, given = line[start + 1 : end], line[end + 1 :].strip()
    checksum = 0
    for byte in body:
        checksum ^= byte
    if len(given) != 2 or given.upper() != b"%02X" % checksum or not body.isascii():
        return None
    return body.decode().split(",")


class Epochs:
    """Collects sentences into epochs.

    One ends where the time changes, or where a sentence comes that it has already, or that usually comes earlier.
    """

    def __init__(self) -> None:
        self.bad = 0
        """Sentences whose fields cannot be."""
        self._open: Epoch | None = None
        self._usual: list[str] = []
        """What an epoch says at most, in order."""

    def add(self, fields: list[str], observed_ns: int) -> Epoch | None:
        """The epoch that this sentence ends by not belonging to it."""
        said = fields[0]
        parse = _KINDS.get(said[2:]) if len(said) == 5 else None
        if parse is None:
            return None
        padded = fields + [""] * 20
        heard = Epoch(observed_ns)
        try:
            parse(heard, padded)
        except ValueError:
            self.bad += 1
            return None
        now, ended = self._open, None
        if now is not None and not self._belongs(said, heard, now):
            ended, now = self._end(now), None
        if now is None:
            now = self._open = Epoch(observed_ns)
        if said not in now.said and said[2:] not in _SEVERAL:
            now.said.append(said)
        parse(now, padded)
        return ended

    def pause(self) -> Epoch | None:
        """The epoch that a pause ends, having said all that is usual."""
        now = self._open
        return self._end(now) if now is not None and self._usual and set(self._usual) <= set(now.said) else None

    def _end(self, epoch: Epoch) -> Epoch:
        self._open = None
        if len(epoch.said) >= len(self._usual):
            self._usual = list(epoch.said)
        return epoch

    def _belongs(self, said: str, heard: Epoch, epoch: Epoch) -> bool:
        if not math.isnan(heard.second) and not math.isnan(epoch.second) and heard.second != epoch.second:
            return False
        usual = self._usual
        if said in usual and any(usual.index(said) < usual.index(other) for other in epoch.said if other in usual):
            return False
        return said not in epoch.said


def _rmc(epoch: Epoch, fields: list[str]) -> None:
    epoch.second = _second(fields[1], epoch.second)
    mode = _QUALITY_OF_MODE.get(fields[12], 1)
    _place(epoch, fields[3:7], fields[2] == "A", mode)
    if fields[2] == "A":
        epoch.speed = _number(fields[7]) * _KNOT_M_S
        epoch.course = _within(_number(fields[8]), 0, 360)
    if date := fields[9]:
        if len(date) != 6 or not date.isdigit():
            raise Malformed(date)
        year = int(date[4:6])
        epoch.midnight = _midnight(year + (1900 if year >= 80 else 2000), int(date[2:4]), int(date[:2]))


def _gga(epoch: Epoch, fields: list[str]) -> None:
    epoch.second = _second(fields[1], epoch.second)
    quality = int(_within(_number(fields[6] or "0"), 0, 255))
    if quality:
        epoch.latitude, epoch.longitude = _coordinates(fields[2:6])
        epoch.altitude = _number(fields[9])
    else:
        epoch.latitude = epoch.longitude = epoch.altitude = NAN
    epoch.quality = quality
    epoch.satellites = int(_within(_number(fields[7] or "0"), 0, 255))
    epoch.hdop = _dop(fields[8])
    epoch.by_gga = True


def _gll(epoch: Epoch, fields: list[str]) -> None:
    epoch.second = _second(fields[5], epoch.second)
    _place(epoch, fields[1:5], fields[6] == "A", _QUALITY_OF_MODE.get(fields[7], 1))


def _vtg(epoch: Epoch, fields: list[str]) -> None:
    speed, course = _number(fields[7]) * _KMH_M_S, _within(_number(fields[1]), 0, 360)
    if math.isnan(epoch.speed) and fields[9] != "N":
        epoch.speed, epoch.course = speed, course


def _gsa(epoch: Epoch, fields: list[str]) -> None:
    if math.isnan(epoch.hdop):
        epoch.hdop = _dop(fields[16])


def _gst(epoch: Epoch, fields: list[str]) -> None:
    epoch.second = _second(fields[1], epoch.second)
    epoch.accuracy = math.hypot(_number(fields[6]), _number(fields[7]))


def _zda(epoch: Epoch, fields: list[str]) -> None:
    epoch.second = _second(fields[1], epoch.second)
    if all(fields[2:5]):
        epoch.midnight = _midnight(int(fields[4]), int(fields[3]), int(fields[2]))


_KINDS: dict[str, Callable[[Epoch, list[str]], None]] = {
    "RMC": _rmc,
    "GGA": _gga,
    "GLL": _gll,
    "VTG": _vtg,
    "GSA": _gsa,
    "GST": _gst,
    "ZDA": _zda,
}


def _place(epoch: Epoch, fields: list[str], valid: bool, mode: int) -> None:
    """A position from another sentence than GGA, whose word counts more."""
    latitude, longitude = _coordinates(fields) if valid else (NAN, NAN)
    if epoch.by_gga:
        return
    epoch.latitude, epoch.longitude = latitude, longitude
    epoch.quality = (mode or 1) if valid else 0


def _coordinates(fields: list[str]) -> tuple[float, float]:
    """Degrees from ddmm.mmmm, N/S, dddmm.mmmm, E/W."""
    latitude, north, longitude, east = fields
    if not latitude or not longitude:
        return NAN, NAN
    return _degrees(latitude, north, "NS", 90), _degrees(longitude, east, "EW", 180)


def _degrees(text: str, side: str, sides: str, most: int) -> float:
    whole, minutes = divmod(_number(text), 100)
    angle = whole + minutes / 60
    if not (minutes < 60 and 0 <= angle <= most) or side not in sides or not side:
        raise Malformed(text)
    return -angle if side == sides[1] else angle


def _second(text: str, otherwise: float) -> float:
    """Of the day, from hhmmss.ss; a leap second is the 61st."""
    if not text:
        return otherwise
    if len(text) < 6 or not text[:6].isdigit():
        raise Malformed(text)
    hours, minutes, seconds = int(text[:2]), int(text[2:4]), _number(text[4:])
    if hours > 23 or minutes > 59 or not 0 <= seconds < 61:
        raise Malformed(text)
    return round(hours * 3600 + minutes * 60 + seconds, 6)


def _midnight(year: int, month: int, day: int) -> float:
    """Unix time; NaN for a year that no receiver can mean."""
    date = datetime.date(year, month, day)
    return float(calendar.timegm(date.timetuple())) if year >= _EARLIEST_YEAR else NAN


def _dop(text: str) -> float:
    """A dilution of precision; 99.99 (u-blox), 50.0 and more mean that it is not known."""
    dop = _number(text)
    return dop if 0 < dop < 50 else NAN


def _number(text: str) -> float:
    if not text:
        return NAN
    if text.strip("+-.0123456789") or len(text) > _LONGEST_NUMBER:
        raise Malformed(text)  # float() also takes "nan", "1_0" and "1e9"
    return float(text)


def _within(value: float, low: float, high: float) -> float:
    if value < low or value > high:
        raise Malformed(f"{value}")
    return value


def unix_s(epoch: Epoch, before_s: float, passed_s: float) -> float:
    """Unix time of an epoch; where it has no date, the day nearest to `passed_s` after `before_s`."""
    if not math.isnan(epoch.midnight) or math.isnan(epoch.second):
        return epoch.midnight + epoch.second
    expected_s = before_s + passed_s
    if math.isnan(expected_s):
        return NAN
    days = round((expected_s - epoch.second) / _DAY_S)
    return days * _DAY_S + epoch.second
