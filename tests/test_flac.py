"""FLAC: the contract, what is particular to it, and that it holds the very frames of `wav`."""

import contextlib
import errno
import io
import sys
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from agent.film import Film
from agent.formats import Unfit, flac, format_module
from agent.formats.flac import Flac, Settings
from drivers import Block, Channel, Identity, SettingsError
from tests.contracts.format import (
    IMU,
    MCU,
    START_NS,
    FormatContract,
    block,
    capture_of,
    write_negative,
)


class TestFlac(FormatContract):
    kind = "flac"


def develop(kind: str, negative: Path) -> tuple[Film, Path]:
    film, path = Film.scan(negative), negative.with_suffix(f".{kind}")
    format_module(kind).Settings().open().develop(film, path, lambda: None)
    return film, path


def test_holds_the_frames_of_wav(tmp_path: Path) -> None:
    blocks = [(0, block(IMU, first, 50)) for first in range(200, 20_000, 50) if not 1000 <= first < 7000]
    blocks += [(1, block(MCU, first, 5)) for first in range(50, 150, 5)]
    negative = write_negative(tmp_path / "n", {"imu": IMU, "mcu": MCU}, blocks)
    with wave.open(str(develop("wav", negative)[1])) as file:
        frames = np.frombuffer(file.readframes(20_000), "<i2").reshape(-1, 5)
    _, path = develop("flac", negative)
    with soundfile.SoundFile(path) as file:
        assert (file.format, file.subtype, file.samplerate, file.frames) == ("FLAC", "PCM_16", 1000, 19_800)
        assert (file.read(dtype="int16") == frames).all()


def test_every_int16_comes_back_in_each_of_eight_channels(tmp_path: Path) -> None:
    identity = Identity("Eight", 100.0, tuple(Channel(f"C{n}") for n in range(8)))
    every = np.arange(-32768, 32768).astype("<i2")
    values = np.zeros(len(every), identity.dtype)
    for place, name in enumerate(identity.dtype.names or ()):
        values[name] = np.roll(every, place * 9973)
    negative = write_negative(tmp_path / "n", {"e": identity}, [(0, Block(0, values, START_NS, len(values) - 1))])
    film, path = develop("flac", negative)
    read = list(Settings().open().read(path, capture_of(film, tmp_path)))
    assert (np.concatenate([one.samples for one in read]) == values).all()


def test_refuses_what_it_cannot_hold(tmp_path: Path) -> None:
    nine = Identity("Nine", 10.0, tuple(Channel(f"C{n}") for n in range(9)))
    light = Identity("L", 10.0, (Channel("Light", dtype="<f4"), Channel("A")))
    fast = Identity("Fast", 1e6, (Channel("A"),))
    for identity, why in ((nine, "at most 8 channels, not 9"), (light, "Light is <f4"), (fast, "up to 655350 Hz")):
        values = np.zeros(20, identity.dtype)
        negative = write_negative(tmp_path / identity.model, {"s": identity}, [(0, Block(0, values, START_NS, 19))])
        with pytest.raises(Unfit, match=why):
            develop("flac", negative)
        assert not negative.with_suffix(".flac").exists()
    assert "at most 8" in Flac.unfit(nine.channels)
    assert "Light is <f4" in Flac.unfit(light.channels)
    assert not Flac.unfit(nine.channels[:8])


@pytest.mark.parametrize(
    ("rate_hz", "told"), [(0.2, 1), (15_999.7, 16_000), (65_535, 65_535), (65_537, 65_540), (655_350, 655_350)]
)
def test_rates_are_told_as_flac_can(tmp_path: Path, rate_hz: float, told: int) -> None:
    identity = Identity("M", rate_hz, (Channel("A"),))
    _, path = develop("flac", write_negative(tmp_path / "n", {"m": identity}, [(0, block(identity, 0, 100))]))
    with soundfile.SoundFile(path) as file:
        assert file.samplerate == told


def test_a_capture_without_samples_has_a_header_as_others_do(tmp_path: Path) -> None:
    """libsndfile neither writes nor opens such a file, so its header is held against one that libsndfile wrote."""
    _, empty = develop("flac", write_negative(tmp_path / "n", {"imu": IMU}, []))
    _, full = develop("flac", write_negative(tmp_path / "m", {"imu": IMU}, [(0, block(IMU, 0, 100))]))
    ours, theirs = empty.read_bytes(), full.read_bytes()
    assert len(ours) == 4 + 4 + 34
    assert ours[:4] == theirs[:4]
    assert ours[4] == theirs[4] | 0x80, "STREAMINFO, and the last of its kind"
    assert ours[5:12] == theirs[5:12], "its length, and blocks of 4096"
    assert int.from_bytes(ours[18:26], "big") == int.from_bytes(theirs[18:26], "big") - 100, "the rate, and no frames"


def test_an_error_of_the_disk_comes_through_libsndfile_though_it_is_over_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Once(io.FileIO):
        failed = False

        def write(self, data: Any) -> int:
            if not self.failed and self.tell() > 20_000:
                self.failed = True
                raise OSError(errno.EIO, "Input/output error")
            return super().write(data)

    @contextlib.contextmanager
    def written(path: Path) -> Iterator[Once]:
        with Once(path, "wb") as file:
            yield file

    monkeypatch.setattr(flac, "written", written)
    with pytest.raises(OSError) as caught:
        develop("flac", write_negative(tmp_path / "n", {"imu": IMU}, [(0, block(IMU, 0, 30_000))]))
    assert caught.value.errno == errno.EIO


@pytest.mark.parametrize("what", ["cut", "flipped", "no flac"])
def test_damage_is_noticed(tmp_path: Path, what: str) -> None:
    film, path = develop("flac", write_negative(tmp_path / "n", {"imu": IMU}, [(0, block(IMU, 0, 30_000))]))
    data = bytearray(path.read_bytes())
    if what == "cut":
        del data[len(data) // 2 :]
    else:
        data[0 if what == "no flac" else len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match="no whole FLAC file"):
        list(Settings().open().read(path, capture_of(film, tmp_path)))


def test_the_extra_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(SettingsError, match=r"capture-agent\[flac\]"):
        Settings()
