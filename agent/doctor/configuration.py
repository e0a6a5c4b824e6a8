"""The configuration: every mistake in it."""

import os
from collections.abc import Iterator

from agent.doctor import Finding, fail, ok
from agent.doctor.scene import Scene


def configuration(scene: Scene) -> Iterator[Finding]:
    """What is wrong in the file, one finding each."""
    if scene.config is not None:
        parts = [
            (scene.config.streams, "streams"),
            (scene.config.recordings, "recordings"),
            (scene.config.targets, "targets"),
        ]
        counts = ", ".join(f"{len(named)} {what}" for named, what in parts)
        yield ok("configuration", f"{scene.config_path} is right: {counts}")
        return
    missing = not os.path.lexists(scene.config_path)  # which, unlike Path.exists, bears a folder that is not ours
    for mistake in scene.mistakes:
        remedy = (
            "capture-agent setup writes one" if missing else f"change it in {scene.config_path}; capture-agent check"
        )
        yield fail("configuration", str(mistake), remedy)
