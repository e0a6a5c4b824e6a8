"""A virtual GPS receiver that drives in a circle: cold start, lost fixes, and the habits of its maker.

At epoch n, t = n / rate_hz seconds after it was switched on:

    latitude = middle + 0.001 cos(2 pi t / 120), longitude = middle + 0.001 sin(2 pi t / 120), in degrees (1e-7 minutes)
    altitude 408.0 + t % 10 m; speed 11.2 m/s; course (90 + 3 t) % 360; 9 satellites; HDOP 0.9; sigma 1.5 and 2.0 m

u-blox: GN sentences RMC, VTG, GGA, GSA (two), GSV, GLL, GST, in that order; what is not known is empty, and the time is
not known either in the first half of a cold start. MediaTek: GP sentences GGA, GSA, RMC, VTG; without a time it counts
from midnight of 6 January 1980, and without a fix it says 0 knots. Both say hello in a TXT or PMTK sentence.
"""

import math
import random
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from drivers.ports.virtual import Wire
from drivers.ports.virtual.uart import serve_line

_BOOT_NS = 50_000_000
_MOST = 100
"""Epochs of one turn, when it has slept too long."""


class Fix(NamedTuple):
    """What is so at one epoch, whether the receiver knows it or not."""

    unix_s: float
    latitude: float
    longitude: float
    altitude: float
    course: float
    known: bool
    timed: bool


def fix(document: Mapping[str, Any], n: int) -> Fix:
    """At epoch `n`."""
    t = n / document["rate_hz"]
    angle = 2 * math.pi * t / 120
    every_s, cold_s = document["outage_every_s"], document["cold_s"]
    out = bool(every_s) and t % every_s >= every_s - document["outage_s"]
    return Fix(
        document["begins"] + t,
        document["latitude"] + 0.001 * math.cos(angle),
        document["longitude"] + 0.001 * math.sin(angle),
        408.0 + t % 10,
        (90 + 3 * t) % 360,
        known=t >= cold_s and not out,
        timed=t >= cold_s / 2,
    )


def sentence(body: str) -> bytes:
    checksum = 0
    for byte in body.encode():
        checksum ^= byte
    return f"${body}*{checksum:02X}\r\n".encode()


def sentences(document: Mapping[str, Any], n: int) -> list[bytes]:
    """All of epoch `n`."""
    now = fix(document, n)
    bodies = _ublox(now) if document["maker"] == "ublox" else _mtk(now, n / document["rate_hz"])
    return [sentence(body) for body in bodies]


def _ublox(now: Fix) -> list[str]:
    clock, date = _clock(now.unix_s, 2) if now.timed else ("", "")
    if not now.known:
        return [
            f"GNRMC,{clock},V,,,,,,,{date},,,N,V",
            "GNVTG,,,,,,,,,N",
            f"GNGGA,{clock},,,,,0,00,99.99,,,,,,",
            "GNGSA,A,1,,,,,,,,,,,,,99.99,99.99,99.99,1",
            "GNGSA,A,1,,,,,,,,,,,,,99.99,99.99,99.99,2",
            f"GNGLL,,,,,{clock},V,N",
            f"GNGST,{clock},,,,,,,",
        ]
    place = _place(now)
    knots, kmh = 11.2 / 1852 * 3600, 11.2 * 3.6
    return [
        f"GNRMC,{clock},A,{place},{knots:.3f},{now.course:.2f},{date},,,A,V",
        f"GNVTG,{now.course:.2f},T,,M,{knots:.3f},N,{kmh:.3f},K,A",
        f"GNGGA,{clock},{place},1,09,0.90,{now.altitude:.1f},M,47.3,M,,",
        "GNGSA,A,3,02,05,12,15,,,,,,,,,1.60,0.90,1.32,1",
        "GNGSA,A,3,68,69,84,85,86,,,,,,,,1.60,0.90,1.32,2",
        "GPGSV,1,1,02,02,61,118,40,05,33,203,38,1",
        f"GNGLL,{place},{clock},A,A",
        f"GNGST,{clock},18,,,,1.5,2.0,3.1",
    ]


def _mtk(now: Fix, since_s: float) -> list[str]:
    clock, date = _clock(now.unix_s if now.timed else 315964800 + since_s, 3)
    if not now.known:
        return [
            f"GPGGA,{clock},,,,,0,0,,,M,,M,,",
            "GPGSA,A,1,,,,,,,,,,,,,,,",
            f"GPRMC,{clock},V,,,,,0.00,0.00,{date},,,N",
            "GPVTG,0.00,T,,M,0.00,N,0.00,K,N",
        ]
    place = _place(now)
    knots, kmh = 11.2 / 1852 * 3600, 11.2 * 3.6
    return [
        f"GPGGA,{clock},{place},1,9,0.90,{now.altitude:.1f},M,47.3,M,,",
        "GPGSA,A,3,02,05,12,15,,,,,,,,,1.60,0.90,1.32",
        f"GPRMC,{clock},A,{place},{knots:.3f},{now.course:.2f},{date},,,A",
        f"GPVTG,{now.course:.2f},T,,M,{knots:.3f},N,{kmh:.3f},K,A",
    ]


def _clock(unix_s: float, digits: int) -> tuple[str, str]:
    """hhmmss.ss and ddmmyy."""
    whole, fraction = divmod(round(unix_s * 10**digits), 10**digits)
    moment = time.gmtime(whole)
    return f"{time.strftime('%H%M%S', moment)}.{fraction:0{digits}d}", time.strftime("%d%m%y", moment)


def _place(now: Fix) -> str:
    parts = []
    for angle, digits, sides in ((now.latitude, 2, "NS"), (now.longitude, 3, "EW")):
        degrees, units = divmod(round(abs(angle) * 60e7), round(60e7))
        parts.append(f"{degrees:0{digits}d}{units // 10**7:02d}.{units % 10**7:07d},{sides[angle < 0]}")
    return ",".join(parts)


class Receiver:
    """The device; `document` is a `VirtualReceiver`'s. Switched on anew it begins anew, at the time that it is then."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = dict(document)
        self._period_ns = 1e9 / (document["rate_hz"] * (1 + document["clock_ppm"] * 1e-6))
        self._chance = random.Random(document["seed"])  # noqa: S311  to be repeatable
        self._greeted = False
        self._begun_ns = self._done = self._late_ns = 0

    def power_on(self, now_ns: int) -> None:
        self._begun_ns, self._done, self._greeted = now_ns + _BOOT_NS, 0, False
        if not self._document["begins"]:
            self._document["begins"] = time.time()

    def hear(self, data: bytes, now_ns: int) -> None:
        pass

    def due_ns(self) -> int:
        return int(self._begun_ns + self._done * self._period_ns) + self._late_ns

    def pieces(self, now_ns: int) -> list[bytes]:
        found = []
        if now_ns >= self._begun_ns and not self._greeted:
            self._greeted = True
            found.append(b"47.1,N*41\r\n" + sentence("GNTXT,01,01,02,u-blox AG - www.u-blox.com"))
        for _ in range(_MOST):
            if self.due_ns() > now_ns:
                break
            found += sentences(self._document, self._done)
            self._done += 1
            self._late_ns = int(self._chance.uniform(0, self._document["delay_s"]) * 1e9)
        return found


def main(wire: Wire, document: Mapping[str, Any]) -> None:
    serve_line(wire, document, "usb-Virtual_GPS-if00", Receiver(document), reset_by_opening=True)
