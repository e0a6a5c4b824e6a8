"""The doctor: looks at everything that captures and deliveries depend on, and says what to do where it is not well."""

import dataclasses
from typing import Literal

State = Literal["ok", "warn", "fail"]
"""warn: works, or is not used, but a person should know. fail: something that is configured cannot work."""


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    about: str
    """What it is about: `clock`, `i2c`, `target archive`."""
    state: State
    seen: str
    remedy: str = ""
    """What to do, where it is not ok."""


def ok(about: str, seen: str) -> Finding:
    return Finding(about, "ok", seen)


def warn(about: str, seen: str, remedy: str) -> Finding:
    return Finding(about, "warn", seen, remedy)


def fail(about: str, seen: str, remedy: str) -> Finding:
    return Finding(about, "fail", seen, remedy)
