"""How much more memory than idle a target takes for a large file, in a process of its own, with its libraries."""

import dataclasses
import json
import struct
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

from agent.capture import Capture, Payload
from agent.targets import Home

_MEASURED = """
import importlib, json, sys
from pathlib import Path
from agent.capture import Capture
from agent.targets import Home, Progress

def memory(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))

small, big, secrets, kind, options = sys.argv[1:]
settings = importlib.import_module(f"agent.targets.{kind}").Settings(**json.loads(options))
target = settings.open(Home("bay3", "0badcafe", Path(secrets)))
target.put(Capture.load(Path(small)), Progress())
before = memory("VmRSS")
Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
progress = Progress()
target.put(Capture.load(Path(big)), progress)
print(memory("VmHWM") - before, progress.sent_bytes)
target.close()
"""


def more_kb(kind: str, options: dict[str, Any], captures: tuple[Capture, Capture], home: Home) -> int:
    """KiB at the peak, for the second capture after the first one was delivered."""
    sidecars = [str(capture.sidecar) for capture in captures]
    command = [sys.executable, "-c", _MEASURED, *sidecars, str(home.secrets), kind, json.dumps(options)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    more, sent = map(int, done.stdout.split())
    size = captures[1].payloads[0].size
    assert sent >= size
    print(f"{kind}: {size / 1e6:.0f} MB with {more} KiB more than idle")
    return more


def large(small: Capture, size: int) -> Capture:
    """Another capture like this one, whose payload has `size` bytes and takes none on the disk."""
    known = small.payloads[0]
    path = small.folder / ("large" + Path(known.file).suffix)
    path.write_bytes(wav_head(size) if known.format == "wav" else b"")
    with path.open("r+b") as file:
        file.truncate(size)
    payload = Payload.of(path, format=known.format, media_type=known.media_type)
    more = {"name": "large", "uuid": str(uuid.uuid4()), "payloads": [dataclasses.asdict(payload)]}
    capture = Capture(small.folder, {**small.document, **more})
    capture.write_sidecar()
    return capture


def wav_head(size: int) -> bytes:
    """Of a file of `size` bytes: one channel of 16 bits."""
    sound = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, 16000, 32000, 2, 16)
    return b"RIFF" + struct.pack("<I", size - 8) + b"WAVE" + sound + b"data" + struct.pack("<I", size - 44)
