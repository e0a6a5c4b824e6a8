"""A serial line on which a device talks and is not spoken to: how its stream is found, measured and read."""

import dataclasses
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from drivers import Block, DriverError, boottime_ns, option
from drivers.ports.uart import Uart
from drivers.ports.virtual import Virtual

_USELESS_S = 10.0
_STEP_S = 0.1
_WINDOW_S = 1.0
_FIRST_PERIODS = 5
_MOST_BYTES = 4_000_000
"""Heard while the rate is measured, at most."""
_USUAL = (10, 12, 12.5, 15, 16, 20, 25, 30, 32, 40, 50, 52, 60, 62.5, 64, 75, 80, 83.3, 100)
_USUAL_WITHIN = 0.025


@dataclasses.dataclass(frozen=True)
class VirtualRows(Virtual):
    """Options of a virtual device that sends rows, `[stream.NAME.virtual]`, for port = "virtual"."""

    rate_hz: float = option("rows a second", 100.0, at_least=0.1, at_most=1e6)
    flat_out: bool = option("send as fast as it is read, whatever rate_hz says", False)
    rows: int = option("rows to send, then silence; 0: without end", 0, at_least=0)


class Piece(NamedTuple):
    """Bytes of one read, and when (CLOCK_BOOTTIME, ns)."""

    data: bytes
    observed_ns: int


class Decoder(Protocol):
    """Turns bytes, however they are cut, into blocks, in bounded memory. Never raises."""

    @property
    def counters(self) -> Mapping[str, int]:
        """As of a driver."""

    @property
    def fatal(self) -> str:
        """Why nothing more will come; empty as long as something may."""

    def feed(self, data: bytes, observed_ns: int) -> list[Block]:
        """The blocks that these bytes complete."""

    def advice(self) -> str:
        """What a person should look at where bytes come and nothing good among them."""


class Line:
    """Reads one line through one decoder."""

    def __init__(self, port: Uart, decoder: Decoder, heard: Sequence[Piece]) -> None:
        """`heard` is what came before: it is decoded first."""
        self._port, self._decoder = port, decoder
        self._blocks: deque[Block] = deque()
        self._useless_ns: int | None = None
        """Since when bytes have come with nothing good among them."""
        for piece in heard:
            self._take(piece)

    def read(self, timeout: float) -> Block | None:
        """As of a driver. DriverError also where bytes come and nothing good among them for ten seconds."""
        until_ns = boottime_ns() + round(timeout * 1e9)
        while not self._blocks:
            if fatal := self._decoder.fatal:
                raise DriverError(f"{self._port.path}: {fatal}")
            wait_s = (until_ns - boottime_ns()) / 1e9
            piece = Piece(*self._port.read(wait_s))
            if piece.data:
                self._take(piece)
            if wait_s <= 0:
                break
        return self._blocks.popleft() if self._blocks else None

    def _take(self, piece: Piece) -> None:
        blocks = self._decoder.feed(*piece)
        self._blocks.extend(blocks)
        if blocks or self._useless_ns is None:
            self._useless_ns = None if blocks else piece.observed_ns
        elif (useless_s := (piece.observed_ns - self._useless_ns) / 1e9) > _USELESS_S:
            raise DriverError(
                f"{self._port.path}: bytes come, but nothing good for {useless_s:.0f} s; "
                f"{self._decoder.advice()} ({dict(self._decoder.counters)})"
            )


class Heard(NamedTuple):
    """What came over a line from its first good row on."""

    pieces: list[Piece]
    """Everything, what came before that row too."""
    rows: list[tuple[int, int]]
    """(CLOCK_BOOTTIME in ns, rows) of each read that had some."""

    def rate_hz(self) -> float:
        """Rows a second: the slope of the least-squares line; 0 with fewer than two rows after the first."""
        times_ns, counts = np.array(self.rows, np.float64).reshape(-1, 2).T
        if counts[1:].sum() < 2:
            return 0.0
        passed_s = (times_ns - times_ns.mean()) / 1e9
        return float(passed_s @ counts.cumsum() / (passed_s @ passed_s))


class Begun(NamedTuple):
    """A stream that has been found."""

    rate_hz: float
    counters: Mapping[str, int]
    line: Line


def listen(port: Uart, count: Callable[[bytes, int], int], *, wait_s: float, window_s: float) -> Heard:
    """Waits for the first row at most `wait_s`, and listens for `window_s` from then on.

    `count` says how many rows some bytes (and a time) complete. Without a row, `rows` is empty.
    """
    heard, size = Heard([], []), 0
    until_ns = boottime_ns() + round(wait_s * 1e9)
    while (left_s := (until_ns - boottime_ns()) / 1e9) > 0 and size < _MOST_BYTES:
        piece = Piece(*port.read(min(left_s, _STEP_S)))
        if not piece.data:
            continue
        heard.pieces.append(piece)
        size += len(piece.data)
        if rows := count(*piece):
            if not heard.rows:
                until_ns = piece.observed_ns + round(window_s * 1e9)
            heard.rows.append((piece.observed_ns, rows))
    return heard


def begin(port: Uart, decoder_for: Callable[[float], Decoder], *, rate_hz: float, wait_s: float) -> Begun:
    """Waits for the first good frame and, where `rate_hz` is 0, measures the rate for a second.

    `decoder_for` makes a decoder for a rate. Nothing that is heard meanwhile is lost. DriverError where nothing good
    comes in time, or too little to measure.
    """
    probe = decoder_for(0.0)
    heard = listen(
        port,
        lambda data, ns: sum(block.count for block in probe.feed(data, ns)),
        wait_s=max(wait_s, _FIRST_PERIODS / rate_hz if rate_hz else 0),
        window_s=0 if rate_hz else _WINDOW_S,
    )
    if not heard.rows:
        if heard.pieces:
            raise DriverError(f"{port.path}: bytes come, but nothing good among them; {probe.advice()}")
        raise DriverError(
            f"{port.path}: it is silent; is the firmware running, is TX connected with RX, and the ground?"
        )
    if not rate_hz and not (rate_hz := nominal_hz(heard.rate_hz())):
        raise DriverError(f"{port.path}: too few frames in {_WINDOW_S:g} s to measure their rate; set `rate_hz`")
    decoder = decoder_for(rate_hz)
    return Begun(rate_hz, decoder.counters, Line(port, decoder, heard.pieces))


def nominal_hz(measured_hz: float) -> float:
    """The rate that a device was probably set to: a usual one within 2.5 %, or two digits of the measured one.

    So a device has the same nominal rate, and its captures the same configuration, each time it is measured.
    """
    if measured_hz <= 0:
        return 0.0
    decade = 10.0 ** (len(f"{int(measured_hz)}") - 2) if measured_hz >= 1 else 0.01
    mantissa = measured_hz / decade
    usual = min(_USUAL, key=lambda rate: abs(rate - mantissa))
    if abs(usual - mantissa) > _USUAL_WITHIN * mantissa:
        usual = round(mantissa)
    return float(f"{usual * decade:.6g}")


def port_mistakes(port: str) -> list[tuple[str, object, str]]:
    """What is wrong with the option `port`, for `check`."""
    if port == "virtual" or port.startswith("/"):
        return []
    return [("port", port, 'a path such as /dev/serial/by-id/usb-..., or "virtual"')]
