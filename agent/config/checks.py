"""What only a whole configuration can get wrong: names that nothing has, formats that do not fit, a port used twice."""

from collections.abc import Collection, Iterator, Mapping

from agent.capture import safe_name
from agent.config.errors import Mistake, nearest
from agent.config.modules import FORMATS, configured_module, gives_pictures
from agent.formats import FormatSettings
from agent.recording import CONTEXT, RecordingSettings
from agent.sync.making import recipe
from agent.targets import Particular, Plan, TargetSettings
from drivers import DriverSettings, Expecting


def known_names(path: str, used: tuple[str, ...], what: str, known: Collection[str]) -> Iterator[Mistake]:
    """Names at `path` that no stream (or target) has, or that stand there twice."""
    for index, name in enumerate(used):
        if name not in known:
            there = ", ".join(sorted(known)) or "none"
            yield Mistake(f"{path}[{index}]", name, f"the name of a {what}; there is {there}", nearest(name, known))
        elif name in used[:index]:
            yield Mistake(f"{path}[{index}]", name, "each name once")


def fitting_formats(
    path: str, recording: RecordingSettings, streams: Mapping[str, DriverSettings], cameras: Collection[str]
) -> Iterator[Mistake]:
    """Formats of pictures for sensors, of samples for cameras, of clips for pictures, and the two in one recording."""
    pictures = [name for name in recording.streams if name in cameras]
    samples = [name for name in recording.streams if name in streams and name not in cameras]
    if pictures and samples:
        yield Mistake(f"{path}.streams", recording.streams, "either cameras or sensors, since a picture is a capture")
        return
    given = {name: getattr(streams.get(name), "payload", "jpeg") for name in pictures}
    for index, entry in enumerate(recording.format):
        name = entry if isinstance(entry, str) else entry.get("kind")
        module, _ = configured_module(FORMATS, name, path)
        if module is None:
            continue  # said where it was read
        fits = gives_pictures(module)
        if fits and samples:
            yield Mistake(f"{path}.format[{index}]", name, f"a format of samples: {samples[0]} is no camera")
        elif pictures and not fits:
            said = f"a format of pictures: {pictures[0]} is a camera"
            yield Mistake(f"{path}.format[{index}]", name, said, given[pictures[0]])
        elif fits:
            for camera, payload in given.items():
                if payload != name:
                    yield Mistake(f"{path}.format[{index}]", name, f"{payload}, which camera {camera} gives")


def shared_devices(streams: Mapping[str, DriverSettings]) -> Iterator[Mistake]:
    """Two streams cannot share one device: a bus and address, a serial port, a camera. A virtual one is its own."""
    first: dict[tuple[object, ...], str] = {}
    for name, settings in streams.items():
        for options in (("bus", "address"), ("port",), ("camera",)):
            device = [getattr(settings, option, None) for option in options]
            if None in device or "virtual" in device:
                continue
            other = first.setdefault((options, *map(str, device)), name)
            if other != name:
                shown = " and ".join(options)
                yield Mistake(f"stream.{name}.{options[-1]}", device[-1], f"another {shown} than stream {other} has")


def picture_rate(
    recordings: Mapping[str, RecordingSettings], cameras: Mapping[str, DriverSettings]
) -> Iterator[Mistake]:
    """File names that are a second can name one picture a second, of all cameras together."""
    rate_hz = 0.0
    for name, recording in recordings.items():
        if recording.picture_name != "second":
            continue
        intervals = [float(getattr(cameras[s], "interval_s", 0)) for s in recording.streams if s in cameras]
        rate_hz += sum(1 / interval_s for interval_s in intervals if interval_s > 0)
        if intervals and rate_hz > 1.000001:
            may_be = f'"full", or longer intervals: such names allow one picture a second, not {rate_hz:.3g}'
            yield Mistake(f"recording.{name}.picture_name", recording.picture_name, may_be)


def plan_of(
    name: str,
    recording: RecordingSettings,
    *,
    device: str,
    formats: Mapping[str, FormatSettings],
    streams: Mapping[str, DriverSettings],
    cameras: Collection[str],
) -> Plan:
    """What is known of the captures of the recording `name` before there is one."""
    used = [streams[stream] for stream in recording.streams if stream in streams]
    pictures = bool(set(recording.streams) & set(cameras))
    dated = f"{safe_name(device)}.{name}.20261121T101500.123Z.1f0c3a77"
    return Plan(
        name="512858f4.2026-11-21_10-15-00" if pictures and recording.picture_name == "second" else dated,
        formats=formats,
        pictures=pictures,
        picture_name=recording.picture_name,
        rates_hz=tuple(settings.expects()[0] for settings in used if isinstance(settings, Expecting)),
        labels=recording.labels,
        metadata=recording.said,
    )


def refused(
    path: str, recording: RecordingSettings, plan: Plan, target: tuple[str, TargetSettings]
) -> Iterator[Mistake]:
    """What a target, given as (name, settings), would refuse of each capture of a recording."""
    name, settings = target
    formats: tuple[str, ...] = getattr(settings, "formats", ())
    if formats and not set(formats) & plan.formats.keys() and recipe(tuple(plan.formats), formats) is None:
        yield Mistake(f"{path}.format", recording.format, f"{' or '.join(formats)} among them, for target {name}")
    if isinstance(settings, Particular):
        for option, value, allowed in settings.mistakes(plan):
            said = option.removeprefix("metadata.")
            at = said if said in CONTEXT and getattr(recording, said) else option
            yield Mistake(f"{path}.{at}", value, f"{allowed} (target {name})")
