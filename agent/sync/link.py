"""The link that leads out of this machine, as NetworkManager knows it: its kind, and whether traffic costs money."""

import dataclasses
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

_CACHED_S = 30.0
_ANSWER_S = 5.0
_UP = 1
"""RTF_UP in the flags of a route."""


@dataclasses.dataclass(frozen=True, slots=True)
class Link:
    """Of the device that has the default route."""

    device: str
    kind: str
    """NetworkManager's word: wifi, ethernet, gsm, tun ..."""
    metered: bool
    """Known or guessed by NetworkManager to be metered. What it does not know is not."""

    @property
    def wifi(self) -> bool:
        return self.kind == "wifi"


class Links:
    """Asks `nmcli` at most every 30 s. For one thread."""

    def __init__(self, now: Callable[[], int], *, routes: Path = Path("/proc/net")) -> None:
        """`now` is in nanoseconds; `routes` holds the kernel's tables `route` and `ipv6_route`."""
        self._now = now
        self._routes = routes
        self._found: Link | None = None
        self._asked_ns: int | None = None

    def link(self) -> Link | None:
        """The link; None where there is no default route, no NetworkManager, or no answer from it."""
        now = self._now()
        if self._asked_ns is None or now - self._asked_ns >= _CACHED_S * 1e9:
            self._asked_ns = now
            self._found = self._ask()
        return self._found

    def _ask(self) -> Link | None:
        program, device = shutil.which("nmcli"), self._device()
        if program is None or not device:
            return None
        fields = "GENERAL.DEVICE,GENERAL.TYPE,GENERAL.METERED"
        try:
            done = subprocess.run(
                [program, "-t", "-f", fields, "device", "show", device],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_ANSWER_S,
                check=True,
                env={**os.environ, "LC_ALL": "C"},  # its words are translated otherwise
            )
        except (OSError, subprocess.SubprocessError):
            return None
        said = dict(line.partition(":")[::2] for line in done.stdout.splitlines())
        kind, metered = said.get("GENERAL.TYPE", ""), said.get("GENERAL.METERED", "")
        return Link(device, kind, metered.startswith("yes")) if kind else None  # "yes", "yes (guessed)"

    def _device(self) -> str:
        """The device of the default route, IPv4's first, with the smallest metric; empty where there is none."""
        for found in (self._routes4(), self._routes6()):
            best = min(found, default=None)
            if best is not None:
                return best[1]
        return ""

    def _routes4(self) -> Iterator[tuple[int, str]]:
        for device, destination, _, flags, _, _, metric, mask, *_ in self._table("route", 8):
            if int(destination, 16) == int(mask, 16) == 0 and int(flags, 16) & _UP:
                yield int(metric), device

    def _routes6(self) -> Iterator[tuple[int, str]]:
        for destination, prefix, _, _, _, metric, _, _, flags, device, *_ in self._table("ipv6_route", 10):
            if int(destination, 16) == int(prefix, 16) == 0 and int(flags, 16) & _UP and device != "lo":
                yield int(metric, 16), device

    def _table(self, name: str, columns: int) -> Iterator[list[str]]:
        try:
            lines = (self._routes / name).read_text().splitlines()
        except OSError:
            return  # no such protocol in this kernel
        for line in lines:
            words = line.split()
            if len(words) >= columns and words[0] != "Iface":
                yield words
