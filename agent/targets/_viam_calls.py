"""Calls over gRPC on one connection that is made when it is needed: each ends in time, and `close` cuts them all."""

import collections
import contextlib
import dataclasses
import functools
import threading
from collections.abc import Callable, Generator, Iterator
from typing import Any

from agent.targets import Stopped, Unreachable
from agent.targets._credentials import short

Metadata = tuple[tuple[str, str], ...]

UNAVAILABLE, DEADLINE_EXCEEDED = 14, 4

_KEEPALIVE_MS = 20_000
"""As Viam's own client; its server takes no ping within 5 s of another."""
_LARGEST_ANSWER = 64 << 20
"""Bytes; files come back whole."""
_FIRST_REST_MS, _LONGEST_REST_MS = 100, 1000
"""Between two attempts to connect, of a connection that somebody waits for."""


@dataclasses.dataclass(frozen=True)
class Line:
    """How the host is reached; time-outs in seconds."""

    address: str
    """HOST:PORT."""
    connect_s: float
    idle_s: float
    """Longest time without any progress, in sending or in waiting for the answer."""
    tls: bool = True
    ca_file: str = ""
    proxy: str = ""


class Status(Exception):
    """A call that did not end well: the status that the server gave, or that gRPC gave for want of one."""

    def __init__(self, code: int, name: str, text: str, metadata: Metadata = ()) -> None:
        super().__init__(f"{name}: {short(text, 300)}")
        self.code = code
        self.text = text
        self.metadata = dict(metadata)


class Silent(Exception):
    """Nothing moved for `idle_s`."""


@dataclasses.dataclass(eq=False)
class _Connection:
    channel: Any
    users: int = 0
    proven: bool = False
    """Whether an answer came over it."""


class Calls:
    """The host's methods, by their paths. Safe for several threads.

    A connection that failed is given up, so that nobody tries in the background while the host is away.
    """

    def __init__(self, line: Line) -> None:
        self.line = line
        self._lock = threading.Lock()
        self._connection: _Connection | None = None
        self._live: set[Any] = set()
        self._closed = False

    def ask(self, path: str, request: bytes, metadata: Metadata) -> bytes:
        """The answer to one question; asked twice where the connection turns out to have broken since it was used.

        Raises Status, DEADLINE_EXCEEDED where there is no answer in time; Stopped after `close`.
        """
        proven = False
        try:
            with self._connected() as connection:
                proven = connection.proven
                return self._unary(connection, path, request, metadata)
        except Status as status:
            if status.code != UNAVAILABLE or not proven:
                raise
        return self.send(path, request, metadata)

    def send(self, path: str, request: bytes, metadata: Metadata) -> bytes:
        """As `ask`, for what must not be said twice."""
        with self._connected() as connection:
            return self._unary(connection, path, request, metadata)

    def stream(self, path: str, messages: Generator[bytes, None, None], metadata: Metadata) -> bytes:
        """The answer to many messages, each made when the one before is on its way.

        What making them raises breaks the call off and comes out: the server then has no whole of it. Raises Status
        also where the server answers before it has taken all; Silent; Stopped after `close`.
        """
        requests, ended = _Requests(), threading.Event()

        def over(_: object) -> None:
            ended.set()
            requests.end()

        with contextlib.closing(messages), self._connected() as connection:
            begin = functools.partial(connection.channel.stream_unary(path).future, requests, metadata=metadata)
            with self._call(begin) as call:
                call.add_done_callback(over)
                try:
                    whole = all(requests.put(message, self.line.idle_s) for message in messages)
                    if whole:
                        requests.end()
                    if not ended.wait(self.line.idle_s):
                        raise Silent
                finally:
                    call.cancel()  # before the requests end, which would tell the server that this was all
                    requests.end()
                answer = self._answer(call, connection)
        if not whole:
            raise Status(0, "OK", "before it had taken everything")
        return answer

    def close(self) -> None:
        """Cuts what is under way; may be called twice, from any thread."""
        with self._lock:
            self._closed = True
            connection, self._connection = self._connection, None
            live = list(self._live)
        for call in live:
            call.cancel()
        if connection is not None:
            connection.channel.close()

    @contextlib.contextmanager
    def _connected(self) -> Iterator[_Connection]:
        with self._lock:
            if self._closed:
                raise Stopped
            if self._connection is None:
                self._connection = _Connection(_channel(self.line))
            connection = self._connection
            connection.users += 1
        try:
            yield connection
        except Status as status:
            if status.code in (UNAVAILABLE, DEADLINE_EXCEEDED):
                with self._lock:
                    if self._connection is connection:
                        self._connection = None
            raise
        finally:
            with self._lock:
                connection.users -= 1
                last = not connection.users and self._connection is not connection
            if last:
                connection.channel.close()

    def _unary(self, connection: _Connection, path: str, request: bytes, metadata: Metadata) -> bytes:
        within_s = self.line.connect_s + self.line.idle_s
        call = connection.channel.unary_unary(path)
        with self._call(functools.partial(call.future, request, timeout=within_s, metadata=metadata)) as running:
            return self._answer(running, connection)

    @contextlib.contextmanager
    def _call(self, begin: Callable[[], Any]) -> Iterator[Any]:
        with self._lock:
            if self._closed:
                raise Stopped
            call = begin()
            self._live.add(call)
        try:
            yield call
        finally:
            with self._lock:
                self._live.discard(call)

    def _answer(self, call: Any, connection: _Connection) -> bytes:
        code = call.code()  # waits for the end
        if self._closed:
            raise Stopped
        number, _ = code.value
        if number:
            raise Status(number, code.name, call.details() or "", tuple(call.trailing_metadata() or ()))
        connection.proven = True
        return bytes(call.result())


class _Requests:
    """Messages on their way from the thread that makes them to gRPC's own: one at a time, so that none pile up."""

    def __init__(self) -> None:
        self._waiting: collections.deque[bytes] = collections.deque()
        self._moved = threading.Condition()
        self._ended = False

    def put(self, message: bytes, within_s: float) -> bool:
        """Waits until there is room; False where nobody takes messages any more. Silent."""
        with self._moved:
            if not self._moved.wait_for(lambda: self._ended or not self._waiting, within_s):
                raise Silent
            if self._ended:
                return False
            self._waiting.append(message)
            self._moved.notify_all()
            return True

    def end(self) -> None:
        """There are no more."""
        with self._moved:
            self._ended = True
            self._moved.notify_all()

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        with self._moved:
            self._moved.wait_for(lambda: self._ended or self._waiting)
            if not self._waiting:
                raise StopIteration
            message = self._waiting.popleft()
            self._moved.notify_all()
            return message


def _channel(line: Line) -> Any:
    """A channel, not connected yet. Unreachable where its certificates cannot be read."""
    import grpc  # noqa: PLC0415  an extra

    options: list[tuple[str, Any]] = [
        ("grpc.primary_user_agent", "capture-agent"),
        ("grpc.enable_retries", 0),  # parcels are tried again elsewhere
        ("grpc.service_config_disable_resolution", 1),
        ("grpc.use_local_subchannel_pool", 1),  # or a new channel would go on waiting where the old one did
        ("grpc.min_reconnect_backoff_ms", int(line.connect_s * 1000)),  # which is the time-out for connecting
        ("grpc.initial_reconnect_backoff_ms", _FIRST_REST_MS),
        ("grpc.max_reconnect_backoff_ms", _LONGEST_REST_MS),
        ("grpc.keepalive_time_ms", _KEEPALIVE_MS),
        ("grpc.keepalive_timeout_ms", _KEEPALIVE_MS),
        ("grpc.max_receive_message_length", _LARGEST_ANSWER),
    ]
    if not line.tls:
        return grpc.insecure_channel(line.address, [*options, ("grpc.enable_http_proxy", 0)])
    if line.proxy:
        options.append(("grpc.http_proxy", line.proxy))
    roots = None
    if line.ca_file:
        try:
            with open(line.ca_file, "rb") as file:
                roots = file.read()
        except OSError as error:
            raise Unreachable(f"the certificates ({line.ca_file}) cannot be read: {error.strerror}") from None
    return grpc.secure_channel(line.address, grpc.ssl_channel_credentials(roots), options)
