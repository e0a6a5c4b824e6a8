"""Microcontrollers that send the data stream of MPLAB Data Visualizer: Microchip's ML loggers, MCC's data streamer."""

import dataclasses
from collections.abc import Mapping

from drivers import Block, DriverError, Identity, check, option, samples_dtype
from drivers._fields import Field, fields_mistakes
from drivers._line import Line, VirtualRows, begin, port_mistakes
from drivers._mplab_stream import AUTO_START, Decoder, frame_bytes
from drivers.ports.uart import Uart, open_uart

_IMU = [
    {"name": name, "type": "int16"}
    for name in ("AccelerometerX", "AccelerometerY", "AccelerometerZ", "GyroscopeX", "GyroscopeY", "GyroscopeZ")
]
_STARTS = (0xA5, 0x03)
"""Of Microchip's ML loggers, and of MCC's library."""
_TYPES = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "float32", "float64")


def looks_like(data: bytes) -> str:
    """What of ours these bytes of a line are, in words; empty: nothing."""
    for start in _STARTS:
        if size := frame_bytes(data, start):
            return f"an MPLAB Data Visualizer stream: {size} bytes of variables between 0x{start:02X} and its inverse"
    return ""


@dataclasses.dataclass(frozen=True)
class Settings:
    """What TOML says of one device: which variables it sends, since the stream itself does not tell."""

    port: str = option(
        'path of the serial port, best one that stays, from /dev/serial/by-id; or "virtual"',
        example="/dev/serial/by-id/usb-Microchip_SAMD21-if00",
    )
    fields: tuple[Field, ...] = option(
        "the variables in the order they are sent: name, type (int8 ... uint32, float32, float64), and unit, scale and"
        " offset where raw values are not physical ones",
        example=_IMU,
    )
    baud: int = option("bits a second, as in the firmware", 115200, at_least=300, at_most=4_000_000)
    start_byte: int = option(
        "first byte of a frame: 0xA5 of the ML loggers, 0x03 of MCC's library; not 0x5F", 0xA5, at_least=0, at_most=255
    )
    rate_hz: float = option("frames a second, nominal; 0: measured at start", 0.0, at_least=0, at_most=1e6)
    connect_timeout_s: float = option("how long the device may take to begin, seconds", 10.0, at_least=1, at_most=25)
    virtual: VirtualRows = option("options of the virtual device", factory=VirtualRows)

    def __post_init__(self) -> None:
        mistakes = port_mistakes(self.port)
        mistakes += fields_mistakes([field.name for field in self.fields], self.fields)
        mistakes += [
            ("fields", f"{field.name} {field.type}", "one of the types " + ", ".join(_TYPES))
            for field in self.fields
            if field.type not in _TYPES
        ]
        if self.start_byte == AUTO_START:
            mistakes.append(("start_byte", self.start_byte, "not 0x5F: auto-configuration packets start like that"))
        if 0 < self.rate_hz < 0.3:
            mistakes.append(("rate_hz", self.rate_hz, "0, or at least 0.3"))
        check(self, *mistakes)

    def open(self) -> "MplabStream":
        document = self.virtual.document() | {
            "types": [field.type for field in self.fields],
            "start_byte": self.start_byte,
        }
        return MplabStream(self, open_uart(self.port, self.baud, device="mplab_stream", virtual=document))


class MplabStream:
    """One device that sends the data stream."""

    def __init__(self, settings: Settings, port: Uart) -> None:
        self.port = port
        self.counters: Mapping[str, int] = {}
        self._settings = settings
        self._line: Line | None = None

    def start(self) -> Identity:
        """Waits for three frames, and a second more where the rate is to be measured."""
        settings = self._settings
        channels = tuple(field.channel() for field in settings.fields)
        wire = samples_dtype(channels)
        rate_hz, self.counters, self._line = begin(
            self.port,
            lambda rate_hz: Decoder(wire, settings.start_byte, rate_hz),
            rate_hz=settings.rate_hz,
            wait_s=settings.connect_timeout_s,
        )
        return Identity("MPLAB data stream", rate_hz, channels, {"start_byte": settings.start_byte})

    def read(self, timeout: float) -> Block | None:
        if self._line is None:
            raise DriverError(f"{self.port.path} has not been started")
        return self._line.read(timeout)

    def close(self) -> None:
        self.port.close()
