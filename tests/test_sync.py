import contextlib
import dataclasses
import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.catalogue import Catalogue
from agent.clock import Clock
from agent.database import Database, DatabaseDamaged, DatabaseWaits
from agent.monitor import _problems
from agent.outbox import Outbox
from agent.sync import Sync
from agent.sync.delivery import Delivery
from agent.sync.pace import Pace
from agent.sync.trouble import Trouble
from agent.targets import Failed, Home, Later, Progress, Refused, Unreachable
from agent.targets.directory import Settings as Directory
from agent.targets.http import Settings as Http
from drivers.settings import SettingsError
from tests.captures import make_capture
from tests.receiver import Fault, Receiver

FAST = {"backoff_base_s": 0.1, "backoff_cap_s": 1.0}


class Scripted:
    """A target whose answers are a function's; remembers whom it was asked to take, and how many at once."""

    formats: tuple[str, ...] = ()

    def __init__(self, answer: Callable[[str, Progress], None] = lambda name, progress: None) -> None:
        self.answer = answer
        self.asked: list[str] = []
        self.at_once = self.most_at_once = 0
        self.closed = threading.Event()
        self._lock = threading.Lock()

    def put(self, capture, progress):
        with self._lock:
            self.asked.append(capture.name)
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            self.answer(capture.name, progress)
            return {"name": capture.name}
        finally:
            with self._lock:
                self.at_once -= 1

    def close(self):
        self.closed.set()


class House:
    """Catalogue, outbox and sync of a data folder, as the daemon puts them together."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        self.folder, self.stack = folder, stack
        self.clock = Clock()
        self.database = stack.enter_context(Database(folder / "agent.db", quarantine=folder / "quarantine"))
        self.catalogue = Catalogue(self.database, folder / "captures")
        self.outbox = Outbox(
            self.database, boot_id=self.clock.boot_id, now=self.clock.boottime_ns, jitter=random.Random(1)
        )
        self.home = Home("bay3", "0badcafe", folder / "secrets")
        self.broken: list[str] = []

    def sync(self, *, commit_every_s: float = 0.05, **targets) -> Sync:
        """Starts a sync to these targets, each a target or (target, Delivery options)."""
        given = {name: t if isinstance(t, tuple) else (t, {}) for name, t in targets.items()}
        sync = Sync(
            {name: ("test", target, Delivery(**FAST | options)) for name, (target, options) in given.items()},
            outbox=self.outbox,
            catalogue=self.catalogue,
            clock=self.clock,
            jitter=random.Random(1),
            commit_every_s=commit_every_s,
            scratch=self.folder / "scratch",
        )
        self.stack.callback(sync.stop)
        sync.start(lambda thread, error: self.broken.append(f"{thread}: {error!r}"))
        return sync

    def owe(
        self, count: int, *targets: str, content: Callable[[int], bytes] = lambda n: b"%d" % n, first: int = 0
    ) -> list[str]:
        """Makes captures that are owed to these targets; their names, which count from `first`."""
        numbers = range(first, first + count)
        captures = [make_capture(self.folder / "captures", content(n), name=f"capture{n:04d}") for n in numbers]
        with self.database.transaction(durable=True) as connection:
            self.catalogue.add(connection, captures)
            self.outbox.owe(connection, [(capture.uuid, capture.size, targets) for capture in captures])
        return [capture.name for capture in captures]

    def amend(self, name: str, *targets: str) -> None:
        """Labels the capture of that name anew, which owes it again to these targets."""
        self.catalogue.amend(
            self.catalogue.entry(name).uuid,
            lambda document: {"labels": {**document["labels"], "revision": document["revision"] + 1}},
            lambda connection, capture: self.outbox.amend(connection, capture.uuid, capture.revision, targets),
        )

    def states(self, target: str) -> dict[str, str]:
        """State of each parcel of a target, by the name of its capture."""
        with self.database.reading() as connection:
            return dict(
                connection.execute(
                    "SELECT name, state FROM parcel JOIN capture ON capture.id = capture WHERE target = ?", (target,)
                ).fetchall()
            )

    def until(self, condition: Callable[[], bool], seconds: float = 20.0) -> None:
        """Waits for a condition."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, "this should have happened by now"
            assert not self.broken
            time.sleep(0.01)


@pytest.fixture
def house(tmp_path):
    with contextlib.ExitStack() as stack:
        house = House(tmp_path, stack)
        yield house
        stack.close()
        assert house.broken == []


def names(parcels) -> list[str]:
    return [parcel.name for parcel in parcels]


def test_everything_reaches_every_target_once(house):
    captures = house.owe(120, "nas", "lab")
    (house.folder / "nas").mkdir()
    with Receiver() as receiver:
        sync = house.sync(
            nas=Directory(path=str(house.folder / "nas")).open(house.home),
            lab=Http(url=receiver.url + "/{file}").open(house.home),
        )
        house.until(lambda: not any(target["owed"] for target in sync.health().values()))
        stored = Counter(path.strip("/") for path in receiver.stores)
        sync.stop()
    assert stored == Counter({f"{name}{suffix}": 1 for name in captures for suffix in (".csv", ".json")})
    found = {path.name: path.read_bytes() for path in (house.folder / "nas").rglob("*.*")}
    assert found == {path.name: path.read_bytes() for path in (house.folder / "captures").rglob("*.*")}
    health = sync.health()["lab"]
    assert (health["delivered"], health["owed"], health["retried"], health["state"]) == (120, 0, 0, "stopped")
    assert health["sent_bytes"] > 0
    assert health["error"] == ""


def test_an_outage_in_the_middle_loses_and_doubles_nothing(house):
    captures = house.owe(200, "lab")
    with Receiver() as receiver:
        lab = Http(url=receiver.url + "/{file}").open(house.home)
        sync = house.sync(lab=lab)
        house.until(lambda: len(receiver.stores) > 50)
    house.until(lambda: sync.health()["lab"]["state"] == "unreachable")
    with Receiver(port=receiver.port) as back:
        house.until(lambda: sync.health()["lab"]["owed"] == 0)
        sync.stop()
    # counted only now: what was under way when the first receiver closed may have come to it afterwards
    stored = Counter(receiver.stores) + Counter(back.stores)
    files = {f"/{name}{suffix}" for name in captures for suffix in (".csv", ".json")}
    assert set(stored) == files
    assert sum(stored.values()) - len(files) <= 8, "only those whose answer was cut off were sent again"


def test_what_comes_later_is_sent_when_woken(house):
    target = Scripted()
    sync = house.sync(lab=target)
    house.until(lambda: sync.health()["lab"]["state"] == "idle")
    house.owe(1, "lab")
    sync.wake()
    house.until(lambda: target.asked == ["capture0000"], 2)


@pytest.mark.parametrize("order", ["oldest-first", "newest-first"])
def test_order(house, order):
    captures = house.owe(30, "lab")
    target = Scripted()
    house.sync(lab=(target, {"connections": 1, "order": order}))
    house.until(lambda: len(target.asked) == 30)
    assert target.asked == (captures if order == "oldest-first" else captures[::-1])


def test_as_many_at_once_as_allowed(house):
    house.owe(30, "lab")
    together = threading.Barrier(3, timeout=10)
    target = Scripted(lambda name, progress: together.wait() and None)
    house.sync(lab=(target, {"connections": 3}))
    house.until(lambda: len(target.asked) == 30)
    assert target.most_at_once == 3


def test_while_unreachable_one_parcel_probes_and_no_other_row_changes(house, caplog, monkeypatch):
    caplog.set_level(logging.INFO)
    captures = house.owe(200, "lab")
    away = True

    def answer(name, progress):
        if away:
            raise Unreachable("no route")

    claimed: list[int] = []
    claim = house.outbox.claim

    def counted(target, count, **options):
        claimed.append(count)
        return claim(target, count, **options)

    monkeypatch.setattr(house.outbox, "claim", counted)
    target = Scripted(answer)
    sync = house.sync(lab=target)
    house.until(lambda: claimed.count(1) == 2)
    assert claimed[-2:] == [1, 1], "from then on one at a time"
    assert len(set(target.asked)) <= 8 + 1, "those that were under way, and the probe"
    assert set(house.states("lab").values()) <= {"waiting", "leased"}
    assert list(house.states("lab").values()).count("leased") <= 1
    assert {parcel.attempts for parcel in house.outbox.list("lab")} == {0}
    away = False
    sync.sync_now("lab")
    house.until(lambda: sync.health()["lab"]["owed"] == 0)
    assert sync.health()["lab"]["delivered"] == len(captures)
    lines = [record.message for record in caplog.records if record.name == "agent.sync.courier"]
    assert [line.partition(",")[0] for line in lines] == ["lab is unreachable", "lab is reachable again"]


def test_a_probe_that_is_itself_to_blame_steps_back(house):
    captures = house.owe(3, "lab")

    def answer(name, progress):
        if name == captures[0]:
            raise Unreachable("403: a fire wall does not like this one")

    target = Scripted(answer)
    sync = house.sync(lab=(target, {"connections": 1}))

    def push() -> bool:
        sync._couriers["lab"]._trouble.again_ns = 0  # rests are not what is tested
        return house.states("lab")[captures[2]] == "delivered"

    house.until(push)


def test_a_target_never_holds_up_another(house):
    house.owe(50, "lab", "nas", "dead")
    hang = threading.Event()
    dead = Scripted(lambda name, progress: hang.wait() and None)

    def unreachable(name, progress):
        raise Unreachable("gone")

    sync = house.sync(lab=Scripted(), nas=Scripted(unreachable), dead=dead)
    try:
        house.until(lambda: sync.health()["lab"]["owed"] == 0)
    finally:
        hang.set()


def test_a_poison_parcel_never_holds_up_another(house, caplog):
    captures = house.owe(40, "lab")
    poison = set(captures[:3])

    def answer(name, progress):
        if name == captures[0]:
            raise Failed("the server dies of it")
        if name == captures[1]:
            raise ZeroDivisionError("a bug")
        if name == captures[2]:
            raise Later("still at it", 0.2)

    target = Scripted(answer)
    sync = house.sync(lab=(target, {"connections": 1}))
    house.until(lambda: sync.health()["lab"]["owed"] == 3)
    house.until(lambda: target.asked.count(captures[0]) >= 3)
    assert {name for name, state in house.states("lab").items() if state != "delivered"} == poison
    lines = [record for record in caplog.records if captures[0] in record.message]
    assert lines
    assert not any(record.exc_info for record in lines), "an expected fault is one line"
    assert any(record.exc_info for record in caplog.records if captures[1] in record.message)


def test_refused_is_parked_with_the_reason_and_max_attempts_too(house):
    captures = house.owe(3, "lab")

    def answer(name, progress):
        if name == captures[0]:
            raise Refused("too big")
        if name == captures[1]:
            raise Failed("once more")

    target = Scripted(answer)
    sync = house.sync(lab=(target, {"max_attempts": 3}))
    house.until(lambda: sync.health()["lab"]["refused"] == 2)
    assert {parcel.name: parcel.error for parcel in house.outbox.list("lab", "refused")} == {
        captures[0]: "too big",
        captures[1]: "once more",
    }
    assert Counter(target.asked) == {captures[0]: 1, captures[1]: 3, captures[2]: 1}


def test_a_capture_whose_files_are_gone_is_refused(house):
    (name,) = house.owe(1, "lab")
    (house.folder / f"captures/2026-11-21/{name}.json").unlink()
    sync = house.sync(lab=Scripted())
    house.until(lambda: sync.health()["lab"]["refused"] == 1)


def test_later_is_no_attempt_and_waits(house):
    house.owe(1, "lab")

    def answer(name, progress):
        if len(target.asked) == 1:
            raise Later("busy", 0.3)

    target = Scripted(answer)
    begun = time.monotonic()
    sync = house.sync(lab=target)
    house.until(lambda: len(target.asked) == 2)
    assert time.monotonic() - begun > 0.3
    house.until(lambda: sync.health()["lab"]["owed"] == 0)


def test_a_sick_target_is_not_sent_the_whole_backlog(house):
    house.owe(100, "lab")

    def answer(name, progress):
        raise Failed("500")

    target = Scripted(answer)
    sync = house.sync(lab=target)
    house.until(lambda: sync.health()["lab"]["state"] == "failing")
    house.until(lambda: target.at_once == 0)
    assert len(target.asked) <= 24


def test_progress_survives_an_interruption(house):
    house.owe(1, "lab")
    seen: list[dict] = []

    def answer(name, progress):
        seen.append(dict(progress.state))
        progress.save({"part": len(seen)})
        if len(seen) < 3:
            raise Failed("cut")

    house.sync(lab=Scripted(answer))
    house.until(lambda: len(seen) == 3)
    assert seen == [{}, {"part": 1}, {"part": 2}]


def test_captures_that_are_worked_on_there_are_no_trouble(house):
    captures = house.owe(40, "lab")
    states: set[str] = set()

    def answer(name, progress):
        states.add(sync.health()["lab"]["state"])
        if target.asked.count(name) < 3:
            raise Later("it reads that", 0.05, pending=True)

    target = Scripted(answer)
    sync = house.sync(lab=(target, {"connections": 4}))
    house.until(lambda: sync.health()["lab"]["owed"] == 0)
    assert Counter(target.asked) == dict.fromkeys(captures, 3)
    health = sync.health()["lab"]
    assert states == {"sending"}
    assert (health["retried"], health["error"], health["failing_since_s"]) == (0, "", None)


def test_what_is_worked_on_shows_that_the_target_is_back(house):
    house.owe(1, "lab")

    def answer(name, progress):
        if len(target.asked) == 1:
            raise Unreachable("no route")
        raise Later("it reads that", 60.0, pending=True)

    target = Scripted(answer)
    sync = house.sync(lab=target)
    house.until(lambda: len(target.asked) == 2 and target.at_once == 0)
    house.until(lambda: sync.health()["lab"]["state"] != "unreachable")


def test_a_wrong_address_parks_nothing(house):
    captures = house.owe(100, "lab")
    with Receiver() as receiver:
        receiver.fault = lambda path: Fault(404, text="no such folder")
        lab = Http(url=receiver.url + "/{file}").open(house.home)
        sync = house.sync(lab=(lab, {"connections": 4}))

        house.until(lambda: sync.health()["lab"]["state"] == "failing")
        assert len(receiver.requests) <= 12, "then it rests, and does not try all of them"

        def push() -> int:
            courier = sync._couriers["lab"]
            courier._trouble.again_ns = 0  # rests are not what is tested
            courier.wake()
            return len(receiver.requests)

        house.until(lambda: push() > 40)
        health = sync.health()["lab"]
        assert (health["refused"], health["owed"], health["state"]) == (0, 100, "failing")
        assert "no such folder" in health["error"]
        del receiver.fault
        sync.sync_now()
        house.until(lambda: sync.health()["lab"]["owed"] == 0)
    assert sync.health()["lab"]["delivered"] == len(captures)


def test_a_capture_that_alone_is_told_so_is_refused_in_the_end(house):
    captures = house.owe(30, "lab")
    wrong = {f"/{name}.csv" for name in captures[:3]}
    with Receiver() as receiver:
        receiver.fault = lambda path: Fault(409, text="another one is there") if path in wrong else Fault()
        sync = house.sync(lab=Http(url=receiver.url + "/{file}").open(house.home))
        house.until(lambda: sync.health()["lab"]["owed"] == 0)
        sync.stop()
    asked = Counter(request.path for request in receiver.requests)
    assert {path: asked[path] for path in wrong} == dict.fromkeys(wrong, 3)
    refused = house.outbox.list("lab", "refused")
    assert names(refused) == captures[:3]
    assert {"another one is there" in parcel.error for parcel in refused} == {True}


def test_captures_that_come_one_by_one_to_a_wrong_address_are_trouble_too(house):
    """None waits for another to be told the same: what was refused before counts."""

    def answer(name, progress):
        raise Refused("404", doubtful=True)

    sync = house.sync(lab=Scripted(answer))
    house.owe(4, "lab")
    sync.wake()
    house.until(lambda: sync.health()["lab"]["refused"] == 4)
    house.owe(4, "lab", first=4)
    sync.wake()
    house.until(lambda: sync.health()["lab"]["state"] == "failing")
    assert sync.health()["lab"]["refused"] == 4


def test_a_later_revision_comes_with_the_receipt_of_the_earlier_one(house):
    (name,) = house.owe(1, "lab")
    seen: list[dict] = []
    sync = house.sync(lab=Scripted(lambda name, progress: seen.append(dict(progress.receipt))))
    house.until(lambda: house.states("lab") == {name: "delivered"})
    house.amend(name, "lab")
    sync.wake()
    house.until(lambda: len(seen) == 2)
    assert seen == [{}, {"name": name}]


def test_pause_and_resume(house):
    captures = house.owe(50, "lab", "nas")
    begun, go = threading.Event(), threading.Event()

    def answer(name, progress):
        begun.set()
        go.wait(10)

    target, other = Scripted(answer), Scripted()
    sync = house.sync(lab=(target, {"connections": 2}), nas=other)
    assert begun.wait(10)
    sync.pause("lab")
    go.set()
    house.until(lambda: target.at_once == 0 and len(other.asked) == 50)
    count = len(target.asked)
    assert count <= 2, "only what was under way"
    assert sync.health()["lab"]["state"] == "paused"
    sync.wake()
    house.until(lambda: sync.health()["nas"]["owed"] == 0)
    assert len(target.asked) == count
    sync.resume("lab")
    house.until(lambda: sync.health()["lab"]["owed"] == 0)
    assert sorted(target.asked) == captures


def test_a_target_that_is_gone_is_told_of_while_something_waits_for_it(house):
    house.owe(3, "old", "lab")
    house.outbox.settle([p.refused("no") for p in house.outbox.claim("old", 1, lease_s=60)])
    sync = house.sync(lab=Scripted())
    house.until(lambda: sync.health()["lab"]["delivered"] == 3)
    health = sync.health()
    assert set(health) == {"lab", "old"}
    old = health["old"]
    assert (old["state"], old["owed"], old["refused"], old["unsure"]) == ("not configured", 2, 1, False)
    assert old.keys() == health["lab"].keys()
    disk = {"sync_error": "", "sync_failed": 0}
    (problem,) = _problems({}, {}, health, disk, {"failed": 0, "error": ""})
    assert problem.startswith("target old is not configured, and 3 captures are kept for it")
    assert problem.endswith("capture-agent outbox drop --target old --owed")
    house.outbox.drop("old", refused_only=False)
    assert set(sync.health()) == {"lab"}


def test_sync_now_forgets_the_rests(house):
    house.owe(1, "lab")

    def answer(name, progress):
        if len(target.asked) == 1:
            raise Later("tomorrow", 86400.0)

    target = Scripted(answer)
    sync = house.sync(lab=target)
    house.until(lambda: sync.health()["lab"]["retried"] == 1)
    sync.sync_now()
    house.until(lambda: len(target.asked) == 2, 5)
    with pytest.raises(KeyError):
        sync.sync_now("nobody")


def test_deliveries_at_a_trickle_share_their_commits(house, monkeypatch):
    committed: list[int] = []
    settle = house.outbox.settle

    def counted(outcomes, backoff):
        committed.append(len(outcomes))
        settle(outcomes, backoff)

    monkeypatch.setattr(house.outbox, "settle", counted)
    captures = house.owe(20, "lab")
    target = Scripted(lambda name, progress: time.sleep(0.02))
    sync = house.sync(commit_every_s=4.0, lab=(target, {"connections": 1}))
    house.until(lambda: len(target.asked) == 20)
    assert committed == [], "nothing is so urgent"
    sync.stop()
    assert sum(committed) == len(captures) == sync.health()["lab"]["delivered"]


def test_stop_is_quick_while_an_upload_hangs_and_frees_every_lease(house):
    captures = house.owe(20, "lab", "web")
    released = threading.Event()
    deaf = Scripted(lambda name, progress: released.wait(30) and None)
    with Receiver() as receiver:
        receiver.faults.extend([Fault(hang=True)] * 8)
        web = Http(url=receiver.url + "/{file}", idle_timeout_s=60).open(house.home)
        deaf.close = released.set
        sync = house.sync(lab=(deaf, {"connections": 2}), web=web)
        assert receiver.hanging.wait(10)
        house.until(lambda: deaf.at_once == 2)
        begun = time.monotonic()
        sync.stop()
        assert time.monotonic() - begun < 10
        assert not receiver.stores
    assert set(house.states("web").values()) == {"waiting"}
    assert "leased" not in house.states("lab").values()
    assert {parcel.attempts for parcel in house.outbox.list("web")} == {0}
    assert len(house.states("web")) == len(captures)


@pytest.mark.parametrize("problem", [DatabaseWaits(28, "disk is full"), DatabaseDamaged("malformed")])
def test_stop_ends_everything_though_the_database_takes_nothing(house, monkeypatch, caplog, problem):
    def settle(*args):
        raise problem

    (name,) = house.owe(1, "lab")
    target = Scripted()
    sync = house.sync(lab=target, commit_every_s=3600)
    house.until(lambda: target.asked == [name])
    with monkeypatch.context() as disk:
        disk.setattr(house.outbox, "settle", settle)
        sync.stop()
    assert target.closed.is_set()
    assert "not on record" in caplog.text
    assert house.outbox.release_all() == 1  # the next start offers it again


def test_without_a_thread_to_upload_it_waits_and_says_so_once(house, monkeypatch, caplog):
    captures, start, tried = house.owe(3, "lab"), threading.Thread.start, threading.Event()

    def none_left(thread):
        if "upload" in thread.name:
            tried.set()
            raise RuntimeError("can't start new thread")
        start(thread)

    target = Scripted()
    with monkeypatch.context() as machine:
        machine.setattr(threading.Thread, "start", none_left)
        sync = house.sync(lab=target)
        assert tried.wait(10)
        for _ in range(3):
            sync.wake()
            time.sleep(0.05)
    sync.wake()
    house.until(lambda: set(house.states("lab").values()) == {"delivered"})
    assert sorted(target.asked) == sorted(captures)
    assert house.broken == []
    assert caplog.text.count("can't start new thread") == 1


def test_stop_leaves_behind_what_cannot_be_cut(house):
    house.owe(1, "lab")
    end = threading.Event()
    deaf = Scripted(lambda name, progress: end.wait(30) and None)
    sync = house.sync(lab=deaf)
    house.until(lambda: deaf.at_once == 1)
    sync.stop(within_s=0.2)
    assert deaf.at_once == 1
    assert house.states("lab") == {"capture0000": "waiting"}
    end.set()
    sync.stop()


def test_the_rate_limit_is_one_for_all_uploads_and_ends_with_stop(house):
    house.owe(4, "lab", content=lambda n: b"x" * 50_000 + b"%d" % n)

    def answer(name, progress):
        for _ in range(50):
            progress.sent(1000)

    target = Scripted(answer)
    begun = time.monotonic()
    sync = house.sync(lab=(target, {"rate_limit_kbps": 100.0}))
    house.until(lambda: sync.health()["lab"]["sent_bytes"] > 80_000)
    elapsed = time.monotonic() - begun
    assert elapsed > 0.4, "80 kB at 100 kB/s, of which a quarter of a second is free"
    begun = time.monotonic()
    sync.stop()
    assert time.monotonic() - begun < 2


def test_a_low_rate_limit_is_not_shared_by_more_uploads_than_servers_wait_for(house):
    house.owe(6, "lab")
    pieces: set[int] = set()

    def answer(name, progress):
        pieces.update(map(len, progress.sending(bytes(900))))
        time.sleep(0.02)

    target = Scripted(answer)
    sync = house.sync(lab=(target, {"rate_limit_kbps": 15.0}))
    house.until(lambda: sync.health()["lab"]["owed"] == 0)
    assert target.most_at_once == 2
    assert pieces == {900}


def test_what_a_rate_limit_leaves_for_each_upload():
    assert (Delivery().at_once, Delivery().piece_bytes) == (8, 1 << 16)
    for limit_kbps, at_once, piece_bytes in ((1000, 8, 1 << 16), (40, 5, 40_000), (5, 1, 5000), (0.0001, 1, 1)):
        delivery = Delivery(rate_limit_kbps=limit_kbps)
        assert (delivery.at_once, delivery.piece_bytes) == (at_once, piece_bytes)
    assert Delivery(connections=2, rate_limit_kbps=1000).at_once == 2
    counts: list[int] = []
    progress = Progress(advance=counts.append, piece_bytes=300)
    assert b"".join(progress.sending(bytes(range(200)) * 4)) == bytes(range(200)) * 4
    assert counts == [300, 300, 200]


def test_pace_counts_nothing_twice():
    now = 1_000_000_000
    pace = Pace(1.0, lambda: now)
    assert pace.wait_s(1000) == pytest.approx(0.75)
    assert pace.wait_s(1000) == pytest.approx(1.75)
    now = 10_000_000_000
    assert pace.wait_s(500) == pytest.approx(0.25)
    assert Pace(0.0, lambda: 0).wait_s(10**9) == 0


def test_trouble_rests_longer_and_longer_and_is_over_at_once():
    trouble = Trouble(4, 900.0, random.Random(1))
    rests, now = [], 1_000_000_000
    for _ in range(12):
        trouble.probes(1)
        trouble.nobody_there(1, now)
        rests.append((trouble.again_ns - now) / 1e9)
    assert all(0.5 * 2**n <= rest <= 2**n for n, rest in enumerate(rests[:6]))
    assert max(rests) <= 60
    assert trouble
    trouble.over()
    assert not trouble
    assert trouble.again_ns == 0


def test_trouble_takes_several_parcels_to_fail_and_honours_retry_after():
    trouble = Trouble(4, 900.0, random.Random(1))
    for _ in range(20):
        trouble.failed(1, 0, 0.0)
    assert not trouble, "one bad parcel is no trouble"
    for parcel in (2, 3, 4):
        trouble.failed(parcel, 0, 120.0)
    assert trouble
    assert trouble.again_ns == 120_000_000_000
    trouble.failed(5, 0, 0.0)
    assert trouble.again_ns == 120_000_000_000, "it was under way already"
    trouble.probes(6)
    trouble.failed(6, 0, 10_000.0)
    assert trouble.again_ns == 900_000_000_000


def test_options_have_bounds():
    with pytest.raises(SettingsError) as error:
        Delivery(connections=0, order="random", rate_limit_kbps=-1)
    assert {name for name, _, _ in error.value.mistakes} == {"connections", "order", "rate_limit_kbps"}
    assert all(field.metadata["doc"] for field in dataclasses.fields(Delivery))
