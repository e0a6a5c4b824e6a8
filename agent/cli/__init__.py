"""The command line: each command is a module that is imported only when it is asked for."""

import os
import sys
from pathlib import Path

DEFAULT_CONFIG = "/etc/capture-agent/config.toml"


def main() -> None:
    """What `capture-agent` on the command line does; ends the process with its exit code."""
    for library in ("OPENBLAS", "OMP", "MKL"):
        # before numpy is imported: each of its threads costs memory, and nothing here multiplies matrices
        os.environ.setdefault(f"{library}_NUM_THREADS", "1")
    match sys.argv[1:]:
        case ["run"]:
            sys.exit(_run(os.environ.get("CAPTURE_AGENT_CONFIG", DEFAULT_CONFIG)))
        case ["run", "--config", path]:
            sys.exit(_run(path))
    from agent.cli.tree import cli

    cli(prog_name="capture-agent")


def _run(path: str) -> int:
    """The service's own way in: without the parser, which a daemon need not hold in memory."""
    from agent.cli.run import run

    return run(Path(path))
