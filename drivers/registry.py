"""Finds the module that a name in the TOML means: one of ours, or one offered through an entry point."""

import importlib
import pkgutil
from importlib.metadata import entry_points
from types import ModuleType

_NOT_MODULES = {"ports", "registry", "settings"}


def names(group: str, package: str) -> list[str]:
    """All names that may be configured, without importing any of them."""
    ours = [m.name for m in pkgutil.iter_modules(importlib.import_module(package).__path__)]
    theirs = [point.name for point in entry_points(group=group)]
    return sorted({name for name in (*ours, *theirs) if name not in _NOT_MODULES and not name.startswith("_")})


def find(group: str, package: str, name: str) -> ModuleType:
    """Imports the module called `name`; LookupError with the names there are."""
    known = names(group, package)
    if name not in known:
        raise LookupError(f"{name!r} is not known; there is {', '.join(known)}")
    for point in entry_points(group=group):
        if point.name == name:
            module = point.load()
            if not isinstance(module, ModuleType):
                raise LookupError(f"entry point {point.value!r} in {group} is not a module")
            return module
    return importlib.import_module(f"{package}.{name}")
