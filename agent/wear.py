"""Wear of the disk: bytes that this process has had written, and how often it had them synced; SD cards mind both."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

_LEAST_HOURS = 1 / 60
"""A figure an hour means nothing before."""


class Wear:
    """Asked by the monitor. `syncs` counts the syncs of all stages; `now` is in nanoseconds."""

    def __init__(self, syncs: Callable[[], int], now: Callable[[], int], io: Path = Path("/proc/self/io")) -> None:
        self._syncs = syncs
        self._now = now
        self._io = io
        self._begun_ns = now()
        self._begun_bytes = self._written()

    def health(self) -> Mapping[str, Any]:
        """Totals since the start, and an hour's share of them; None where the kernel does not count, or too early."""
        hours = (self._now() - self._begun_ns) / 3.6e12
        written, syncs = self._written(), self._syncs()
        total = None if written is None or self._begun_bytes is None else written - self._begun_bytes
        early = hours < _LEAST_HOURS
        return {
            "written_bytes": total,
            "written_bytes_per_hour": None if early or total is None else round(total / hours),
            "syncs": syncs,
            "syncs_per_hour": None if early else round(syncs / hours),
        }

    def _written(self) -> int | None:
        """Bytes sent to storage, as the kernel counts them (proc_pid_io(5)); later truncated ones, too."""
        try:
            lines = self._io.read_text().splitlines()
        except OSError:
            return None  # a kernel without CONFIG_TASK_IO_ACCOUNTING
        return next((int(line.split()[1]) for line in lines if line.startswith("write_bytes:")), None)
