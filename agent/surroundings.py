"""Surroundings: the newest values of some streams, as tags of what is captured beside them."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from agent.film import column_names
from agent.ring import Cursor
from agent.stream import Stream
from drivers import Channel

_TAGS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "Temperature": ("temperature_c", ("Celsius", "C", "")),
    "Humidity": ("humidity_percent", ("%", "")),
    "Battery": ("battery_percent", ("%", "")),
    "Latitude": ("latitude", ("deg", "")),
    "Longitude": ("longitude", ("deg", "")),
    "Altitude": ("altitude_m", ("m", "")),
}
"""Of `agent.exif.SURROUNDINGS`, by the name of a channel; and the units in which it may be."""


class Known(NamedTuple):
    """What is known at one moment."""

    metadata: dict[str, float]
    """Physical values by channel; where two streams have the same, the stream's name stands in front."""
    tags: dict[str, float]
    """Those that a picture's EXIF has a place for; of two streams the first one's."""


class Surroundings:
    """Used by one recording's thread. A value counts as long as it is at most `age_s` away from the moment.

    A value that is not a number (a receiver without a fix) leaves the one before it standing until that is too old.
    """

    def __init__(self, streams: Sequence[Stream], age_s: float) -> None:
        self._streams = tuple(streams)
        self._age_ns = round(age_s * 1e9)
        self._cursors: dict[str, Cursor] = {}
        self._newest: dict[tuple[str, str], tuple[float, int]] = {}
        """(value, CLOCK_BOOTTIME) by stream and channel."""

    def at(self, moment_ns: int) -> Known:
        """What is known at a moment (CLOCK_BOOTTIME)."""
        known = Known({}, {})
        running = [(stream, stream.identity) for stream in self._streams if stream.identity is not None]
        columns = column_names([(stream.name, identity) for stream, identity in running])
        for (stream, identity), names in zip(running, columns, strict=True):
            self._look(stream)
            for channel, name in zip(identity.channels, names, strict=True):
                value, observed_ns = self._newest.get((stream.name, channel.name), (math.nan, moment_ns))
                if math.isnan(value) or abs(moment_ns - observed_ns) > self._age_ns:
                    continue
                known.metadata[name] = value
                tag, units = _TAGS.get(channel.name, ("", ()))
                if channel.unit in units:
                    known.tags.setdefault(tag, value)
        return known

    def _look(self, stream: Stream) -> None:
        """Takes each channel's newest value out of what has come since the last look."""
        cursor = self._cursors.get(stream.name)
        if cursor is None:
            cursor = self._cursors[stream.name] = stream.ring.cursor(math.inf)
        found: set[str] = set()
        for block in reversed(cursor.take()):
            channels = stream.identity_at(block.segment).channels
            for channel in channels:
                if channel.name not in found:
                    raw = block.samples[channel.name].astype(np.float64)
                    finite = raw[np.isfinite(raw)]
                    if len(finite):
                        found.add(channel.name)
                        self._newest[stream.name, channel.name] = (
                            _physical(float(finite[-1]), channel),
                            block.observed_ns,
                        )
            if len(found) == len(channels):
                break


def _physical(raw: float, channel: Channel) -> float:
    """In the channel's unit, with the digits that it has: a float32 has seven, a count none after the point."""
    if np.dtype(channel.dtype).kind in "iu" and (channel.scale, channel.offset) == (1, 0):
        return int(raw)
    value = raw * channel.scale + channel.offset
    return value if channel.dtype == "<f8" else float(f"{value:.7g}")
