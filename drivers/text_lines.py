"""Microcontrollers that print numbers, a line a sample: `1,2,3`, or the Arduino plotter's `label:value`."""

import dataclasses
import re
from collections.abc import Mapping

from drivers import Block, Channel, DriverError, Identity, check, option, samples_dtype
from drivers._line import Line, VirtualRows, listen, nominal_hz, port_mistakes
from drivers._text_lines import Decoder, Layout, Survey, arrivals, shown
from drivers.ports.uart import Uart, open_uart

_FAR_OFF_HZ, _FAR_OFF = 10.0, 0.1
"""How far a measured rate may be from the configured one: 10 Hz (Edge Impulse CLI, `data-forwarder.ts`) or 10 %."""
_FEWEST_PERIODS = 2.5
_FEWEST_LINES = 3
_NAME = re.compile(r"[A-Za-z0-9_ -]+")


@dataclasses.dataclass(frozen=True)
class VirtualText(VirtualRows):
    """Options of the virtual microcontroller, `[stream.NAME.virtual]`, for port = "virtual"."""

    labelled: bool = option("print label:value", False)


@dataclasses.dataclass(frozen=True)
class Settings:
    """What TOML says of one device. How many columns there are, and their labels, is seen in what it prints."""

    port: str = option(
        'path of the serial port, best one that stays, from /dev/serial/by-id; or "virtual"',
        example="/dev/serial/by-id/usb-Arduino_Uno-if00",
    )
    baud: int = option("bits a second, as in the firmware", 115200, at_least=300, at_most=4_000_000)
    columns: tuple[str, ...] = option("names of the columns; none: the labels, or Value1, Value2 ...", ())
    units: tuple[str, ...] = option('units of the columns, such as ["g", "g", "g"]; none: unknown', ())
    rate_hz: float = option("lines a second, needed below 2; 0: measured at start", 0.0, at_least=0, at_most=1e6)
    measure_s: float = option("how long the rate is measured at start, seconds", 1.0, at_least=0.2, at_most=10)
    connect_timeout_s: float = option("how long the device may take to begin, seconds", 10.0, at_least=1, at_most=25)
    virtual: VirtualText = option("options of the virtual device", factory=VirtualText)

    def __post_init__(self) -> None:
        mistakes = port_mistakes(self.port)
        wrong = [name for name in self.columns if not _NAME.fullmatch(name)]
        if wrong or len(set(self.columns)) < len(self.columns):
            mistakes.append(("columns", self.columns, "different names of letters, digits, spaces, _ and -"))
        if self.columns and self.units and len(self.columns) != len(self.units):
            mistakes.append(("units", self.units, f"as many as there are columns: {len(self.columns)}"))
        if 0 < self.rate_hz < 0.1:
            mistakes.append(("rate_hz", self.rate_hz, "0, or at least 0.1"))
        check(self, *mistakes)

    def open(self) -> "TextLines":
        return TextLines(self, open_uart(self.port, self.baud, device="text_lines", virtual=self.virtual.document()))


def looks_like(data: bytes) -> str:
    """What of ours these bytes of a line are, in words; empty: nothing."""
    survey = Survey()
    if survey.count(data, 0) < _FEWEST_LINES or survey.layout is None:
        return ""
    width, labels = survey.layout
    names = ": " + ", ".join(label.decode(errors="replace") for label in labels) if labels else ""
    return f"lines of {width} number{'s' if width > 1 else ''}{names}"


class TextLines:
    """One device that prints numbers."""

    def __init__(self, settings: Settings, port: Uart) -> None:
        self.port = port
        self.counters: Mapping[str, int] = {}
        self._settings = settings
        self._decoder: Decoder | None = None
        self._line: Line | None = None

    @property
    def notes(self) -> Mapping[str, str]:
        """The last line that could not be used, where there was one; what stood before the first good one is none."""
        decoder = self._decoder
        return {"last_bad_line": shown(decoder.last_bad)} if decoder and decoder.counters["bad_lines"] else {}

    def start(self) -> Identity:
        """Listens for a second (longer where `rate_hz` is low): columns, labels and rate."""
        settings, survey = self._settings, Survey()
        window_s = max(settings.measure_s, _FEWEST_PERIODS / settings.rate_hz if settings.rate_hz else 0)
        heard = listen(self.port, survey.count, wait_s=settings.connect_timeout_s, window_s=window_s)
        layout = survey.layout
        if survey.error:
            raise DriverError(f"{self.port.path}: the device says {shown(survey.error)}")
        if layout is None:
            raise DriverError(f"{self.port.path}: {_nothing(survey, len(heard.pieces))}")
        measured_hz = heard._replace(rows=arrivals(heard.pieces, layout)).rate_hz()
        if not measured_hz and not settings.rate_hz:
            raise DriverError(
                f"{self.port.path}: only a single reading received in {window_s:g} second(s); "
                "set `rate_hz` where the device prints less than twice a second"
            )
        rate_hz = settings.rate_hz
        tolerated_hz = max(_FAR_OFF_HZ, _FAR_OFF * rate_hz)
        if not rate_hz or (measured_hz and abs(measured_hz - rate_hz) > tolerated_hz):
            rate_hz = nominal_hz(measured_hz)
        channels = self._channels(layout)
        self._decoder = Decoder(layout, samples_dtype(channels), rate_hz)
        self.counters = self._decoder.counters
        self._line = Line(self.port, self._decoder, heard.pieces)
        return Identity("Text lines", rate_hz, channels, {"labelled": bool(layout.labels)})

    def read(self, timeout: float) -> Block | None:
        if self._line is None:
            raise DriverError(f"{self.port.path} has not been started")
        return self._line.read(timeout)

    def close(self) -> None:
        self.port.close()

    def _channels(self, layout: Layout) -> tuple[Channel, ...]:
        names, units = self._settings.columns, self._settings.units
        for option_name, values in (("columns", names), ("units", units)):
            if values and len(values) != layout.width:
                raise DriverError(
                    f"{self.port.path}: each line has {layout.width} numbers, "
                    f"but `{option_name}` names {len(values)}: {', '.join(values)}"
                )
        names = names or _names(layout)
        units = units or ("",) * layout.width
        return tuple(Channel(name, unit, "<f8") for name, unit in zip(names, units, strict=True))


def _names(layout: Layout) -> tuple[str, ...]:
    """Labels as names of channels; where that does not do, Value1, Value2 ..."""
    plain = tuple(re.sub(r"[^A-Za-z0-9_ -]", "_", label.decode(errors="replace")) for label in layout.labels)
    if plain and len(set(plain)) == len(plain):
        return plain
    return tuple(f"Value{n + 1}" for n in range(layout.width))


def _nothing(survey: Survey, reads: int) -> str:
    if survey.last_bad:
        return f"the values do not seem to be all numbers: {shown(survey.last_bad)}; check `baud` and the firmware"
    if reads:
        return "bytes come, but no whole line; check `baud`, and that each sample ends with a new line"
    return "it is silent; is the firmware running, is TX connected with RX, and the ground?"
