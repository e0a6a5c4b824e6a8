"""All platforms at once in tests: real servers that fail some of their requests, behind a network that goes down."""

import contextlib
import hashlib
import random
import socket
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

from agent.capture import Capture
from agent.targets import Home, Target
from agent.targets.directory import Settings as Directory
from tests import moveshelf, sensiml, sticky_pi, viam
from tests.captures import make_capture
from tests.models import viam as cloud
from tests.models.sticky_pi import StickyPi
from tests.models.viam_grpc import GrpcCloud
from tests.moveshelf_server import Moveshelf
from tests.receiver import Fault
from tests.sensiml_server import SensimlServer

SAMPLES = ("nas", "gait", "viam", "ml")
PICTURES = ("nas", "gait", "viam", "plants")
JPEG = ("jpeg", "image/jpeg", ".jpg")


class Wire:
    """A port of its own in front of a server; while it is down nobody listens there, and all connections are cut."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._lock = threading.Lock()
        self._live: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        # not 127.0.0.1, from which connections leave: none takes this port while it is down
        self._listener = socket.create_server(("127.0.0.2", 0))
        self.address = f"127.0.0.2:{self._listener.getsockname()[1]}"
        self._spawn(self._accept, self._listener)

    def down(self) -> None:
        """Ends all connections; whoever wants another is refused."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            live = list(self._live)
        for connection in live:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def up(self) -> None:
        """As before."""
        host, port = self.address.split(":")
        self._listener = socket.create_server((host, int(port)))
        self._spawn(self._accept, self._listener)

    def close(self) -> None:
        self.down()
        for thread in self._threads:
            thread.join(5)

    def _spawn(self, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True, name="wire")
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self._to))
            both = threading.Barrier(2)
            for source, sink in ((near, far), (far, near)):
                source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                with self._lock:
                    self._live.add(source)
                self._spawn(self._pass, source, sink, both)

    def _pass(self, source: socket.socket, sink: socket.socket, both: threading.Barrier) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                sink.sendall(data)
        for connection in (source, sink):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(threading.BrokenBarrierError):
            both.wait(5)
        with self._lock:
            self._live.discard(source)
        source.close()


class Failing:
    """A share of the requests goes wrong, each time in another way; `failed` and `asked` count, by server."""

    def __init__(self, share: float, seed: int) -> None:
        self._share = share
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self.asked: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()

    def http(self, server: str) -> Fault:
        return Fault() if (way := self._way(server)) is None else HTTP_FAULTS[way % len(HTTP_FAULTS)]

    def grpc(self, server: str) -> cloud.Fault:
        return cloud.Fault() if (way := self._way(server)) is None else GRPC_FAULTS[way % len(GRPC_FAULTS)]

    def _way(self, server: str) -> int | None:
        with self._lock:
            self.asked[server] += 1
            if self._random.random() >= self._share:
                return None
            self.failed[server] += 1
            return self.failed[server]


HTTP_FAULTS = (
    Fault(500, text="Internal Server Error"),
    Fault(503, (("Retry-After", "0"),)),
    Fault(cut_after=10),
    Fault(lose_answer=True),
    Fault(truncate=True),
    Fault(502, text="<html>Bad Gateway</html>"),
)
GRPC_FAULTS = (
    cloud.Fault(code=cloud.UNAVAILABLE, text="try again"),
    cloud.Fault(code=cloud.UNKNOWN, text="something went wrong"),
    cloud.Fault(cut=True),
    cloud.Fault(store=True, cut=True),
    cloud.Fault(truncate=True),
)


class Platforms:
    """Four servers and a folder, and a target that leads to each; `down` and `up` are the network's."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack, failing: Failing) -> None:
        self._stack, self.nas = stack, folder / "nas"
        self.nas.mkdir()
        self.ml = self._http(sensiml.Server, SensimlServer(), folder / "ml", failing)
        self.plants = self._http(sticky_pi.Server, StickyPi(), folder / "plants", failing)
        self.gait = self._http(moveshelf.Server, Moveshelf(), folder / "gait", failing)
        gait = self.gait.api
        gait.store.fault = lambda path: failing.http("store")
        grpc = stack.enter_context(GrpcCloud())
        grpc.fault = lambda method: failing.grpc("viam")
        (folder / "viam").mkdir()
        self.viam = viam.Far(grpc, folder / "viam", stack)
        ports = {"ml": self.ml.model.port, "plants": self.plants.model.port, "gait": gait.port}
        ports |= {"store": gait.store.port, "viam": grpc.line.port}
        self._wires = {name: Wire(port) for name, port in ports.items()}
        for wire in self._wires.values():
            stack.callback(wire.close)
        gait.store.url = self._at("store")  # of the addresses that it signs

    def targets(self) -> dict[str, Target]:
        """One to each, new."""
        return {
            "nas": Directory(path=str(self.nas), fsync=False).open(Home("bay3", "0badcafe", self.nas)),
            "ml": self.ml.open(url=self._at("ml"), idle_timeout_s=5.0),
            "plants": self.plants.open(url=self._at("plants"), idle_timeout_s=5.0),
            "gait": self.gait.open(
                url=self._at("gait") + "/graphql", subject="bay", session="{date}", idle_timeout_s=5.0
            ),
            "viam": self.viam.open(host=self._wires["viam"].address, idle_timeout_s=5.0),
        }

    def _at(self, server: str) -> str:
        return f"http://{self._wires[server].address}"

    def _http(self, kind, model, folder: Path, failing: Failing):
        folder.mkdir()
        self._stack.enter_context(model)
        model.fault = lambda path: failing.http(folder.name)
        return kind(model, folder, self._stack)

    def down(self) -> None:
        for wire in self._wires.values():
            wire.down()

    def up(self) -> None:
        for wire in self._wires.values():
            wire.up()

    def there(self) -> dict[str, dict[str, bytes]]:
        """The files that each has, by name. AssertionError where one has something twice."""
        nas = {path.name: path.read_bytes() for path in self.nas.rglob("*.*")}
        assert [name for name, became in self.gait.records() if became != "Complete"] == [], "nothing is left over"
        far = {"ml": self.ml, "plants": self.plants, "gait": self.gait}
        return {"nas": nas, **{name: each.files() for name, each in far.items()}, "viam": self._pictures_and_files()}

    def _pictures_and_files(self) -> dict[str, bytes]:
        """Files by name; pictures, which have none there, by hash."""
        pictures = [each.content for each in self.viam.cloud.stored if "file_name" not in each.metadata]
        found = {hashlib.sha256(content).hexdigest(): content for content in pictures}
        assert len(found) == len(pictures), "a picture is there twice"
        return found | self.viam.files()


def captures(folder: Path, count: int) -> list[tuple[Capture, Sequence[str]]]:
    """Samples and pictures in turn, and to whom each is owed."""
    made: list[tuple[Capture, Sequence[str]]] = []
    for number in range(0, count, 2):
        made.append((make_capture(folder, sensiml.sheet(b"%d" % number * 300)), SAMPLES))
        name = f"512858f4.2024-03-05_{number // 3600:02}-{number // 60 % 60:02}-{number % 60:02}"
        jpeg = sticky_pi.jpeg_around(b"%d" % number * 300)
        made.append((make_capture(folder, jpeg, name=name, kind=JPEG, recording="photos"), PICTURES))
    return made[:count]


def expected(made: Sequence[tuple[Capture, Sequence[str]]]) -> dict[str, dict[str, bytes]]:
    """What `Platforms.there` should say in the end: two of the platforms have no place for a sidecar."""
    found: dict[str, dict[str, bytes]] = defaultdict(dict)
    for capture, targets in made:
        for target in {*targets} - {"viam"}:
            for path in capture.files if target in ("nas", "gait") else capture.files[:-1]:
                found[target][path.name] = path.read_bytes()
        if "viam" in targets:
            (payload,) = capture.payloads
            name = payload.sha256 if payload.format == "jpeg" else payload.file
            found["viam"][name] = capture.path(payload).read_bytes()
            found["viam"][capture.sidecar.name] = capture.sidecar.read_bytes()
    return dict(found)
