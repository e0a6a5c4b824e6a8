"""SensiML's capture configuration, and what its settings say of a recording before there is a capture."""

import pytest

from agent.capture import CaptureConfiguration
from agent.targets._sensiml_configuration import version_3
from agent.targets.sensiml import Settings
from drivers import Channel, Identity
from drivers.settings import SettingsError
from tests.contracts.target import put
from tests.sensiml import recorded, serving
from tests.test_config import mistakes as said_of
from tests.test_config_targets import with_target


@pytest.fixture
def far(tmp_path):
    with serving(tmp_path) as server:
        yield server


def test_version_3():
    motion = Identity(
        "ICM-20948",
        104.0,
        tuple(Channel(f"{sensor}{axis}") for sensor in ("Accelerometer", "Gyroscope") for axis in "XYZ"),
        {"accel_range_g": 8, "gyro_range_dps": 500, "filter": "42 Hz", "divider": 70000, "on": True, "k": -1},
    )
    heat = Identity("BME280", 0.2, (Channel("Temperature"), Channel("Humidity")), {"oversampling": 4})
    configuration = CaptureConfiguration.of("bay3-imu", [(i, [c.name for c in i.channels]) for i in (motion, heat)])
    made = version_3(configuration.as_json())
    assert made["uuid"] == configuration.uuid
    assert made["name"] == f"bay3-imu {configuration.uuid[:8]}"
    document = made["configuration"]
    assert document["version"] == 3
    assert document["protocol_uuid"] == "5b2ffd03-7793-4f46-a91b-b515f1e4c837"
    assert document["capture_agent"] == configuration.document
    first, second = document["capture_sources"]
    assert (first["name"], first["part"], first["sample_rate"]) == ("Motion", "ICM-20948", 104)
    accelerometer, gyroscope = first["sensors"]
    assert accelerometer == {
        "type": "Accelerometer",
        "sensor_id": 0,
        "column_count": 3,
        "column_names": ["X", "Y", "Z"],
        "can_live_stream": False,
        "parameters": [
            {"name": "Sensor Range", "value": 8, "num_bytes": 1, "units": "G"},
            {"name": "divider", "value": 70000, "num_bytes": 4},
        ],
    }
    assert gyroscope["parameters"] == [{"name": "Sensor Range", "value": 500, "num_bytes": 2, "units": "DPS"}]
    assert (second["name"], second["sample_rate"]) == ("Sensor", 1), "a whole number of at least one"
    assert [(s["type"], s["column_names"], s["column_count"]) for s in second["sensors"]] == [
        ("Temperature", [], 1),
        ("Humidity", [], 1),
    ]


@pytest.mark.parametrize(
    "columns",
    [
        ["AccelerometerX", "AccelerometerY", "AccelerometerZ", "GyroscopeX"],
        ["left_AccelerometerX", "right_AccelerometerX", "X", "Temperature", "channel_0", "channel_1", "IndexX"],
        ["AX", "B", "AY"],
    ],
)
def test_type_and_suffix_are_the_column(columns):
    """The server puts them together, and knows the file's columns by that."""
    identity = Identity("any", 10.0, tuple(map(Channel, columns)))
    made = version_3(CaptureConfiguration.of("x", [(identity, columns)]).as_json())
    sensors = made["configuration"]["capture_sources"][0]["sensors"]
    assert [s["type"] + suffix for s in sensors for suffix in s["column_names"] or [""]] == columns


def test_two_set_ups_of_one_recording_have_two_names(far, tmp_path):
    for rate_hz in (100.0, 200.0):
        identity = Identity("IMU", rate_hz, (Channel("A"),))
        put(
            far.open(), recorded(tmp_path, configuration=CaptureConfiguration.of("walk", [(identity, ["A"])]).as_json())
        )
    assert len({c["name"] for c in far.project.configurations.values()}) == 2


# what a configuration is told beforehand

TARGET = 'kind = "sensiml"\nproject = "bay"\nsecret_file = "key"'


@pytest.mark.parametrize(
    ("old", "new", "path", "reason"),
    [
        ('activity = "walking"', 'activity = "walk/run"', "labels", "0-9, _, ., :, - and spaces (target far)"),
        ("laps = 3", '"lap-s" = 3', "labels", "names of up to 64"),
        ("laps = 3", f'laps = "{"x" * 65}"', "labels", "values of up to 64"),
        ("laps = 3", 'laps = ""', "labels", "values of up to 64"),
        ('device = "bay3"', f'device = "{"b" * 230}"', "targets", "250 characters"),
    ],
)
def test_what_it_would_refuse_is_said_by_check(tmp_path, old, new, path, reason):
    said = said_of(tmp_path, with_target(TARGET).replace(old, new, 1))
    assert list(said) == [f"recording.walk.{path}"]
    assert reason in said[f"recording.walk.{path}"]


def test_pictures_are_none_of_it(tmp_path):
    assert list(said_of(tmp_path, with_target(TARGET, "photos"))) == ["recording.photos.format"]


@pytest.mark.parametrize(
    ("settings", "wrong"),
    [
        ({"url": "sensiml.cloud"}, "url"),
        ({"url": "https://me:pw@sensiml.cloud/"}, "url"),
        ({"url": "https://sensiml.cloud/?a=b"}, "url"),
        ({"project": "a/b"}, "project"),
        ({"project": ""}, "project"),
        ({"secret_file": ""}, "secret_file"),
        ({"username": "me"}, "client_id"),
        ({"client_id": "me"}, "client_id"),
        ({"session": ""}, "session"),
        ({"facts": ("device", "weather")}, "facts"),
        ({"proxy": "proxy:3128"}, "proxy"),
        ({"idle_timeout_s": 0}, "idle_timeout_s"),
    ],
)
def test_mistakes_are_found_at_start(settings, wrong):
    with pytest.raises(SettingsError) as error:
        Settings(**{"project": "bay", "secret_file": "key", **settings})
    assert [name for name, _, _ in error.value.mistakes] == [wrong]
    assert "pw" not in str(error.value)
