"""Recordings held against the targets they name: what a target would refuse is a mistake of the configuration."""

from pathlib import Path

import pytest

from agent.config.loading import load
from tests.test_config import GOOD, mistakes


def with_target(options: str, recording: str = "walk") -> str:
    text = GOOD.replace('targets = ["archive"]\n', "")
    text = text.replace(f"[recording.{recording}]\n", f'[recording.{recording}]\ntargets = ["far"]\n')
    return f"{text}\n[target.far]\n{options}\n"


def test_a_recording_of_which_no_format_of_its_target_can_be_made(tmp_path: Path) -> None:
    said = mistakes(tmp_path, with_target('kind = "directory"\npath = "/mnt/nas"\nformats = ["jpeg"]'))
    (path, text), *rest = said.items()
    assert (path, rest) == ("recording.walk.format", [])
    assert text.endswith("jpeg among them, for target far")


@pytest.mark.parametrize("formats", ['["wav", "mcap"]', "[]"])
def test_one_format_that_it_takes_is_enough(tmp_path: Path, formats: str) -> None:
    path = tmp_path / "config.toml"
    path.write_text(with_target(f'kind = "directory"\npath = "/mnt/nas"\nformats = {formats}'))
    load(path)


def test_a_format_that_there_is_not_is_said_once(tmp_path: Path) -> None:
    text = with_target('kind = "directory"\npath = "/mnt/nas"\nformats = ["wav"]').replace('"csv", ', '"csw", ')
    assert list(mistakes(tmp_path, text)) == ["recording.walk.format[0]"]


STICKY_PI = 'kind = "sticky_pi"\nurl = "https://api"\nusername = "me"\npassword_file = "pw"'


def test_sticky_pi_takes_pictures_that_are_named_by_the_second(tmp_path: Path) -> None:
    assert list(mistakes(tmp_path, with_target(STICKY_PI))) == ["recording.walk.format"]
    full = with_target(STICKY_PI, "photos").replace('format = "jpeg"', 'format = "jpeg"\npicture_name = "full"')
    said = mistakes(tmp_path, full)
    assert list(said) == ["recording.photos.picture_name"]
    assert '"second", since Sticky Pi' in said["recording.photos.picture_name"]
