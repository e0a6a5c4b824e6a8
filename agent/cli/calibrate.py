"""`capture-agent calibrate STREAM`: a short procedure that finds bias, scale and mounting of a sensor that runs."""

import json
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from agent.calibration import SENSORS
from agent.cli.place import ask, with_data_dir
from agent.cli.show import number

_AXIS = re.compile(r"(Accelerometer|Gyroscope|Magnetometer)([XYZ])")
_ONE_G = {"g": 1.0, "m/s^2": 9.80665, "m/s2": 9.80665}
_STILL_G = 0.03
_STILL = {"deg/s": 2.0, "rad/s": 0.035}
"""The most that a gyroscope which lies still may deviate."""
_TRIES = 5
_EVERY_S = 0.04


@click.command
@click.argument("stream")
@click.option("--sensor", type=click.Choice(SENSORS), help="Only this one of the stream's sensors.")
@click.option(
    "--turn",
    "turn_s",
    type=click.FloatRange(1, 600),
    default=30.0,
    show_default=True,
    help="Seconds for a magnetometer.",
)
@with_data_dir
def calibrate(data_dir: Path, stream: str, sensor: str | None, turn_s: float) -> None:
    """Find bias, scale and mounting of STREAM's sensors, while the daemon runs.

    A gyroscope lies still; an accelerometer rests on each of six sides; a magnetometer is turned through eights; a chip
    that calibrates itself is asked what it has found. What is found stands in the sidecar of each later capture. The
    data stay raw.
    """

    def daemon(command: str, **arguments: Any) -> Any:
        return ask(data_dir, command, **arguments)

    streams = daemon("streams")
    if stream not in streams:
        raise click.ClickException(f"no stream {stream!r}; there is {', '.join(streams)}")
    procedure = Procedure(stream, streams[stream], daemon, lambda text: click.prompt(text, "", show_default=False))
    sensors, said = procedure.sensors, {}
    if sensor is not None and sensor not in sensors:
        raise click.ClickException(f"{stream} has no {sensor}; it has {', '.join(sensors) or 'none that is known'}")
    wanted = [sensor] if sensor else list(sensors)
    if procedure.calibrates_itself and sensor is None:
        said["chip"] = procedure.chip()
    if not wanted and not said:
        raise click.ClickException(f"{stream} has neither accelerometer nor gyroscope nor magnetometer")
    found = {name: procedure.find(name, turn_s) for name in wanted}
    daemon("calibrate", stream=stream, calibration=json.dumps({**said, **({"sensors": found} if found else {})}))
    for name, one in found.items():
        _tell(name, one)
    if "chip" in said:
        click.echo(
            "The chip gets it back whenever it has lost it; elsewhere by the configuration, in its [stream.NAME]:"
        )
        click.echo(f'calibration = "{said["chip"]}"')
    click.echo("Kept, and beside the data of each capture that begins from now on.")


class Procedure:
    """What a person is asked to do, and what the daemon measured meanwhile."""

    def __init__(
        self, stream: str, shown: Mapping[str, Any], daemon: Callable[..., Any], wait: Callable[[str], object]
    ) -> None:
        """`shown` is the stream's part of the command `streams`; `wait` says what to do and waits until it is done."""
        self.calibrates_itself = bool(shown["calibrates_itself"])
        self._stream = stream
        self._daemon = daemon
        self._wait = wait
        self._units = {name: str(channel["unit"]) for name, channel in shown["channels"].items()}

    @property
    def sensors(self) -> dict[str, list[str]]:
        """Three channels of each sensor that there is, in the order in which they are best calibrated."""
        found: dict[str, list[str]] = {}
        for name in sorted(self._units):
            if match := _AXIS.fullmatch(name):
                found.setdefault(match[1].lower(), []).append(name)
        return {
            name: found[name]
            for name in ("gyroscope", "accelerometer", "magnetometer")
            if len(found.get(name, ())) == 3
        }

    def find(self, sensor: str, turn_s: float) -> dict[str, Any]:
        """Calibrates one of `sensors`. A click error where it does not come to a good end."""
        from agent import calibration_fits as fits

        channels = self.sensors[sensor]
        unit = self._units[channels[0]]
        if sensor == "magnetometer":
            found = _fitted(lambda: fits.magnetometer(self._turned(channels, turn_s)))
        elif sensor == "gyroscope":
            means, samples = self._still(
                channels, "Lay it down, so that nothing moves it.", _STILL.get(unit, float("inf"))
            )
            found = {"bias": means, "samples": samples}
        else:
            if unit not in _ONE_G:
                raise click.ClickException(f"{channels[0]} is in {unit!r}, and not in one of {', '.join(_ONE_G)}")
            found = self._six_faces(channels, _ONE_G[unit])
        return {"channels": channels, "unit": unit, **found}

    def chip(self) -> str:
        """What a chip that calibrates itself has found by now."""
        self._wait("Move it until its calibration channels (see `streams`) are as good as they get. Then press Enter")
        said: str = self._daemon("chip_calibration", stream=self._stream)
        return said

    def _six_faces(self, channels: list[str], one_g: float) -> dict[str, Any]:
        import numpy as np

        from agent import calibration_fits as fits

        readings, samples = [], 0
        for face in fits.FACES:
            means, count = self._still(
                channels, f"Side {face} of the device up, and nothing moves it.", _STILL_G * one_g
            )
            readings.append(means)
            samples += count
        return {**_fitted(lambda: fits.accelerometer(np.array(readings), one_g)), "samples": samples}

    def _still(self, channels: list[str], text: str, most: float) -> tuple[list[float], int]:
        """(mean of each channel, samples), as soon as none deviates by more than `most`."""
        for _ in range(_TRIES):
            self._wait(f"{text} Then press Enter")
            measured = self._daemon("measure", stream=self._stream)
            values = [measured["channels"][name] for name in channels]
            deviation = max(value["deviation"] for value in values)
            if deviation <= most:
                return [value["mean"] for value in values], int(measured["samples"])
            click.echo(
                f"It moved: {number(deviation)} {self._units[channels[0]]} instead of {number(most)} at most. Again:"
            )
        raise click.ClickException("it does not come to rest; put it on something that does not shake")

    def _turned(self, channels: list[str], turn_s: float) -> Any:
        """Readings while it is turned, shape (n, 3)."""
        import numpy as np

        self._wait(
            f"Press Enter, then turn it slowly for {turn_s:g} s: a lying eight, about every axis, away from iron"
        )
        points, end = [], time.monotonic() + turn_s
        while time.monotonic() < end:
            now = self._daemon("snapshot", stream=self._stream)
            points.append([now[name] for name in channels])
            time.sleep(_EVERY_S)
        return np.array(points)


def _fitted(fit: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return fit()
    except ValueError as error:
        raise click.ClickException(str(error)) from None


def _tell(sensor: str, found: Mapping[str, Any]) -> None:
    bias = ", ".join(number(float(value)) for value in found["bias"])
    click.echo(f"{sensor}: bias {bias} {found['unit']}")
    if "scale" in found:
        click.echo(f"  scale {', '.join(f'{value:.5f}' for value in found['scale'])}")
    for row in found.get("mounting", found.get("matrix", ())):
        click.echo("  " + " ".join(f"{value:8.4f}" for value in row))
    if "residual" in found:
        click.echo(f"  what is left: {number(float(found['residual']))} {found['unit']}")
