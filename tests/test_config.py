"""The configuration: every mistake at once, types as they are written, and an example that is whole."""

import copy
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.config.errors import written
from agent.config.example import example
from agent.config.loading import AgentSettings, Config, ConfigError, load
from agent.config.modules import DRIVERS, TARGETS
from agent.config.options import described
from agent.recording import RecordingSettings
from agent.sync import Delivery

GOOD = """
[agent]
device = "bay3"
data_dir = "/data"

[stream.imu]
driver = "mpu6050"
bus = "virtual"
rate_hz = 1000
accel_range_g = 4
virtual.seed = 7

[stream.cam]
driver = "picamera"
camera = "virtual"
interval_s = 1

[recording.walk]
streams = ["imu"]
format = ["csv", { kind = "mcap" }]
length_s = 5
labels = { activity = "walking", laps = 3, outside = true }
targets = ["archive"]

[recording.photos]
streams = "cam"
format = "jpeg"

[target.archive]
kind = "directory"
path = "/mnt/nas"
"""


def read(tmp_path: Path, text: str) -> Config:
    path = tmp_path / "config.toml"
    path.write_text(text)
    return load(path)


def mistakes(tmp_path: Path, text: str) -> dict[str, str]:
    """What is said of each path."""
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    said = {mistake.path: str(mistake) for mistake in caught.value.mistakes}
    assert len(said) == len(caught.value.mistakes), "one path is reported twice"
    return said


def test_a_good_file_becomes_settings(tmp_path: Path) -> None:
    config = read(tmp_path, GOOD)
    assert config.agent.device == "bay3"
    assert config.agent.data_dir == Path("/data")
    assert config.agent.durable_every_s == AgentSettings().durable_every_s
    imu: Any = config.streams["imu"].settings
    assert (imu.bus, imu.rate_hz, imu.accel_range_g, imu.virtual.seed) == ("virtual", 1000.0, 4, 7)
    assert isinstance(imu.rate_hz, float)
    assert not config.streams["imu"].pictures
    assert config.streams["cam"].pictures
    walk = config.recordings["walk"]
    assert walk.streams == ("imu",)
    assert walk.labels == {"activity": "walking", "laps": 3, "outside": True}
    assert list(config.formats["walk"]) == ["csv", "mcap"]
    assert config.recordings["photos"].streams == ("cam",), "one value stands for a list of one"
    assert config.targets["archive"].kind == "directory"
    assert config.targets["archive"].delivery == Delivery(undated="send", after_rebuild="send")


@pytest.mark.parametrize(
    ("free_floor_bytes", "free_floor_percent", "stays_free"),
    [(50_000_000, 10, 100_000_000), (200_000_000, 10, 200_000_000), (0, 0, 1_000_000), (10, 0.01, 1_000_000)],
)
def test_the_larger_floor_stays_free_and_never_nothing(
    free_floor_bytes: int, free_floor_percent: float, stays_free: int
) -> None:
    settings = AgentSettings(free_floor_bytes=free_floor_bytes, free_floor_percent=free_floor_percent)
    assert settings.free_floor(1_000_000_000) == stays_free


def test_six_different_mistakes_are_six_reports(tmp_path: Path) -> None:
    said = mistakes(
        tmp_path,
        """
        [agent]
        durable_every_s = "often"
        [stream.imu]
        driver = "mpu6050"
        rate_hzz = 100
        accel_range_g = 3
        [stream.cam]
        driver = "picam"
        [recording.walk]
        streams = ["imo"]
        targets = ["archive"]
        [target.archive]
        kind = "directory"
        """,
    )
    assert set(said) == {
        "agent.durable_every_s",
        "stream.imu.rate_hzz",
        "stream.imu.accel_range_g",
        "stream.cam.driver",
        "recording.walk.streams[0]",
        "target.archive.path",
    }
    assert said["agent.durable_every_s"] == 'agent.durable_every_s = "often": a number, 0.1 to 60'
    assert "= 100: there is no such option; did you mean rate_hz?" in said["stream.imu.rate_hzz"]
    assert "= 3: one of 2, 4, 8, 16" in said["stream.imu.accel_range_g"]
    assert "did you mean picamera?" in said["stream.cam.driver"]
    assert "did you mean imu?" in said["recording.walk.streams[0]"]
    assert "is required: folder that gets the captures" in said["target.archive.path"]


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("agent.ring_s", '"10"'),
        ("agent.ring_s", "true"),
        ("agent.ring_s", "inf"),
        ("agent.ring_bytes", "1e6"),
        ("agent.ring_bytes", "99"),
        ("agent.device", "5"),
        ("agent.device_id", '"xyz"'),
        ("agent.give_up_undelivered", "1"),
        ("stream.imu.bus", "true"),
        ("stream.imu.virtual", "3"),
        ("stream.imu.virtual.seed", "1.5"),
        ("stream.imu.virtual.faults[1]", None),
        ("recording.walk.labels.activity", "[1]"),
        ("recording.walk.format[0]", '"cvs"'),
        ("recording.walk.targets[0]", '"archiv"'),
        ("target.archive.layout", '"{day}/{file}"'),
    ],
)
def test_types_and_bounds_are_strict(tmp_path: Path, option: str, value: str | None) -> None:
    document = tomllib.loads(GOOD)
    path = option.partition("[")[0].split(".")
    table: Any = document
    for key in path[:-1]:
        table = table[key]
    if option.endswith("[1]"):
        table[path[-1]] = ["5 unplug 2", 4]
    else:
        table[path[-1]] = tomllib.loads(f"x = {value}")["x"]
    assert list(mistakes(tmp_path, toml(document))) == [option]


def test_a_wrong_type_does_not_hide_another_mistake(tmp_path: Path) -> None:
    said = mistakes(tmp_path, GOOD.replace("length_s = 5", 'length_s = -5\nlength_samples = "x"\nwhen = "never"'))
    assert set(said) == {"recording.walk.length_s", "recording.walk.length_samples", "recording.walk.when"}


def test_names_of_tables(tmp_path: Path) -> None:
    said = mistakes(tmp_path, GOOD + "[streams.x]\n[recording.'A b']\nstreams = ['imu']\n")
    assert "did you mean stream?" in said["streams"]
    assert "a-z" in said["recording.A b"]
    assert "at least one" in mistakes(tmp_path, "[agent]\n")["stream"]
    assert "[stream.NAME]" in mistakes(tmp_path, "stream = 3\n")["stream"]
    assert "[stream.NAME]" in mistakes(tmp_path, "[stream]\nimu = 3\n")["stream.imu"]


def test_formats_must_fit_their_streams(tmp_path: Path) -> None:
    assert "imu is no camera" in mistakes(tmp_path, GOOD.replace('"csv"', '"jpeg"'))["recording.walk.format[0]"]
    said = mistakes(tmp_path, GOOD.replace('format = "jpeg"', ""))["recording.photos.format[0]"]
    assert "did you mean jpeg?" in said
    mixed = GOOD.replace('streams = "cam"', 'streams = ["cam", "imu"]')
    assert "either cameras or sensors" in mistakes(tmp_path, mixed)["recording.photos.streams"]
    assert "each format once" in mistakes(tmp_path, GOOD.replace('"mcap"', '"csv"'))["recording.walk.format[1]"]


def test_two_streams_cannot_share_a_device(tmp_path: Path) -> None:
    real = GOOD.replace('bus = "virtual"', "bus = 1")
    again = real.replace("[stream.cam]", '[stream.imu2]\ndriver = "mpu6050"\nbus = 1\n[stream.cam]')
    assert "stream imu" in mistakes(tmp_path, again)["stream.imu2.address"]
    assert read(tmp_path, again.replace("bus = 1\n[stream.cam]", "bus = 1\naddress = 0x69\n[stream.cam]"))
    assert read(tmp_path, again.replace("bus = 1", 'bus = "virtual"'))


def test_pictures_named_by_second_come_once_a_second(tmp_path: Path) -> None:
    faster = GOOD.replace("interval_s = 1", "interval_s = 0.5")
    assert "2 a second" in mistakes(tmp_path, faster)["recording.photos.picture_name"].replace("not 2", "2 a second")
    assert read(tmp_path, faster.replace('format = "jpeg"', 'format = "jpeg"\npicture_name = "full"'))
    second = '[stream.cam2]\ndriver = "picamera"\ncamera = "virtual"\ninterval_s = 1\n[recording.photos]'
    both = GOOD.replace("[recording.photos]", second).replace('streams = "cam"', 'streams = ["cam", "cam2"]')
    assert "recording.photos.picture_name" in mistakes(tmp_path, both)


def test_files_that_are_no_toml(tmp_path: Path) -> None:
    said = mistakes(tmp_path, "[agent]\ndevice = \n")
    assert "line 2" in next(iter(said.values()))
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path / "none.toml")
    (tmp_path / "latin.toml").write_bytes(b'[agent]\ndevice = "\xe4"\n')
    with pytest.raises(ConfigError, match="UTF-8"):
        load(tmp_path / "latin.toml")


def test_a_module_of_a_third_party_may_fail_to_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "site"
    (folder / "broken-1.dist-info").mkdir(parents=True)
    (folder / "broken-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1\n")
    (folder / "broken-1.dist-info" / "entry_points.txt").write_text(
        "[capture_agent.drivers]\nbroken = broken_driver\nempty = empty_driver\nthird = third_driver\n"
    )
    (folder / "broken_driver.py").write_text("raise RuntimeError('no such chip')\n")
    (folder / "empty_driver.py").write_text("")
    (folder / "third_driver.py").write_text(
        "import dataclasses\nfrom drivers.settings import option\n\n@dataclasses.dataclass(frozen=True)\n"
        "class Settings:\n    depth: int = option('m', 3)\n    def __post_init__(self):\n"
        "        if self.depth > 5:\n            raise ValueError('too deep')\n"
    )
    monkeypatch.syspath_prepend(str(folder))
    said = mistakes(
        tmp_path,
        '[stream.a]\ndriver = "broken"\n[stream.b]\ndriver = "empty"\n[stream.c]\ndriver = "third"\ndepth = 9\n',
    )
    assert "RuntimeError: no such chip" in said["stream.a.driver"]
    assert "no dataclass Settings" in said["stream.b.driver"]
    assert "too deep" in said["stream.c"]
    assert read(tmp_path, '[stream.c]\ndriver = "third"\n').streams["c"].settings


values = st.recursive(
    st.none().map(lambda _: "") | st.text(max_size=8) | st.integers() | st.floats() | st.booleans(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


_EXAMPLE = tomllib.loads(example())


def _known() -> list[str]:
    found = [f"agent.{o.path}" for o in described(AgentSettings)]
    found += [f"recording.walk.{o.path}" for o in described(RecordingSettings)]
    for family, path, key in ((DRIVERS, "stream", "driver"), (TARGETS, "target", "kind")):
        for name in family.names:
            found += [f"{path}.{name}.{o.path}" for o in described(family.find(name).Settings)]
            found.append(f"{path}.{name}.{key}")
    return found + [f"target.http.{o.path}" for o in described(Delivery)] + ["agent", "stream", "target.http", "other"]


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.dictionaries(st.sampled_from(_known()), values, min_size=1, max_size=4))
def test_whatever_stands_there_it_loads_or_says_what_is_wrong(tmp_path: Path, changes: dict[str, Any]) -> None:
    document = copy.deepcopy(_EXAMPLE)
    for path, value in changes.items():
        table: Any = document
        *tables, name = path.split(".")
        for key in tables:
            table = table.setdefault(key, {}) if isinstance(table, dict) else {}
        if isinstance(table, dict):
            table[name] = value
    try:
        assert read(tmp_path, toml(document))
    except ConfigError as error:
        assert error.mistakes
        assert all(mistake.path and mistake.allowed for mistake in error.mistakes), error


def toml(document: dict[str, Any]) -> str:
    """A document as TOML, a line for each top-level key."""
    return "".join(f"{re.sub('^{ | }$', '', written({key: value}, 1 << 30))}\n" for key, value in document.items())


def test_the_example_loads_and_so_it_does_with_every_option(tmp_path: Path) -> None:
    text = example()
    config = read(tmp_path, text)
    assert set(config.streams) == set(DRIVERS.names)
    assert set(config.targets) == set(TARGETS.names)
    whole = re.sub(r"^#(?=[a-z\[])", "", text, flags=re.MULTILINE)
    assert read(tmp_path, whole).agent == config.agent
    document = tomllib.loads(whole)
    for kind, table in (
        (AgentSettings, document["agent"]),
        *((RecordingSettings, table) for table in document["recording"].values()),
        *((DRIVERS.find(table["driver"]).Settings, table) for table in document["stream"].values()),
        *((TARGETS.find(table["kind"]).Settings, table) for table in document["target"].values()),
        *((Delivery, table) for table in document["target"].values()),
    ):
        for option in described(kind):
            there = table
            for key in option.path.split("."):
                assert key in there, f"{option.path} of {kind} is not in the example"
                there = there[key]
            assert option.doc, f"{option.path} of {kind} has no description"


def test_the_example_in_the_repository_is_the_one_that_is_made() -> None:
    assert (Path(__file__).parents[1] / "config.example.toml").read_text() == example(), "run `make example`"
