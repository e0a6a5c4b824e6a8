"""A target that stays away for a simulated month: what that costs, and what Health says of it meanwhile."""

import contextlib
import itertools
import random
import time

import pytest

from agent.catalogue import Catalogue
from agent.database import Database
from agent.outbox import Outbox
from agent.sync import Delivery, Sync
from agent.targets import Unreachable
from tests.captures import make_capture

HOUR_S = 3600
MONTH_S = 30 * 24 * HOUR_S
SECOND = 1_000_000_000


class Simulated:
    """A clock that the test moves."""

    boot_id = "b"

    def __init__(self) -> None:
        self.now_ns = SECOND

    def boottime_ns(self) -> int:
        return self.now_ns

    def wall_ns(self) -> int:
        return 1_900_000_000 * SECOND + self.now_ns


class Away:
    """A target that is not there until it is back."""

    formats: tuple[str, ...] = ()

    def __init__(self, clock: Simulated) -> None:
        self.clock = clock
        self.probes: list[tuple[int, str]] = []
        self.back = False

    def put(self, capture, progress):
        self.probes.append((self.clock.now_ns, capture.uuid))
        if not self.back:
            raise Unreachable("no route to host")
        return {"there": True}

    def close(self):
        pass


class Month:
    """A courier whose dispatcher the test plays; its upload threads are real."""

    def __init__(self, folder, stack, owed: int) -> None:
        self.clock = Simulated()
        self.database = stack.enter_context(Database(folder / "agent.db", quarantine=folder / "quarantine"))
        catalogue = Catalogue(self.database, folder / "captures")
        outbox = Outbox(self.database, boot_id="b", now=self.clock.boottime_ns, jitter=random.Random(1))
        first = make_capture(folder / "captures", name="capture")
        with self.database.transaction(durable=False) as connection:
            catalogue.add(connection, [first])
            outbox.owe(connection, [(first.uuid, first.size, ["lab"])])
            columns = (
                "recording, day, started_ns, boot_id, boot_time_ns, duration_s, size, configuration, clock, revision"
            )
            connection.execute(
                f"WITH RECURSIVE n(i) AS (VALUES (2) UNION ALL SELECT i + 1 FROM n WHERE i < {owed})"
                f" INSERT INTO capture (uuid, name, {columns}) SELECT 'uuid' || i, 'capture' || i, {columns}"
                " FROM n, capture WHERE capture.id = 1"
            )
            connection.execute(
                "INSERT INTO parcel (capture, target, revision, size)"
                " SELECT id, 'lab', revision, size FROM capture WHERE id > 1"
            )
        # all are the one capture that there is, as far as reading it goes
        catalogue.get = lambda uuid: first  # type: ignore[method-assign]
        self.target = Away(self.clock)
        self.broken: list[BaseException] = []
        self.sync = Sync(
            {"lab": ("test", self.target, Delivery())},
            outbox=outbox,
            catalogue=catalogue,
            clock=self.clock,  # type: ignore[arg-type]
            jitter=random.Random(1),
        )
        stack.callback(self.sync.stop)
        self.courier = self.sync._couriers["lab"]
        self.courier._workers = self.courier._uploads.threads("lab", 8, lambda thread, error: self.broken.append(error))

    def live(self, seconds: float) -> None:
        """Does what the dispatcher does, in simulated time."""
        end_ns = self.clock.now_ns + int(seconds * SECOND)
        while self.clock.now_ns < end_ns:
            wait_s = self.courier._step()
            while self.courier._uploads.waiting or self.courier._uploads.uploading:
                time.sleep(0)
            commit_s = self.courier._ledger.due_s()
            waits = [5.0, wait_s, *([] if commit_s is None else [commit_s])]
            self.clock.now_ns += int(min(waits) * SECOND) + 1
            assert not self.broken

    def rows(self) -> dict[int, tuple]:
        """All that is known of each parcel, by id."""
        with self.database.reading() as connection:
            rows = connection.execute(
                "SELECT id, state, attempts, due_ns, lease, progress, error FROM parcel"
            ).fetchall()
        return {row[0]: row[1:] for row in rows}

    def steps_of_health(self) -> tuple[dict, int]:
        """Health of the target, and how many thousand steps SQLite took for it."""
        steps = 0

        def step() -> None:
            nonlocal steps
            steps += 1

        with self.database.reading() as connection:
            connection.set_progress_handler(step, 1000)
            try:
                health = self.sync.health()["lab"]
            finally:
                connection.set_progress_handler(None, 0)
        return health, steps


@pytest.mark.parametrize(
    ("owed", "seconds"),
    [(5_000, 3 * HOUR_S), pytest.param(1_000_000, MONTH_S, marks=pytest.mark.soak)],
    ids=["hours", "a month"],
)
def test_a_target_that_stays_away(tmp_path, owed, seconds):
    with contextlib.ExitStack() as stack:
        month = Month(tmp_path, stack, owed)
        month.live(120)  # until all that was under way has come back
        before, begun = month.rows(), len(month.target.probes)
        month.live(seconds)
        probes = [at / SECOND for at, _ in month.target.probes[begun:]]
        rests = [later - earlier for earlier, later in itertools.pairwise(probes)]
        assert min(rests) >= 30, "one probe in each step of the backoff, which has long reached its minute"
        assert max(rests) <= 66
        after = month.rows()
        changed = {number for number, row in after.items() if row != before[number]}
        assert len(changed) <= 9, "nobody is touched but who probes, and who stepped back"
        assert {row[1] for row in after.values()} == {0}, "no attempts"
        health, thousands = month.steps_of_health()
        assert (health["owed"], health["state"]) == (owed, "unreachable")
        assert health["oldest_s"] is not None
        assert thousands <= 1, "counted and looked up, not searched for"
        month.target.back = True
        month.live(120)
        assert month.sync.health()["lab"]["delivered"] > 1000
