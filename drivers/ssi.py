"""Microcontrollers that stream samples over a serial line as SensiML Simple Streaming (SSI), version 1 or 2."""

import contextlib
import dataclasses
from collections import deque
from collections.abc import Mapping

from drivers import Block, Channel, DriverError, Identity, boottime_ns, check, option, samples_dtype
from drivers import _ssi1 as ssi1
from drivers import _ssi2 as ssi2
from drivers._ssi2_frames import streams
from drivers._ssi_handshake import DISCONNECT, Announcement, Handshake, parsed
from drivers.ports.uart import Uart, open_uart
from drivers.ports.virtual import Virtual

_STEP_S = 0.1
_IDLE_S = 1.0
_USELESS_S = 10.0
_CONFIRM_S = 0.02
"""Silence after which a version 2 frame needs no successor to be believed."""


def looks_like(data: bytes) -> str:
    """What of ours these bytes of a line are, in words; empty: nothing."""
    for line in data.splitlines():
        try:
            if said := parsed(line):
                return f"SSI version {said.version}: {', '.join(said.columns)} at {said.rate_hz:g} Hz"
        except DriverError as error:
            return f"SSI, which cannot be followed: {error}"
    return "SSI version 2, under way" if streams(data) else ""


@dataclasses.dataclass(frozen=True)
class VirtualSsi(Virtual):
    """Options of the virtual microcontroller, `[stream.NAME.virtual]`, for port = "virtual"."""

    rate_hz: float = option("samples a second", 100.0, at_least=0.1, at_most=1e6)
    samples_per_packet: int = option("samples in each packet", 8, at_least=1, at_most=5460)
    version: int = option("of the protocol", 2, choices=(1, 2))
    flat_out: bool = option("send as fast as it is read, whatever rate_hz says", False)
    packets: int = option("packets to send, then silence; 0: without end", 0, at_least=0)


@dataclasses.dataclass(frozen=True)
class Settings:
    """What TOML says of one SSI device. Columns, rate, packet size and version are what the device announces."""

    port: str = option(
        'path of the serial port, best one that stays, from /dev/serial/by-id; or "virtual"',
        example="/dev/serial/by-id/usb-Arduino_Nano33-if00",
    )
    baud: int = option("bits a second, as in the firmware", 115200, at_least=300, at_most=4_000_000)
    channel: int = option("which of the device's channels to record (version 2)", 0, at_least=0, at_most=3)
    accel_lsb_per_g: float = option("raw value of 1 g in columns named Accelerometer*; 0: unknown", 0.0, at_least=0)
    gyro_lsb_per_dps: float = option("raw value of 1 degree/s in columns named Gyroscope*; 0: unknown", 0.0, at_least=0)
    connect_timeout_s: float = option("how long the device may take to begin, seconds", 10.0, at_least=1, at_most=25)
    virtual: VirtualSsi = option("options of the virtual device", factory=VirtualSsi)

    def __post_init__(self) -> None:
        mistakes: list[tuple[str, object, str]] = []
        if self.port != "virtual" and not self.port.startswith("/"):
            mistakes.append(("port", self.port, 'a path such as /dev/serial/by-id/usb-..., or "virtual"'))
        check(self, *mistakes)

    def expects(self) -> tuple[float, int]:
        """Six int16 as fast as the line carries them: the device itself says only later what it will send."""
        row_bytes = 12
        rate_hz = self.virtual.rate_hz if self.port == "virtual" else self.baud / 10 / row_bytes
        return rate_hz, row_bytes

    def open(self) -> "Ssi":
        return Ssi(self, open_uart(self.port, self.baud, device="ssi", virtual=self.virtual.document()))


class Ssi:
    """One SSI device."""

    def __init__(self, settings: Settings, port: Uart) -> None:
        self.port = port
        self.counters: Mapping[str, int] = {}
        self._settings = settings
        self._announced: Announcement | None = None
        self._handshake: Handshake | None = None
        self._give_up_s = 0.0
        self._decoder: ssi1.Decoder | ssi2.Decoder | None = None
        self._patience_s = self._silence_s = 0.0
        self._heard_s = self._useful_s = 0.0
        self._blocks: deque[Block] = deque()

    def start(self) -> Identity:
        self._begin_handshake(streaming=False)
        while self._handshake is not None:
            self._shake(*self.port.read(_STEP_S))
        announced = self._announced
        assert announced is not None
        setup: dict[str, str | int] = {
            "protocol": f"SSI v{announced.version}",
            "samples_per_packet": announced.rows,
            "data_type": announced.data_type,
        }
        if announced.version == 2:
            setup["channel"] = self._settings.channel
        return Identity(announced.model, announced.rate_hz, self._channels(announced), setup)

    def read(self, timeout: float) -> Block | None:
        until_ns = boottime_ns() + round(timeout * 1e9)
        while not self._blocks:
            wait_s = (until_ns - boottime_ns()) / 1e9
            if self._handshake is not None:
                self._shake(*self.port.read(min(wait_s, _STEP_S)))
            else:
                self._stream(wait_s)
            if wait_s <= 0:
                break
        return self._blocks.popleft() if self._blocks else None

    def close(self) -> None:
        """Asks the device to be quiet, where there still is one, so that the next start is a quick one."""
        if self._decoder is not None:
            self._decoder = None
            with contextlib.suppress(DriverError):
                self.port.write(DISCONNECT)
        self.port.close()

    def _stream(self, wait_s: float) -> None:
        """One read of the line while the device streams."""
        decoder = self._decoder
        if decoder is None:
            raise DriverError(f"{self.port.path} is closed")
        data, now_ns = self.port.read(min(wait_s, self._patience_s) if decoder.pending else wait_s)
        now_s = now_ns / 1e9
        if data:
            self._heard_s = now_s
            self._keep(decoder.feed(data, now_ns), now_s)
        elif decoder.pending and now_s - self._heard_s >= self._patience_s:
            self._keep(decoder.settle(), now_s)
        if isinstance(decoder, ssi1.Decoder) and decoder.misaligned:
            self._begin_handshake(streaming=True)
        elif now_s - self._heard_s >= self._silence_s:
            self._begin_handshake(streaming=True)
        elif now_s - self._useful_s >= self._silence_s + _USELESS_S:
            raise DriverError(
                f"{self.port.path}: bytes come, but no good packet for {now_s - self._useful_s:.0f} s; check `baud`,"
                f" `channel`, the common ground and the cable ({decoder.counters})"
            )
        elif now_s - self._useful_s >= _IDLE_S and b'"column_location"' in data:
            self._begin_handshake(streaming=False)  # it has started anew and waits for `connect`

    def _keep(self, blocks: list[Block], now_s: float) -> None:
        if blocks:
            self._useful_s = now_s
            self._blocks.extend(blocks)

    def _begin_handshake(self, *, streaming: bool) -> None:
        now_s = boottime_ns() / 1e9
        self._handshake = Handshake(now_s, streaming=streaming)
        self._give_up_s = now_s + self._settings.connect_timeout_s

    def _shake(self, data: bytes, now_ns: int) -> None:
        """One step of the handshake. DriverError when it has taken too long."""
        handshake, now_s = self._handshake, now_ns / 1e9
        assert handshake is not None
        if command := handshake.step(data, now_s):
            self.port.write(command)
        if handshake.done and handshake.announced is not None:
            self._handshake = None
            self._heard_s = self._useful_s = now_s
            decoder = self._decoder_for(handshake.announced)
            self._keep(decoder.feed(handshake.data, now_ns) if handshake.data else [], now_s)
        elif now_s >= self._give_up_s:
            raise DriverError(f"{self.port.path}: {handshake.failure()}")

    def _decoder_for(self, announced: Announcement) -> "ssi1.Decoder | ssi2.Decoder":
        """A new decoder at the first handshake; at later ones the same, as long as the device is."""
        if self._decoder is None:
            dtype = samples_dtype(self._channels(announced))
            self._announced = announced
            period_s = announced.rows / announced.rate_hz
            if announced.version == 1:
                self._decoder = ssi1.Decoder(dtype, announced.rows, announced.rate_hz)
                # long enough for one packet, and shorter than from one to the next where that is possible
                self._patience_s, self._silence_s = max(0.05, period_s / 2), max(1.0, 8 * period_s)
            else:
                self._decoder = ssi2.Decoder(dtype, announced.rows, announced.rate_hz, self._settings.channel)
                self._patience_s, self._silence_s = _CONFIRM_S, max(6.0, 8 * period_s)
            self.counters = self._decoder.counters
        elif announced != self._announced:
            raise DriverError(f"{self.port.path}: the device now announces another set-up ({announced}); opening anew")
        elif isinstance(self._decoder, ssi1.Decoder):
            self._decoder.realign()
        return self._decoder

    def _channels(self, announced: Announcement) -> tuple[Channel, ...]:
        """One for each column; in g and degrees/s where the settings say what a raw value is worth."""
        settings = self._settings
        channels = []
        for name in announced.columns:
            channel = Channel(name, dtype=announced.dtype)
            if name.startswith("Accelerometer") and settings.accel_lsb_per_g:
                channel = dataclasses.replace(channel, unit="g", scale=1 / settings.accel_lsb_per_g)
            elif name.startswith("Gyroscope") and settings.gyro_lsb_per_dps:
                channel = dataclasses.replace(channel, unit="deg/s", scale=1 / settings.gyro_lsb_per_dps)
            channels.append(channel)
        return tuple(channels)
