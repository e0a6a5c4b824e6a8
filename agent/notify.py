"""sd_notify: tells systemd that the daemon is ready, alive, stopping, and how it is. Nothing where nobody listens.

The protocol is one datagram of KEY=VALUE lines to $NOTIFY_SOCKET (sd_notify(3)), where a leading @ is an abstract name.
"""

import os
import socket
from collections.abc import Mapping


class Notify:
    """`environment` is the process's; read once."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        self.heard = bool(self._address)
        """Whether somebody listens."""
        microseconds = environment.get("WATCHDOG_USEC", "")
        ours = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self.watchdog_s: float | None = int(microseconds) / 1e6 if ours and microseconds.isdigit() else None
        """How long systemd waits for a sign of life; None where it does not."""

    def __call__(self, **state: str) -> None:
        """Sends the state: READY="1", STATUS="...", WATCHDOG="1", STOPPING="1"."""
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as end:
            end.sendto("\n".join(f"{key}={value}" for key, value in state.items()).encode(), address)
