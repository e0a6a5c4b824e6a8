"""A GPS receiver on a serial port: position, speed and time, a row an epoch, from its NMEA 0183 sentences.

An epoch in which the receiver knows no position is a row, too: its FixQuality is 0, its position not a number. Nor is
one that it did not measure: what a person typed in (7) and what it makes up (8, simulator) is no fix.
"""

import dataclasses
import itertools
import math
import statistics
from collections import deque

import numpy as np

from drivers import Block, Channel, DriverError, Identity, Samples, boottime_ns, check, option, samples_dtype
from drivers._line import Piece, port_mistakes
from drivers._nmea import PAUSE_NS, Epoch, Epochs, Lines, unix_s
from drivers._unnumbered import Numbering
from drivers.ports.uart import Uart, open_uart
from drivers.ports.virtual import Virtual

RATES_HZ = (0.1, 0.2, 0.5, 1.0, 2.0, 4.0, 5.0, 8.0, 10.0, 16.0, 18.0, 20.0, 25.0)
"""Those that receivers can be set to."""
CHANNELS = (
    Channel("Latitude", "deg", "<f8"),
    Channel("Longitude", "deg", "<f8"),
    Channel("Altitude", "m", "<f8"),  # above the sea
    Channel("Speed", "m/s", "<f4"),
    Channel("Course", "deg", "<f4"),  # from true north
    Channel("Satellites", "", "|u1", limits=(-1, 256)),
    Channel("HDOP", "", "<f4"),
    Channel("Accuracy", "m", "<f4"),  # of the position, one sigma, where the receiver says it (GST)
    Channel("FixQuality", "", "|u1", limits=(-1, 256)),  # 0 none, 1 GPS, 2 DGPS, 4 and 5 RTK, 6 estimated, 7, 8
    Channel("Time", "s", "<f8"),  # Unix time
)
_DTYPE = samples_dtype(CHANNELS)
_EPOCHS, _MEASURED_NS = 3, 1_000_000_000
"""How many are heard, and for how long, before the rate is believed."""
_STEP_S = 0.1
_USELESS_S = 10.0
_AGREE_S = 0.5
"""How far the receiver's clock and ours may disagree about what passed between two epochs, if it is to count."""
_FEWEST_SENTENCES = 2
_NO_FIX, _ESTIMATED = (0, 7, 8), 6
"""By FixQuality. A receiver that reckons on from its last fix (6) knows a place; its time is only its own clock's."""


@dataclasses.dataclass(frozen=True)
class VirtualReceiver(Virtual):
    """Options of the virtual receiver, `[stream.NAME.virtual]`, for port = "virtual"; it drives in a circle."""

    rate_hz: float = option("epochs a second", 1.0, choices=RATES_HZ)
    maker: str = option("whose habits it has", "ublox", choices=("ublox", "mtk"))
    latitude: float = option("of the middle of its circle, degrees", 47.38, at_least=-89, at_most=89)
    longitude: float = option("of the middle of its circle, degrees", 8.54, at_least=-179, at_most=179)
    cold_s: float = option("seconds after switching on without a fix, half of them without a time", 0.0, at_least=0)
    outage_every_s: float = option("loses its fix so often, seconds; 0: never", 0.0, at_least=0)
    outage_s: float = option("seconds that such an outage lasts", 5.0, at_least=0)
    begins: float = option("Unix time at which it is switched on; 0: now", 0.0, at_least=0)


@dataclasses.dataclass(frozen=True)
class Settings:
    """What TOML says of one receiver. How it is set up (rate, sentences) is its own affair."""

    port: str = option(
        'path of the serial port, best one that stays, from /dev/serial/by-id; or "virtual"',
        example="/dev/serial/by-id/usb-u-blox_AG_u-blox_7-if00",
    )
    baud: int = option("bits a second; USB receivers take any", 9600, at_least=1200, at_most=4_000_000)
    rate_hz: float = option("epochs a second; 0: measured at start", 0.0, at_least=0, at_most=100)
    connect_timeout_s: float = option(
        "how long the receiver may take to begin, seconds (it needs no fix for that)", 10.0, at_least=1, at_most=25
    )
    virtual: VirtualReceiver = option("options of the virtual receiver", factory=VirtualReceiver)

    def __post_init__(self) -> None:
        check(self, *port_mistakes(self.port))

    def expects(self) -> tuple[float, int]:
        """Rows a second, and bytes of each, for estimates."""
        return self.rate_hz or 1.0, _DTYPE.itemsize

    def open(self) -> "Nmea":
        return Nmea(self, open_uart(self.port, self.baud, device="nmea", virtual=self.virtual.document()))


def looks_like(data: bytes) -> str:
    """What of ours these bytes of a line are, in words; empty: nothing."""
    said = [fields[0] for fields in Lines().feed(data)]
    return f"sentences of a GPS receiver: {', '.join(sorted(set(said)))}" if len(said) >= _FEWEST_SENTENCES else ""


class Nmea:
    def __init__(self, settings: Settings, port: Uart) -> None:
        self.port = port
        self.counters = {"bad_lines": 0}
        self._settings = settings
        self._lines, self._epochs = Lines(), Epochs()
        self._rate_hz = 0.0
        self._numbering = Numbering(0.0)
        self._ended: deque[Epoch] = deque()
        self._sentences = 0
        self._heard_ns = self._useful_ns = 0
        self._last = Epoch(0)
        self._last_unix_s = math.nan
        self._utc: tuple[int, int] | None = None
        self._next = 0  # index
        self._anchor = math.nan, 0, 0  # second of the day, time and index of the last epoch that knew its second

    def start(self) -> Identity:
        """Listens until the rate is known; nothing that is heard meanwhile is lost."""
        until_ns = boottime_ns() + int(self._settings.connect_timeout_s * 1e9)
        self._heard_ns = self._useful_ns = boottime_ns()
        given = self._settings.rate_hz
        some = False
        while not (self._sentences if given else self._measured()) and boottime_ns() < until_ns:
            some = self._listen(_STEP_S) or some
        if not self._sentences:
            raise DriverError(f"{self.port.path}: {self._silence(some)}")
        if not given and len(self._ended) < _EPOCHS:
            raise DriverError(f"{self.port.path}: too few epochs to measure their rate; set `rate_hz`")
        self._rate_hz = given or _rate_hz(list(self._ended))
        self._numbering = Numbering(self._rate_hz)
        return Identity("NMEA 0183 receiver", self._rate_hz, CHANNELS)

    def _measured(self) -> bool:
        """Whether enough epochs were heard to know their rate."""
        heard = self._ended
        return len(heard) >= _EPOCHS and heard[-1].observed_ns - heard[0].observed_ns >= _MEASURED_NS

    def read(self, timeout: float) -> Block | None:
        until_ns = boottime_ns() + round(timeout * 1e9)
        while not self._ended:
            wait_s = (until_ns - boottime_ns()) / 1e9
            self._listen(max(0.0, min(wait_s, _STEP_S)))
            if wait_s <= 0:
                break
        return self._row(self._ended.popleft()) if self._ended else None

    def utc(self) -> tuple[int, int] | None:
        """(CLOCK_BOOTTIME, Unix time), in ns, of the last epoch, if satellites told it; None where they did not."""
        return self._utc

    def close(self) -> None:
        self.port.close()

    def _listen(self, timeout: float) -> bool:
        """Takes what comes; True where something did. An epoch ends where a pause does, too."""
        piece = Piece(*self.port.read(min(timeout, PAUSE_NS / 1e9)))
        if not piece.data:
            if piece.observed_ns - self._heard_ns > PAUSE_NS:
                self._end(self._epochs.pause())
            return False
        self._heard_ns = piece.observed_ns
        for fields in self._lines.feed(piece.data):
            self._useful_ns = piece.observed_ns
            self._sentences += 1
            self._end(self._epochs.add(fields, piece.observed_ns))
        self.counters["bad_lines"] = self._lines.bad + self._epochs.bad
        if piece.observed_ns - self._useful_ns > _USELESS_S * 1e9:
            raise DriverError(f"{self.port.path}: {self._silence(True)}")
        return True

    def _end(self, epoch: Epoch | None) -> None:
        """Of which nothing but time, speed or precision came undamaged is as good as lost, and counted so."""
        if epoch is not None and epoch.quality is not None:
            self._ended.append(epoch)

    def _row(self, epoch: Epoch) -> Block:
        """One row. What is missing before it tells the receiver's own clock, as far as ours agrees."""
        last, self._last = self._last, epoch
        passed_s = (epoch.observed_ns - last.observed_ns) / 1e9
        time_s = unix_s(epoch, self._last_unix_s, passed_s)
        if not math.isnan(time_s):
            self._last_unix_s = time_s
        elif not math.isnan(self._last_unix_s):
            self._last_unix_s += passed_s
        quality = epoch.quality or 0
        fixed = quality not in _NO_FIX
        # without a fix a receiver only knows what its own clock kept, and perhaps no leap seconds
        timed = fixed and quality != _ESTIMATED and not math.isnan(time_s)
        self._utc = (epoch.observed_ns, round(time_s * 1e6) * 1000) if timed else None
        row = (
            epoch.latitude if fixed else math.nan,
            epoch.longitude if fixed else math.nan,
            epoch.altitude if fixed else math.nan,
            epoch.speed if fixed else math.nan,
            epoch.course if fixed else math.nan,
            epoch.satellites,
            epoch.hdop,
            epoch.accuracy,
            quality,
            time_s,
        )
        samples: Samples = np.array([row], _DTYPE)
        lost, exact, torn = self._missing(epoch)
        block = self._numbering.block(samples, epoch.observed_ns, lost=lost, exact=exact, torn=torn)
        self._next = block.end
        if not math.isnan(epoch.second):
            self._anchor = epoch.second, epoch.observed_ns, block.first
        return block

    def _missing(self, epoch: Epoch) -> tuple[int, bool, bool]:
        """Rows missing before an epoch, whether that is counted, and whether index and time have lost touch."""
        second, observed_ns, index = self._anchor
        said_s = (epoch.second - second + 43200) % 86400 - 43200  # over midnight
        passed_s = (epoch.observed_ns - observed_ns) / 1e9
        if abs(said_s - passed_s) <= _AGREE_S + 0.01 * passed_s:  # neither is NaN
            return max(0, index + round(said_s * self._rate_hz) - self._next), True, False
        together = 1 + sum(other.observed_ns == epoch.observed_ns for other in self._ended)
        lost = self._numbering.missed(epoch.observed_ns, together)
        return lost, False, lost > 0

    def _silence(self, some: bool) -> str:
        if some:
            return (
                f"bytes come, but no NMEA sentence among them ({self.counters['bad_lines']} damaged lines);"
                " check `baud` (usual are 9600, 38400, 115200, 4800), and that the receiver speaks NMEA on this port"
            )
        return "it is silent; is the receiver powered, and its TX connected with our RX?"


def _rate_hz(epochs: list[Epoch]) -> float:
    """The usual rate nearest to what the receiver's clock says, or ours where it says none."""
    pairs = list(itertools.pairwise(epochs))
    said = [(later.second - earlier.second) % 86400 for earlier, later in pairs]
    known = [period_s for period_s in said if period_s > 0]  # nor is NaN
    mean_s = (epochs[-1].observed_ns - epochs[0].observed_ns) / 1e9 / len(pairs)
    period_s = max(statistics.median_low(known) if known else mean_s, 1e-3)
    return min(RATES_HZ, key=lambda rate: abs(math.log(rate * period_s)))
