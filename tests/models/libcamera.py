"""A model of libcamera's Python module: the names that `drivers.ports.libcamera` uses."""

import dataclasses
import enum


@dataclasses.dataclass
class Transform:
    hflip: int = 0
    vflip: int = 0


class controls:  # noqa: N801  its name there
    class AwbModeEnum(enum.IntEnum):
        Auto, Incandescent, Tungsten, Fluorescent, Indoor, Daylight, Cloudy = range(7)

    class AfModeEnum(enum.IntEnum):
        Manual, Auto, Continuous = range(3)
