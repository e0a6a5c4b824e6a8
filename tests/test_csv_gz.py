"""CSV in gzip: the contract, and that it is the very text of `csv`."""

import gzip
import subprocess
from pathlib import Path
from typing import Any

import pytest

from agent.film import Film
from agent.formats import Format, format_module
from tests.contracts.format import IMU, MCU, FormatContract, block, capture_of, write_negative


class TestCsvGz(FormatContract):
    kind = "csv_gz"


class TestCsvGzPhysical(FormatContract):
    kind = "csv_gz"
    options = {"units": "physical", "timestamp": "seconds"}  # noqa: RUF012


def form(kind: str, **options: Any) -> Format:
    found: Format = format_module(kind).Settings(**options).open()
    return found


@pytest.fixture
def film(tmp_path: Path) -> Film:
    blocks = [(0, block(IMU, first, 50)) for first in range(0, 20_000, 50) if first != 700]
    blocks += [(1, block(MCU, first, 5)) for first in range(0, 1500, 5)]
    return Film.scan(write_negative(tmp_path / "n", {"imu": IMU, "mcu": MCU}, blocks))


@pytest.mark.parametrize("options", [{}, {"units": "physical"}, {"timestamp": "seconds"}])
def test_holds_what_csv_would_have_written(film: Film, tmp_path: Path, options: dict[str, str]) -> None:
    form("csv", **options).develop(film, tmp_path / "text", lambda: None)
    form("csv_gz", **options).develop(film, tmp_path / "text.gz", lambda: None)
    assert gzip.decompress((tmp_path / "text.gz").read_bytes()) == (tmp_path / "text").read_bytes()


def test_is_smaller_while_it_is_written(film: Film, tmp_path: Path) -> None:
    """Not gathered in memory until the end, and without a name or a date in its header."""
    path, sizes = tmp_path / "text.gz", []
    form("csv_gz").develop(film, path, lambda: sizes.append(path.stat().st_size))
    assert sizes[2] > 0
    head = path.read_bytes()[:10]
    assert head[:3] == b"\x1f\x8b\x08"
    assert head[3:8] == bytes(5), "no name, no date"


def test_gzip_finds_it_whole(film: Film, tmp_path: Path) -> None:
    form("csv_gz").develop(film, tmp_path / "text.gz", lambda: None)
    subprocess.run(["gzip", "--test", tmp_path / "text.gz"], check=True)


@pytest.mark.parametrize("what", ["cut", "flipped", "no gzip"])
def test_damage_is_noticed(film: Film, tmp_path: Path, what: str) -> None:
    path = tmp_path / "text.gz"
    form("csv_gz").develop(film, path, lambda: None)
    data = bytearray(path.read_bytes())
    if what == "cut":
        del data[len(data) // 2 :]
    else:
        data[0 if what == "no gzip" else len(data) - 6] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match="no whole gzip file"):
        list(form("csv_gz").read(path, capture_of(film, tmp_path)))
