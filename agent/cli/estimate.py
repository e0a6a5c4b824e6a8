"""What a configuration will cost: bytes a day, days until the disk is full, syncs of the disk an hour."""

import dataclasses
import os
import time
from collections.abc import Mapping
from typing import Any

from agent.config.loading import Config
from agent.recording import RecordingSettings
from agent.schedule import Schedule, ScheduleSettings
from drivers import Expecting

_DAY_S = 86400.0
_WEEK_NS = 7 * 86_400_000_000_000

FORMAT_BYTES: Mapping[str, tuple[float, float]] = {
    "csv": (7.0, 1.75),
    "csv_gz": (2.0, 0.83),
    "wav": (0.0, 1.0),
    "flac": (0.0, 0.28),
    "parquet": (0.02, 0.33),
    "mcap": (12.0, 2.0),
    "jpeg": (800.0, 1.0),
    "mp4": (0.0, 1.0),
}
"""Bytes of a row, and for each byte of raw samples in it, measured with synthetic motion; other formats: as raw."""


@dataclasses.dataclass(frozen=True)
class Estimate:
    """Of one recording by its schedule, on average. None where only time will tell: it waits for triggers, or a stream
    says once it runs what it will send."""

    bytes_per_day: float | None
    captures_per_hour: float | None
    syncs_per_hour: float | None


def of_recording(config: Config, name: str) -> Estimate:
    """What one recording will cost."""
    recording = config.recordings[name]
    streams = [config.streams[stream] for stream in recording.streams]
    expected = [s.settings.expects() if isinstance(s.settings, Expecting) else None for s in streams]
    known = [each for each in expected if each is not None]
    syncs_per_hour = 3600 / config.agent.durable_every_s
    if recording.when == "trigger":
        return Estimate(None, None, None)  # as often as something happens
    if len(known) < len(expected) or not all(rate_hz > 0 for rate_hz, _ in known):
        return Estimate(None, _by_time(recording), None)
    rows_hz = sum(rate_hz for rate_hz, _ in known) if streams[0].pictures else max(rate_hz for rate_hz, _ in known)
    row_bytes = max(size for _, size in known) if streams[0].pictures else sum(size for _, size in known)
    payload_bytes = 0.0
    for kind in config.formats[name]:
        fixed, factor = FORMAT_BYTES.get(kind, (0.0, 1.0))
        payload_bytes += fixed + factor * row_bytes
    times, intervals = shares_on(recording.schedule, time.time_ns())
    bytes_per_day, syncs_per_hour = payload_bytes * rows_hz * _DAY_S * times * intervals, syncs_per_hour * times
    if streams[0].pictures:
        captures_per_hour = rows_hz * 3600 * times * intervals
        return Estimate(bytes_per_day, captures_per_hour, min(captures_per_hour, syncs_per_hour))
    captures_per_hour = _captures_per_hour(recording, rows_hz, row_bytes) * times * intervals
    if every_s := recording.schedule.every_s:
        captures_per_hour = max(captures_per_hour, 3600 / every_s * times)  # each interval begins one
    # the negative's own, and one when each capture is finished
    return Estimate(bytes_per_day, captures_per_hour, syncs_per_hour * intervals + captures_per_hour)


def shares_on(schedule: ScheduleSettings, now_ns: int) -> tuple[float, float]:
    """How much of the coming week the times of a schedule are on, and how much of that its intervals: 0 to 1 each."""
    times = Schedule(dataclasses.replace(schedule, every_s=0.0, for_s=0.0))
    end_ns, moment, on_ns = now_ns + _WEEK_NS, now_ns, 0
    while moment < end_ns:
        state = times.state(moment)
        change = min(end_ns, state.next_change_ns or end_ns)
        on_ns += change - moment if state.on else 0
        moment = change
    return on_ns / _WEEK_NS, schedule.for_s / schedule.every_s if schedule.every_s else 1.0


def of_disk(config: Config, bytes_per_day: float) -> dict[str, Any]:
    """Space on the disk of the data folder, and days until none is left above the floor if nothing is deleted."""
    folder = config.agent.data_dir.absolute()
    while not folder.exists():
        folder = folder.parent
    usage = os.statvfs(folder)
    free, total = usage.f_bavail * usage.f_frsize, usage.f_blocks * usage.f_frsize
    floor = config.agent.free_floor(total)
    days = max(0.0, free - floor) / bytes_per_day if bytes_per_day else None
    return {"folder": str(folder), "free_bytes": free, "total_bytes": total, "floor_bytes": int(floor), "days": days}


def _by_time(recording: RecordingSettings) -> float | None:
    return 3600 / recording.length_s if recording.length_s else None


def _captures_per_hour(recording: RecordingSettings, rows_hz: float, row_bytes: float) -> float:
    lengths_s = [
        recording.length_s,
        recording.length_samples / rows_hz,
        recording.length_bytes / (rows_hz * row_bytes),
    ]
    return max((3600 / length_s for length_s in lengths_s if length_s), default=0.0)
