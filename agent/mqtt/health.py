"""The health message: what of a status is worth sending all the time."""

from collections.abc import Mapping
from typing import Any

_STREAM = ("state", "rate_hz", "nominal_hz", "samples", "lost", "lost_exact", "last_s", "reopened", "error")
_RECORDING = ("state", "samples", "dropped", "error")
_TARGET = (
    "state",
    "owed",
    "owed_bytes",
    "oldest_s",
    "refused",
    "delivered",
    "last_success_s",
    "failing_since_s",
    "error",
)
_DISK = ("free_bytes", "total_bytes", "kept_bytes", "deleted", "given_up", "stopped")


def health(status: Mapping[str, Any], machine: Mapping[str, Any], wall_time: str) -> dict[str, Any]:
    """The payload of `health`, as health in messages.schema.json says."""
    return {
        "time": wall_time,
        "device": status["device"],
        "version": status["version"],
        "uptime_s": status["uptime_s"],
        "boot_id": status["boot_id"],
        "clock_synchronised": status["clock"]["synchronised"],
        "streams": _each(status["streams"], _STREAM),
        "recordings": _each(status["recordings"], _RECORDING),
        "targets": _each(status["targets"], _TARGET),
        "disk": {key: status["disk"][key] for key in _DISK},
        "machine": {**machine, "memory_bytes": status["memory_bytes"]},
        "mqtt": status["mqtt"],
        "problems": status["problems"],
    }


def _each(table: Mapping[str, Mapping[str, Any]], keys: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    return {name: {key: row.get(key) for key in keys} for name, row in table.items()}
