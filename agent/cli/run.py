"""`capture-agent run`: the daemon, in the foreground."""

from pathlib import Path

from agent.config.errors import ConfigError
from agent.journal import complain


def run(config: Path) -> int:
    """Runs until SIGTERM; the exit code. A configuration that cannot be used is said line by line, and is code 78."""
    from agent import memory

    memory.compact()  # before there are threads
    from agent.lifetime import run as run_daemon

    try:
        return run_daemon(config)
    except ConfigError as error:
        complain(str(error))
        return error.exit_code
