"""Sparkplug B payloads: metrics as the protobuf message that the Eclipse Sparkplug specification 3.0 publishes.

Payload   1 timestamp (ms)   2 metrics   3 seq
Metric    1 name   3 timestamp (ms)   4 datatype   5 is_historical   7 is_null   9 properties
          11 long_value   13 double_value   14 boolean_value   15 string_value
PropertySet     1 keys   2 values
PropertyValue   1 type   8 string_value
"""

import dataclasses
import struct
from collections.abc import Sequence

from agent.protobuf import FIXED64, fields, number, part, tag, text

Value = bool | int | float | str | None

INT64, UINT64, DOUBLE, BOOLEAN, STRING = 4, 8, 10, 11, 12
"""Data types, of which a metric keeps its own until the next birth."""


@dataclasses.dataclass(frozen=True, slots=True)
class Metric:
    """One value under one name."""

    name: str
    datatype: int
    value: Value
    """None: there is none now."""
    unit: str = ""


def payload(metrics: Sequence[Metric], *, time_ms: int, seq: int | None = None, historical: bool = False) -> bytes:
    """A whole message. A birth tells units too; `historical` metrics are not what holds now. A death has no `seq`."""
    parts = [number(1, time_ms), *(part(2, _metric(metric, time_ms, historical)) for metric in metrics)]
    if seq is not None:
        parts.append(number(3, seq))
    return b"".join(parts)


def wants_rebirth(command: bytes) -> bool:
    """Whether an NCMD asks for all of it anew: Node Control/Rebirth is true. False for what is no payload."""
    try:
        for field, content in fields(command):
            if field == 2 and isinstance(content, bytes):
                metric = dict(fields(content))
                if metric.get(1) == REBIRTH.encode() and metric.get(14):
                    return True
    except ValueError:
        return False
    return False


REBIRTH = "Node Control/Rebirth"
BIRTH_DEATH = "bdSeq"


def _metric(metric: Metric, time_ms: int, historical: bool) -> bytes:
    parts = [text(1, metric.name), number(3, time_ms), number(4, metric.datatype)]
    if historical:
        parts.append(number(5, 1))
    if metric.value is None:
        parts.append(number(7, 1))
    if metric.unit:
        parts.append(part(9, text(1, "engUnit") + part(2, number(1, STRING) + text(8, metric.unit))))
    if metric.value is not None:
        parts.append(_value(metric.datatype, metric.value))
    return b"".join(parts)


def _value(datatype: int, value: Value) -> bytes:
    if datatype in (INT64, UINT64):
        return number(11, int(value or 0))
    if datatype == DOUBLE:
        return tag(13, FIXED64) + struct.pack("<d", float(value or 0.0))
    if datatype == BOOLEAN:
        return number(14, int(bool(value)))
    return text(15, str(value))
