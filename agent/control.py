"""The way in: a Unix socket on which a person of this machine asks the running daemon one command a line.

Question and answer are JSON objects, one a line:

    {"command": "start", "arguments": {"recording": "walk"}}
    {"ok": true, "result": "records"}          or          {"ok": false, "error": "no recording 'wlak'; ..."}

The socket is `<data_dir>/run/control.sock`, mode 0660; besides its permissions the peer's credentials are checked:
root, the daemon's own user, and members of the daemon's group may ask.

The service's daemon leaves in its runtime folder where its data folder is: a configuration that has changed since may
say another one, or nothing that can be read.
"""

import contextlib
import json
import logging
import os
import selectors
import socket
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from agent.worker import Worker

log = logging.getLogger(__name__)

_LONGEST_LINE = 1 << 16
_CREDENTIALS = struct.Struct("3i")
_SERVED = "served"


class NoDaemon(Exception):
    """No daemon runs on this data folder."""


class CommandError(Exception):
    """The daemon refused the command; the message is its reason."""


def socket_path(data_dir: Path) -> Path:
    return data_dir / "run" / "control.sock"


def serving(runtime: Path) -> Path | None:
    """The data folder of the daemon with this runtime folder; None where there is none, or it is not ours to see."""
    try:
        return (runtime / _SERVED).readlink()
    except OSError:
        return None


def ask(data_dir: Path, command: str, /, *, timeout: float = 10.0, **arguments: Any) -> Any:
    """The running daemon's answer. NoDaemon where none runs, CommandError where it refuses."""
    line = json.dumps({"command": command, "arguments": arguments}).encode() + b"\n"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout)
        try:
            _with_short_path(socket_path(data_dir), connection.connect)
        except (FileNotFoundError, ConnectionRefusedError):
            raise NoDaemon(f"no daemon runs on {data_dir}") from None
        except PermissionError:
            raise CommandError(f"{socket_path(data_dir)}: not allowed; be root or a member of its group") from None
        connection.sendall(line)
        answer = bytearray()
        while not answer.endswith(b"\n"):
            chunk = connection.recv(1 << 16)
            if not chunk:
                raise CommandError("the daemon closed the connection without an answer")
            answer += chunk
    document = json.loads(answer)
    if not document["ok"]:
        raise CommandError(document["error"])
    return document["result"]


def _with_short_path(path: Path, use: Callable[[str], None]) -> None:
    """Calls `use` with a name of this socket that fits into the 107 bytes that Unix sockets allow."""
    if len(os.fsencode(path)) < 108:
        use(str(path))
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        use(f"/proc/self/fd/{folder}/{path.name}")
    finally:
        os.close(folder)


class Control:
    """Serves the socket from one thread; `answer(command, arguments)` raises CommandError to refuse."""

    def __init__(
        self, data_dir: Path, answer: Callable[[str, Mapping[str, Any]], Any], runtime: Path | None = None
    ) -> None:
        """`runtime`: the folder that systemd makes for the service, where there is one."""
        self._path = socket_path(data_dir)
        self._data_dir = data_dir
        self._link = runtime and runtime / _SERVED
        self._answer = answer
        self._pending: dict[socket.socket, bytearray] = {}

    def start(self, failed: Callable[[str, BaseException], None]) -> Worker:
        """Makes the socket (replacing one that a killed daemon left) and starts the thread."""
        self._path.parent.mkdir(mode=0o750, exist_ok=True)
        self._path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        _with_short_path(self._path, listener.bind)
        self._path.chmod(0o660)
        listener.listen(16)
        self._show()
        return Worker("control", lambda worker: self._run(worker, listener), failed, silence_s=300.0).start()

    def _show(self) -> None:
        """Leaves where the data folder is."""
        if self._link is not None:
            try:
                self._link.unlink(missing_ok=True)
                self._link.symlink_to(self._data_dir.absolute())
            except OSError as error:  # it is only needed once the configuration has changed
                log.warning("control: %s", error)

    def _run(self, worker: Worker, listener: socket.socket) -> None:
        with selectors.DefaultSelector() as selector, listener:
            selector.register(listener, selectors.EVENT_READ)
            try:
                while not worker.stopping.is_set():
                    worker.beat()
                    for key, _ in selector.select(0.25):
                        if key.fileobj is listener:
                            self._accept(listener, selector)
                        elif isinstance(key.fileobj, socket.socket) and not self._serve(key.fileobj):
                            selector.unregister(key.fileobj)
                            self._pending.pop(key.fileobj)
                            key.fileobj.close()
            finally:
                for connection in self._pending:
                    connection.close()
                self._pending.clear()
                self._path.unlink(missing_ok=True)
                if self._link is not None:
                    with contextlib.suppress(OSError):
                        self._link.unlink(missing_ok=True)

    def _accept(self, listener: socket.socket, selector: selectors.BaseSelector) -> None:
        try:
            connection, _ = listener.accept()
        except OSError as error:
            log.warning("control: %s", error)  # gone again, or no descriptor is left just now
            return
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        pid, uid, gid = _CREDENTIALS.unpack(credentials)
        if not _may_ask(uid, gid):
            log.warning("control: process %d of user %d was refused", pid, uid)
            connection.close()
            return
        connection.settimeout(2.0)
        self._pending[connection] = bytearray()
        selector.register(connection, selectors.EVENT_READ)

    def _serve(self, connection: socket.socket) -> bool:
        """Answers the whole lines that have come; False when the connection is over."""
        pending = self._pending[connection]
        try:
            chunk = connection.recv(1 << 16)
            pending += chunk
            while (end := pending.find(b"\n")) >= 0:
                line = bytes(pending[:end])
                del pending[: end + 1]
                connection.sendall(json.dumps(self._reply(line)).encode() + b"\n")
        except OSError:
            return False  # the one who asked has gone, or does not read
        return bool(chunk) and len(pending) <= _LONGEST_LINE

    def _reply(self, line: bytes) -> dict[str, Any]:
        try:
            question = json.loads(line)
            command, arguments = question["command"], question.get("arguments", {})
            if not isinstance(command, str) or not isinstance(arguments, dict):
                raise TypeError
        except (ValueError, TypeError, KeyError, RecursionError):
            return {"ok": False, "error": 'not a question: {"command": "status", "arguments": {}}'}
        try:
            return {"ok": True, "result": self._answer(command, arguments)}
        except (CommandError, OSError) as error:  # OSError: the disk is full, the database busy
            return {"ok": False, "error": str(error)}


def _may_ask(uid: int, gid: int) -> bool:
    if uid in (0, os.geteuid()) or gid == os.getegid():
        return True
    import pwd  # noqa: PLC0415  only when a stranger asks

    try:
        user = pwd.getpwuid(uid)
    except KeyError:
        return False
    return os.getegid() in os.getgrouplist(user.pw_name, user.pw_gid)
