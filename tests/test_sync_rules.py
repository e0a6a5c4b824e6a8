import contextlib
import logging
import time

import pytest

from agent.capture import Capture
from agent.sync.conditions import Conditions
from agent.sync.delivery import Delivery, span
from agent.sync.link import Link, Links
from agent.sync.owing import Owing
from agent.sync.rules import excluded
from drivers.settings import SettingsError
from tests.captures import make_capture
from tests.test_sync import House, Scripted

SECOND = 1_000_000_000


@pytest.fixture
def house(tmp_path):
    with contextlib.ExitStack() as stack:
        house = House(tmp_path, stack)
        yield house
        stack.close()
        assert house.broken == []


def finish(house: House, owing: Owing, *captures: Capture) -> None:
    """What finishing does with captures, and the rebuild."""
    with house.database.transaction(durable=False) as connection:
        house.catalogue.add(connection, captures)
        owing.owe(connection, captures)


def owed(house: House) -> dict[str, set[str]]:
    """Targets of each capture, by its name."""
    with house.database.reading() as connection:
        rows = connection.execute("SELECT name, target FROM parcel JOIN capture ON capture.id = capture").fetchall()
    found: dict[str, set[str]] = {}
    for name, target in rows:
        found.setdefault(name, set()).add(target)
    return found


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        ({}, ""),
        ({"only_recordings": ("walk", "run")}, ""),
        ({"only_recordings": ("run",)}, "of recording walk"),
        ({"only_formats": ("csv",)}, ""),
        ({"only_formats": ("wav", "flac")}, "no wav or flac"),
        ({"only_labels": ("activity",)}, ""),
        ({"only_labels": ("activity=walking",)}, ""),
        ({"only_labels": ("activity=running", "count=3")}, ""),
        ({"only_labels": ("indoors=true",)}, ""),
        ({"only_labels": ("activity=running", "place")}, "no label activity=running or place"),
        ({"max_capture_mb": 0.002}, ""),
        ({"max_capture_mb": 0.0019}, "has 0.002 MB"),
    ],
)
def test_what_a_rule_excludes(tmp_path, rule, why):
    labels = {"activity": "walking", "count": 3, "indoors": True}
    capture = make_capture(tmp_path, b"x" * 2000, labels=labels)
    assert why in excluded(Delivery(**rule), capture)
    assert bool(why) == bool(excluded(Delivery(**rule), capture))


def test_what_is_excluded_is_never_owed_and_the_log_says_why(house, caplog):
    caplog.set_level(logging.INFO)
    owing = Owing(house.outbox, {})
    rules = {"lab": Delivery(only_labels=("activity",)), "nas": Delivery()}
    owing.change({"walk": ("lab", "nas")}, rules)
    plain = make_capture(house.folder / "captures", name="plain")
    labelled = make_capture(house.folder / "captures", name="labelled", labels={"activity": "walking"})
    finish(house, owing, plain, labelled)
    assert owed(house) == {"plain": {"nas"}, "labelled": {"lab", "nas"}}
    assert "plain is not for lab: it has no label activity" in caplog.text
    assert (owing.excluded("lab"), owing.excluded("nas")) == (1, 0)


def test_a_capture_that_no_target_wants_is_kept_and_not_taken_for_delivered(house):
    owing = Owing(house.outbox, {})
    owing.change({"walk": ("lab",)}, {"lab": Delivery(only_recordings=("run",))})
    finish(house, owing, make_capture(house.folder / "captures"))
    (entry,) = house.catalogue.find()
    assert entry.standing == "kept"


def test_a_label_that_comes_later_makes_it_owed(house):
    owing = Owing(house.outbox, {})
    owing.change({"walk": ("lab", "new")}, {"lab": Delivery(only_labels=("activity",)), "new": Delivery()})
    capture = make_capture(house.folder / "captures", name="one")
    finish(house, owing, capture)
    house.catalogue.amend(capture.uuid, lambda document: {"labels": {"place": "bay"}}, owing.owe_again)
    assert owed(house) == {"one": {"new"}}
    house.catalogue.amend(capture.uuid, lambda document: {"labels": {"activity": "walking"}}, owing.owe_again)
    assert owed(house) == {"one": {"new", "lab"}}


def test_a_recording_that_is_gone_still_owes_its_last_captures(house):
    owing = Owing(house.outbox, {})
    owing.change({"walk": ("lab", "nas")}, {"lab": Delivery(), "nas": Delivery()})
    owing.change({}, {"nas": Delivery()})
    finish(house, owing, make_capture(house.folder / "captures", name="last"))
    assert owed(house) == {"last": {"nas"}}


def test_a_capture_of_a_recording_that_is_not_configured_goes_where_it_was_to_go(house, caplog):
    owing = Owing(house.outbox, {})
    owing.change({"hike": ("lab", "nas")}, {"nas": Delivery(), "lab": Delivery(max_capture_mb=0.001)})
    folder = house.folder / "captures"
    there = make_capture(folder, name="there", targets=["gone", "nas"])
    large = make_capture(folder, b"x" * 2000, name="large", targets=["nas", "lab"])
    here = make_capture(folder, name="here", targets=[])
    known = make_capture(folder, name="known", recording="hike", targets=["gone"])
    finish(house, owing, there, large, here, known)
    assert owed(house) == {"there": {"nas"}, "large": {"nas"}, "known": {"lab", "nas"}}
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    house.outbox.settle([p.delivered({"at": "nas"}) for p in house.outbox.claim("nas", 9, lease_s=60)])
    house.catalogue.amend(there.uuid, lambda document: {"labels": {"turn": "left"}}, owing.owe_again)
    assert [parcel.capture for parcel in house.outbox.list("nas")] == [there.uuid]


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"targets": ["old", "older"]}, "no target of old, older is"),
        ({}, "the sidecar does not say which targets it was for"),
    ],
)
def test_a_capture_that_nobody_is_left_for_is_said_once_a_recording(house, caplog, more, why):
    owing = Owing(house.outbox, {})
    owing.change({"walk": ("old",)}, {"old": Delivery()})
    owing.change({"hike": ("nas",)}, {"nas": Delivery()})  # a recording and its target got other names
    finish(house, owing, *(make_capture(house.folder / "captures", name=name, **more) for name in ("one", "two")))
    assert owed(house) == {}
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "one, and what else there is of recording walk, is owed to nobody" in record.getMessage()
    assert why in record.getMessage()


def test_a_delay_is_a_rest_from_the_beginning(house):
    owing = Owing(house.outbox, {})
    owing.change({"walk": ("lab", "nas")}, {"lab": Delivery(delay_s=3600), "nas": Delivery()})
    finish(house, owing, make_capture(house.folder / "captures"))
    assert 3590 < house.outbox.due_s("lab") <= 3600
    assert house.outbox.due_s("nas") == 0
    assert house.outbox.counts()["lab"].owed == 1
    target = Scripted()
    sync = house.sync(lab=target)
    house.until(lambda: sync.health()["lab"]["state"] == "idle")
    assert target.asked == []
    sync.sync_now("lab")  # a person does not want to wait
    house.until(lambda: len(target.asked) == 1)


@pytest.mark.parametrize(
    ("window", "minutes"),
    [
        ("22:00-06:00", (1320, 360)),
        ("00:00-24:00", (0, 1440)),
        ("6:00-7:00", None),
        ("06:00", None),
        ("06:00-06:00", None),
        ("06:60-07:00", None),
        ("23:00-24:01", None),
        ("a1:00-02:00", None),
        ("01:00-02:00-03:00", None),
        ("", None),
    ],
)
def test_windows_are_read(window, minutes):
    assert span(window) == minutes
    if minutes is None:
        with pytest.raises(SettingsError, match="22:00-06:00"):
            Delivery(windows=("01:00-02:00", window))


@pytest.mark.parametrize(
    ("at", "waits"),
    [
        ("21:59", True),
        ("22:00", False),
        ("23:59", False),
        ("05:59", False),
        ("06:00", True),
        ("12:00", False),
        ("12:30", True),
    ],
)
def test_windows(at, waits):
    delivery = Delivery(windows=("22:00-06:00", "12:00-12:30"))
    conditions = Conditions("lab", delivery, Links(lambda: 0), lambda: time.strptime(at, "%H:%M"))
    assert conditions.waits_for() == ("22:00-06:00 or 12:00-12:30" if waits else "")


class Known(Links):
    """Links that are known."""

    def __init__(self, link: Link | None) -> None:
        self.known = link

    def link(self) -> Link | None:
        return self.known


@pytest.mark.parametrize(
    ("link", "unmetered", "wifi"),
    [
        (Link("wlan0", "wifi", False), "", ""),
        (Link("wlan0", "wifi", True), "an unmetered link", ""),
        (Link("eth0", "ethernet", False), "", "Wi-Fi"),
        (Link("wwan0", "gsm", True), "an unmetered link", "Wi-Fi"),
        (None, "NetworkManager to tell of the link", "NetworkManager to tell of the link"),
    ],
)
def test_links(link, unmetered, wifi):
    for wanted, waits_for in (("any", ""), ("unmetered", unmetered), ("wifi", wifi)):
        assert Conditions("lab", Delivery(link=wanted), Known(link)).waits_for() == waits_for
        trusting = Conditions("lab", Delivery(link=wanted, link_unknown="send"), Known(link))
        assert trusting.waits_for() == ("" if link is None else waits_for)


ROUTES = """Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
wwan0\t00000000\t0101A8C0\t0003\t0\t0\t700\t00000000\t0\t0\t0
wlan0\t00000000\t0100A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0
eth9\t00000000\t0100A8C0\t0002\t0\t0\t1\t00000000\t0\t0\t0
eth0\t0000A8C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0
"""
ROUTES6 = (
    f"fe80{'0' * 28} 40 {'0' * 32} 00 {'0' * 32} 00000100 00000001 00000000 00000001     eth0\n"
    f"{'0' * 32} 00 {'0' * 32} 00 fe80{'0' * 28} 00000400 00000001 00000000 00000003     usb0\n"
    f"{'0' * 32} 00 {'0' * 32} 00 {'0' * 32} ffffffff 00000001 00000000 00200200       lo\n"
)


@pytest.fixture
def nmcli(tmp_path, monkeypatch):
    """A program of that name that says what is in the file `said`, and counts how often it was asked."""
    program = tmp_path / "bin/nmcli"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\necho "$LC_ALL $*" >> {tmp_path}/asked\n'
        f'[ -e {tmp_path}/said ] || exit 8\nwhile read -r line; do echo "$line"; done < {tmp_path}/said\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    (tmp_path / "route").write_text(ROUTES)
    (tmp_path / "ipv6_route").write_text(ROUTES6)

    def say(kind: str, metered: str) -> None:
        (tmp_path / "said").write_text(f"GENERAL.DEVICE:wlan0\nGENERAL.TYPE:{kind}\nGENERAL.METERED:{metered}\n")

    return say


@pytest.mark.parametrize(
    ("said", "metered"),
    [("yes", True), ("yes (guessed)", True), ("no", False), ("no (guessed)", False), ("unknown", False)],
)
def test_nmcli_tells_of_the_device_of_the_default_route(tmp_path, nmcli, said, metered):
    nmcli("wifi", said)
    assert Links(lambda: 0, routes=tmp_path).link() == Link("wlan0", "wifi", metered)
    asked = (tmp_path / "asked").read_text()
    assert asked == "C -t -f GENERAL.DEVICE,GENERAL.TYPE,GENERAL.METERED device show wlan0\n"


def test_nmcli_is_asked_twice_a_minute(tmp_path, nmcli):
    nmcli("wifi", "no")
    now = 5 * SECOND
    links = Links(lambda: now, routes=tmp_path)
    assert not links.link().metered
    nmcli("gsm", "yes")
    now += 29 * SECOND
    assert not links.link().metered
    now += 2 * SECOND
    assert links.link().metered
    assert len((tmp_path / "asked").read_text().splitlines()) == 2


def test_ipv6_alone_and_no_route_at_all(tmp_path, nmcli):
    nmcli("ethernet", "no")
    (tmp_path / "route").write_text(ROUTES.splitlines()[0] + "\n")
    assert Links(lambda: 0, routes=tmp_path).link().device == "usb0"
    (tmp_path / "ipv6_route").unlink()
    assert Links(lambda: 0, routes=tmp_path).link() is None


def test_without_networkmanager_nothing_is_known(tmp_path, nmcli, monkeypatch):
    assert Links(lambda: 0, routes=tmp_path).link() is None, "it fails"
    (tmp_path / "said").write_text("Error: NetworkManager is not running.\n")
    assert Links(lambda: 0, routes=tmp_path).link() is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert Links(lambda: 0, routes=tmp_path).link() is None


def test_this_machines_own_routes_are_read():
    assert isinstance(Links(lambda: 0)._device(), str)


def test_a_condition_leaves_parcels_waiting_without_an_attempt_or_a_write(house, caplog, monkeypatch):
    caplog.set_level(logging.INFO)
    house.owe(20, "lab")
    target = Scripted()
    waits = "22:00-06:00"
    monkeypatch.setattr(Conditions, "waits_for", lambda self: waits)
    claimed: list[str] = []
    claim = house.outbox.claim
    monkeypatch.setattr(house.outbox, "claim", lambda *a, **k: claimed.append("claim") or claim(*a, **k))
    sync = house.sync(lab=target)
    house.until(lambda: sync.health()["lab"]["state"] == "waits for 22:00-06:00")
    for _ in range(5):
        sync.wake()
    with house.database.reading() as connection:
        (changes,) = connection.execute("PRAGMA data_version").fetchone()
    sync.wake()
    house.until(lambda: not sync._couriers["lab"]._woken)
    with house.database.reading() as connection:
        assert connection.execute("PRAGMA data_version").fetchone() == (changes,)
    assert (claimed, target.asked) == ([], [])
    assert {(p.state, p.attempts) for p in house.outbox.list("lab")} == {("waiting", 0)}
    health = sync.health()["lab"]
    assert (health["owed"], health["error"]) == (20, "")
    assert health["oldest_s"] is not None
    waits = ""
    sync.wake()
    house.until(lambda: sync.health()["lab"]["owed"] == 0)
    lines = [record.message for record in caplog.records if record.name == "agent.sync.conditions"]
    assert lines == ["lab waits for 22:00-06:00", "lab may be sent to again"]
    assert sync.health()["lab"]["state"] == "idle"


def test_when_a_window_closes_what_nobody_has_begun_waits_again(house, monkeypatch):
    house.owe(40, "lab")
    waits = "the test"
    monkeypatch.setattr(Conditions, "waits_for", lambda self: waits)

    def answer(name, progress):
        nonlocal waits
        if len(target.asked) == 3:
            waits = "an unmetered link"
            sync.wake()
            house.until(lambda: list(house.states("lab").values()).count("leased") == 1)

    target = Scripted(answer)
    sync = house.sync(lab=(target, {"connections": 1}))
    waits = ""
    sync.wake()
    house.until(lambda: sync.health()["lab"]["delivered"] == 3)
    house.until(lambda: sync.health()["lab"]["state"] == "waits for an unmetered link")
    assert len(target.asked) == 3
    assert {parcel.attempts for parcel in house.outbox.list("lab")} == {0}


def test_a_target_that_waits_holds_up_no_other(house, nmcli, tmp_path):
    nmcli("gsm", "yes")
    house.owe(10, "lab", "nas")
    sync = house.sync(lab=(Scripted(), {"windows": ("00:00-24:00",)}), nas=(Scripted(), {"link": "wifi"}))
    house.until(lambda: sync.health()["lab"]["owed"] == 0)
    house.until(lambda: sync.health()["nas"]["state"].startswith("waits for"))


def test_in_toml(tmp_path):
    from agent.config.errors import ConfigError
    from agent.config.loading import load

    text = """
        [stream.imu]
        driver = "mpu6050"
        bus = "virtual"
        [recording.walk]
        streams = ["imu"]
        targets = ["lab"]
        [target.lab]
        kind = "directory"
        path = "/mnt"
        only_labels = ["activity=walking"]
        windows = ["22:00-06:00"]
        link = "unmetered"
        delay_s = 60
    """
    path = tmp_path / "config.toml"
    path.write_text(text)
    delivery = load(path).targets["lab"].delivery
    assert (delivery.only_labels, delivery.windows, delivery.link) == (
        ("activity=walking",),
        ("22:00-06:00",),
        "unmetered",
    )
    path.write_text(text.replace("22:00-", "22-").replace('"unmetered"', '"free"'))
    with pytest.raises(ConfigError) as error:
        load(path)
    assert {mistake.path.partition("[")[0] for mistake in error.value.mistakes} == {
        "target.lab.windows",
        "target.lab.link",
    }
