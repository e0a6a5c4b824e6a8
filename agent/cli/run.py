"""`capture-agent run`: the daemon, in the foreground."""

import sys
from pathlib import Path

from agent.config.errors import ConfigError


def run(config: Path) -> int:
    """Runs until SIGTERM; the exit code. A configuration that cannot be used is said line by line, and is code 78."""
    from agent import memory

    memory.compact()  # before there are threads
    from agent.daemon import run as run_daemon

    try:
        return run_daemon(config)
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
