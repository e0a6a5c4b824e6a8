"""Faults of the far ends: servers that fail in every way, an archive that is away, a broker that is gone or frozen."""

import os
import signal
import time
from collections.abc import Callable

from tests.mosquitto import PROGRAM
from tests.soak.far import KINDS
from tests.soak.voyage import Voyage


def target_fails(voyage: Voyage) -> None:
    for server in (voyage.one, voyage.two):
        if voyage.chance.random() < 0.7:
            kinds = tuple(voyage.chance.sample(sorted(KINDS), voyage.chance.randrange(1, 5)))
            server.misbehave(kinds, voyage.chance.uniform(0.5, 5))
    time.sleep(3)


def target_gone(voyage: Voyage) -> None:
    for server in (voyage.one, voyage.two):
        server.leave()
    time.sleep(voyage.chance.uniform(0.5, 4))
    for server in (voyage.one, voyage.two):
        server.come_back()


def killed_while_sending(voyage: Voyage) -> None:
    for server in (voyage.one, voyage.two):
        server.misbehave(("slow", "answer lost"), 2)
    time.sleep(voyage.chance.uniform(0.5, 1.5))
    voyage.kill()
    voyage.sail()


def archive_away(voyage: Voyage) -> None:
    there, away = voyage.folder / "archive", voyage.folder / "archive-away"
    there.rename(away)
    time.sleep(voyage.chance.uniform(0.5, 3))
    if there.exists():  # nobody may have made a new one in the place of the old
        raise AssertionError("the archive was made anew where it was only unmounted")
    away.rename(there)


def broker_gone(voyage: Voyage) -> None:
    assert voyage.broker is not None
    voyage.broker.kill()
    time.sleep(voyage.chance.uniform(0.5, 3))
    voyage.broker.start()


def broker_frozen(voyage: Voyage) -> None:
    assert voyage.broker is not None
    voyage.broker.freeze()
    time.sleep(voyage.chance.uniform(0.5, 3))
    assert voyage.broker.process is not None
    os.kill(voyage.broker.process.pid, signal.SIGCONT)


def possible() -> list[Callable[[Voyage], None]]:
    """The faults of this kind that can happen on this machine."""
    found = [target_fails, target_gone, killed_while_sending, archive_away]
    return found + ([broker_gone, broker_frozen] if PROGRAM is not None else [])
