"""The service: what systemd knows of it, and what the daemon says itself."""

from collections.abc import Iterator

from agent import control
from agent.doctor import Finding, fail, ok, warn
from agent.doctor.scene import SERVICE, Scene

_PROPERTIES = "LoadState,ActiveState,SubState,Result,NRestarts,ExecMainStatus,UnitFileState,StatusText"
_CAUSES = {
    "watchdog": "a thread hung for a minute and systemd ended it",
    "oom-kill": "the kernel ended it because memory was short",
    "exit-code": "it ended with an error",
    "start-limit-hit": "it failed too often and is not started again",
    "timeout": "it did not start or stop in time",
    "signal": "a signal ended it",
}
_EXIT_CONFIG = "78"


def unit(scene: Scene) -> Iterator[Finding]:
    """The unit's state."""
    state = properties(scene, _PROPERTIES)
    if not state:
        yield ok("service", "systemd does not run here")
        return
    if state.get("LoadState") != "loaded":
        yield warn("service", f"the unit {SERVICE} is {state.get('LoadState')}", "install it: sudo make install")
        return
    active, restarts = state.get("ActiveState", ""), int(state.get("NRestarts") or 0)
    cause = _CAUSES.get(state.get("Result", ""), state.get("Result", ""))
    look = f"journalctl -u {SERVICE} -n 100"
    if state.get("ExecMainStatus") == _EXIT_CONFIG and active != "active":
        yield fail("service", "its configuration is wrong", f"mend it (below), then systemctl start {SERVICE}")
    elif active == "failed":
        yield fail("service", f"failed: {cause}", f"{look}; then systemctl reset-failed {SERVICE} and start it")
    elif state.get("SubState") == "start" and state.get("StatusText"):  # before it has begun it says why it has not
        yield fail("service", f"is {active}: {state['StatusText']}", "mend that; it goes on by itself")
    elif active != "active":
        yield warn("service", f"is {active} ({state.get('SubState')})", f"systemctl enable --now {SERVICE}")
    elif restarts:
        again = f"runs, and was started again {restarts} times"
        yield warn("service", again + (f": {cause}" if state.get("Result") in _CAUSES else ""), look)
    else:
        yield ok("service", "runs, and was never started again")
    if active == "active" and state.get("UnitFileState") == "disabled":
        yield warn("service", "will not start at the next boot", f"systemctl enable {SERVICE}")


def properties(scene: Scene, names: str) -> dict[str, str]:
    """What systemd says of the unit, by the names of its properties (with commas); empty where it does not run."""
    said = scene.run(["systemctl", "show", SERVICE, "--property", names]) if _systemd(scene) else None
    return dict(line.split("=", 1) for line in (said or "").splitlines() if "=" in line)


def daemon(scene: Scene) -> Iterator[Finding]:
    """The problems of a running daemon, and each of its streams."""
    try:
        status = control.ask(scene.data_dir, "status")
    except control.NoDaemon:
        yield warn("daemon", f"no daemon runs on {scene.data_dir}", f"systemctl start {SERVICE}")
        return
    except control.CommandError as error:
        yield warn("daemon", str(error), f"sudo adduser YOU {SERVICE}, and log in again; or run this as root")
        return
    except OSError as error:
        yield fail(
            "daemon", f"does not answer: {error}", f"journalctl -u {SERVICE} -n 100; systemctl restart {SERVICE}"
        )
        return
    problems = status["problems"]
    for problem in problems:
        yield fail("daemon", problem, "see `capture-agent status`")
    if not problems:
        yield ok("daemon", f"version {status['version']} runs, with {len(status['streams'])} streams and no problems")


def journal(scene: Scene, lines: int) -> str:
    """The last lines of the service's log."""
    command = ["journalctl", "--unit", SERVICE, "--lines", str(lines), "--no-pager", "--output", "short-iso"]
    return (scene.run(command) if _systemd(scene) else None) or "(there is no journal)\n"


def _systemd(scene: Scene) -> bool:
    return scene.path("run/systemd/system").is_dir()
