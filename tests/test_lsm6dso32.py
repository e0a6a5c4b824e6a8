"""The LSM6DSO32, which says that it is an LSM6DSOX and measures twice as far: its ranges, and what is refused."""

from typing import Any

import numpy as np
import pytest

from drivers import DriverError, SettingsError
from drivers import lsm6ds as driver_module
from drivers.lsm6ds import Settings
from drivers.ports.virtual.motion import Motion
from tests.test_lsm6ds import TAGGED, read_until, rows, simulated


@pytest.mark.parametrize(("range_g", "mg"), [(4, 0.122), (8, 0.244), (16, 0.488), (32, 0.976)])
def test_ranges_of_an_lsm6dso32_are_its_own(monkeypatch: pytest.MonkeyPatch, range_g: int, mg: float) -> None:
    driver, _ = simulated(monkeypatch, TAGGED, part="LSM6DSO32", accel_range_g=range_g, virtual={"part": "LSM6DSO32"})
    identity = driver.start()
    assert (identity.model, identity.setup["accel_range_g"]) == ("LSM6DSO32", range_g)
    assert identity.channels[2].scale == pytest.approx(mg / 1000)
    got = rows(np.concatenate([block.samples for block in read_until(driver, 500)])[:500])
    assert np.array_equal(got, Motion(1, 104.0, lsb=(1000 / mg, 1 / 70e-3)).rows(0, 500))


@pytest.mark.parametrize(
    ("options", "allowed"),
    [
        ({"accel_range_g": 32}, 'one of 2, 4, 8, 16 unless part = "LSM6DSO32"'),
        ({"accel_range_g": 2, "part": "LSM6DSO32"}, "one of 4, 8, 16, 32 of an LSM6DSO32"),
    ],
)
def test_a_range_that_this_part_does_not_have_is_refused(options: dict[str, Any], allowed: str) -> None:
    with pytest.raises(SettingsError, match=allowed):
        Settings(**options)


def test_a_part_that_it_cannot_be_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    driver, _ = simulated(monkeypatch, 0x6B, part="LSM6DSO32")
    with pytest.raises(DriverError, match=r"says 0x6b, an ISM330DHCX, and an LSM6DSO32 says 0x6c"):
        driver.start()


def test_the_hallmark_tells_no_more_than_it_knows() -> None:
    (mark,) = driver_module.HALLMARKS
    assert mark.answers[b"\x6c"] == "LSM6DSO, LSM6DSOX or LSM6DSO32"
