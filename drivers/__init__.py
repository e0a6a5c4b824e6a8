"""Drivers: each turns a port into blocks of samples; one module, one class, used by one thread."""

import dataclasses
from collections.abc import Mapping
from types import ModuleType
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from drivers._hallmark import Hallmark
from drivers.ports import DriverError, boottime_ns
from drivers.settings import SettingsError, check, option

__all__ = [
    "Block",
    "Channel",
    "Driver",
    "DriverError",
    "DriverSettings",
    "Expecting",
    "Hallmark",
    "Identity",
    "Noting",
    "Restorable",
    "Samples",
    "SelfCalibrating",
    "SettingsError",
    "Snapper",
    "TimeSource",
    "boottime_ns",
    "check",
    "driver_module",
    "option",
    "samples_dtype",
]

Samples = npt.NDArray[np.void]
"""A one-dimensional structured array, a field per channel, in channel order."""

Value = str | int | float | bool


@dataclasses.dataclass(frozen=True, slots=True)
class Channel:
    """One column of a stream: physical value = raw * scale + offset, in `unit`."""

    name: str
    """Long form of the field: `AccelerometerX`, `GyroscopeZ`, `Temperature`; characters [A-Za-z0-9_ -]."""
    unit: str = ""
    dtype: str = "<i2"
    """numpy type of the raw value, little endian: <i2, <f4, |u1 ..."""
    scale: float = 1.0
    offset: float = 0.0
    limits: tuple[float, float] | None = None
    """Raw values at and beyond which the sensor clips; None: the end values of an integer dtype."""


@dataclasses.dataclass(frozen=True, slots=True)
class Identity:
    """What the hardware says of itself once it has been started."""

    model: str
    """Name of the part, e.g. `MPU-6050`."""
    rate_hz: float
    """Nominal samples (or pictures) a second; 0: on demand only."""
    channels: tuple[Channel, ...] = ()
    """Empty for a camera."""
    setup: Mapping[str, Value] = dataclasses.field(default_factory=dict)
    """The settings that shape the data, as the hardware has them (range, filter ...); no bus, port or address."""
    serial: str = ""
    """Serial number of this very part, where it has one; not part of the set-up."""
    lag_s: float = 0.0
    """How much later than its observed time a block comes, where that is long: of clips."""

    @property
    def dtype(self) -> np.dtype[np.void]:
        return samples_dtype(self.channels)


def samples_dtype(channels: tuple[Channel, ...]) -> np.dtype[np.void]:
    """The packed structured dtype of a stream's samples."""
    return np.dtype([(channel.name, channel.dtype) for channel in channels])


@dataclasses.dataclass(frozen=True, slots=True)
class Block:
    """Samples (or one picture) that arrived together. Immutable: `samples` is set read-only by its driver.

    Times are observed, never computed here: at `observed_ns` the sample with index `newest` was the newest that the
    sensor was known to have taken. For a FIFO read in part, `newest` lies after the block's own last sample.
    """

    first: int
    """Index of the first sample since the driver's start (the stream makes it count on over restarts)."""
    samples: Samples
    observed_ns: int
    """CLOCK_BOOTTIME; for a picture the sensor's own time stamp."""
    newest: int
    lost: int = 0
    """Samples lost directly before this block; `first` has already jumped over them."""
    exact: bool = True
    """Whether `lost` was counted by the wire (True) or estimated from time (False)."""
    segment: int = 0
    """Counts how often index and time lost touch (overflow, reconnect); times are fitted within one segment."""
    jpeg: bytes = b""
    """The picture, where this block is one; then `samples` is empty and `first` is the picture's number."""
    mp4: bytes = b""
    """The clip, where this block is one; then `observed_ns` is the moment for which it was made ..."""
    begin_ns: int = 0
    """... CLOCK_BOOTTIME of its first frame ..."""
    end_ns: int = 0
    """... and of its last."""
    metadata: Mapping[str, Value] = dataclasses.field(default_factory=dict)
    """Of a picture or clip: exposure_s, gain, colour_temperature_k, lens_position ..., as the camera gave them."""
    spent: bool = False
    """Whether it was a picture or clip that nobody needs any more."""

    @property
    def is_picture(self) -> bool:
        """Whether it is, or was, a picture or clip."""
        return bool(self.jpeg or self.mp4) or self.spent

    @property
    def count(self) -> int:
        """How many indexes this block covers."""
        return 1 if self.is_picture else len(self.samples)

    @property
    def end(self) -> int:
        """Index after the last sample."""
        return self.first + self.count

    @property
    def nbytes(self) -> int:
        return len(self.jpeg) + len(self.mp4) + int(self.samples.nbytes)

    def without_picture(self) -> "Block":
        """What is left to say once nobody needs the picture or clip."""
        return dataclasses.replace(self, jpeg=b"", mp4=b"", spent=True)


class Driver(Protocol):
    """Turns a port into blocks. Used by one thread; no threads, retry, logging or files of its own.

    Every method raises DriverError, and nothing else, when the hardware is to blame.
    """

    counters: Mapping[str, int]
    """What went wrong so far, by name (`overflows`, `garbage_bytes`, `resyncs` ...); only ever grows."""

    def start(self) -> Identity:
        """Does the handshake: identity, reset, ranges. Called once."""

    def read(self, timeout: float) -> Block | None:
        """Waits at most `timeout` seconds (and a bus transfer) for a block; None where none came."""

    def close(self) -> None:
        """Lets the port go; may be called twice, and after a failed start."""


@runtime_checkable
class Snapper(Protocol):
    """A driver that can also be asked for one more block, a picture for instance."""

    def snap(self) -> None:
        """Asks; the next `read` answers. May be called from any thread."""


@runtime_checkable
class SelfCalibrating(Protocol):
    """A driver of a chip that calibrates itself."""

    def calibration(self) -> str:
        """What the chip has found by now, as the option `calibration` takes it back. Called between reads."""


@runtime_checkable
class Restorable(Protocol):
    """A driver of a chip that takes back what it once found by calibrating itself."""

    def restore(self, calibration: str) -> None:
        """Gives it back what `calibration` once said, where it has lost it and its settings say nothing else. Called
        once, between `start` and the first `read`. ValueError where that is nothing that such a chip says."""


@runtime_checkable
class Noting(Protocol):
    """A driver that has more to show than numbers."""

    @property
    def notes(self) -> Mapping[str, str]:
        """What a person may want to see of what came last, by name (`last_bad_line` ...): short, fit to be printed.
        Asked from any thread."""


@runtime_checkable
class TimeSource(Protocol):
    """A driver that knows the time of day, as a GPS receiver does."""

    def utc(self) -> tuple[int, int] | None:
        """(CLOCK_BOOTTIME, Unix time) of one moment, both in ns, as last told; None where it knows none. What is told
        may be late, so that the Unix time is too small for its moment, and early only by whole seconds, as that of a
        receiver that does not know the leap seconds yet. Asked after each block."""


class DriverSettings(Protocol):
    """What TOML says of one driver: a frozen dataclass named `Settings` in the driver's module."""

    def open(self) -> Driver:
        """Opens the port, nothing more. Raises DriverError."""


@runtime_checkable
class Expecting(Protocol):
    """Settings that tell what will come, so that the cost of a configuration can be estimated."""

    def expects(self) -> tuple[float, int]:
        """(samples or pictures a second, bytes of each); the rate is 0 where it is on demand only."""


def driver_module(name: str) -> ModuleType:
    """The module whose `Settings` a stream's `driver = "name"` means: ours, or a third party's entry point.

    Raises LookupError, which lists what there is.
    """
    from drivers.registry import find  # noqa: PLC0415  importlib.metadata is slow and needed at set-up only

    return find("capture_agent.drivers", "drivers", name)
