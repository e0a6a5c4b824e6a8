"""Tags from streams: what GPS and environment said last, in EXIF, sidecars and metadata, as long as it is fresh."""

import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent import exif
from agent.clock import Clock
from agent.config.errors import ConfigError
from agent.config.loading import load
from agent.ring import Ring
from agent.stream import Stream
from agent.surroundings import Surroundings
from drivers import Block, Channel, Identity
from drivers.bme280 import Settings
from drivers.ports.virtual.nmea import fix
from tests.running import Running

S = 1_000_000_000
GPS = Identity(
    "GPS", 1.0, tuple(Channel(name, unit, "<f8") for name, unit in (("Latitude", "deg"), ("Longitude", "deg")))
)
ENV = Identity("BME280", 1.0, (Channel("Temperature", "Celsius", "<f4"), Channel("Humidity", "%", "<f4")))


class Fed:
    """A stream that a test feeds."""

    def __init__(self, name: str, identity: Identity) -> None:
        self.stream = Stream(
            name, "driver", Settings(bus="virtual"), ring=Ring(10.0, 1_000_000), clock=Clock(), jitter=random.Random(1)
        )
        self.stream._begin(identity)
        self._dtype = identity.dtype
        self._next = 0

    def feed(self, at_s: float, *rows: tuple[float, ...]) -> "Fed":
        samples = np.array(list(rows), self._dtype)
        self.stream._take(Block(self._next, samples, int(at_s * S), self._next + len(rows) - 1))
        self._next += len(rows)
        return self


def test_the_newest_values_are_known_by_their_names() -> None:
    gps = Fed("gps", GPS).feed(1, (47.1, 8.1)).feed(2, (47.2, 8.2))
    env = Fed("env", ENV).feed(1.5, (20.9, 40.0), (21.3, 41.5))
    known = Surroundings([gps.stream, env.stream], 60).at(3 * S)
    assert known.metadata == {"Latitude": 47.2, "Longitude": 8.2, "Temperature": 21.3, "Humidity": 41.5}
    assert known.tags == {"latitude": 47.2, "longitude": 8.2, "temperature_c": 21.3, "humidity_percent": 41.5}


def test_what_is_too_old_or_was_never_there_is_absent() -> None:
    gps, env = Fed("gps", GPS), Fed("env", ENV).feed(10, (21.3, math.nan))
    surroundings = Surroundings([gps.stream, env.stream], 5)
    assert surroundings.at(15 * S).metadata == {"Temperature": pytest.approx(21.3)}
    assert surroundings.at(15 * S + 1) == ({}, {})
    assert surroundings.at(4 * S) == ({}, {}), "nor what is of much later"
    gps.feed(15, (47.0, 8.0))
    assert surroundings.at(16 * S).tags == {"latitude": 47.0, "longitude": 8.0}


def test_a_lost_fix_leaves_the_last_one_until_it_is_too_old() -> None:
    gps = Fed("gps", GPS).feed(10, (47.0, 8.0)).feed(11, (math.nan, math.nan))
    surroundings = Surroundings([gps.stream], 5)
    assert surroundings.at(12 * S).tags == {"latitude": 47.0, "longitude": 8.0}
    gps.feed(14, (math.nan, math.nan))
    assert surroundings.at(14 * S).tags == {"latitude": 47.0, "longitude": 8.0}
    gps.feed(16, (math.nan, math.nan))
    assert surroundings.at(16 * S).tags == {}


def test_of_two_alike_the_first_is_the_tag_and_both_are_named_after_their_streams() -> None:
    inside, outside = Fed("inside", ENV).feed(1, (30.0, 20.0)), Fed("outside", ENV).feed(1, (5.0, 80.0))
    known = Surroundings([outside.stream, inside.stream], 60).at(S)
    assert known.tags == {"temperature_c": 5.0, "humidity_percent": 80.0}
    assert known.metadata["inside_Temperature"] == 30.0
    assert known.metadata["outside_Temperature"] == 5.0


def test_raw_values_become_physical_and_other_units_are_no_tags() -> None:
    channels = (
        Channel("Temperature", "Fahrenheit"),
        Channel("Battery", "%", "|u1"),
        Channel("Voltage", "V", scale=0.004),
    )
    one = Fed("one", Identity("board", 1.0, channels)).feed(1, (70, 83, 925))
    known = Surroundings([one.stream], 60).at(S)
    assert known.metadata == {"Temperature": 70, "Battery": 83, "Voltage": 3.7}
    assert known.tags == {"battery_percent": 83}


CONFIG = """
[stream.cam]
driver = "picamera"
camera = "virtual"
interval_s = 1
width = 320
height = 240

[stream.gps]
driver = "nmea"
port = "virtual"
rate_hz = 10
[stream.gps.virtual]
rate_hz = 10

[stream.env]
driver = "bme280"
bus = "virtual"
rate_hz = 10

[recording.photos]
streams = ["cam"]
format = ["jpeg"]
tags_from = ["gps", "env"]
metadata = { Pressure = "of no interest" }

[recording.climate]
streams = ["env"]
tags_from = ["gps"]
"""


def test_pictures_and_sidecars_say_where_and_in_what_they_were_taken(tmp_path: Path) -> None:
    with Running(tmp_path, CONFIG) as daemon:
        daemon.until(lambda status: status["recordings"]["photos"]["finished"] >= 3)
        daemon.finish()
        pictures, climate = daemon.captures("photos"), daemon.captures("climate")
        assert daemon.terminate()[0] == 0
    found = [exif.read(picture.path(picture.payloads[0]).read_bytes()) for picture in pictures]
    last = max(range(len(pictures)), key=lambda n: pictures[n].document["start"]["boot_time_ns"])
    picture, tags = pictures[last], found[last]
    middle = fix(
        {"rate_hz": 10, "outage_every_s": 0, "cold_s": 0, "begins": 0, "latitude": 47.38, "longitude": 8.54}, 0
    )
    assert tags["latitude"] == pytest.approx(middle.latitude, abs=0.002)
    assert tags["longitude"] == pytest.approx(middle.longitude, abs=0.002)
    assert 400 < tags["altitude_m"] < 420
    comment: dict[str, Any] = tags["comment"]
    assert list(comment) == ["v", "T", "H", "L", "lat", "lng", "a", "cfg", "cap"]
    assert comment["T"] == f"{picture.document['metadata']['Temperature']:.1f}"
    assert comment["lat"] == f"{picture.document['metadata']['Latitude']:.5f}"
    assert picture.document["streams"][0]["picture"]["humidity_percent"] == picture.document["metadata"]["Humidity"]
    assert picture.document["metadata"]["Pressure"] == "of no interest", "what people said counts"
    assert picture.document["metadata"]["Satellites"] == 9
    assert "Latitude" in climate[0].document["metadata"] or len(climate) == 1, "as it was when it began"
    assert pictures[0].document["configuration"] == picture.document["configuration"], "tags are no set-up"


def test_tags_come_from_streams_of_samples_that_there_are(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(CONFIG.replace('tags_from = ["gps", "env"]', 'tags_from = ["gsp", "cam"]\ntags_age_s = 0'))
    with pytest.raises(ConfigError) as caught:
        load(config)
    said = str(caught.value)
    assert "recording.photos.tags_from[0]" in said
    assert "recording.photos.tags_from[1]" in said
    assert "tags_age_s" in said
