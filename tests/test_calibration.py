"""Calibration: known sensors are found out again, by fits alone and by the procedure on a daemon; the data stay raw."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import jsonschema
import numpy as np
import numpy.typing as npt
import pytest

import agent
from agent.calibration import Calibrations, joined
from agent.calibration_fits import FACES, accelerometer, magnetometer
from agent.cli import calibrate as procedure
from agent.cli.calibrate import Procedure
from agent.control import CommandError
from drivers import Channel, Identity
from tests.recorded import run
from tests.running import Running

Floats = npt.NDArray[np.float64]

BIAS = np.array([0.04, -0.03, 0.06])
SCALE = np.array([1.02, 0.97, 1.01])
# turned by 90 degrees about Z, then tilted by 10 about X: the device's axes from the sensor's
TILT = np.deg2rad(10)
MOUNTING = np.array([[1, 0, 0], [0, np.cos(TILT), -np.sin(TILT)], [0, np.sin(TILT), np.cos(TILT)]]) @ np.array(
    [[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]
)
UP = np.array(list(FACES.values()))


def felt(up: Floats) -> Floats:
    """What that sensor reads, in g, where `up` is what the device feels."""
    reading: Floats = (up @ MOUNTING) / SCALE + BIAS
    return reading


def test_bias_scale_and_mounting_are_found_out() -> None:
    noise = np.random.default_rng(1).normal(0, 0.001, (6, 3))
    found = accelerometer((felt(UP) + noise) * 9.80665, 9.80665)
    assert np.allclose(found["bias"], BIAS * 9.80665, atol=0.02)
    assert np.allclose(found["scale"], SCALE, atol=0.002)
    assert np.allclose(found["mounting"], MOUNTING, atol=0.002)
    assert np.allclose(found["matrix"], MOUNTING * SCALE, atol=0.003)
    assert found["residual"] < 0.03
    calibrated = (felt(UP) * 9.80665 - found["bias"]) @ np.array(found["matrix"]).T
    assert np.allclose(calibrated, UP * 9.80665, atol=0.03)


@pytest.mark.parametrize(
    ("readings", "said"),
    [
        (felt(UP)[[0, 1, 3, 2, 4, 5]], "mirror"),
        (felt(UP)[[2, 1, 0, 3, 4, 5]], "was each side"),
        (felt(UP) * 0.5, "of 1 g"),
        (np.repeat(felt(UP)[:1], 6, axis=0), "was each side"),
        (felt(UP) + 0.12 * np.array([[1.0], [1], [0], [0], [0], [0]]), "off from any such sensor"),
    ],
)
def test_a_procedure_gone_wrong_is_refused_with_what_to_do(readings: Floats, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        accelerometer(readings, 1.0)


HARD = np.array([12.0, -30.0, 5.0])
SOFT = np.array([[1.1, 0.05, 0.02], [0.05, 0.9, -0.03], [0.02, -0.03, 1.05]])


def turned(count: int, *, flat: float = 1.0) -> Floats:
    """Readings in a field of 48 uT, from all directions unless `flat`."""
    directions = np.random.default_rng(2).normal(0, 1, (count, 3)) * (1, 1, flat)
    directions /= np.linalg.norm(directions, axis=1)[:, np.newaxis]
    points: Floats = directions @ SOFT * 48 + HARD + np.random.default_rng(3).normal(0, 0.1, (count, 3))
    return points


def test_an_ellipsoid_becomes_a_sphere() -> None:
    found = magnetometer(turned(400))
    assert np.allclose(found["bias"], HARD, atol=0.2)
    lengths = np.linalg.norm((turned(400) - found["bias"]) @ np.array(found["matrix"]).T, axis=1)
    assert lengths.std() < 0.2
    assert lengths.mean() == pytest.approx(48 * np.linalg.det(SOFT) ** (1 / 3), rel=0.01)
    assert np.linalg.det(found["matrix"]) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    ("points", "said"),
    [
        (turned(50), "only 50"),
        (np.repeat(turned(50), 10, axis=0), "only 50"),
        (turned(400, flat=0.05), "all directions"),
        (turned(400, flat=0.0), "all directions"),
        (np.abs(turned(400) - HARD), "all directions|no ellipsoid"),
        (np.random.default_rng(5).uniform(-50, 50, (400, 3)), "no ellipsoid|all directions"),
    ],
)
def test_readings_that_show_no_ellipsoid_are_refused(points: Floats, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        magnetometer(points)


class Turntable(Running):
    """A daemon whose virtual IMU rests as it is told to."""

    IMU = '[stream.imu]\ndriver = "mpu6050"\nbus = "virtual"\nrate_hz = 1000\nvirtual = {{ replay = "{replay}" }}\n'
    REST = '\n[recording.walk]\nstreams = ["imu"]\nlength_s = 0.5\n'

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, self._configured(folder, "+Z"))
        self._head = self.config.read_text().partition("[stream.imu]")[0]
        self.said: list[str] = []

    def _configured(self, folder: Path, face: str) -> str:
        """One row for ever: at rest, turning by what is its bias."""
        file = folder / f"{face}.csv"
        row = [*felt(np.array(FACES[face])), 1.5, -0.8, 0.3]
        file.write_text(f"ax_g,ay_g,az_g,gx_dps,gy_dps,gz_dps\n{','.join(f'{value:.9f}' for value in row)}\n")
        return self.IMU.format(replay=file) + self.REST

    def obey(self, text: str) -> None:
        """Does as the procedure says."""
        self.said.append(text)
        face = next((face for face in FACES if f"Side {face} " in text), "+Z")
        self.config.write_text(self._head + self._configured(self.folder, face))
        self.ask("reload")
        self.until(lambda status: status["streams"]["imu"]["samples"] > 200)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Turntable]:
    with Turntable(tmp_path_factory.mktemp("calibration")) as daemon:
        yield daemon


def test_the_procedure_finds_what_a_virtual_imu_has_and_the_sidecar_tells_of_it(table: Turntable) -> None:
    steps = Procedure("imu", table.ask("streams")["imu"], table.ask, table.obey)
    assert list(steps.sensors) == ["gyroscope", "accelerometer"]
    found = {name: steps.find(name, 1.0) for name in steps.sensors}
    assert [face for text in table.said for face in FACES if f"Side {face} " in text] == list(FACES)
    assert np.allclose(found["gyroscope"]["bias"], [1.5, -0.8, 0.3], atol=0.04)
    assert np.allclose(found["accelerometer"]["bias"], BIAS, atol=0.001)
    assert np.allclose(found["accelerometer"]["scale"], SCALE, atol=0.001)
    assert np.allclose(found["accelerometer"]["mounting"], MOUNTING, atol=0.001)

    table.ask("calibrate", stream="imu", calibration=json.dumps({"sensors": found}))
    before = {capture.name for capture in table.captures()}
    table.obey("again, after a restart of the stream")
    table.ask("stop", recording="walk")
    table.ask("start", recording="walk")
    done = len(table.captures())
    table.until(lambda status: len(table.captures()) >= done + 2)
    capture = next(c for c in reversed(table.captures()) if c.name not in before)
    (stream,) = capture.document["streams"]
    schema = json.loads((Path(agent.__file__).parent / "capture.schema.json").read_text())
    jsonschema.validate(capture.document, schema)
    known = stream["calibration"]["sensors"]
    assert known["accelerometer"]["channels"] == ["AccelerometerX", "AccelerometerY", "AccelerometerZ"]
    assert known["accelerometer"]["matrix"] == found["accelerometer"]["matrix"]
    assert known["gyroscope"]["bias"] == found["gyroscope"]["bias"] and "matrix" not in known["gyroscope"]
    others = [c for c in table.captures() if "calibration" not in c.document["streams"][0]]
    assert others, "what was recorded before knows nothing of it"
    assert {c.document["configuration"]["uuid"] for c in others} == {capture.document["configuration"]["uuid"]}
    assert others[0].document["streams"][0]["channels"][0]["scale"] == stream["channels"][0]["scale"]


def test_the_command_asks_measures_keeps_and_tells(table: Turntable) -> None:
    done = run("calibrate", "imu", "--sensor", "gyroscope", "--data", table.data, input="\n")
    assert "Lay it down" in done.output and "gyroscope: bias 1.5" in done.output and "deg/s" in done.output
    kept = json.loads((table.data / "calibration" / "imu.json").read_text())
    assert kept["model"] == "MPU-6050" and kept["sensors"]["gyroscope"]["unit"] == "deg/s"
    assert not list((table.data / "calibration").glob("*.part"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nobody",), "no stream 'nobody'; there is imu"),
        (("imu", "--sensor", "magnetometer"), "imu has no magnetometer; it has gyroscope, accelerometer"),
    ],
)
def test_what_there_is_not_is_said(table: Turntable, arguments: tuple[str, ...], said: str) -> None:
    assert said in run("calibrate", *arguments, "--data", table.data, code=1).output


SENSOR = {"channels": [f"Accelerometer{a}" for a in "XYZ"], "unit": "g", "bias": [0.0, 0.0, 0.0]}


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("no JSON", "Expecting value"),
        ("[]", "not a table"),
        ("[" * 60000, "calibration"),
        ("{}", "sensors"),
        ('{"sensors": {"imu": {}}}', "there is no sensor 'imu'"),
        ('{"sensors": {"gyroscope": 3}}', "each sensor is a table"),
        (json.dumps({"sensors": {"accelerometer": {**SENSOR, "bias": [1, 2]}}}), "bias: not 3"),
        (json.dumps({"sensors": {"accelerometer": {**SENSOR, "bias": [1, 2, float("nan")]}}}), "bias: not 3"),
        (json.dumps({"sensors": {"accelerometer": {**SENSOR, "bias": [1, 2, 10**400]}}}), "bias: not 3"),
        (json.dumps({"sensors": {"accelerometer": {**SENSOR, "residual": 1 << 63}}}), "residual: not a finite"),
        (json.dumps({"sensors": {"accelerometer": {**SENSOR, "matrix": [[1, 2, 3]]}}}), "matrix: not 3 times 3"),
        (json.dumps({"sensors": {"accelerometer": {**SENSOR, "colour": 1}}}), "only"),
        (json.dumps({"sensors": {"accelerometer": {**SENSOR, "channels": ["A", "B", "C"]}}}), "no channel A"),
        ('{"chip": ""}', "chip"),
        ('{"chip": "00", "model": "x"}', "sensors"),
    ],
)
def test_what_is_no_calibration_is_refused_and_changes_nothing(table: Turntable, said: str, why: str) -> None:
    before = [path.read_bytes() for path in (table.data / "calibration").glob("*")]
    with pytest.raises(CommandError, match=why):
        table.ask("calibrate", stream="imu", calibration=said)
    assert [path.read_bytes() for path in (table.data / "calibration").glob("*")] == before


def test_an_ordinary_chip_has_no_calibration_of_its_own(table: Turntable) -> None:
    with pytest.raises(CommandError, match="no chip on it that calibrates itself"):
        table.ask("chip_calibration", stream="imu")


def test_a_chip_that_calibrates_itself_says_what_it_found_and_goes_on(tmp_path: Path) -> None:
    config = '[stream.fused]\ndriver = "bno055"\nbus = "virtual"\nrate_hz = 50\n'
    recording = '[recording.walk]\nstreams = ["fused"]\nwhen = "command"\nlength_s = 0.5\n'
    with Running(tmp_path, config + recording) as running:
        done = run("calibrate", "fused", "--data", running.data, input="\n")
        (line,) = [line for line in done.output.splitlines() if line.startswith("calibration = ")]
        said = line.split('"')[1]
        assert len(bytes.fromhex(said)) == 22
        now = running.ask("status")["streams"]["fused"]["samples"]
        status = running.until(lambda status: status["streams"]["fused"]["samples"] > now + 10)
        assert status["streams"]["fused"]["reopened"] == 0
        running.ask("trigger", recording="walk")
        running.until(lambda status: status["recordings"]["walk"]["finished"] == 1)
        running.until(lambda status: len(running.captures()) == 1)
        (stream,) = running.captures()[0].document["streams"]
        assert stream["calibration"]["chip"]["calibration"] == said


def test_a_chip_that_has_lost_what_it_found_gets_it_back_when_the_daemon_starts(tmp_path: Path) -> None:
    said = "07" * 22
    identity = Identity("BNO055", 50.0, serial=bytes(range(16, 32)).hex())
    kept = joined(None, {"chip": said}, identity, "2026-11-21T00:00:00Z")
    (tmp_path / "data").mkdir()
    Calibrations(tmp_path / "data" / "calibration").keep("fused", kept)
    with Running(tmp_path, '[stream.fused]\ndriver = "bno055"\nbus = "virtual"\nrate_hz = 50\n') as running:
        assert running.ask("chip_calibration", stream="fused") == said


IDENTITY = Identity("MPU-6050", 100.0, tuple(Channel(f"Accelerometer{axis}", "g") for axis in "XYZ"), {}, "17")


def test_another_chip_begins_anew_and_the_same_one_adds(tmp_path: Path) -> None:
    calibrations = Calibrations(tmp_path / "calibration")
    assert calibrations.load("imu") is None
    first = joined(None, {"sensors": {"accelerometer": SENSOR}}, IDENTITY, "2026-11-21T00:00:00Z")
    calibrations.keep("imu", first)
    assert calibrations.load("imu") == first
    more = joined(first, {"chip": "00ff"}, IDENTITY, "2026-11-22T00:00:00Z")
    assert set(more["sensors"]) == {"accelerometer"} and more["chip"]["calibration"] == "00ff"
    other = joined(more, {"chip": "11"}, Identity("MPU-6050", 100.0, IDENTITY.channels, {}, "18"), "x")
    assert other["sensors"] == {} and other["serial"] == "18"


@pytest.mark.parametrize("text", ["", "[]", '{"model": "x"}', '{"model": "", "serial": "", "sensors": {"imu": {}}}'])
def test_a_damaged_file_is_said_and_not_used(tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "imu.json").write_text(text)
    with caplog.at_level(logging.ERROR):
        assert Calibrations(tmp_path).load("imu") is None
    assert "imu.json is not used" in caplog.text


class Shaking:
    """A daemon whose sensor needs a few tries to come to rest; its magnetometer is turned all the while."""

    def __init__(self, shakes: int) -> None:
        self.shakes = shakes
        self._points = iter(turned(5000))

    def __call__(self, command: str, **arguments: Any) -> Any:
        if command == "snapshot":
            return dict(zip((f"Magnetometer{axis}" for axis in "XYZ"), map(float, next(self._points)), strict=True))
        self.shakes -= 1
        deviation = 20.0 if self.shakes >= 0 else 0.1
        return {"samples": 9, "channels": {f"Gyroscope{a}": {"mean": 1.0, "deviation": deviation} for a in "XYZ"}}


SHOWN = {
    "calibrates_itself": False,
    "channels": {
        f"{s}{a}": {"value": 0, "unit": u} for s, u in (("Gyroscope", "deg/s"), ("Magnetometer", "uT")) for a in "XYZ"
    },
}


def test_what_still_moves_is_tried_again_and_in_the_end_refused() -> None:
    waits: list[str] = []
    assert Procedure("imu", SHOWN, Shaking(3), waits.append).find("gyroscope", 1)["bias"] == [1.0, 1.0, 1.0]
    assert len(waits) == 4
    with pytest.raises(click.ClickException, match="does not come to rest"):
        Procedure("imu", SHOWN, Shaking(9), waits.append).find("gyroscope", 1)


def test_a_magnetometer_is_turned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(procedure, "_EVERY_S", 0.0005)
    found = Procedure("imu", SHOWN, Shaking(0), lambda text: None).find("magnetometer", 0.5)
    assert np.allclose(found["bias"], HARD, atol=0.5) and found["unit"] == "uT"
    with pytest.raises(click.ClickException, match="go on for longer"):
        Procedure("imu", SHOWN, Shaking(0), lambda text: None).find("magnetometer", 0.01)
