"""All platforms at once: whatever fails and however often the network goes, each has each capture in the end, once."""

import contextlib
import logging
import random
import re
import time
from collections import Counter

import pytest

from tests.platforms import PICTURES, SAMPLES, Failing, Platforms, captures, expected
from tests.test_sync import House
from tests.viam import awake

TARGETS = sorted({*SAMPLES, *PICTURES})
SEED = 20261121
TRIED = re.compile(r"(\w+): (\S+): attempt (\d+) failed: \S[^\n]*")
WAITS = re.compile(r"(\w+): (\S+) has to wait \d+ s: \S[^\n]*")
NOBODY = re.compile(r"(?i)refused|no route|failed to connect")
OUTAGE = re.compile(r"(\w+) is (un)?reachable[^\n]*")


@pytest.fixture(scope="module", autouse=True)
def grpc_is_awake():
    with awake():
        yield


@pytest.mark.parametrize("count", [32, pytest.param(500, marks=pytest.mark.soak)])
def test_every_platform_has_every_capture_once(tmp_path, caplog, count):
    caplog.set_level(logging.INFO)
    times = random.Random(SEED)
    with contextlib.ExitStack() as stack:
        house = House(tmp_path, stack)
        failing = Failing(0.2, SEED)
        platforms = Platforms(tmp_path, stack, failing)
        made = captures(house.folder / "captures", count)
        with house.database.transaction(durable=True) as connection:
            house.catalogue.add(connection, [capture for capture, _ in made])
            house.outbox.owe(connection, [(capture.uuid, capture.size, targets) for capture, targets in made])
        sync = house.sync(**platforms.targets())

        def owed() -> int:
            sync.wake()  # else an idle courier looks every few seconds whether somebody's rest is over
            return sum(target["owed"] for target in sync.health().values())

        for part in (3, 2, 1):  # of four, are left when the network goes
            house.until(lambda part=part: owed() <= count * part, 300)
            platforms.down()
            time.sleep(times.uniform(0.1, 0.4))
            platforms.up()
        house.until(lambda: not owed(), 600)
        health = sync.health()
        sync.stop()
        assert platforms.there() == expected(made), "each platform has each capture, as it is here, once"

        promised = Counter(target for _, targets in made for target in targets)
        assert {name: one["delivered"] for name, one in health.items()} == promised
        assert not any(one["refused"] for one in health.values())
        for name in promised:
            assert set(house.states(name).values()) == {"delivered"}, name
        assert all(count for count in failing.failed.values()) and set(failing.failed) == set(failing.asked)

        said = [record.getMessage() for record in caplog.records if record.name.startswith("agent.")]
        tries = Counter(found.group(1, 2) for line in said if (found := TRIED.fullmatch(line)))
        assert tries == {(p.target, p.name): p.attempts for p in parcels(house) if p.attempts}, (
            "a line for each attempt"
        )
        nobody = [line for line in said if TRIED.fullmatch(line) and NOBODY.search(line)]
        assert nobody == [], "while nobody is there, no capture is to blame"
        others = [line for line in said if not any(form.fullmatch(line) for form in (TRIED, WAITS, OUTAGE))]
        assert others == [], "and nothing but lines"
        assert not any(record.exc_info for record in caplog.records)


def parcels(house: House):
    return [parcel for target in TARGETS for parcel in house.outbox.list(target, "delivered", limit=1000)]
