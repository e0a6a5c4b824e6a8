"""A daemon whose disk does not let it begin waits for it, says why once, and can be stopped."""

import signal
import time

from tests.running import Running, sampling

CONFIG = """
[stream.imu]
driver = "mpu6050"
bus = "virtual"

[recording.imu]
streams = ["imu"]
"""


def waiting(tmp_path) -> Running:
    """A daemon whose data folder is, for now, a file."""
    running = Running(tmp_path, CONFIG)
    running.data.rmdir()
    running.data.write_text("")
    running.start()
    deadline = time.monotonic() + 20
    while "cannot begin" not in running.log():
        assert time.monotonic() < deadline, running.log()
        time.sleep(0.02)
    return running


def test_it_begins_when_the_disk_is_back(tmp_path) -> None:
    running = waiting(tmp_path)
    try:
        running.process.send_signal(signal.SIGHUP)  # which tries at once
        time.sleep(0.2)
        running.data.unlink()
        running.data.mkdir()
        running.process.send_signal(signal.SIGHUP)
        running.until(sampling)
        assert running.log().count("cannot begin") == 1, "said once"
        assert str(running.data) in running.log()
        assert running.terminate()[0] == 0
    finally:
        running.__exit__(None, None, None)


def test_it_can_be_stopped_while_it_waits(tmp_path) -> None:
    running = waiting(tmp_path)
    try:
        code, seconds = running.terminate()
        assert (code, seconds < 5) == (0, True)
    finally:
        running.__exit__(None, None, None)
