"""In the guest: runs the daemon, and tells the host over and over what it has counted so far, until the power goes.

/mnt/order says whether it goes on for ever (`live`) or finishes everything and ends well (`settle`). It imports nothing
of the daemon's: an emulated machine has enough to do.
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

DATA = Path("/data/agent")
EVERY_S = 1.0


def say(**what: Any) -> None:
    """One line to the host, which has it when this returns."""
    fd = os.open("/mnt/ticks", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(fd, json.dumps({"t": time.clock_gettime_ns(time.CLOCK_BOOTTIME), **what}).encode() + b"\n")
    finally:
        os.close(fd)


def ask(command: str, **arguments: str) -> Any:
    """The daemon's answer over its socket; OSError or ValueError where there is none."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        line.settimeout(60)
        line.connect(str(DATA / "run" / "control.sock"))
        line.sendall(json.dumps({"command": command, "arguments": arguments}).encode() + b"\n")
        with line.makefile("rb") as answer:
            return json.loads(answer.readline())["result"]


def counters(status: dict[str, Any]) -> dict[str, Any]:
    """What the host's ledger asks for."""
    streams = {
        name: {key: stream[key] for key in ("samples", "lost", "reopened")}
        for name, stream in status["streams"].items()
    }
    recordings = {
        name: {key: one.get(key, 0) for key in ("dropped", "unrecorded", "finished")}
        for name, one in status["recordings"].items()
    }
    return {"streams": streams, "recordings": recordings}


def done(status: dict[str, Any]) -> bool:
    recording = any(one["state"] == "recording" for one in status["recordings"].values())
    left = status["developer"]["queued"] + status["disk"]["sync_queued"]
    return not recording and not left and not any(target["owed"] for target in status["targets"].values())


def main() -> None:
    settle = Path("/mnt/order").read_text().strip() == "settle"
    say(boot_id=Path("/proc/sys/kernel/random/boot_id").read_text().strip())
    daemon = subprocess.Popen([sys.executable, "-P", "-m", "agent.cli", "run", "--config", "/mnt/config.toml"])
    stopped_ns = 0
    while daemon.poll() is None:
        time.sleep(EVERY_S)
        with contextlib.suppress(OSError, ValueError, KeyError):
            status = ask("status")
            say(**counters(status))
            if not settle or not all(stream["samples"] for stream in status["streams"].values()):
                continue
            if not stopped_ns:
                stopped_ns = time.monotonic_ns()
                for name in status["recordings"]:
                    ask("stop", recording=name)
            ask("sync")
            if done(status) and time.monotonic_ns() > stopped_ns + 2_000_000_000:
                say(targets=status["targets"])
                daemon.terminate()
    say(ended=daemon.wait())


if __name__ == "__main__":
    main()
