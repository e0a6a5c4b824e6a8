"""An occasion: what comes and goes within a minute is said once, and is over when it held off for a minute."""

import logging

import pytest

from agent.occasion import Occasion

log = logging.getLogger(__name__)


def test_a_trouble_that_comes_and_goes_is_said_once_and_its_end_when_it_lasts(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    now_s = 1000.0
    occasion = Occasion(log, lambda: int(now_s * 1e9))
    occasion.well("well again")
    assert caplog.messages == [], "nothing was wrong"
    for _ in range(5):
        for text in ("the disk is full", "it cannot be written"):
            occasion.trouble(text)
        for _ in range(5):
            now_s += 10
            occasion.well("well again")
    assert caplog.messages == ["the disk is full", "it cannot be written"]
    for _ in range(5):
        now_s += 10
        occasion.well("well again")
    assert caplog.messages[2:] == ["well again"]
    occasion.trouble("the disk is full")
    assert caplog.messages[3:] == ["the disk is full"], "another occasion"


def test_what_comes_again_after_hours_is_said_again_also_where_it_went_well_but_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now_s = 1000.0
    occasion = Occasion(log, lambda: int(now_s * 1e9))
    occasion.trouble("the disk is full")
    now_s += 4000
    occasion.trouble("the disk is full")
    assert len(caplog.messages) == 1, "it never went well"
    now_s += 10
    occasion.well("well again")
    now_s += 4000
    occasion.trouble("the disk is full")
    assert len(caplog.messages) == 2


def test_texts_without_end_are_not_said_without_end(caplog: pytest.LogCaptureFixture) -> None:
    occasion = Occasion(log, lambda: 1)
    for number in range(100):
        occasion.trouble(f"{number} bytes free")
    assert len(caplog.messages) == 20
