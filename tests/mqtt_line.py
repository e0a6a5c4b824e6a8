"""A line to an MQTT broker that misbehaves on request: it reads what passes, by packets, and cuts, drops or lies."""

import contextlib
import socket
import threading
import time
from collections import deque
from collections.abc import Callable

CONNECT, CONNACK, PUBLISH, PUBACK, SUBACK, DISCONNECT = 1, 2, 3, 4, 9, 14


class Line:
    """`faults` are for the next connection each."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.faults: deque[Fault] = deque()
        self.hanging = threading.Event()
        self._over = threading.Event()
        self._live: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._spawn(self._accept)

    def close(self) -> None:
        self._over.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for each in list(self._live):
            _end(each)
        for thread in self._threads:
            thread.join(5)

    def _spawn(self, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True, name="mqtt line")
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._to))
            except OSError:
                return
            fault = self.faults.popleft() if self.faults else Fault()
            fault.answer = near.sendall
            both = threading.Barrier(2)
            for each in (near, far):
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._live.add(each)
            self._spawn(self._pass, near, far, fault.sent, (both, fault))
            self._spawn(self._pass, far, near, fault.came, (both, fault))

    def _pass(
        self,
        source: socket.socket,
        sink: socket.socket,
        change: Callable[[bytes], bytes],
        shared: "tuple[threading.Barrier, Fault]",
    ) -> None:
        both, fault = shared
        with contextlib.suppress(OSError, Cut, EOFError), source.makefile("rb") as stream:
            while True:
                packet = change(_packet(stream))
                if fault.hung:
                    self.hanging.set()
                for first in range(0, len(packet), fault.piece):
                    if fault.pause_s:
                        self._over.wait(fault.pause_s)
                    sink.sendall(packet[first : first + fault.piece])
                if fault.ends:
                    break
        for each in (source, sink):
            _end(each)
        with contextlib.suppress(threading.BrokenBarrierError):
            both.wait(5)
        source.close()
        self._live.discard(source)


class Cut(Exception):
    """The connection ends here."""


class Fault:
    """Of one connection; this one is none."""

    pause_s = 0.0
    piece = 1 << 16
    hung = False
    ends = False
    answer: Callable[[bytes], object] | None = None
    """Sends to the client, past the broker."""

    def sent(self, packet: bytes) -> bytes:
        """What is passed on to the broker of a packet."""
        return packet

    def came(self, packet: bytes) -> bytes:
        """What is passed on to the client."""
        return packet


class Slow(Fault):
    pause_s, piece = 0.001, 64


class CutAfter(Fault):
    """So many bytes of what is published get through."""

    def __init__(self, count: int) -> None:
        self._left = count

    def sent(self, packet: bytes) -> bytes:
        if packet[0] >> 4 != PUBLISH:
            return packet
        if self._left < len(packet):
            self.ends = True
            return packet[: self._left]
        self._left -= len(packet)
        return packet


class Acknowledged(Fault):
    """The broker has it; of its word only `keep` bytes come."""

    def __init__(self, keep: int) -> None:
        self._keep = keep

    def came(self, packet: bytes) -> bytes:
        if packet[0] >> 4 != PUBACK:
            return packet
        self.ends = True
        return packet[: self._keep]


class Misread(Fault):
    """The broker has it, and something else comes instead of its word."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def came(self, packet: bytes) -> bytes:
        if packet[0] >> 4 != PUBACK:
            return packet
        self.ends = True
        return self._content


class Forbids(Fault):
    """The broker ends the connection instead of taking a message on this topic."""

    def __init__(self, topic: str) -> None:
        self._topic = topic.encode()

    def sent(self, packet: bytes) -> bytes:
        if packet[0] >> 4 == PUBLISH and self._topic in packet:
            raise Cut
        return packet


class Holds(Fault):
    """The broker's first word on a message comes when it is released."""

    def __init__(self) -> None:
        self.held, self.released = threading.Event(), threading.Event()

    def came(self, packet: bytes) -> bytes:
        if packet[0] >> 4 == PUBACK and not self.held.is_set():
            self.held.set()
            self.released.wait(20)
        return packet


class Deaf(Fault):
    """Of what the client wants to hear, one is not granted, counted from 0, and nothing comes on another topic."""

    def __init__(self, number: int, topic: str) -> None:
        self._number, self._topic = number, topic.encode()

    def came(self, packet: bytes) -> bytes:
        if packet[0] >> 4 == PUBLISH and self._topic in packet:
            return b""
        if packet[0] >> 4 != SUBACK:
            return packet
        at = 5 + self._number  # MQTT 5, without properties
        return packet[:at] + bytes((0x87,)) + packet[at + 1 :]


class Says(Fault):
    """What is published does not get through; instead, the client gets this packet for its `kind`."""

    def __init__(self, kind: int, reply: Callable[[bytes], bytes]) -> None:
        self._kind, self._reply = kind, reply

    def sent(self, packet: bytes) -> bytes:
        if packet[0] >> 4 != self._kind:
            return packet
        if self.answer is not None:
            self.answer(self._reply(packet))
        time.sleep(0.05)  # until it is read: a reset may overtake it
        raise Cut


class Hang(Fault):
    """Everything gets through, and no word comes back."""

    def sent(self, packet: bytes) -> bytes:
        self.hung = self.hung or packet[0] >> 4 == PUBLISH
        return packet

    def came(self, packet: bytes) -> bytes:
        return b"" if packet[0] >> 4 == PUBACK else packet


def refused(reason: int) -> Callable[[bytes], bytes]:
    """CONNACK of MQTT 5."""
    return lambda packet: bytes((CONNACK << 4, 3, 0, reason, 0))


def unwanted(reason: int) -> Callable[[bytes], bytes]:
    """PUBACK of MQTT 5, to the very message."""

    def reply(packet: bytes) -> bytes:
        at = 1
        while packet[at] & 0x80:
            at += 1
        topic = int.from_bytes(packet[at + 1 : at + 3], "big")
        number = packet[at + 3 + topic : at + 5 + topic]
        return bytes((PUBACK << 4, 4)) + number + bytes((reason, 0))

    return reply


def goodbye(reason: int) -> Callable[[bytes], bytes]:
    """DISCONNECT of MQTT 5."""
    return lambda packet: bytes((DISCONNECT << 4, 2, reason, 0))


def _packet(stream) -> bytes:
    head = stream.read(1)
    size = shift = 0
    while True:
        byte = stream.read(1)
        if not byte:
            raise EOFError
        head += byte
        size |= (byte[0] & 0x7F) << shift
        shift += 7
        if not byte[0] & 0x80:
            break
    body = stream.read(size)
    if len(body) < size:
        raise EOFError
    return head + body


def _end(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
