"""Whether a write-ahead log ends where its last writer ended, or amid what had been committed, because it is damaged.

SQLite takes the log up to the first frame whose checksum is wrong and says nothing of those behind it. Layout from
https://sqlite.org/fileformat2.html#walformat and https://sqlite.org/walformat.html (the log is big-endian):

    log     header of 32 bytes: page size at 8, salts at 16; then frames, each of 24 bytes and a page:
            at 4 the database's pages after a commit (0: no commit), at 8 the salts of the header that it belongs to
    index   (`-shm`, in the machine's own order) at 16 how many frames are good
"""

import struct
from pathlib import Path
from typing import BinaryIO

_HEADER, _FRAME = 32, 24
_PAGE_SIZE_AT, _SALTS_AT, _GOOD_AT = 8, 16, 16
_CHECKSUMMED = 24
"""Bytes of the header in front of its checksum."""
_LITTLE = 0x377F0682
"""First word of a log whose checksums add little-endian words; with the last bit set they are big-endian."""


def lost_commits(log: Path, index: BinaryIO) -> bool:
    """Whether commits lie behind the point up to which SQLite has taken the log, in a database that it has open.

    A kill while a commit was being written may look the same, rarely. OSError where the files cannot be read.

    `index` must stay open as long as the database: a process that closes any descriptor of a file gives up all its
    POSIX locks on it, SQLite's too, and the next process that comes would take the index for one that nobody uses, and
    cut it off under the feet of those who have it mapped (https://sqlite.org/howtocorrupt.html, 2.2).
    """
    index.seek(_GOOD_AT)
    (good,) = struct.unpack("=I", index.read(4))
    with log.open("rb") as file:
        header = file.read(_HEADER)
        if len(header) < _HEADER:
            return False
        if not _whole(header):
            return file.read(1) != b""  # nothing of it was taken
        page = struct.unpack_from(">I", header, _PAGE_SIZE_AT)[0]
        end = log.stat().st_size - _FRAME - page  # a frame without all of its page was never written
        for at in range(_HEADER + good * (_FRAME + page), end + 1, _FRAME + page):
            file.seek(at)
            frame = file.read(_FRAME)
            if frame[8:16] == header[_SALTS_AT : _SALTS_AT + 8] and frame[4:8] != bytes(4):
                return True
    return False


def _whole(header: bytes) -> bool:
    (magic,) = struct.unpack_from(">I", header)
    if magic & ~1 != _LITTLE:
        return False
    order = ">" if magic & 1 else "<"
    words = struct.unpack_from(f"{order}6I", header)
    one = two = 0
    for even, odd in zip(words[::2], words[1::2], strict=True):
        one = one + even + two & 0xFFFFFFFF
        two = two + odd + one & 0xFFFFFFFF
    return (one, two) == struct.unpack_from(">2I", header, _CHECKSUMMED)
