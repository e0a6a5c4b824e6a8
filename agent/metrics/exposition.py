"""Exposition: a status as OpenMetrics 1.0 text (the Prometheus project's specification, sections "Text format" and
"Metric types"): a family has its type, its unit and its meaning, counters end with _total, all of it with # EOF."""

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

MEDIA_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"

PREFIX = "capture_agent_"

Row = Mapping[str, Any]
Value = float | None


@dataclasses.dataclass(frozen=True, slots=True)
class Family:
    """One metric, of all rows of a table of the status; None means that there is nothing to tell."""

    name: str
    kind: str
    """gauge or counter."""
    unit: str
    """In which the name ends; empty: a number of things, or a yes (1) or no (0)."""
    doc: str
    value: Callable[[Row], Value]


def _at(*path: str) -> Callable[[Row], Value]:
    """What stands there in the row; None where nothing does."""

    def value(row: Row) -> Value:
        found: Any = row
        for key in path:
            found = found.get(key) if isinstance(found, Mapping) else None
        return None if found is None else float(found)

    return value


def _is(key: str, *states: str) -> Callable[[Row], Value]:
    return lambda row: float(row[key] in states)


def _gauge(name: str, unit: str, doc: str, value: Callable[[Row], Value]) -> Family:
    return Family(name, "gauge", unit, doc, value)


def _counter(name: str, unit: str, doc: str, value: Callable[[Row], Value]) -> Family:
    return Family(name, "counter", unit, doc, value)


DAEMON = (
    _gauge("uptime_seconds", "seconds", "Since the daemon was started.", _at("uptime_s")),
    _gauge("clock_synchronised", "", "Whether the wall clock is set from outside.", _at("clock", "synchronised")),
    _gauge("memory_bytes", "bytes", "Resident set size of the daemon.", _at("memory_bytes")),
    _gauge("problems", "", "Things that a person should look at; /healthz names them.", lambda s: len(s["problems"])),
    _gauge("developer_queued", "", "Recordings that wait to be developed.", _at("developer", "queued")),
    _counter("developer_failed", "", "Recordings that went to quarantine.", _at("developer", "failed")),
    _gauge("disk_free_bytes", "bytes", "Free space for captures.", _at("disk", "free_bytes")),
    _gauge("disk_size_bytes", "bytes", "Size of that file system.", _at("disk", "total_bytes")),
    _gauge("disk_captures_bytes", "bytes", "What all captures take.", _at("disk", "kept_bytes")),
    _gauge("disk_full", "", "Whether recording has stopped for it.", lambda s: float(bool(s["disk"]["stopped"]))),
    _counter("disk_deleted", "", "Captures that were deleted to make room.", _at("disk", "deleted")),
    _counter("disk_given_up", "", "Captures that were deleted though somebody was owed them.", _at("disk", "given_up")),
    _counter("disk_written_bytes", "bytes", "What the daemon sent to storage.", _at("disk", "written_bytes")),
    _counter("disk_syncs", "", "How often the daemon forced the storage to keep something.", _at("disk", "syncs")),
)
STREAM = (
    _gauge("stream_running", "", "Whether the sensor is read.", _is("state", "running")),
    _gauge("stream_rate_hertz", "hertz", "Measured over the last ten seconds.", _at("rate_hz")),
    _gauge("stream_nominal_rate_hertz", "hertz", "As the hardware was set up.", _at("nominal_hz")),
    _gauge("stream_jitter_seconds", "seconds", "How far blocks come from an even beat, RMS.", _at("jitter_s")),
    _gauge("stream_age_seconds", "seconds", "Age of the newest block of samples.", _at("last_s")),
    _gauge("stream_ring_seconds", "seconds", "What is held between sensor and disk.", _at("ring", "seconds")),
    _gauge("stream_ring_bytes", "bytes", "What is held between sensor and disk.", _at("ring", "bytes")),
    _counter("stream_samples", "", "Samples, or pictures, that came.", _at("samples")),
    _counter("stream_lost", "", "Samples that never came; estimated where no wire counts.", _at("lost")),
    _counter("stream_reopened", "", "How often the sensor was opened again.", _at("reopened")),
)
RECORDING = (
    _gauge("recording_active", "", "Whether it records.", _is("state", "recording")),
    _gauge("recording_refused", "", "Whether it should record and cannot.", _is("state", "refused")),
    _counter("recording_captures", "", "Captures that it has finished.", _at("finished")),
    _counter("recording_samples", "", "Samples that it has recorded.", _at("samples")),
    _counter("recording_bytes", "bytes", "What these took.", _at("bytes")),
    _counter("recording_dropped", "", "Samples that the ring lost before they were recorded.", _at("dropped")),
    _counter("recording_unrecorded", "", "Samples that came while it could not record.", _at("unrecorded")),
    _counter("recording_triggers", "", "Triggers that it has seen.", _at("trigger", "triggers")),
)
TARGET = (
    _gauge("target_reachable", "", "0 while it cannot be reached.", lambda t: float(t["state"] != "unreachable")),
    _gauge("target_owed", "", "Captures that it is still owed.", _at("owed")),
    _gauge("target_owed_bytes", "bytes", "What these take.", _at("owed_bytes")),
    _gauge("target_oldest_seconds", "seconds", "Age of the oldest capture that it is owed.", _at("oldest_s")),
    _gauge("target_refused", "", "Captures that it will never take.", _at("refused")),
    _gauge("target_delivered", "", "Captures that it has.", _at("delivered")),
    _gauge("target_failing_seconds", "seconds", "Since when nothing has been delivered.", _at("failing_since_s")),
    _counter("target_retried", "", "Attempts that failed.", _at("retried")),
    _counter("target_sent_bytes", "bytes", "What was sent to it.", _at("sent_bytes")),
)
MQTT = (
    _gauge("mqtt_connected", "", "Whether there is a connection to the broker.", _is("state", "connected")),
    _gauge("mqtt_waiting", "", "Messages that wait for the broker.", _at("waiting")),
    _counter("mqtt_dropped", "", "Messages that were dropped before the broker took them.", _at("dropped")),
    _counter("mqtt_refused", "", "Messages that the broker refused.", _at("refused")),
)
_EVENTS = "stream_events"
_BUILD = "build"


def exposition(status: Mapping[str, Any]) -> str:
    """The whole text of what `agent.monitor.snapshot` returned."""
    return "".join(f"{line}\n" for line in _lines(status))


def _lines(status: Mapping[str, Any]) -> Iterator[str]:
    yield from _head(_BUILD, "info", "", "What runs, and on which device.")
    yield f"{PREFIX}{_BUILD}_info{_labels(version=status['version'], device=status['device'])} 1"
    yield from _families(DAEMON, {"": status}, "")
    yield from _families(STREAM, status["streams"], "stream")
    yield from _events(status["streams"])
    yield from _families(RECORDING, status["recordings"], "recording")
    yield from _families(TARGET, status["targets"], "target")
    if status["mqtt"] is not None:
        yield from _families(MQTT, {"": status["mqtt"]}, "")
    yield "# EOF"


def _families(families: tuple[Family, ...], rows: Mapping[str, Row], label: str) -> Iterator[str]:
    for family in families:
        yield from _head(family.name, family.kind, family.unit, family.doc)
        total = "_total" if family.kind == "counter" else ""
        for name, row in rows.items():
            value = family.value(row)
            if value is not None:
                yield f"{PREFIX}{family.name}{total}{_labels(**{label: name}) if label else ''} {_number(value)}"


def _events(streams: Mapping[str, Row]) -> Iterator[str]:
    yield from _head(_EVENTS, "counter", "", "What went wrong at the sensor, by the driver's own name for it.")
    for name, row in streams.items():
        for kind, count in row["counters"].items():
            yield f"{PREFIX}{_EVENTS}_total{_labels(stream=name, kind=kind)} {_number(count)}"


def _head(name: str, kind: str, unit: str, doc: str) -> Iterator[str]:
    yield f"# TYPE {PREFIX}{name} {kind}"
    if unit:
        yield f"# UNIT {PREFIX}{name} {unit}"
    yield f"# HELP {PREFIX}{name} {_escaped(doc)}"


def _labels(**labels: str) -> str:
    inside = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())
    return f"{{{inside}}}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _number(value: float) -> str:
    """Whole numbers without a point: a counter of bytes keeps all its digits."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) else repr(float(value))
