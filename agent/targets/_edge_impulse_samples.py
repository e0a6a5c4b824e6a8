"""The samples of a capture as Edge Impulse wants them: one table, a constant interval, every cell filled."""

import dataclasses
import math
from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt

from agent.capture import Capture, Payload
from agent.formats import format_module
from agent.targets import Failed, Refused
from drivers import Block, SettingsError

Table = npt.NDArray[np.float32]

_SENML: Mapping[str, tuple[str, float]] = {
    "": ("N/A", 1.0),
    "g": ("m/s2", 9.80665),
    "deg/s": ("rad/s", math.pi / 180),
    "dps": ("rad/s", math.pi / 180),
    "deg": ("rad", math.pi / 180),
    "Celsius": ("Cel", 1.0),
    "°C": ("Cel", 1.0),
    "uT": ("T", 1e-6),
    "gauss": ("T", 1e-4),
    "lux": ("lx", 1.0),
    "percent": ("/100", 1.0),
}
"""Units of our channels in SenML's words (iana.org/assignments/senml), with the factor; others stay as they are."""
_LONGEST_GAP = 1 << 16
"""Rows that are made up at once for what was lost."""


@dataclasses.dataclass(frozen=True)
class Axis:
    """One column of the table."""

    name: str
    units: str
    scale: float
    offset: float


@dataclasses.dataclass(frozen=True)
class Sheet:
    """The axes of a capture's samples, and the interval between two rows."""

    capture: Capture
    payload: Payload
    axes: tuple[Axis, ...]
    interval_ms: float
    first: int
    """Index of the first sample, as the payload counts."""
    total: int
    """Samples there are and samples lost."""

    @classmethod
    def of(cls, capture: Capture, payload: Payload, *, senml: bool) -> "Sheet":
        """Refused where there is no constant interval."""
        streams = capture.document["streams"]
        lead = max(streams, key=lambda stream: (stream["samples"] > 0, stream["rate_hz"]["nominal"]), default=None)
        if lead is None or not lead["rate_hz"]["nominal"]:
            raise Refused(f"{payload.file}: Edge Impulse needs samples at a constant rate, and this stream has none")
        axes = []
        for channel in (channel for stream in streams for channel in stream["channels"]):
            units, factor = _SENML.get(channel["unit"], (channel["unit"], 1.0)) if senml else (channel["unit"], 1.0)
            scale, offset = channel["scale"] * factor, channel["offset"] * factor
            axes.append(Axis(channel["name"], units or "N/A", scale, offset))
        interval_ms = 1000 / float(lead["rate_hz"]["nominal"])
        total = int(lead["samples"]) + int(lead["lost"]["samples"])
        return cls(capture, payload, tuple(axes), interval_ms, int(lead["first"]), total)

    def rows(self) -> Iterator[Table]:
        """Rows in physical units. What was lost repeats the row before, so that time goes on; cells of slower streams
        repeat their last value, and rows before each has one are left out.

        Refused where the payload cannot be read back; Failed where the disk cannot.
        """
        payload = self.payload
        try:
            form = format_module(payload.format).Settings().open()
            blocks: Iterator[Block] = form.read(self.capture.path(payload), self.capture)
            yield from self._filled(blocks)
        except FileNotFoundError:
            raise Refused(f"{payload.file} is gone from this device") from None
        except OSError as error:
            raise Failed(f"{payload.file} cannot be read: {error.strerror or error}") from None
        except (LookupError, SettingsError, ImportError) as error:
            raise Refused(f"{payload.file}: its format cannot be read here: {error}") from None
        except ValueError as error:
            raise Refused(f"{payload.file} cannot be read back as samples: {error}") from None

    def _filled(self, blocks: Iterator[Block]) -> Iterator[Table]:
        last = np.full(len(self.axes), np.nan)
        expected: int | None = None
        for block in blocks:
            lost = 0 if expected is None else block.first - expected
            expected = block.first + len(block.samples)
            table = self._physical(block)
            for column in range(table.shape[1]):
                _hold(table[:, column], last[column])
            if np.isfinite(last).all():
                for begun in range(0, lost, _LONGEST_GAP):
                    yield np.tile(last.astype(np.float32), (min(lost - begun, _LONGEST_GAP), 1))
            if len(table):
                last = table[-1].copy()
            whole = table[np.isfinite(table).all(axis=1)]  # once all have a value, all have one
            if len(whole):
                yield whole.astype(np.float32)

    def _physical(self, block: Block) -> npt.NDArray[np.float64]:
        names = block.samples.dtype.names or ()
        missing = [axis.name for axis in self.axes if axis.name not in names]
        if missing:
            raise ValueError(f"it has no {', '.join(missing)}")
        table = np.empty((len(block.samples), len(self.axes)))
        for column, axis in enumerate(self.axes):
            table[:, column] = block.samples[axis.name] * np.float64(axis.scale) + axis.offset
        return table


def _hold(values: npt.NDArray[np.float64], before: float) -> None:
    """Fills what is missing with the value before it, in place."""
    there = np.isfinite(values)
    if there.all():
        return
    places = np.maximum.accumulate(np.where(there, np.arange(len(values)), -1))
    values[:] = np.where(places < 0, before, values[places])
