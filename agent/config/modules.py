"""The modules that names in the configuration mean: drivers, targets and formats, ours and third parties'."""

import dataclasses
from collections.abc import Callable
from types import ModuleType

from agent.config.errors import ABSENT, Mistake, nearest
from agent.formats import format_module
from agent.targets import target_module
from drivers import driver_module
from drivers.registry import names


@dataclasses.dataclass(frozen=True)
class Family:
    """One of the open edges."""

    group: str
    """Entry-point group of third parties."""
    package: str
    find: Callable[[str], ModuleType]

    @property
    def names(self) -> list[str]:
        """All that may be configured; nothing is imported."""
        return names(self.group, self.package)


DRIVERS = Family("capture_agent.drivers", "drivers", driver_module)
TARGETS = Family("capture_agent.targets", "agent.targets", target_module)
FORMATS = Family("capture_agent.formats", "agent.formats", format_module)


def configured_module(family: Family, name: object, path: str) -> tuple[ModuleType | None, Mistake | None]:
    """The module called `name`, or the mistake of naming it at `path`."""
    if name is ABSENT:
        return None, Mistake(path, ABSENT, f"is required: one of {', '.join(family.names)}")
    if not isinstance(name, str):
        return None, Mistake(path, name, f"one of {', '.join(family.names)}")
    try:
        module = family.find(name)
    except Exception as error:  # a third party's module may fail in any way when it is imported
        known = family.names
        if name not in known:
            return None, Mistake(path, name, f"one of {', '.join(known)}", nearest(name, known))
        return None, Mistake(path, name, f"its module cannot be loaded: {type(error).__name__}: {error}")
    if not dataclasses.is_dataclass(getattr(module, "Settings", None)):
        return None, Mistake(path, name, f"its module {module.__name__} has no dataclass Settings")
    return module, None


def gives_pictures(module: ModuleType) -> bool:
    """Whether a driver's module gives, or a format's module takes, pictures and not samples: `PICTURES = True`."""
    return bool(getattr(module, "PICTURES", False))
