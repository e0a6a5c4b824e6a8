import contextlib
import logging
import threading
from collections import Counter

import pytest

from agent.parcel import Parcel
from agent.sync.bundles import grouped
from agent.targets import Bundle, Failed, Later, Refused, Unreachable
from agent.targets.http import Http
from agent.targets.http import Settings as HttpSettings
from tests.models.bundles import BundleServer
from tests.receiver import Fault
from tests.test_sync import House, Scripted

BUNDLE = Bundle(captures=400, capture_bytes=1000, all_bytes=100_000)


class Bundler(Scripted):
    """A target that takes bundles; each capture of one has the fate that `answer` gives it."""

    bundle = BUNDLE

    def __init__(self, answer=lambda name, progress: None, together=lambda names: None) -> None:
        super().__init__(answer)
        self.together = together
        self.bundles: list[list[str]] = []

    def put_many(self, captures, progress):
        names = [capture.name for capture in captures]
        with self._lock:
            self.bundles.append(names)
        self.together(names)
        return [self._fate(name, progress) for name in names]

    def _fate(self, name, progress):
        try:
            self.answer(name, progress)
        except Exception as error:
            return error
        return {"name": name}


@pytest.fixture
def house(tmp_path):
    with contextlib.ExitStack() as stack:
        house = House(tmp_path, stack)
        yield house
        stack.close()
        assert house.broken == []


def delivered(sync) -> int:
    return sync.health()["lab"]["delivered"]


def test_a_backlog_goes_in_bundles(house):
    captures = house.owe(300, "lab")
    target = Bundler()
    sync = house.sync(lab=target)
    house.until(lambda: delivered(sync) == 300)
    asked = [name for bundle in target.bundles for name in bundle] + target.asked
    assert sorted(asked) == captures
    assert len(target.bundles) < 12


def test_what_is_large_or_single_goes_alone(house):
    captures = house.owe(5, "lab", content=lambda n: b"x" * (2000 if n == 2 else 10) + b"%d" % n)
    target = Bundler()
    sync = house.sync(lab=target)
    house.until(lambda: delivered(sync) == 5)
    assert target.asked == [captures[2]]


def test_a_single_one_is_no_bundle(house):
    captures = house.owe(1, "lab")
    target = Bundler()
    sync = house.sync(lab=target)
    house.until(lambda: delivered(sync) == 1)
    assert (target.asked, target.bundles) == (captures, [])


def test_each_of_a_bundle_has_its_own_fate(house, caplog):
    captures = house.owe(8, "lab")

    def answer(name, progress):
        if name == captures[1]:
            raise Refused("too old")
        if name == captures[2] and not target.asked:
            raise Later("still at it", 0.1)
        if name == captures[3] and not target.asked:
            raise Failed("disk error")

    target = Bundler(answer)
    sync = house.sync(lab=target)
    house.until(lambda: delivered(sync) == 7)
    assert house.states("lab")[captures[1]] == "refused"
    (refused,) = house.outbox.list("lab", "refused")
    assert (refused.attempts, refused.error) == (0, "too old")
    assert "too old" in caplog.text


def test_a_poison_capture_is_found_and_never_holds_up_the_others(house, caplog):
    captures = house.owe(300, "lab")
    poison = captures[137]

    def together(names):
        if poison in names:
            raise Failed("the server dies of it")

    def answer(name, progress):
        if name == poison and target.asked and target.asked[-1] == poison:
            raise Refused("what is this?")

    target = Bundler(answer, together)
    sync = house.sync(lab=(target, {"backoff_base_s": 0.1, "backoff_cap_s": 1.0}))
    house.until(lambda: delivered(sync) == 299 and house.states("lab")[poison] == "refused")
    assert len(caplog.records) < 30, "a bundle that fails is one line"


def test_a_target_that_is_not_there_costs_a_bundle_no_attempt(house):
    captures = house.owe(200, "lab")
    away = threading.Event()

    def together(names):
        if not away.is_set():
            raise Unreachable("no route")

    def answer(name, progress):
        together([])

    target = Bundler(answer, together)
    sync = house.sync(lab=target)
    house.until(lambda: sync.health()["lab"]["state"] == "unreachable" and len(target.asked) > 0)
    assert {parcel.attempts for parcel in house.outbox.list("lab", limit=500)} == {0}
    away.set()
    sync.sync_now("lab")
    house.until(lambda: delivered(sync) == len(captures))


def test_captures_that_are_gone_are_refused_and_the_others_go(house):
    captures = house.owe(8, "lab")
    (house.folder / f"captures/2026-11-21/{captures[4]}.json").unlink()
    target = Bundler()
    sync = house.sync(lab=target)
    house.until(lambda: delivered(sync) == 7)
    assert house.states("lab")[captures[4]] == "refused"


@pytest.mark.parametrize("wrong", [lambda names: [], lambda names: [{}] * (len(names) + 1), lambda names: 1 / 0])
def test_a_target_that_answers_nonsense_is_asked_for_each_alone_in_the_end(house, wrong):
    house.owe(8, "lab")
    target = Bundler()
    target.put_many = lambda captures, progress: wrong([capture.name for capture in captures])
    sync = house.sync(lab=target)
    house.until(lambda: delivered(sync) == 8)
    assert len(target.asked) == 8


def test_a_receipt_that_is_no_json_is_a_fault_of_one(house):
    captures = house.owe(8, "lab")
    target = Bundler()
    whole = target._fate

    def fate(name, progress):
        return {"bad": object()} if name == captures[3] and len(target.bundles) == 1 else whole(name, progress)

    target._fate = fate
    sync = house.sync(lab=target)
    house.until(lambda: delivered(sync) == 8)


def test_over_http_with_faults_everything_is_there_once(house, caplog):
    caplog.set_level(logging.INFO)
    captures = house.owe(200, "lab")
    damaged = captures[100]
    (house.folder / f"captures/2026-11-21/{damaged}.csv").write_bytes(b"?")
    with BundleServer() as server:
        server.faults += [Fault(), Fault(), Fault(lose_answer=True), Fault(), Fault(), Fault(cut_after=5000)]
        settings = HttpSettings(url=server.url + "/{file}", bundle_url=server.url + "/bundles")
        lab: Http = settings.open(house.home)
        sync = house.sync(lab=(lab, {"connections": 2}))
        house.until(lambda: delivered(sync) == 199 and sync.health()["lab"]["refused"] == 1)
        sync.stop()
        expected = {f"/{name}{suffix}" for name in captures if name != damaged for suffix in (".csv", ".json")}
        assert set(server.files) == expected
        # what came in a bundle whose answer was lost may have come once more alone, to the same address
        assert max(Counter(server.stores).values()) <= 2
    assert house.states("lab")[damaged] == "refused"


def parcel(number: int, size: int = 10, attempts: int = 0, **progress) -> Parcel:
    return Parcel(number, "", "", "", "lab", "leased", 1, size, attempts, "", progress, None, "")


def test_groups():
    assert grouped([], BUNDLE) == []
    assert [len(group) for group in grouped([parcel(n) for n in range(5)], None)] == [1] * 5
    assert [len(group) for group in grouped([parcel(n) for n in range(1000)], BUNDLE)] == [400, 400, 200]
    by_bytes = grouped([parcel(n, 1000) for n in range(250)], BUNDLE)
    assert [len(group) for group in by_bytes] == [100, 100, 50]
    mixed = [parcel(1), parcel(2, attempts=1), parcel(3, size=1001), parcel(4), parcel(5, upload="there")]
    assert [[one.id for one in group] for group in grouped(mixed, BUNDLE)] == [[1, 4], [2], [3], [5]]


@pytest.mark.parametrize(("attempts", "most"), [(0, 400), (1, 50), (2, 6), (3, 1), (1000, 1)])
def test_bundles_shrink_with_each_failure(attempts, most):
    groups = grouped([parcel(n, attempts=attempts) for n in range(400)], BUNDLE)
    assert max(map(len, groups)) == most
