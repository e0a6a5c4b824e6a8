"""The file that SensiML gets of a capture: looked at before it is sent, for what the server would refuse or mangle."""

import dataclasses
import io
import re
import uuid
import wave
from collections.abc import Mapping
from typing import Any

from agent.capture import Capture, Payload
from agent.targets import Failed, Progress, Refused, verified
from agent.targets._transport import Body

LONGEST_NAME = 250
LARGEST = (1 << 30) - (1 << 16)
"""The server's proxy takes 1 GiB a request; around the file is a form of some hundred bytes."""

_CHUNK = 1 << 16
_LAST_SEQUENCE = (1 << 31) - 1
"""The largest that the server's database holds; beyond it answers 500."""
_COLUMN = re.compile(r"[A-Za-z0-9_ -]+")


@dataclasses.dataclass(frozen=True)
class Sheet:
    """What the server makes of a file: its name there, and the numbers of its first and last sample."""

    capture: Capture
    payload: Payload
    name: str
    first: int
    last: int
    samples: int | None
    """None where that is only known once the file was read."""
    stored_as_sent: bool
    """The server gives the very bytes back; a CSV without the column `sequence` it rewrites."""

    def number(self, index: int) -> int:
        """The server's number of the sample with this index in the sidecar: WAV frames count from 0."""
        return index - _first_index(self.capture) if self.payload.format == "wav" else index


def look(capture: Capture, payload: Payload) -> Sheet:
    """Refused where the server would not take the file, or would take it for something else; Failed: unreadable."""
    name = payload.file
    if len(name) > LONGEST_NAME:
        raise Refused(f"{name}: SensiML takes names of {LONGEST_NAME} characters, and this one has {len(name)}")
    if payload.size > LARGEST:
        raise Refused(
            f"{name} has {payload.size} bytes, and SensiML takes {LARGEST}: record shorter captures (length_s)"
        )
    head = next((bytes(chunk) for chunk in verified(capture, payload, _CHUNK)), b"")
    if not head:
        raise Refused(f"{name} is empty, and SensiML takes no file without samples")
    try:
        return _wav(capture, payload, head) if payload.format == "wav" else _csv(capture, payload, head)
    except ValueError as error:
        raise Refused(f"{name}: {error}") from None
    except OSError as error:
        raise Failed(f"{name} cannot be read: {error.strerror}") from None


def _csv(capture: Capture, payload: Payload, head: bytes) -> Sheet:
    header, _, rest = head.partition(b"\n")
    columns = [column.strip('"') for column in header.decode().rstrip("\r").split(",")]
    wrong = [column for column in columns if not _COLUMN.fullmatch(column)]
    if wrong:
        raise ValueError(f"SensiML takes columns named by A-Z, a-z, 0-9, _, - and spaces, and not {wrong[0]!r}")
    if len(set(columns)) < len(columns):
        raise ValueError("SensiML takes no two columns of one name")
    first_row = rest.partition(b"\n")[0]
    if not first_row.strip():
        raise ValueError("it has no row, and SensiML takes no file without samples")
    if first_row.count(b",") != len(columns) - 1:
        raise ValueError("its first row has not as many fields as its header, which SensiML would shift")
    if columns[0] != "sequence":
        return Sheet(capture, payload, payload.file, 0, 0, None, stored_as_sent=False)
    last_row = _tail(capture, payload).rstrip().rpartition(b"\n")[2]
    first, last = (int(float(row.partition(b",")[0])) for row in (first_row, last_row))
    if last > _LAST_SEQUENCE:
        raise ValueError(
            f"its last sample has the number {last}, and SensiML takes {_LAST_SEQUENCE} at most: it counts since the "
            "daemon's start, so restart that, or let the recording make a wav"
        )
    return Sheet(capture, payload, payload.file, first, last, None, stored_as_sent=True)


def _wav(capture: Capture, payload: Payload, head: bytes) -> Sheet:
    try:
        with wave.open(io.BytesIO(head), "rb") as file:
            width, samples = file.getsampwidth(), file.getnframes()
    except (wave.Error, EOFError) as error:
        raise ValueError(f"SensiML takes PCM alone, and this is no such file: {error}") from None
    if width != 2:
        raise ValueError(f"SensiML reads every WAV as 16-bit PCM, and this one has {8 * width} bits")
    if not samples:
        raise ValueError("it has no frame, and SensiML takes no file without samples")
    return Sheet(capture, payload, payload.file, 0, samples - 1, samples, stored_as_sent=True)


def _tail(capture: Capture, payload: Payload) -> bytes:
    with capture.path(payload).open("rb") as file:
        file.seek(max(0, payload.size - _CHUNK))
        return file.read(_CHUNK)


def lead(capture: Capture) -> Mapping[str, Any] | None:
    """The stream on whose clock the rows are: the fastest that has samples; None where the sidecar tells of none."""
    streams = capture.document["streams"]
    return max(streams, key=lambda stream: (stream["samples"] > 0, stream["rate_hz"]["nominal"]), default=None)


def _first_index(capture: Capture) -> int:
    stream = lead(capture)
    return 0 if stream is None else int(stream["first"])


class Form:
    """The form that brings a file: its fields, order and names are those of the platform's own client."""

    def __init__(self, sheet: Sheet, configuration: str) -> None:
        self._sheet = sheet
        self.rows = 0
        """Line ends of the file that passed by."""
        self._boundary = f"capture-{uuid.uuid4().hex}"
        fields = {"name": sheet.name, "asynchronous": "True", **_rates(sheet.capture)}
        fields["capture_configuration_uuid"] = configuration
        parts = [
            f'--{self._boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
            for name, value in fields.items()
        ]
        suffix = "wav" if sheet.payload.format == "wav" else "csv"  # the server goes by it, lower case
        parts.append(
            f'--{self._boundary}\r\nContent-Disposition: form-data; name="file"; filename="capture.{suffix}"\r\n'
            f"Content-Type: {sheet.payload.media_type}\r\n\r\n"
        )
        self._head = "".join(parts).encode()
        self._end = f"\r\n--{self._boundary}--\r\n".encode()

    @property
    def headers(self) -> dict[str, str]:
        """With a length, always: what comes in chunks, the server takes for empty."""
        size = len(self._head) + self._sheet.payload.size + len(self._end)
        return {"Content-Type": f"multipart/form-data; boundary={self._boundary}", "Content-Length": str(size)}

    def body(self, progress: Progress) -> Body:
        """The whole form, with the file from the disk."""
        self.rows, last = 0, b"\n"
        yield self._head
        for chunk in verified(self._sheet.capture, self._sheet.payload, _CHUNK):
            self.rows += bytes(chunk).count(b"\n")
            last = bytes(chunk[-1:])
            yield from progress.sending(chunk)
        self.rows += last != b"\n"
        yield self._end

    @property
    def samples(self) -> int:
        """Of the file that was sent."""
        return self.rows - 1 if self._sheet.samples is None else self._sheet.samples


def _rates(capture: Capture) -> dict[str, str]:
    """Samples a second: as set, where that is a whole number, since the server takes no other; and as measured."""
    stream = lead(capture)
    if stream is None or not stream["rate_hz"]["nominal"]:
        return {}
    nominal, measured = stream["rate_hz"]["nominal"], stream["rate_hz"]["measured"]
    rates = {"calculated_sample_rate": str(measured or nominal)}
    return rates | ({"set_sample_rate": str(int(nominal))} if nominal == int(nominal) else {})
