"""A user's own binary frames, described in TOML alone: sync bytes or COBS, mixed types, sequence number, checksum."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from drivers import Block, Channel, DriverError, Identity, check, option
from drivers._checksums import NAMES
from drivers._fields import TYPES, fields_mistakes, name_mistakes, wire_type
from drivers._line import Line, VirtualRows, begin, port_mistakes
from drivers._struct_frames import Decoder
from drivers._struct_framing import LONGEST_COBS
from drivers._struct_layout import Layout, Variable
from drivers.ports.uart import Uart, open_uart

_EXAMPLE = [
    {"name": "Length", "type": "uint8", "use": "skip", "equals": 9},
    {"name": "Sequence", "type": "uint16", "use": "sequence"},
    {"name": "AccelerometerX", "type": "int16", "unit": "g", "scale": 0.000244140625},
    {"name": "Temperature", "type": "float32", "unit": "Celsius"},
]
_LONGEST = 4096


@dataclasses.dataclass(frozen=True)
class Field:
    """One variable: an entry of `fields`."""

    name: str = option("name of the channel, such as AccelerometerX", example="Value")
    type: str = option("how it is sent", choices=tuple(TYPES), example="int16")
    use: str = option("what it is for", "record", choices=("record", "sequence", "skip"))
    equals: int | None = option("value it has in every frame, such as a length or a kind; it is checked", None)
    unit: str = option('unit of the physical value, such as "g"', "")
    scale: float = option("physical value = raw * scale + offset", 1.0)
    offset: float = option("physical value = raw * scale + offset", 0.0)

    def __post_init__(self) -> None:
        mistakes = name_mistakes(self.name)
        if self.type.startswith("float") and (self.use == "sequence" or self.equals is not None):
            mistakes.append(("type", self.type, "an integer, where it counts or has a fixed value"))
        if self.equals is not None and "int" in self.type and self.type in TYPES:
            bits, signed = 8 * int(TYPES[self.type][1]), self.type.startswith("int")
            low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
            if not low <= self.equals <= high:
                mistakes.append(("equals", self.equals, f"{low} to {high}"))
        check(self, *mistakes)


@dataclasses.dataclass(frozen=True)
class Settings:
    """What TOML says of one device and its frames."""

    port: str = option(
        'path of the serial port, best one that stays, from /dev/serial/by-id; or "virtual"',
        example="/dev/serial/by-id/usb-Your_Board-if00",
    )
    fields: tuple[Field, ...] = option(
        "the variables in the order they are sent: name, type (int8 ... float64); use: record, sequence (counts the"
        " frames) or skip; equals: a value to check, such as a length; unit, scale, offset",
        example=_EXAMPLE,
    )
    framing: str = option(
        "how a frame is found: sync bytes before it, or COBS and a zero after it", "sync", choices=("sync", "cobs")
    )
    sync: str = option('the sync bytes, hex; with framing = "sync"', "AA 55")
    byte_order: str = option("of the variables", "little", choices=("little", "big"))
    rows: int = option("how often the recorded variables are repeated in a frame", 1, at_least=1, at_most=1024)
    checksum: str = option("last bytes of a frame (in COBS before it is stuffed)", "none", choices=NAMES)
    checksum_order: str = option("byte order of the checksum", "little", choices=("little", "big"))
    checksum_covers: str = option(
        "the variables, or the frame with its sync bytes", "fields", choices=("fields", "frame")
    )
    baud: int = option("bits a second, as in the firmware", 115200, at_least=300, at_most=4_000_000)
    rate_hz: float = option("samples a second, nominal; 0: measured at start", 0.0, at_least=0, at_most=1e6)
    connect_timeout_s: float = option("how long the device may take to begin, seconds", 10.0, at_least=1, at_most=25)
    virtual: VirtualRows = option("options of the virtual device", factory=VirtualRows)

    def __post_init__(self) -> None:
        mistakes = port_mistakes(self.port)
        uses = [field.use for field in self.fields]
        mistakes += fields_mistakes([field.name for field in self.fields], self.fields)
        if self.fields and "record" not in uses:
            mistakes.append(("fields", f"{len(uses)} fields", "at least one that is recorded"))
        if uses.count("sequence") > 1:
            mistakes.append(("fields", "sequence", "one field that counts the frames at most"))
        if self.rows > 1 and "s" in "".join(use[0] for use in uses).strip("s"):  # s: sequence or skip
            mistakes.append(("rows", self.rows, "1, where the recorded fields do not stand side by side"))
        if self.framing == "sync" and not 1 <= len(_sync(self.sync)) <= 8:
            mistakes.append(("sync", self.sync, '1 to 8 bytes in hex, such as "AA 55"'))
        if 0 < self.rate_hz < 0.3:
            mistakes.append(("rate_hz", self.rate_hz, "0, or at least 0.3"))
        if not mistakes and self.checksum in NAMES:
            size, most = self.layout().size, LONGEST_COBS if self.framing == "cobs" else _LONGEST
            if size > most:
                mistakes.append(("fields", f"{size} bytes a frame", f"at most {most} with framing = {self.framing!r}"))
        check(self, *mistakes)

    def layout(self) -> Layout:
        """The frame."""
        return Layout(
            [Variable(field.name, field.type, field.use, field.equals) for field in self.fields],
            rows=self.rows,
            byte_order=self.byte_order,
            sync=_sync(self.sync) if self.framing == "sync" else b"",
            checksum=self.checksum,
            checksum_order=self.checksum_order,
            covers_sync=self.checksum_covers == "frame",
        )

    def channels(self) -> tuple[Channel, ...]:
        """What is recorded."""
        return tuple(
            Channel(field.name, field.unit, wire_type(field.type, "little"), field.scale, field.offset)
            for field in self.fields
            if field.use == "record"
        )

    def open(self) -> "StructFrames":
        frame: dict[str, Any] = {"fields": [dataclasses.asdict(field) for field in self.fields]}
        for name in ("framing", "sync", "byte_order", "rows", "checksum", "checksum_order", "checksum_covers"):
            frame[name] = getattr(self, name)
        document = self.virtual.document() | {"frame": frame}
        return StructFrames(self, open_uart(self.port, self.baud, device="struct_frames", virtual=document))


class StructFrames:
    """One device that sends such frames."""

    def __init__(self, settings: Settings, port: Uart) -> None:
        self.port = port
        self.counters: Mapping[str, int] = {}
        self._settings = settings
        self._line: Line | None = None

    def start(self) -> Identity:
        """Waits for the first good frame, and a second more where the rate is to be measured."""
        settings, layout = self._settings, self._settings.layout()
        rate_hz, self.counters, self._line = begin(
            self.port,
            lambda rate_hz: Decoder(layout, cobs=settings.framing == "cobs", rate_hz=rate_hz),
            rate_hz=settings.rate_hz,
            wait_s=settings.connect_timeout_s,
        )
        setup: dict[str, str | int] = {
            "framing": settings.framing,
            "checksum": settings.checksum,
            "rows": settings.rows,
        }
        return Identity("Binary frames", rate_hz, settings.channels(), setup)

    def read(self, timeout: float) -> Block | None:
        if self._line is None:
            raise DriverError(f"{self.port.path} has not been started")
        return self._line.read(timeout)

    def close(self) -> None:
        self.port.close()


def _sync(text: str) -> bytes:
    """Sync bytes out of hex; none where that is not hex."""
    try:
        return bytes.fromhex(text)
    except ValueError:
        return b""
