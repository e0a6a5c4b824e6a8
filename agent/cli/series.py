"""The samples of a capture as series in physical units, for pictures and sums."""

import dataclasses
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from agent.capture import Capture, Payload
from agent.config_modules import FORMATS, configured_module, gives_pictures
from drivers import Block

Floats = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Series:
    """One channel over time."""

    name: str
    unit: str
    values: Floats
    """In `unit`; NaN where samples are missing."""


@dataclasses.dataclass(frozen=True)
class Samples:
    """All channels of a capture over one time axis."""

    times_s: Floats
    """Since the first sample."""
    series: tuple[Series, ...]
    gaps_s: tuple[tuple[float, float], ...]
    """From the last sample before to the first after each gap."""


def sample_payload(capture: Capture) -> Payload:
    """The first payload that can be read back as samples. LookupError where there is none."""
    for payload in capture.payloads:
        module, _ = configured_module(FORMATS, payload.format, "")
        if module is not None and not gives_pictures(module):
            return payload
    kinds = ", ".join(payload.format for payload in capture.payloads)
    raise LookupError(f"capture {capture.name} has no samples that can be read: its payloads are {kinds}")


def blocks(capture: Capture) -> Iterator[Block]:
    """Its samples, read back from a payload. ValueError where that is damaged, OSError where it is gone."""
    payload = sample_payload(capture)
    reader = FORMATS.find(payload.format).Settings().open()
    found: Iterator[Block] = reader.read(capture.path(payload), capture)
    return found


def samples(capture: Capture) -> Samples:
    """All samples of a capture in physical units, in memory."""
    channels = {channel["name"]: channel for stream in capture.document["streams"] for channel in stream["channels"]}
    rates = [stream["rate_hz"] for stream in capture.document["streams"]]
    period_s = 1 / max((rate["measured"] or rate["nominal"] for rate in rates), default=1.0)
    times: list[Floats] = []
    columns: dict[str, list[Floats]] = {}
    gaps = []
    first = end = None
    for block in blocks(capture):
        if first is None or end is None:
            first = end = block.first
        if block.first > end:
            gaps.append(((end - 1 - first) * period_s, (block.first - first) * period_s))
            times.append(np.array([(end - first) * period_s]))
            for pieces in columns.values():
                pieces.append(np.array([np.nan]))
        times.append((np.arange(block.first, block.end) - first) * period_s)
        for name in block.samples.dtype.names or ():
            columns.setdefault(name, []).append(_physical(block.samples[name], channels.get(name)))
        end = block.end
    series = tuple(
        Series(name, str(channels.get(name, {}).get("unit", "")), np.concatenate(pieces))
        for name, pieces in columns.items()
    )
    return Samples(np.concatenate(times) if times else np.empty(0), series, tuple(gaps))


def _physical(raw: npt.NDArray[np.generic], channel: dict[str, object] | None) -> Floats:
    """Raw values times scale plus offset; values of another type than the sensor's are in physical units already."""
    values = raw.astype(np.float64)
    if channel is None or raw.dtype != np.dtype(str(channel["dtype"])):
        return values
    return values * float(str(channel["scale"])) + float(str(channel["offset"]))
