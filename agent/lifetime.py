"""The life of the process: a daemon on its configuration, another where that has changed, and patience before it."""

import logging
import signal
import sys
from pathlib import Path

from agent import journal
from agent.config.loading import Config, load
from agent.daemon import CannotBegin, Daemon
from agent.folder import Busy
from agent.main_thread import MainThread
from agent.notify import Notify

log = logging.getLogger(__name__)

EXIT_BUSY = 75
_AGAIN_S = 10.0
"""How often a daemon that cannot begin tries again."""


def run(config_path: Path) -> int:
    """Runs a daemon until SIGTERM or SIGINT; SIGHUP reloads. The exit code for the process. ConfigError.

    Where another daemon has the folder it waits under systemd ($NOTIFY_SOCKET), which would give up starting it again;
    by hand it ends, with code 75.
    """
    main = MainThread()
    signal.signal(signal.SIGTERM, lambda number, frame: main.stop())
    signal.signal(signal.SIGINT, lambda number, frame: main.stop())
    signal.signal(signal.SIGHUP, lambda number, frame: main.hang_up())
    config: Config | None = load(config_path)
    sys.setswitchinterval(0.001)  # a reader that waits for the interpreter gets it from the developer sooner
    journal.set_up()
    code, notify, said = 0, Notify(), ""
    while config is not None:
        logging.getLogger().setLevel(config.agent.log_level.upper())
        daemon = Daemon(config, main)
        try:
            with daemon:
                code = daemon.wait(notify)
        except (Busy, CannotBegin) as error:
            if isinstance(error, Busy) and not notify.heard:
                log.critical("%s", error)
                return EXIT_BUSY
            # here and not by being started again, which systemd gives up after a while
            if str(error) != said:
                log.critical("cannot begin, and tries again every %.0f s: %s", _AGAIN_S, error)
            said = str(error)
            notify(STATUS=f"cannot begin: {error}", EXTEND_TIMEOUT_USEC=str(int(_AGAIN_S * 3e6)))
            if main.rest(_AGAIN_S):
                return 0
            continue
        config = daemon.next
    return code
