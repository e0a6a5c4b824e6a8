"""The sun: when it rises and sets at a place, by the formulas of NOAA's solar calculator, to about a minute."""

import math
from collections.abc import Callable

_DAY_S = 86400
_HORIZON_DEG = -0.833
"""Centre of the sun when its upper edge touches the horizon, refraction included."""
_S_PER_DEG = 240.0


def rise_and_set(noon_s: int, latitude: float, longitude: float) -> tuple[int, int]:
    """(sunrise, sunset) as Unix seconds around the passage of the sun that is nearest to `noon_s`.

    Degrees, north and east positive. Where the sun does not set they are the midnights before and after, where it does
    not rise both are its highest moment: so days follow on one another without a gap, and nights too.
    """
    highest, before, after = (_highest(noon_s + day * _DAY_S, longitude) for day in (0, -1, 1))
    north = math.radians(max(-89.9, min(89.9, latitude)))
    rise = _crossing(highest, north, longitude, -1)
    down = _crossing(highest, north, longitude, +1)
    if rise is None or down is None:
        declination, _ = _position(highest)
        height = math.sin(north) * math.sin(declination) + math.cos(north) * math.cos(declination)
        if height < math.sin(math.radians(_HORIZON_DEG)):
            return highest, highest
    return (before + highest) // 2 if rise is None else rise, (highest + after) // 2 if down is None else down


def _highest(near_s: float, longitude: float) -> int:
    """When the sun passes the meridian, nearest to a moment."""
    moment = near_s - (_hour_angle(near_s, longitude) + 180) % 360 * _S_PER_DEG + 180 * _S_PER_DEG
    return round(_settle(moment, lambda at: at - _around(_hour_angle(at, longitude)) * _S_PER_DEG))


def _crossing(highest: int, north: float, longitude: float, side: int) -> int | None:
    """When it crosses the horizon before (-1) or after (+1) its highest moment; None where it does not."""

    def better(at: float) -> float:
        declination, _ = _position(at)
        cosine = math.sin(math.radians(_HORIZON_DEG)) - math.sin(north) * math.sin(declination)
        cosine /= math.cos(north) * math.cos(declination)
        half_day = math.degrees(math.acos(cosine))
        return at + (side * half_day - _hour_angle(at, longitude, highest)) * _S_PER_DEG

    try:
        return round(_settle(float(highest), better))
    except ValueError:  # of acos: it stays above or below all day
        return None


def _settle(moment: float, better: Callable[[float], float]) -> float:
    for _ in range(5):
        moment = better(moment)
    return moment


def _hour_angle(moment: float, longitude: float, highest: int | None = None) -> float:
    """Degrees that the sun is past its highest; counted on from `highest`, beyond a half circle where need be."""
    _, ahead_deg = _position(moment)
    angle = moment % _DAY_S / _S_PER_DEG + ahead_deg + longitude - 180
    if highest is None:
        return angle
    expected = (moment - highest) / _S_PER_DEG
    return expected + _around(angle - expected)


def _around(angle: float) -> float:
    return (angle + 180) % 360 - 180


def _position(moment: float) -> tuple[float, float]:
    """(declination in radians, how far the true sun is ahead of the mean one in degrees) at a Unix time.

    NOAA Solar Calculation Details, after Meeus, Astronomical Algorithms, chapters 25 and 28.
    """
    century = (moment / _DAY_S + 2440587.5 - 2451545) / 36525
    mean = math.radians((280.46646 + century * (36000.76983 + century * 0.0003032)) % 360)
    anomaly = math.radians(357.52911 + century * (35999.05029 - 0.0001537 * century))
    eccentricity = 0.016708634 - century * (0.000042037 + 0.0000001267 * century)
    centre = math.sin(anomaly) * (1.914602 - century * (0.004817 + 0.000014 * century))
    centre += math.sin(2 * anomaly) * (0.019993 - 0.000101 * century) + math.sin(3 * anomaly) * 0.000289
    node = math.radians(125.04 - 1934.136 * century)
    apparent = mean + math.radians(centre - 0.00569 - 0.00478 * math.sin(node))
    seconds = 21.448 - century * (46.815 + century * (0.00059 - century * 0.001813))
    tilt = math.radians(23 + (26 + seconds / 60) / 60 + 0.00256 * math.cos(node))
    y = math.tan(tilt / 2) ** 2
    ahead = y * math.sin(2 * mean) - 2 * eccentricity * math.sin(anomaly)
    ahead += 4 * eccentricity * y * math.sin(anomaly) * math.cos(2 * mean)
    ahead -= 0.5 * y * y * math.sin(4 * mean) + 1.25 * eccentricity**2 * math.sin(2 * anomaly)
    return math.asin(math.sin(tilt) * math.sin(apparent)), math.degrees(ahead)
