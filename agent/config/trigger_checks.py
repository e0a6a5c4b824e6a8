"""What a trigger can get wrong in a whole configuration: the stream it watches, and a past that no ring holds."""

from collections.abc import Collection, Iterator, Mapping

from agent.config.errors import Mistake, nearest
from agent.recording import RecordingSettings
from agent.trigger import MOTION, WATCHING
from drivers import DriverSettings, Expecting

_LATE_S = 1.0
"""How late a trigger may be known, while the ring goes on forgetting."""


def triggers(
    path: str,
    recording: RecordingSettings,
    streams: Mapping[str, DriverSettings],
    cameras: Collection[str],
    ring: tuple[float, int],
) -> Iterator[Mistake]:
    """Mistakes of one recording; `ring` is how many seconds, and at most how many bytes, are held of each stream."""
    if recording.when != "trigger":
        return
    trigger = recording.trigger
    pictures = [name for name in recording.streams if name in cameras]
    if trigger.kind == MOTION:
        yield from _motion(path, recording, streams, cameras)
    elif trigger.stream:
        if trigger.stream not in streams:
            there = ", ".join(sorted(set(streams) - set(cameras))) or "none"
            yield Mistake(
                f"{path}.trigger.stream",
                trigger.stream,
                f"the name of a stream; there is {there}",
                nearest(trigger.stream, streams),
            )
        elif trigger.stream in cameras:
            yield Mistake(f"{path}.trigger.stream", trigger.stream, "a stream of samples, and it is a camera's")
    elif trigger.kind in WATCHING and (pictures or len(recording.streams) > 1):
        what = "it records pictures" if pictures else "it records several"
        yield Mistake(f"{path}.trigger.stream", trigger.stream, f"the stream to watch, since {what}")
    if pictures:
        for name in ("pre_samples", "post_samples"):
            if value := getattr(trigger, name):
                yield Mistake(f"{path}.trigger.{name}", value, f"only for samples; {name[:-8]}_s is for pictures too")
        if recording.trigger.pre_samples:
            return
    yield from _past(path, recording, streams, ring)


def _motion(
    path: str, recording: RecordingSettings, streams: Mapping[str, DriverSettings], cameras: Collection[str]
) -> Iterator[Mistake]:
    """The camera that is watched has to be one, and to look for motion."""
    name = recording.trigger.stream or (recording.streams[0] if len(recording.streams) == 1 else "")
    if name not in cameras:
        there = ", ".join(sorted(cameras)) or "none"
        yield Mistake(f"{path}.trigger.stream", name, f"the name of a camera; there is {there}", nearest(name, cameras))
    elif not getattr(getattr(streams[name], "motion", None), "area", 0):
        yield Mistake(f"{path}.trigger.stream", name, f"a camera that looks for motion: set stream.{name}.motion.area")


def _past(
    path: str, recording: RecordingSettings, streams: Mapping[str, DriverSettings], ring: tuple[float, int]
) -> Iterator[Mistake]:
    """More seconds before the trigger than the rings hold, by time or by bytes; the first that is found."""
    trigger, (ring_s, ring_bytes) = recording.trigger, ring
    settings = {name: streams[name] for name in recording.streams if name in streams}
    expected = {name: each.expects() for name, each in settings.items() if isinstance(each, Expecting)}
    fastest_hz = max((rate_hz for rate_hz, _ in expected.values()), default=0.0)
    option, value, pre_s, sum_of = "pre_s", float(trigger.pre_s), trigger.pre_s, f"{trigger.pre_s:g} s"
    if trigger.pre_samples:
        if not fastest_hz:
            return  # known once it runs; what is not in the ring is then counted as missing
        option, value, pre_s = "pre_samples", trigger.pre_samples, trigger.pre_samples / fastest_hz
        sum_of = f"{trigger.pre_samples} samples at {fastest_hz:g} Hz are {pre_s:.4g} s"
    if not pre_s:
        return
    where = f"{path}.trigger.{option}"
    held = f"{sum_of} and {_LATE_S:g} s until a trigger is known"
    if pre_s + _LATE_S > ring_s:
        yield Mistake(where, value, f"less, or a larger agent.ring_s: {held} are more than its {ring_s:g} s")
        return
    for name, (rate_hz, size) in expected.items():
        needed = round((pre_s + _LATE_S) * rate_hz * size)
        if needed > ring_bytes:
            yield Mistake(
                where,
                value,
                f"less, or a larger agent.ring_bytes: {held}, times {rate_hz:g} Hz and {size} bytes of {name},"
                f" are {needed} bytes, more than its {ring_bytes}",
            )
            return
