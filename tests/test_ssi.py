"""The SSI driver over pseudo-terminals: both versions, exact rows, damage, restarts and devices found streaming."""

import itertools
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from drivers import Block, DriverError, Identity, Samples, SettingsError, boottime_ns
from drivers.ports.virtual.motion import Motion
from drivers.ports.virtual.uart import VirtualLine
from drivers.ssi import Settings, Ssi, VirtualSsi
from tests import flight
from tests.contracts.driver import PATIENCE_S, DriverContract, read_blocks
from tests.models.ssi import DTYPE, ScriptedDevice, Tally, as_samples, one_in_ten, one_percent, packets


def motion(first: int, count: int) -> Samples:
    return Motion(1, 1000.0).rows(first, count).view(DTYPE).reshape(-1)


@contextmanager
def started(
    port: str = "virtual", virtual: dict[str, Any] | None = None, **options: Any
) -> Iterator[tuple[Ssi, Identity]]:
    driver = Settings(port, virtual=VirtualSsi(**{"rate_hz": 1000.0, **(virtual or {})}), **options).open()
    try:
        yield driver, driver.start()
    finally:
        driver.close()


def read_until(driver: Ssi, enough: int) -> list[Block]:
    blocks = read_blocks(driver, 1)
    while blocks[-1].end < enough:
        blocks += read_blocks(driver, 1)
    return blocks


def joined(blocks: list[Block]) -> Samples:
    return np.concatenate([block.samples for block in blocks])


class _Contract(DriverContract):
    version = 2

    def settings(self, **virtual: Any) -> Settings:
        return Settings("virtual", virtual=VirtualSsi(version=self.version, rate_hz=1000.0, **virtual))

    def expected(self, first: int, count: int) -> Samples:
        return motion(first, count)


class TestVersion2(_Contract):
    pass


class TestVersion1(_Contract):
    version = 1


def test_identity_is_what_the_device_announces() -> None:
    with started(virtual={"samples_per_packet": 4}, accel_lsb_per_g=4096, gyro_lsb_per_dps=16.4) as (_, identity):
        assert (identity.model, identity.rate_hz) == ("SSI v2 device", 1000.0)
        assert identity.setup == {
            "protocol": "SSI v2",
            "samples_per_packet": 4,
            "data_type": "int16",
            "channel": 0,
        }
        first, last = identity.channels[0], identity.channels[-1]
        assert (first.name, first.unit, first.scale) == ("AccelerometerX", "g", 1 / 4096)
        assert (last.name, last.unit, last.scale) == ("GyroscopeZ", "deg/s", 1 / 16.4)
    with started(virtual={"version": 1}) as (_, identity):
        assert identity.model == "SSI v1 device"
        assert {channel.unit for channel in identity.channels} == {""}, "what a raw value is worth is not announced"


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("rows", [1, 8, 32])
def test_rows_at_full_speed_are_those_that_were_sent(version: int, rows: int) -> None:
    count = 40_000 // rows
    virtual = {"version": version, "samples_per_packet": rows, "flat_out": True, "packets": count}
    with started(virtual=virtual) as (driver, _):
        blocks = read_until(driver, count * rows)
    assert [block.lost for block in blocks] == [0] * len(blocks)
    assert np.array_equal(joined(blocks), motion(0, count * rows))


@flight.needed
@pytest.mark.parametrize("version", [1, 2])
def test_a_real_flight_arrives_identical(version: int) -> None:
    sent = Motion(1, 100.0, **flight.REPLAY)
    count = 7646
    virtual = {"version": version, "samples_per_packet": 2, "flat_out": True, "packets": count // 2}
    with started(virtual=virtual | flight.REPLAY) as (driver, _):
        samples = joined(read_until(driver, count))
    assert np.array_equal(samples, sent.rows(0, count).view(DTYPE).reshape(-1))
    assert np.abs(samples["AccelerometerX"].astype(int)).max() > 10_000


def test_a_late_line_keeps_its_order() -> None:
    with started(virtual={"delay_s": 0.08, "clock_ppm": 15_000.0}) as (driver, _):
        blocks = read_until(driver, 200)
    assert np.array_equal(joined(blocks), motion(0, blocks[-1].end))


@pytest.mark.parametrize("damage", ["one in ten", "one percent"])
def test_damage_on_the_line(damage: str) -> None:
    whole = packets(3000, 8)
    chance = random.Random(5)
    sent, bad = one_in_ten(whole, chance, ("flip", "drop")) if damage == "one in ten" else one_percent(whole, chance)
    last = max(set(range(len(whole))) - bad)
    with ScriptedDevice(b"".join(sent), rows=8) as device, started(device.path) as (driver, _):
        blocks = read_until(driver, (last - 10) * 8)
        while more := driver.read(0.3):
            blocks.append(more)
    tally = Tally(whole, bad, blocks, 8)
    assert not tally.missing
    assert len(tally.invented) == 0 or damage == "one percent"
    assert tally.accepted <= 0.05 * len(bad)
    assert tally.counts_on()
    assert last < tally.end <= len(whole)


def test_the_last_packet_before_a_pause_is_not_held_back() -> None:
    with started(virtual={"rate_hz": 40.0, "samples_per_packet": 2}) as (driver, _):
        blocks = read_blocks(driver, 6)
    late = np.diff([block.observed_ns for block in blocks[2:]]) / 1e9
    assert all(block.count == 2 for block in blocks[2:])
    assert np.all(late > 0.03), "each by itself"


def test_a_device_found_streaming_is_connected_anew() -> None:
    line = VirtualLine("ssi", VirtualSsi(rate_hz=1000.0).document())
    try:
        with started(line.path) as (driver, _):
            before = read_blocks(driver, 2)
            driver.port.close()  # as when the daemon is killed: nobody says disconnect
        with started(line.path) as (driver, _):
            after = read_blocks(driver, 2)
    finally:
        line.close()
    assert before[0].first == after[0].first == 0
    sent = joined(after)
    at = next(n for n in range(before[-1].end, 20_000) if motion(n, 1)[0] == sent[0])
    assert np.array_equal(sent, motion(at, len(sent))), "its numbers, and rows, went on"


def test_closing_sends_disconnect() -> None:
    with ScriptedDevice(b"".join(packets(20, 8)), rows=8) as device:
        with started(device.path) as (driver, _):
            read_blocks(driver, 1)
        deadline = boottime_ns() + int(PATIENCE_S * 1e9)
        while not device.heard.endswith(b"disconnect"):
            assert boottime_ns() < deadline
    assert device.heard == b"connectdisconnect"


def test_a_device_that_reboots_is_connected_again() -> None:
    other = packets(300, 8, seed=9)
    with ScriptedDevice(b"".join(packets(300, 8)), b"".join(other), rows=8) as device:
        with started(device.path) as (driver, _):
            blocks = read_until(driver, 2400)
            device.reboot()
            while not blocks[-1].segment:
                blocks += read_blocks(driver, 1)
            again = [blocks[-1], *read_blocks(driver, 1)]
    assert blocks[-1].exact is False
    assert blocks[-1].first == blocks[-2].end + blocks[-1].lost
    assert np.array_equal(joined(again), as_samples(other)[: sum(b.count for b in again)])
    assert driver.counters["device_restarts"] == 1


def test_version_1_realigns_after_damage() -> None:
    rows = motion(0, 800)
    first = rows[:400].tobytes()
    damaged = {
        "a byte lost before a pause": first[:-1],
        "an overrun": first[:-40] + b"\n\n\nOverrun!\n\n\n",
        "a reboot": first + b'{"version":1,"sample_rate":1000,"samples_per_packet":8,"column_location":{"A":0}}\n',
    }
    for what, stream in damaged.items():
        with ScriptedDevice(stream, rows[400:].tobytes(), rows=8, version=1, rate_hz=1000) as device:
            with started(device.path) as (driver, _):
                blocks = read_blocks(driver, 1)
                while not blocks[-1].segment:
                    blocks += read_blocks(driver, 1)
        old = joined([b for b in blocks if b.segment == 0])
        new = joined([b for b in blocks if b.segment == 1])
        assert np.array_equal(old, rows[: len(old)]), what
        assert 390 <= len(old) <= 400, what
        assert np.array_equal(new, rows[400 : 400 + len(new)]), what
        after = next(b for b in blocks if b.segment == 1)
        assert not after.exact, what
        assert after.first == len(old) + after.lost, what
        assert driver.counters["realignments"] == 1, what


def test_a_slow_host_loses_whole_packets_and_knows_how_many() -> None:
    with started(virtual={"rate_hz": 1e5, "samples_per_packet": 32}) as (driver, _):
        blocks = read_until(driver, 1000)
        time.sleep(0.5)  # more than the kernel's buffers hold
        blocks += read_until(driver, blocks[-1].end + 60_000)
    assert driver.counters["lost_packets"] > 0
    assert driver.counters["garbage_bytes"] == 0
    whole = Motion(1, 1e5)
    for block in blocks:
        assert block.exact
        expected = whole.rows(block.first, block.count).view(DTYPE).reshape(-1)
        assert np.array_equal(block.samples, expected), "each row has the index at which it was taken"


def test_garbled_packets_are_not_believed() -> None:
    with started(virtual={"faults": ("0 garble 60",)}) as (driver, _):
        blocks = read_until(driver, 250)
    # the first packets may be garbled: then the first good one has index 0
    base = next(n for n in range(100) if motion(8 * n, 1)[0] == blocks[0].samples[0]) * 8
    right = [block for block in blocks if np.array_equal(block.samples, motion(base + block.first, block.count))]
    assert len(right) >= 0.9 * len(blocks)
    assert driver.counters["bad_checksums"] > 2
    assert [b.first for b in blocks[1:]] == [a.end + b.lost for a, b in itertools.pairwise(blocks)]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"", "it is silent"),
        (b'{"column_location":{"X":0},"samples_per_packet":1}\n', "sample_rate is None"),
    ],
)
def test_start_says_what_it_saw_instead(line: bytes, message: str) -> None:
    with ScriptedDevice(rows=8, line=line, deaf=True) as device, pytest.raises(DriverError, match=message):
        with started(device.path, connect_timeout_s=1):
            pass


@pytest.mark.parametrize(
    ("options", "wrong"),
    [
        ({"port": "ttyACM0"}, "port"),
        ({"port": "virtual", "baud": 0}, "baud"),
        ({"port": "virtual", "channel": 4}, "channel"),
        ({"port": "virtual", "connect_timeout_s": 60}, "connect_timeout_s"),
    ],
)
def test_wrong_settings_are_refused_at_once(options: dict[str, Any], wrong: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings(**options)
    assert [name for name, _, _ in caught.value.mistakes] == [wrong]


def test_wrong_virtual_settings_are_refused_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        VirtualSsi(version=3, rate_hz=0, samples_per_packet=0)
    assert {name for name, _, _ in caught.value.mistakes} == {"version", "rate_hz", "samples_per_packet"}


@pytest.mark.alone
def test_the_same_settings_find_the_device_again_when_it_is_plugged_in() -> None:
    settings = Settings("virtual", virtual=VirtualSsi(rate_hz=1000.0, faults=("0.6 unplug 0.5",)))
    messages, block = [], None
    deadline = boottime_ns() + int(PATIENCE_S * 1e9)
    while not messages or block is None:
        assert boottime_ns() < deadline
        driver = None
        try:
            driver = settings.open()
            driver.start()
            while (block := driver.read(0.2)) is None or not messages:
                pass
        except DriverError as error:
            messages.append(str(error))
            block = None
        finally:
            if driver is not None:
                driver.close()
    assert "the device is gone" in messages[0]
    assert np.array_equal(block.samples, motion(0, block.count)), "power was off: it counts from its first row again"
