"""The sandbox: whether the unit lets the daemon write where the configuration wants it to."""

import shlex
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from agent.doctor import Finding, fail
from agent.doctor.scene import SERVICE, Scene
from agent.doctor.service import properties

_PROPERTIES = "LoadState,ProtectSystem,ProtectHome,PrivateTmp,StateDirectory,ReadWritePaths,BindPaths"
_HOMES = ("/home", "/root", "/run/user")
_TEMPORARY = ("/tmp", "/var/tmp")  # noqa: S108  nothing is made there
_NEVER_PROTECTED = "/dev"


def sandbox(scene: Scene) -> Iterator[Finding]:
    """Each folder that the service is to write and is kept from, as systemd.exec(5) has it. None without a service."""
    unit = properties(scene, _PROPERTIES)
    if unit.get("LoadState") != "loaded":
        return
    for what, folder in folders(scene):
        place = folder.resolve()
        if _its_own(unit, place):
            seen = f"{what}: what the service writes below /tmp and /var/tmp is its own, and goes when it stops"
            yield fail("sandbox", seen, f"choose another folder than {folder}")
        elif _kept_from(unit, place):
            home = "ProtectHome=read-only, " if _hidden(unit, place) else ""
            open_it = f'"-{place}"' if " " in str(place) else f"-{place}"
            yield fail(
                "sandbox",
                f"{what}: the unit {SERVICE} does not let the daemon write in {folder}",
                f"sudo systemctl edit {SERVICE}: [Service], {home}ReadWritePaths={open_it}, each in a line of its own;"
                f" then sudo systemctl restart {SERVICE}",
            )


def folders(scene: Scene) -> Iterator[tuple[str, Path]]:
    """The folders that the daemon writes, and for what."""
    yield "data folder", scene.data_dir
    for name, target in scene.config.targets.items() if scene.config else ():
        if target.kind == "directory":
            yield f"target {name}", Path(getattr(target.settings, "path", ""))


def _its_own(unit: Mapping[str, str], place: Path) -> bool:
    return unit.get("PrivateTmp", "no") != "no" and _below(place, _TEMPORARY)


def _hidden(unit: Mapping[str, str], place: Path) -> bool:
    return unit.get("ProtectHome") in ("yes", "tmpfs") and _below(place, _HOMES)


def _kept_from(unit: Mapping[str, str], place: Path) -> bool:
    bound = [path.split(":")[1] for path in shlex.split(unit.get("BindPaths", "")) if ":" in path]
    if _hidden(unit, place):
        # below what is inaccessible systemd opens nothing again; into an empty /home it can bind a folder
        return unit["ProtectHome"] == "yes" or not _below(place, bound)
    opened = [path.lstrip("+-") for path in shlex.split(unit.get("ReadWritePaths", ""))]
    state = [f"/var/lib/{name}" for name in shlex.split(unit.get("StateDirectory", ""))]
    if _below(place, [*opened, *state, *bound, _NEVER_PROTECTED]):
        return False
    return unit.get("ProtectSystem") == "strict" or (unit.get("ProtectHome") == "read-only" and _below(place, _HOMES))


def _below(place: Path, folders: Iterable[str]) -> bool:
    """Whether it is one of these folders, or in one."""
    return any(place.is_relative_to(Path(folder).resolve()) for folder in folders)
