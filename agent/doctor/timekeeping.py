"""The clock: whether it is right, and who keeps it."""

import time
from collections.abc import Iterator

from agent.doctor import Finding, fail, ok, warn
from agent.doctor.scene import Scene

_KEEPERS = {
    "run/systemd/timesync": "systemd-timesyncd",
    "run/chrony": "chrony",
    "run/chronyd": "chrony",
    "run/ntpd.pid": "ntpd",
    "run/ntpsec": "ntpsec",
}
_PLAUSIBLE_S = 1_700_000_000


def clock(scene: Scene) -> Iterator[Finding]:
    """Synchronised or not, by whom, and whether a clock with a battery is there."""
    keepers = sorted({name for path, name in _KEEPERS.items() if scene.path(path).exists()})
    by = f" by {' and '.join(keepers)}" if keepers else ""
    rtc = scene.text("sys/class/rtc/rtc0/name")
    battery = f"; there is a clock with a battery ({rtc})" if rtc else "; there is no clock with a battery"
    if scene.clock.synchronised():
        yield ok("clock", f"synchronised{by}{battery}")
    elif scene.clock.dated():
        yield warn("clock", f"not synchronised; set by its battery clock ({rtc})", _remedy(keepers))
    else:
        yield warn("clock", f"not synchronised{battery}: captures are dated later, pictures wait", _remedy(keepers))
    if scene.clock.wall_ns() / 1e9 < _PLAUSIBLE_S:
        seen = time.strftime("%Y-%m-%d", time.gmtime(scene.clock.wall_ns() / 1e9))
        yield fail("clock", f"it says {seen}; TLS trusts no certificate on that day", _remedy(keepers))


def _remedy(keepers: list[str]) -> str:
    if keepers == ["chrony"]:
        return (
            "let NTP (UDP port 123) through, or name a server of your network; and set rtcsync in chrony.conf,"
            " else chrony does not tell the kernel, which is asked here"
        )
    if keepers:
        return (
            f"{keepers[0]} runs and reaches no server: let NTP (UDP port 123) through, or name a server of your network"
        )
    return "start a time service: sudo timedatectl set-ntp true"
