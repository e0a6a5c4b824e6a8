"""The bundle: what somebody needs who is to find a mistake from afar, in one file, without secrets."""

import dataclasses
import importlib.metadata
import io
import json
import os
import platform
import sqlite3
import sys
import tarfile
import time
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agent import __version__, control
from agent.doctor import Finding
from agent.doctor.redaction import Redaction, known_secrets
from agent.doctor.scene import Scene
from agent.doctor.service import journal

_LOG_LINES = 2000


def report(findings: Sequence[Finding]) -> dict[str, Any]:
    """The findings as JSON has them."""
    return {
        "version": __version__,
        "good": all(finding.state != "fail" for finding in findings),
        "findings": [dataclasses.asdict(finding) for finding in findings],
    }


def write(path: Path, scene: Scene, findings: Sequence[Finding]) -> list[str]:
    """Makes the file, readable by its owner alone; the names in it. FileExistsError where there is one already."""
    document, error = _configuration(scene)
    redaction = Redaction(known_secrets(document, scene.home))
    files = {
        "doctor.json": _json(redaction.document(report(findings))),
        "configuration.json": _json(redaction.document(document)) if not error else redaction.text(error) + "\n",
        "status.json": _json(redaction.document(_status(scene))),
        "versions.json": _json(_versions(scene)),
        "journal.txt": redaction.text(journal(scene, _LOG_LINES)),
    }
    folder = path.name.removesuffix(".gz").removesuffix(".tar").removesuffix(".tgz")
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file, tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, text in files.items():
            content = text.encode()
            entry = tarfile.TarInfo(f"{folder}/{name}")
            entry.size, entry.mtime, entry.mode = len(content), int(time.time()), 0o600
            archive.addfile(entry, io.BytesIO(content))
    return list(files)


def _configuration(scene: Scene) -> tuple[Any, str]:
    """What the file says, without its comments, which may tell anything; or why it cannot be told."""
    try:
        return tomllib.loads(scene.config_path.read_text()), ""
    except (OSError, ValueError) as error:
        return {}, f"{scene.config_path} cannot be read: {error}"


def _status(scene: Scene) -> Any:
    try:
        return control.ask(scene.data_dir, "status")
    except (control.NoDaemon, control.CommandError, OSError) as error:
        return {"error": str(error)}


def _versions(scene: Scene) -> dict[str, Any]:
    packages = {
        found.metadata["Name"]: found.version for found in importlib.metadata.distributions() if found.metadata["Name"]
    }
    system = platform.freedesktop_os_release() if Path("/etc/os-release").exists() else {}
    return {
        "capture-agent": __version__,
        "python": sys.version,
        "sqlite": sqlite3.sqlite_version,
        "kernel": " ".join(platform.uname()[i] for i in (0, 2, 3, 4)),
        "system": system.get("PRETTY_NAME", ""),
        "board": scene.text("proc/device-tree/model") or "",
        "packages": dict(sorted(packages.items(), key=lambda pair: pair[0].lower())),
    }


def _json(document: Any) -> str:
    return json.dumps(document, indent=1, ensure_ascii=False, default=str) + "\n"
