"""The outbox: what is owed is claimed once, settled once, counted exactly, and forgotten by nobody."""

import random
import threading
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from agent.capture import SCHEMA, Capture
from agent.catalogue import Catalogue
from agent.database import Database
from agent.outbox import Backoff, Counts, Outbox

RECEIPT = {"path": "somewhere"}
SECOND = 1_000_000_000


class Device:
    """A database with its outbox and a clock that a test moves; `reboot` and `restart` as a board does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now_ns = 1000 * SECOND
        self.boot = "boot-1"
        self.captures = 0
        self._open()

    def _open(self) -> None:
        self.database = Database(self.folder / "agent.db", quarantine=self.folder / "quarantine").open()
        self.catalogue = Catalogue(self.database, self.folder / "captures")
        self.outbox = Outbox(self.database, boot_id=self.boot, now=lambda: self.now_ns, jitter=random.Random(1))

    def restart(self) -> None:
        self.database.close()
        self._open()

    def reboot(self) -> None:
        self.boot, self.now_ns = f"boot-{random.random()}", 5 * SECOND
        self.restart()

    def capture(self, *targets: str, size: int = 100) -> str:
        """Another capture, owed to those targets; its uuid."""
        self.captures += 1
        capture_uuid = str(uuid.UUID(int=self.captures))
        payload = {
            "file": "f",
            "format": "csv",
            "media_type": "",
            "size": size,
            "sha256": "",
            "md5": "",
            "crc32c": None,
        }
        capture = Capture(
            self.folder / "captures" / "2026-11-21",
            {
                "schema": SCHEMA,
                "uuid": capture_uuid,
                "revision": 1,
                "name": f"capture-{self.captures}",
                "recording": "walk",
                "configuration": {"uuid": "c", "name": "walk", "document": {}},
                "start": {
                    "boot_time_ns": 1,
                    "boot_id": "b",
                    "wall_time": f"2026-11-21T10:15:00.{self.captures:06}Z",
                    "clock": "synchronised",
                },
                "duration_s": 1.0,
                "streams": [],
                "labels": {},
                "metadata": {},
                "payloads": [payload],
            },
        )
        with self.database.transaction(durable=True) as connection:
            self.catalogue.add(connection, [capture])
            self.outbox.owe(connection, [(capture_uuid, size, targets)])
        return capture_uuid

    def recount(self) -> dict[str, Counts]:
        """What `counts` must say, by looking at every row."""
        with self.database.reading() as connection:
            rows = connection.execute(
                "SELECT target, parcel.state, parcel.size, started_ns FROM parcel"
                " JOIN capture ON capture.id = parcel.capture ORDER BY parcel.id"
            ).fetchall()
        found = {}
        for target in {row[0] for row in rows}:
            its = [row for row in rows if row[0] == target]
            owed = [row for row in its if row[1] in ("waiting", "leased")]
            states = Counter(row[1] for row in its)
            found[target] = Counts(
                owed=len(owed),
                owed_bytes=sum(row[2] for row in owed),
                refused=states["refused"],
                dropped=states["dropped"],
                delivered=states["delivered"],
                delivered_bytes=sum(row[2] for row in its if row[1] == "delivered"),
                oldest_ns=owed[0][3] if owed else None,
            )
        return found

    def close(self) -> None:
        self.database.close()


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    device = Device(tmp_path)
    yield device
    device.close()


def claim(device: Device, count: int = 10, target: str = "lab", **more):
    return device.outbox.claim(target, count, lease_s=60, **more)


def test_a_capture_is_owed_once_to_each_target(device: Device) -> None:
    first = device.capture("lab", "archive")
    with device.database.transaction(durable=True) as connection:
        device.outbox.owe(connection, [(first, 100, ["lab", "archive"])])
    assert [p.capture for p in claim(device)] == [first]
    (parcel,) = claim(device, target="archive")
    assert (parcel.name, parcel.day, parcel.size, parcel.attempts) == ("capture-1", "2026-11-21", 100, 0)
    assert claim(device) == []


def test_what_is_not_in_the_catalogue_cannot_be_owed(device: Device) -> None:
    with pytest.raises(LookupError, match="not in the catalogue"), device.database.transaction(durable=True) as c:
        device.outbox.owe(c, [("nobody", 1, ["lab"])])


@pytest.mark.parametrize("newest_first", [False, True])
def test_claims_come_in_the_order_asked_for(device: Device, newest_first: bool) -> None:
    captures = [device.capture("lab") for _ in range(5)]
    claimed = [p.capture for _ in range(3) for p in claim(device, 2, newest_first=newest_first)]
    assert claimed == (captures[::-1] if newest_first else captures)


def test_delivered_ones_are_settled_for_good_with_their_receipt(device: Device) -> None:
    device.capture("lab")
    (parcel,) = claim(device)
    device.outbox.progress(parcel, {"offset": 7})
    device.outbox.settle([parcel.delivered(RECEIPT)])
    device.restart()
    device.outbox.release_all()
    assert claim(device) == []
    (settled,) = device.outbox.list("lab", "delivered")
    assert (settled.receipt, settled.progress, settled.error, settled.lease) == (RECEIPT, {}, "", "")
    assert device.outbox.counts()["lab"] == Counts(delivered=1, delivered_bytes=100)


def test_progress_is_there_when_the_parcel_comes_again(device: Device) -> None:
    device.capture("lab")
    (parcel,) = claim(device)
    device.outbox.progress(parcel, {"offset": 7})
    device.restart()
    assert claim(device) == []  # leased until somebody says that nobody is uploading
    assert device.outbox.release_all() == 1
    assert claim(device)[0].progress == {"offset": 7}


def test_failures_rest_with_full_jitter_up_to_the_cap(device: Device) -> None:
    for _ in range(200):
        device.capture("lab")
    rests = []
    for attempt in range(4):
        parcels = claim(device, 200)
        assert {p.attempts for p in parcels} == {attempt}
        device.outbox.settle([p.failed("HTTP 500") for p in parcels], Backoff(base_s=10, cap_s=40))
        with device.database.reading() as connection:
            due = [ns for (ns,) in connection.execute("SELECT due_ns FROM parcel")]
        rests.append([(ns - device.now_ns) / SECOND for ns in due])
        assert 0 <= (device.outbox.due_s("lab") or 0) < 2
        device.now_ns += 41 * SECOND
    for rest, longest in zip(rests, (10, 20, 40, 40), strict=True):
        assert 0 <= min(rest) < longest * 0.1 and longest * 0.9 < max(rest) <= longest
        assert sum(rest) / len(rest) == pytest.approx(longest / 2, rel=0.2)
    assert claim(device)[0].error == "HTTP 500"


def test_retry_after_is_a_lower_bound(device: Device) -> None:
    device.capture("lab")
    (parcel,) = claim(device)
    device.outbox.settle([parcel.failed("HTTP 503", after_s=120)], Backoff(base_s=1, cap_s=2))
    device.now_ns += 119 * SECOND
    assert claim(device) == []
    assert device.outbox.due_s("lab") == pytest.approx(1)
    device.now_ns += 2 * SECOND
    assert claim(device)[0].attempts == 1


def test_later_and_released_are_no_attempts(device: Device) -> None:
    device.capture("lab")
    device.outbox.settle([p.released() for p in claim(device)])
    assert device.outbox.due_s("lab") == 0
    device.outbox.settle([p.later(30, "busy") for p in claim(device)])
    assert claim(device) == []
    device.now_ns += 31 * SECOND
    (parcel,) = claim(device)
    assert (parcel.attempts, parcel.error) == (0, "busy")


def test_refused_ones_are_parked_with_the_reason_until_a_person_says_so(device: Device) -> None:
    capture = device.capture("lab", "archive")
    device.outbox.settle([p.refused("too large") for p in claim(device)])
    assert claim(device) == [] and len(claim(device, target="archive")) == 1
    assert [(p.capture, p.error) for p in device.outbox.list(state="refused")] == [(capture, "too large")]
    assert device.outbox.retry("lab", refused=False) == 0
    assert device.outbox.retry("lab") == 1
    device.outbox.settle([p.refused("still too large") for p in claim(device)])
    assert device.outbox.drop("lab", capture) == 1
    assert device.outbox.counts()["lab"] == Counts(dropped=1)
    assert device.outbox.retry() == 0


def test_after_so_many_failures_a_parcel_is_refused_with_the_last_error(device: Device) -> None:
    device.capture("lab")
    backoff = Backoff(base_s=0, cap_s=0, max_attempts=2)
    device.outbox.settle([p.failed("first") for p in claim(device)], backoff)
    device.outbox.settle([p.failed("second") for p in claim(device)], backoff)
    assert [(p.error, p.attempts) for p in device.outbox.list(state="refused")] == [("second", 2)]


def test_retry_reaches_everything_that_rests_however_much(device: Device) -> None:
    for _ in range(1203):
        device.capture("lab", size=1)
    device.outbox.settle([p.failed("HTTP 500", after_s=1000) for p in claim(device, 2000)])
    assert claim(device) == []
    assert device.outbox.retry("lab") == 1203
    parcels = claim(device, 2000)
    assert len(parcels) == 1203 and {p.attempts for p in parcels} == {0}


def test_an_expired_lease_is_free_again_and_its_holder_is_heard_only_when_it_delivered(device: Device) -> None:
    device.capture("lab")
    device.capture("lab")
    late = claim(device)
    device.now_ns += 59 * SECOND
    device.outbox.renew(late, 60)
    device.now_ns += 59 * SECOND
    assert claim(device) == []
    device.now_ns += 2 * SECOND
    again = claim(device)
    assert [p.id for p in again] == [p.id for p in late]
    device.outbox.settle([late[0].failed("too late to say"), late[1].delivered(RECEIPT)])
    assert device.outbox.counts()["lab"].delivered == 1
    assert [p.state for p in device.outbox.list("lab", "leased")] == ["leased"]
    device.outbox.settle([p.delivered(RECEIPT) for p in again])
    assert device.outbox.counts()["lab"] == Counts(delivered=2, delivered_bytes=200)


def test_what_was_due_in_another_boot_is_due_now(device: Device) -> None:
    for _ in range(3):
        device.capture("lab")
    parcels = claim(device, 2)
    device.outbox.settle([parcels[0].failed("HTTP 500", after_s=3600)])
    device.reboot()  # one rests, one is still leased
    assert device.outbox.due_s("lab") == 0
    assert len(claim(device)) == 3


def test_a_power_cut_that_frees_no_lease_still_ends_it(device: Device) -> None:
    device.capture("lab")
    claim(device)
    device.reboot()
    assert len(claim(device)) == 1


def test_claims_of_many_threads_never_overlap(device: Device) -> None:
    for _ in range(300):
        device.capture("lab", size=1)
    claimed: list[list[int]] = [[] for _ in range(6)]
    failures = []

    def upload(mine: list[int]) -> None:
        try:
            while parcels := claim(device, 7):
                mine.extend(p.id for p in parcels)
                device.outbox.settle([p.delivered(RECEIPT) for p in parcels])
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=upload, args=(mine,)) for mine in claimed]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    everything = [number for mine in claimed for number in mine]
    assert not failures
    assert len(everything) == len(set(everything)) == 300
    assert device.outbox.counts()["lab"].delivered == 300


def test_an_amended_capture_is_owed_again_to_those_that_can_amend(device: Device) -> None:
    capture = device.capture("lab", "archive", "slow")
    for target in ("lab", "archive"):
        device.outbox.settle([p.delivered(RECEIPT) for p in claim(device, target=target)])
    with device.database.transaction(durable=True) as connection:
        device.outbox.amend(connection, capture, 2, ["lab"])
    assert [p.revision for p in claim(device)] == [2]
    assert claim(device, target="archive") == []
    assert [p.revision for p in claim(device, target="slow")] == [2]


def test_what_was_refused_is_tried_again_from_the_beginning_once_it_is_amended(device: Device) -> None:
    capture = device.capture("lab", "archive")
    for parcel in claim(device):
        device.outbox.progress(parcel, {"errors": 7})
        device.outbox.settle([parcel.failed("no", 0.0)], Backoff(base_s=0, cap_s=0))
    device.outbox.settle([p.refused("it has no subject") for p in claim(device)])
    device.outbox.progress(*claim(device, target="archive"), {"offset": 5})
    device.outbox.release_all()
    with device.database.transaction(durable=True) as connection:
        device.outbox.amend(connection, capture, 2, [])
    (parcel,) = claim(device)
    assert (parcel.revision, parcel.attempts, parcel.progress) == (2, 0, {})
    (other,) = claim(device, target="archive")
    assert (other.revision, other.progress) == (2, {"offset": 5}), "what only waited goes on where it was"
    assert device.outbox.counts()["lab"].refused == 0


def test_an_amendment_during_an_upload_is_owed_after_it(device: Device) -> None:
    capture = device.capture("lab")
    (parcel,) = claim(device)
    with device.database.transaction(durable=True) as connection:
        device.outbox.amend(connection, capture, 2, ["lab"])
    device.outbox.settle([parcel.delivered(RECEIPT)])
    (again,) = claim(device)
    assert (again.revision, again.receipt) == (2, RECEIPT)
    device.outbox.settle([again.delivered(RECEIPT)])
    assert claim(device) == []


def test_claims_and_wakings_use_the_index_alone(device: Device) -> None:
    device.capture("lab")
    seen: list[str] = []
    connection = device.database._connections[0]
    connection.set_trace_callback(seen.append)
    claim(device)
    connection.set_trace_callback(None)
    queries = [sql for sql in seen if "parcel" in sql and sql.startswith(("SELECT", "UPDATE"))]
    assert len(queries) >= 7
    for sql in queries:
        for *_, plan in connection.execute(f"EXPLAIN QUERY PLAN {sql}"):
            assert not plan.startswith("SCAN") and "TEMP B-TREE" not in plan, (sql, plan)


class Life(RuleBasedStateMachine):
    """Anything may happen in any order: what is counted equals what is there, and nothing is claimed twice."""

    parcels = Bundle("parcels")

    @initialize()
    def begin(self) -> None:
        import tempfile

        self.folder = tempfile.TemporaryDirectory()
        self.device = Device(Path(self.folder.name))
        self.delivered: set[int] = set()
        self.known: list[str] = []

    @rule(to=st.sets(st.sampled_from(["lab", "archive"])), size=st.integers(0, 1000))
    def owe(self, to: set[str], size: int) -> None:
        self.known.append(self.device.capture(*to, size=size))

    @rule(target=parcels, to=st.sampled_from(["lab", "archive"]), count=st.integers(1, 3), newest=st.booleans())
    def claim(self, to: str, count: int, newest: bool):
        found = self.device.outbox.claim(to, count, lease_s=60, newest_first=newest)
        with self.device.database.reading() as connection:
            leased = {row[0] for row in connection.execute("SELECT id FROM parcel WHERE state = 'leased'")}
        assert {p.id for p in found} <= leased
        assert not {(p.id, p.revision) for p in found} & self.delivered
        return found

    @rule(
        found=parcels,
        kind=st.sampled_from(["delivered", "refused", "failed", "later", "released"]),
        limit=st.sampled_from([None, 1]),
    )
    def settle(self, found, kind: str, limit: int | None) -> None:
        given = {"delivered": (RECEIPT,), "refused": ("never",), "failed": ("oops",), "later": (5,), "released": ()}
        self.device.outbox.settle([getattr(p, kind)(*given[kind]) for p in found], Backoff(max_attempts=limit))
        if kind == "delivered":
            self.delivered |= {(p.id, p.revision) for p in found}

    @rule(data=st.data(), to=st.lists(st.sampled_from(["lab", "archive"]), unique=True))
    def amend(self, data, to: list[str]) -> None:
        if self.known:
            capture = data.draw(st.sampled_from(self.known))
            with self.device.database.transaction(durable=False) as connection:
                connection.execute("UPDATE capture SET revision = revision + 1 WHERE uuid = ?", (capture,))
                (revision,) = connection.execute("SELECT revision FROM capture WHERE uuid = ?", (capture,)).fetchone()
                self.device.outbox.amend(connection, capture, revision, to)

    @rule(refused=st.booleans())
    def retry(self, refused: bool) -> None:
        self.device.outbox.retry(refused=refused)

    @rule(refused_only=st.booleans())
    def drop(self, refused_only: bool) -> None:
        self.device.outbox.drop("lab", refused_only=refused_only)

    @rule(seconds=st.sampled_from([1, 30, 1000]))
    def wait(self, seconds: int) -> None:
        self.device.now_ns += seconds * SECOND

    @rule(reboot=st.booleans(), release=st.booleans())
    def restart(self, reboot: bool, release: bool) -> None:
        self.device.reboot() if reboot else self.device.restart()
        if release:
            self.device.outbox.release_all()

    @invariant()
    def counted(self) -> None:
        if not hasattr(self, "device"):
            return
        counts = {target: count for target, count in self.device.outbox.counts().items() if count != Counts()}
        assert counts == self.device.recount()
        with self.device.database.reading() as connection:
            wrong = connection.execute(
                "SELECT capture.id FROM capture LEFT JOIN parcel ON parcel.capture = capture.id GROUP BY capture.id"
                " HAVING count(parcel.id) <> parcels"
                " OR coalesce(sum(parcel.state NOT IN ('delivered', 'dropped')), 0) <> pending"
            ).fetchall()
            stock = connection.execute("SELECT standing, captures, bytes FROM stock WHERE captures > 0").fetchall()
            rows = connection.execute("SELECT standing, count(*), sum(size) FROM capture GROUP BY standing").fetchall()
            stuck = connection.execute(
                "SELECT id FROM parcel WHERE (state = 'leased') <> (lease IS NOT NULL)"
                " OR (due_ns IS NULL) <> (due_boot IS NULL) OR (state = 'leased' AND due_ns IS NULL)"
                " OR (state NOT IN ('leased', 'waiting') AND due_ns IS NOT NULL)"
            ).fetchall()
        assert not wrong and not stuck
        assert sorted(stock) == sorted(rows)

    def teardown(self) -> None:
        if hasattr(self, "device"):
            self.device.close()
            self.folder.cleanup()


Life.TestCase.settings = settings(max_examples=40, stateful_step_count=25, deadline=None, database=None)
TestLife = Life.TestCase
