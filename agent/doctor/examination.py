"""The examination: every check in turn."""

from collections.abc import Callable, Iterable, Iterator

from agent.doctor import Finding, fail
from agent.doctor.access import access
from agent.doctor.buses import buses
from agent.doctor.cameras import cameras
from agent.doctor.card import card, file_system
from agent.doctor.configuration import configuration
from agent.doctor.ledger import database
from agent.doctor.lines import lines
from agent.doctor.network import broker, targets
from agent.doctor.power import power, temperature
from agent.doctor.sandbox import sandbox
from agent.doctor.scene import Scene
from agent.doctor.service import daemon, unit
from agent.doctor.storage import storage
from agent.doctor.timekeeping import clock

Check = Callable[[Scene], Iterable[Finding]]

CHECKS: tuple[tuple[str, Check], ...] = (
    ("the configuration", configuration),
    ("the service", unit),
    ("the daemon", daemon),
    ("power", power),
    ("temperature", temperature),
    ("the clock", clock),
    ("the card", card),
    ("the file system", file_system),
    ("the data folder", storage),
    ("the database", database),
    ("permissions", access),
    ("the sandbox", sandbox),
    ("I2C buses", buses),
    ("serial lines", lines),
    ("cameras", cameras),
    ("the broker", broker),
    ("targets", targets),
)
"""What it looks at, in words, and how."""


def examine(scene: Scene, progress: Callable[[str], None] = lambda what: None) -> Iterator[Finding]:
    """All findings, as they come; `progress` hears what is looked at next."""
    for what, check in CHECKS:
        progress(what)
        try:
            yield from check(scene)
        except Exception as error:  # one that fails must not hide what the others find
            said = f"looking at {what} failed: {type(error).__name__}: {error}"
            yield fail("doctor", said, "please report this, with `capture-agent doctor --bundle report.tar.gz`")
