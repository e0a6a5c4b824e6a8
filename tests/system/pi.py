"""Runs a guest without a network or a shared folder, and does what it asks for: pi.py FOLDER SECONDS QEMU...

What the guest says on its serial lines, FOLDER/serial0 and serial1, is printed, but for lines that are meant for here:

    @@ set PROPERTY VALUE     of the device `field`, through FOLDER/qmp
    @@ end CODE               it is over; CODE becomes this program's own
"""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

_STALLED = 125


def lines(file: Path) -> Iterator[str]:
    """The whole lines of a growing file; empty ones where there are no more yet."""
    while not file.exists():
        yield ""
    with file.open("rb") as growing:
        begun = b""
        while True:
            begun += growing.readline()
            if not begun.endswith(b"\n"):
                yield ""
                continue
            yield begun.decode(errors="replace").rstrip("\r\n") or " "
            begun = b""


def set_property(control: Path, name: str, value: int) -> None:
    """Changes the sensor while the guest runs. Raises RuntimeError where QEMU refuses."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(control))
        stream = connection.makefile("rw")
        wanted = {"path": "/machine/peripheral/field", "property": name, "value": value}
        for request in ({"execute": "qmp_capabilities"}, {"execute": "qom-set", "arguments": wanted}):
            stream.write(json.dumps(request) + "\n")
            stream.flush()
            while not ({"return", "error"} & (answer := json.loads(stream.readline())).keys()):
                pass  # its greeting, and events
            if "error" in answer:
                raise RuntimeError(f"QEMU does not set {wanted}: {answer['error']}")


def run(folder: Path, seconds: float, command: list[str]) -> int:
    """The guest's exit code."""
    until = time.monotonic() + seconds
    consoles = [lines(folder / name) for name in ("serial0", "serial1")]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as machine:
        try:
            while time.monotonic() < until:
                said = [line for line in map(next, consoles) if line]
                for line in said:
                    match line.split():
                        case ["@@", "set", name, value]:
                            set_property(folder / "qmp", name, int(value))
                        case ["@@", "end", code]:
                            return int(code)
                        case _:
                            print(line, flush=True)
                if not said:
                    if machine.poll() is not None:
                        break
                    time.sleep(0.1)
        finally:
            machine.kill()
    print("the guest did not come to its end")
    return _STALLED


if __name__ == "__main__":
    sys.exit(run(Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]))
