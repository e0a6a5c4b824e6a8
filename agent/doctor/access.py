"""Permissions: whether the daemon's user may open what the configuration names."""

import grp
from collections.abc import Iterator
from pathlib import Path

from agent.doctor import Finding, fail, ok
from agent.doctor.sandbox import folders
from agent.doctor.scene import SERVICE, Scene


def access(scene: Scene) -> Iterator[Finding]:
    """Each device of a stream that is there and is a file; each folder that is written."""
    nodes = sorted({path for settings in _settings(scene) for path in _nodes(scene, settings)})
    good = []
    for node in nodes:
        if not node.exists():
            continue  # said where it is looked for
        if scene.account.may(node):
            good.append(f"/{node.relative_to(scene.root)}")
            continue
        group, user = _group(node), scene.account.name
        again = f"systemctl restart {SERVICE}" if user == SERVICE else "log in again"
        yield fail(
            "permissions",
            f"user {user} may not read and write /{node.relative_to(scene.root)} (group {group})",
            f"sudo usermod -aG {group} {user}, then {again}",
        )
    for what, folder in folders(scene):
        shut = scene.shut(folder)
        if shut is not None:
            remedy = f"sudo chmod o+x {shut}, or choose a folder elsewhere"
            yield fail(
                "permissions", f"user {scene.account.name} may not go through {shut} to {folder} ({what})", remedy
            )
        # root, who tries a target, may write where the daemon may not; its own folder is looked at more closely
        elif folder != scene.data_dir and folder.is_dir() and not scene.account.may(folder, 0o3):
            remedy = f"sudo chown {scene.account.name} {folder}, or mount it with uid={scene.account.name}"
            yield fail("permissions", f"user {scene.account.name} may not write in {folder} ({what})", remedy)
    if good:
        yield ok("permissions", f"user {scene.account.name} may use {', '.join(good)}")


def _settings(scene: Scene) -> list[object]:
    return [stream.settings for stream in scene.config.streams.values()] if scene.config else []


def _nodes(scene: Scene, settings: object) -> Iterator[Path]:
    bus, port, camera = (getattr(settings, name, None) for name in ("bus", "port", "camera"))
    if "virtual" in (bus, port, camera):
        return
    if bus is not None:
        yield scene.path(f"dev/i2c-{bus}" if isinstance(bus, int) else str(bus).lstrip("/"))
    if port is not None:
        yield scene.path(str(port).lstrip("/"))
    if isinstance(camera, str):
        yield scene.path(camera.lstrip("/"))
    elif camera is not None:
        for pattern in ("dev/media*", "dev/video*", "dev/dma_heap/*"):
            yield from scene.glob(pattern)


def _group(node: Path) -> str:
    try:
        return grp.getgrgid(node.stat().st_gid).gr_name
    except KeyError:
        return str(node.stat().st_gid)
