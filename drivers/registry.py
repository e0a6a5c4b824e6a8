"""Finds the module that a name in the TOML means: one of ours, or one offered through an entry point."""

import functools
import importlib
import pkgutil
from importlib.metadata import entry_points
from types import ModuleType

_NOT_MODULES = {"ports", "registry", "settings"}


def names(group: str, package: str) -> list[str]:
    """All names that may be configured, without importing any of them."""
    theirs = [point.name for point in entry_points(group=group)]
    return sorted(_ours(package).union(name for name in theirs if not name.startswith("_")))


def find(group: str, package: str, name: str) -> ModuleType:
    """Imports the module called `name`; LookupError with the names there are.

    Entry points are read only for a name that is not ours: that takes as long as many packages are installed.
    """
    if name in _ours(package):
        return importlib.import_module(f"{package}.{name}")
    for point in entry_points(group=group):
        if point.name == name:
            module = point.load()
            if not isinstance(module, ModuleType):
                raise LookupError(f"entry point {point.value!r} in {group} is not a module")
            return module
    raise LookupError(f"{name!r} is not known; there is {', '.join(names(group, package))}")


@functools.cache
def _ours(package: str) -> frozenset[str]:
    found = {module.name for module in pkgutil.iter_modules(importlib.import_module(package).__path__)}
    return frozenset(name for name in found - _NOT_MODULES if not name.startswith("_"))
