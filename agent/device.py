"""Which device this is: its name, the eight hex digits in picture names, and its model."""

import dataclasses
import hashlib
import re
import socket
from pathlib import Path

_SERIAL = re.compile(r"^Serial\s*:\s*([0-9a-fA-F]{8,})$", re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class Device:
    """Who records: stands in each sidecar, outside the configuration."""

    name: str
    id: str
    """Eight hex digits."""
    model: str = ""

    def as_json(self) -> dict[str, str]:
        return {"name": self.name, "id": self.id, "model": self.model}


def identify(name: str = "", device_id: str = "", root: Path = Path("/")) -> Device:
    """This device; `name` and `device_id` where the configuration gives them.

    The id is the last eight hex digits of the board's serial number (`Serial` in /proc/cpuinfo, all Raspberry Pis);
    elsewhere eight digits of a hash of /etc/machine-id, which stay the same as long as the system does.
    """
    return Device(name or socket.gethostname(), device_id or _serial(root), _model(root))


def _serial(root: Path) -> str:
    found = _SERIAL.search(_text(root / "proc/cpuinfo"))
    if found and int(found[1], 16):
        return found[1][-8:].lower()
    return hashlib.sha256((_text(root / "etc/machine-id") or socket.gethostname()).encode()).hexdigest()[:8]


def _model(root: Path) -> str:
    return _text(root / "proc/device-tree/model").rstrip("\0") or "unknown board"


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""  # another kind of board: the next source is asked
