"""The schedule of a recording: at which moments it is on, as a pure function of the wall clock."""

import dataclasses
import datetime
import re
from bisect import bisect_right

from agent.sun import rise_and_set
from drivers.settings import check, option

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_BOUND = r"(?:([01]?\d:[0-5]\d|2[0-3]:[0-5]\d|24:00)|(sunrise|sunset)(?:([+-])([01]?\d:[0-5]\d))?)"
_TIMES = re.compile(rf"(?:([a-z]{{3}}(?:[-,][a-z]{{3}})*)\s+)?{_BOUND}\s*-\s*{_BOUND}")
_GRAMMAR = '"08:00-17:30", "mon-fri,sun 22:00-02:00" or "sunrise-0:30 - sunset+0:30"'
_AHEAD_DAYS = 8
"""How far ahead a change is looked for."""
_DAY_NS = 86_400_000_000_000
_NS = 1_000_000_000


@dataclasses.dataclass(frozen=True)
class ScheduleSettings:
    """When a recording is on; with nothing set: always. With intervals and times: where both are on."""

    every_s: float = option(
        "on at each multiple of this, counted from midnight UTC, s; 0: no intervals", 0.0, at_least=0, at_most=604800
    )
    for_s: float = option("how long each time, s", 0.0, at_least=0, at_most=604800)
    times: tuple[str, ...] = option(
        f"times of day in the system's zone: {_GRAMMAR}; none: all day", (), example=["mon-fri 08:00-17:30"]
    )
    latitude: float = option("where the sun rises and sets for them, degrees north", 0.0, at_least=-90, at_most=90)
    longitude: float = option("the same, degrees east", 0.0, at_least=-180, at_most=180)
    wait_for_clock: bool = option(
        "whether times (not intervals) wait until a time service or a battery-backed clock has set the clock", True
    )

    def __post_init__(self) -> None:
        mistakes: list[tuple[str, object, str]] = []
        if bool(self.every_s) != bool(self.for_s) or (self.every_s and self.for_s >= self.every_s):
            mistakes.append(("for_s", self.for_s, f"more than 0 and less than every_s = {self.every_s:g}"))
        entries = {entry: _parsed(entry) for entry in self.times}
        if wrong := [entry for entry, parsed in entries.items() if parsed is None]:
            mistakes.append(("times", wrong[0], f"as in {_GRAMMAR}"))
        if any(parsed and (parsed.begin.sun or parsed.end.sun) for parsed in entries.values()):
            if not self.latitude and not self.longitude:
                mistakes.append(("latitude", self.latitude, "latitude and longitude, since times name the sun"))
        check(self, *mistakes)

    @property
    def always(self) -> bool:
        """Whether nothing is set."""
        return not self.every_s and not self.times


@dataclasses.dataclass(frozen=True)
class State:
    """What a schedule says of one moment."""

    on: bool
    next_change_ns: int | None
    """Unix time at which that ends; None: not within the next eight days."""


class Schedule:
    """Tells of any moment whether it is on, and when that changes.

    A window of `times` happens once on each of its days. A time of day that the clocks skip is the moment of the change
    (so a window within what is skipped is none); of one that comes twice the first counts.
    """

    def __init__(self, settings: ScheduleSettings, zone: datetime.tzinfo | None = None) -> None:
        """`zone`: that of the times; None: the system's."""
        self._settings = settings
        self._zone = zone
        self._entries = [parsed for parsed in map(_parsed, settings.times) if parsed is not None]
        self._every_ns, self._for_ns = round(settings.every_s * _NS), round(settings.for_s * _NS)
        self._known: tuple[datetime.date, list[tuple[int, int]]] = (datetime.date.min, [])

    @property
    def needs_date(self) -> bool:
        """Whether it means nothing while nobody has set the clock."""
        return bool(self._entries) and self._settings.wait_for_clock

    def state(self, wall_ns: int) -> State:
        """Whether it is on at this Unix time, and when that changes."""
        limit_ns = wall_ns + _AHEAD_DAYS * _DAY_NS
        on = self._interval(wall_ns)[0] and self._daily(wall_ns)[0]
        moment = wall_ns
        while True:
            in_interval, interval_ns = self._interval(moment)
            in_times, times_ns = self._daily(moment)
            if (in_interval and in_times) != on:
                return State(on, moment)
            changes = [times_ns, interval_ns if in_times else None]
            moment = min((change for change in changes if change is not None), default=limit_ns)
            if moment >= limit_ns:
                return State(on, None)

    def _interval(self, wall_ns: int) -> tuple[bool, int | None]:
        """(on, next change) by the intervals alone."""
        if not self._every_ns:
            return True, None
        within = wall_ns % self._every_ns
        on = within < self._for_ns
        return on, wall_ns - within + (self._for_ns if on else self._every_ns)

    def _daily(self, wall_ns: int) -> tuple[bool, int | None]:
        """(on, next change) by the times alone."""
        if not self._entries:
            return True, None
        windows = self._windows(datetime.datetime.fromtimestamp(wall_ns // _NS, self._zone).date())
        place = bisect_right(windows, (wall_ns, 1 << 63))
        if place and wall_ns < windows[place - 1][1]:
            return True, windows[place - 1][1]
        return False, windows[place][0] if place < len(windows) else None

    def _windows(self, today: datetime.date) -> list[tuple[int, int]]:
        """Unix times (begin, end) of all windows around a day that may matter on it, in order, none touching."""
        if self._known[0] != today:
            days = [today + datetime.timedelta(days=ahead) for ahead in range(-2, _AHEAD_DAYS + 2)]
            found = sorted(
                (self._moment(day, entry.begin), self._moment(_later(day, entry.overnight), entry.end))
                for day in days
                for entry in self._entries
                if day.weekday() in entry.days
            )
            merged: list[tuple[int, int]] = []
            for begin, end in found:
                if merged and begin <= merged[-1][1]:
                    merged[-1] = merged[-1][0], max(end, merged[-1][1])
                elif begin < end:
                    merged.append((begin, end))
            self._known = today, merged
        return self._known[1]

    def _moment(self, day: datetime.date, bound: "_Bound") -> int:
        """Unix time of a bound of that day, ns."""
        midnight = datetime.datetime(day.year, day.month, day.day)
        if not bound.sun:
            return self._unix_s(midnight + datetime.timedelta(minutes=bound.minutes)) * _NS
        noon_s = self._unix_s(midnight + datetime.timedelta(hours=12))
        rise_s, set_s = rise_and_set(noon_s, self._settings.latitude, self._settings.longitude)
        return ((rise_s if bound.sun == "sunrise" else set_s) + bound.minutes * 60) * _NS

    def _unix_s(self, local: datetime.datetime) -> int:
        """When clocks first show this or, where they skip it, more than this."""
        first, second = (int(local.replace(tzinfo=self._zone, fold=fold).timestamp()) for fold in (0, 1))
        if first <= second:
            return first
        before, after = second, first  # skipped: the change lies between what it is before it and after it
        while after - before > 1:
            between = (before + after) // 2
            shown = datetime.datetime.fromtimestamp(between, self._zone).replace(tzinfo=None)
            before, after = (before, between) if shown >= local else (between, after)
        return after


@dataclasses.dataclass(frozen=True)
class _Bound:
    """A time of day: minutes after midnight, or after what the sun does."""

    minutes: int
    sun: str


@dataclasses.dataclass(frozen=True)
class _Times:
    """One entry of `times`."""

    days: frozenset[int]
    begin: _Bound
    end: _Bound

    @property
    def overnight(self) -> bool:
        """Whether it ends on the day after.

        A time before noon is never taken to lie across midnight from a sunrise, nor one after noon from a sunset.
        """
        begin, end = self.begin, self.end
        if begin.sun == end.sun:
            return end.minutes <= begin.minutes
        if begin.sun and end.sun:
            return begin.sun == "sunset"
        if begin.sun:
            return begin.sun == "sunset" and end.minutes < 720
        return end.sun == "sunrise" and begin.minutes >= 720


def _parsed(entry: str) -> _Times | None:
    """One entry of `times`; None where it is none."""
    match = _TIMES.fullmatch(entry.strip().lower())
    if match is None:
        return None
    days, *bounds = match.groups()
    chosen = _days(days or "mon-sun")
    return None if chosen is None else _Times(chosen, _bound(*bounds[:4]), _bound(*bounds[4:]))


def _bound(clock: str | None, sun: str | None, sign: str | None, offset: str | None) -> _Bound:
    hours, _, minutes = (clock or offset or "0:00").partition(":")
    return _Bound((int(hours) * 60 + int(minutes)) * (-1 if sign == "-" else 1), sun or "")


def _days(text: str) -> frozenset[int] | None:
    """Weekdays of "mon-wed,sat", Monday being 0; None where one has no such name."""
    found: set[int] = set()
    for part in text.split(","):
        names = part.split("-")
        if len(names) > 2 or not set(names) <= set(_DAYS):
            return None
        first, last = _DAYS.index(names[0]), _DAYS.index(names[-1])
        found |= {(first + ahead) % 7 for ahead in range((last - first) % 7 + 1)}
    return frozenset(found)


def _later(day: datetime.date, overnight: bool) -> datetime.date:
    return day + datetime.timedelta(days=overnight)
