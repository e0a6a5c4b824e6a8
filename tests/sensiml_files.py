"""What a SensiML server makes of the files it is sent: rules of CSV and WAV, and the form around them."""

import io
import re
import wave
from collections.abc import Callable
from typing import Any

_COLUMN = re.compile(r"[A-Za-z0-9_ -]+")


class Bad(Exception):
    """A file that is not taken: by 400 where somebody thought of it, else by 500."""

    def __init__(self, text: str, *, unforeseen: bool = False) -> None:
        self.text, self.unforeseen = text, unforeseen

    def refusal(self, crash: Callable[[str], Exception], refuse: Callable[..., Exception]) -> Exception:
        return crash(self.text) if self.unforeseen else refuse(400, detail=self.text, status=400)


def fields_of(media_type: str, content: bytes) -> tuple[dict[str, str], tuple[str, bytes] | None]:
    """The fields of a form, and name and content of its file."""
    kind, _, boundary = media_type.partition("; boundary=")
    if kind != "multipart/form-data" or not content:
        return {}, None
    fields, file = {}, None
    pieces = (b"\r\n" + content).split(b"\r\n--" + boundary.encode())
    assert pieces[-1].strip() == b"--"
    for piece in pieces[1:-1]:
        head, _, body = piece.partition(b"\r\n\r\n")
        name = re.search(rb'; name="([^"]*)"', head)[1].decode()
        filename = re.search(rb'filename="([^"]*)"', head)
        if filename:
            file = (filename[1].decode(), body)
        else:
            fields[name] = body.decode()
    return fields, file


def read_csv(content: bytes) -> tuple[bytes, int, int, dict[str, Any]]:
    """What is stored, rows, last of `sequence`, schema."""
    if not content:
        raise Bad("The submitted file is empty.")
    header, _, body = content.partition(b"\n")
    if header.startswith(b"sequence,") and body and not body.translate(None, b"0123456789,\n"):
        rows, columns = body.count(b"\n"), header.decode().split(",")
        if body.count(b",") == rows * (len(set(columns)) - 1):  # whole numbers alone: not cell by cell
            last = int(body[body.rindex(b"\n", 0, -1) + 1 :].partition(b",")[0]) if rows > 1 else 0
            if last < 1 << 31 and all(_COLUMN.fullmatch(column) for column in columns):
                return content, rows, last, {name: {"type": "int"} for name in columns[1:]}
    try:
        lines = content.decode().splitlines()
    except UnicodeDecodeError as error:
        raise Bad(f"UnicodeDecodeError: {error}", unforeseen=True) from None
    names = [name.strip('"') for name in lines[0].split(",")]
    for name in names:
        if not _COLUMN.fullmatch(name):
            raise Bad(f'Value "{name}" can only contain letters, numbers and underscores and spaces.')
    if len(set(names)) < len(names):
        raise Bad("Duplicate column names.")
    rows = [line.split(",") for line in lines[1:] if line]
    if not rows:
        raise Bad("The file has no data.")
    if any(len(row) > len(names) for row in rows[1:]):
        raise Bad("ParserError: Error tokenizing data. C error: Expected fewer fields", unforeseen=True)
    if len(rows[0]) > len(names):  # taken, and shifted: the first field becomes the index
        return content, len(rows), 0, {}
    schema = {}
    for at, name in enumerate(names):
        cells = [row[at] if at < len(row) else "" for row in rows]
        try:
            whole = [float(cell) if cell else float("nan") for cell in cells] and all(
                re.fullmatch(r"-?\d+", cell) for cell in cells
            )
        except ValueError:
            if name == "timestamp":
                continue
            raise Bad(f"Invalid values in column(s) {name}. All columns must contain only numeric data.") from None
        if whole and any(abs(int(cell)) >= 1 << 63 for cell in cells if len(cell) > 18):
            raise Bad(f"Invalid values in column(s) {name}. All columns must contain only numeric data.")
        if name != "sequence":
            schema[name.replace(" ", "_")] = {"type": "int" if whole else "float"}
    if "sequence" not in names:
        stored = "".join(f"{at},{line}\n" for at, line in enumerate(lines[1:])).encode()
        return f"sequence,{lines[0]}\n".encode() + stored, len(rows), len(rows) - 1, schema
    last = int(float(rows[-1][names.index("sequence")]))
    if last >= 1 << 31:
        raise Bad("DataError: integer out of range", unforeseen=True)
    return content, len(rows), last, schema


def read_wav(content: bytes) -> tuple[bytes, int, int, dict[str, Any]]:
    """The same of a WAV, which is read as int16 whatever its header says."""
    try:
        with wave.open(io.BytesIO(content), "rb") as file:
            channels, data = file.getnchannels(), file.readframes(file.getnframes())
    except (wave.Error, EOFError) as error:
        raise Bad(f"Error: {error}", unforeseen=True) from None
    if len(data) % 2:
        raise Bad("ValueError: buffer size must be a multiple of element size", unforeseen=True)
    frames = len(data) // 2 // channels
    return content, frames, frames - 1, {f"channel_{n}": {"type": "int"} for n in range(channels)}
