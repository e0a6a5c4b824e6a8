"""The negative: the append-only file of a recording in progress, an unchunked MCAP with one message per block.

A kill loses what was not yet handed to the kernel, a power cut what was not yet synced; whatever else happens to the
file, every whole block in it is found again; `agent/negative_records.py` has the layout and the search.
"""

import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from mcap.opcode import Opcode
from mcap.writer import CompressionType, IndexType, Writer

from agent.negative_records import Records, pack_block, pack_note, unpack_block, unpack_note
from drivers import Block, Channel, Identity

ENCODING = "capture-agent-block"


class NegativeError(ValueError):
    """A file that is no negative, or whose head is lost; the message names the file and the reason."""


def identity_as_json(identity: Identity) -> dict[str, Any]:
    return {
        "model": identity.model,
        "rate_hz": identity.rate_hz,
        "serial": identity.serial,
        "setup": dict(identity.setup),
        "channels": [
            {
                "name": c.name,
                "unit": c.unit,
                "dtype": c.dtype,
                "scale": c.scale,
                "offset": c.offset,
                "limits": c.limits,
            }
            for c in identity.channels
        ],
    }


def identity_from_json(document: Mapping[str, Any]) -> Identity:
    channels = tuple(
        Channel(**{**channel, "limits": None if channel["limits"] is None else tuple(channel["limits"])})
        for channel in document["channels"]
    )
    return Identity(document["model"], document["rate_hz"], channels, document["setup"], document["serial"])


class _Tail:
    """What has been written but not yet handed to the kernel; the MCAP writer's output stream."""

    def __init__(self) -> None:
        self.pending = bytearray()
        self.position = 0

    def write(self, data: bytes) -> int:
        self.pending += data
        self.position += len(data)
        return len(data)

    def tell(self) -> int:
        return self.position

    def flush(self) -> None:
        """Nothing to do: `NegativeWriter.flush` is the one that hands over."""


class NegativeWriter:
    """Appends blocks. `write` only remembers, `flush` hands to the kernel, `sync` (any thread) to the disk.

    `head` is JSON-able and says all that developing needs: the capture's uuid, the recording, the streams in order
    with their identities. It is written twice, so that one damaged sector does not take the file with it.
    """

    def __init__(self, path: Path, head: Mapping[str, Any]) -> None:
        self.path = path
        self.head = head
        self.synced_bytes = 0
        self._descriptor_lock = threading.Lock()
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o640)
        self._tail = _Tail()
        self._mcap = Writer(
            cast(IO[bytes], self._tail),  # it needs write and tell alone
            compression=CompressionType.NONE,
            index_types=IndexType.METADATA,
            use_chunking=False,
        )
        self._mcap.start(profile="", library="capture-agent")
        self._channels = [
            self._mcap.register_channel(stream["name"], ENCODING, schema_id=0) for stream in head["streams"]
        ]
        self._blocks = 0
        self.note("recording", head)

    @property
    def nbytes(self) -> int:
        """Size of the file, with what is not yet handed over."""
        return self._tail.position

    def write(self, stream: int, block: Block) -> None:
        """Appends one block of the stream with that place in the head. ValueError where it has more than 16 MB."""
        data = pack_block(stream, block)
        self._blocks += 1
        self._mcap.add_message(
            self._channels[stream], block.observed_ns, data, block.observed_ns, self._blocks & 0xFFFFFFFF
        )
        if self._blocks == 1:
            self.note("recording", self.head)

    def note(self, name: str, document: Mapping[str, Any]) -> None:
        """Appends a note, such as labels that came while recording; `name` in lower-case letters."""
        self._mcap.add_metadata(name, pack_note(name, document))

    def flush(self) -> None:
        """Hands everything to the kernel: a kill can no longer lose it. OSError (disk full) keeps it for a next try."""
        pending = self._tail.pending
        while pending:
            written = os.write(self._fd, pending)
            del pending[:written]

    def sync(self) -> bool:
        """Puts on the disk what was flushed: a power cut can no longer lose it; whether there was any.

        For the disk-sync thread, which may find the file closed meanwhile: then it is another's to sync.
        """
        with self._descriptor_lock:
            if self._fd < 0:
                return False
            fd = os.dup(self._fd)
        try:
            size = os.fstat(fd).st_size
            if size == self.synced_bytes:
                return False
            os.fdatasync(fd)
            self.synced_bytes = size
        finally:
            os.close(fd)
        return True

    def finish(self, end: Mapping[str, Any]) -> None:
        """Writes the end record and the MCAP summary, flushes and closes."""
        self.note("end", end)
        self._mcap.finish()  # type: ignore[no-untyped-call]
        self.flush()
        self.close()

    def close(self) -> None:
        """Closes as it is: what was flushed stays readable. May be called twice."""
        with self._descriptor_lock:
            if self._fd >= 0:
                fd, self._fd = self._fd, -1
                os.close(fd)


class NegativeReader:
    """Reads a negative, finished or cut off or damaged; flat memory.

    `blocks()` may be called several times; each complete pass sets `damaged` (places where something had to be
    skipped), `notes` and `end`. NegativeError where no copy of the head is whole.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.damaged = 0
        self.notes: list[tuple[str, dict[str, Any]]] = []
        self.end: dict[str, Any] | None = None
        notes = (unpack_note(data) for opcode, data in Records(path, ()) if opcode == Opcode.METADATA)
        self.head: dict[str, Any] = next((note[1] for note in notes if note is not None and note[0] == "recording"), {})
        if "streams" not in self.head:
            raise NegativeError(f"{path}: no recording head found; not a negative, or both copies of it are lost")
        self.identities = tuple(identity_from_json(stream["identity"]) for stream in self.head["streams"])
        self._dtypes: list[np.dtype[np.void]] = [identity.dtype for identity in self.identities]

    def blocks(self, only: int | None = None) -> Iterator[tuple[int, Block]]:
        """Every whole block in file order, as (place of its stream, block); `only` those of one place."""
        records = Records(self.path, self._dtypes)
        notes: list[tuple[str, dict[str, Any]]] = []
        for opcode, data in records:
            if opcode == Opcode.MESSAGE:
                place, block = unpack_block(data, self._dtypes)
                if only is None or place == only:
                    yield place, block
            elif (note := unpack_note(data)) is not None and note[0] != "recording":
                notes.append(note)
        self.damaged = records.damaged
        self.end = next((document for name, document in notes if name == "end"), None)
        self.notes = [note for note in notes if note[0] != "end"]
