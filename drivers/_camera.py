"""What drivers of cameras share: pictures, or clips, at an interval, on demand, and those taken for motion."""

import queue
from collections.abc import Mapping
from typing import Any

import numpy as np

from drivers import Block, Identity, boottime_ns, samples_dtype
from drivers.ports.camera import Camera, Shot, Value
from drivers.ports.jpeg import missing

NO_SAMPLES = np.empty(0, samples_dtype(()))
NO_SAMPLES.flags.writeable = False
"""What stands in a block that is a picture."""


class PictureTaker:
    """Pictures at start + k * interval, and one more for each `snap`; a turn missed by a whole interval is lost."""

    def __init__(
        self,
        camera: Camera,
        *,
        wanted: Mapping[str, Any],
        setup: Mapping[str, Value],
        interval_s: float,
        lag_s: float = 0.0,
    ) -> None:
        """`wanted` is what the camera is started with; `setup` what of it shapes the pictures. 0 s: only on demand."""
        self.camera = camera
        self._own = {"missed": 0, "incomplete": 0}
        self._wanted = wanted
        self._setup = setup
        self._interval_s = interval_s
        self._lag_s = lag_s
        self._interval_ns = round(interval_s * 1e9)
        self._due_ns = 0
        self._number = 0
        self._lost = 0
        self._asked = False
        self._snaps: queue.SimpleQueue[None] = queue.SimpleQueue()

    @property
    def counters(self) -> Mapping[str, int]:
        """Turns `missed`, pictures that came `incomplete`, and what the camera's own process counts."""
        return {**self._own, **self.camera.counts}

    def start(self) -> Identity:
        facts = self.camera.start(self._wanted)
        self._due_ns = boottime_ns()
        setup = {**self._setup, "width": facts.width, "height": facts.height, **facts.setup}
        rate_hz = 1 / self._interval_s if self._interval_s else 0.0
        return Identity(facts.model, rate_hz, setup=setup, serial=facts.serial, lag_s=self._lag_s)

    def snap(self) -> None:
        self._snaps.put(None)

    def read(self, timeout: float) -> Block | None:
        until_ns = boottime_ns() + round(timeout * 1e9)
        shot = None
        if not self._asked:
            shot = self.camera.picture(0)  # signs of life are heard here, too
            if shot is None:
                if not self._turn(until_ns):
                    return None
                self.camera.ask()
                self._asked = True
        if shot is None:
            shot = self.camera.picture((until_ns - boottime_ns()) / 1e9)
        return None if shot is None else self._block(shot)

    def close(self) -> None:
        self.camera.close()

    def _block(self, shot: Shot) -> Block | None:
        """A picture as a block; one that is not whole is lost."""
        if shot.asked:
            self._asked = False
        number = self._number
        self._number += 1
        if not shot.mp4 and missing(shot.jpeg):
            self._own["incomplete"] += 1
            self._lost += 1
            return None
        lost, self._lost = self._lost, 0
        return Block(
            first=number,
            samples=NO_SAMPLES,
            observed_ns=shot.timestamp_ns,
            newest=number,
            lost=lost,
            jpeg=shot.jpeg,
            mp4=shot.mp4,
            begin_ns=shot.begin_ns,
            end_ns=shot.end_ns,
            metadata=shot.metadata,
        )

    def _turn(self, until_ns: int) -> bool:
        """Waits for a picture's turn, by schedule or on demand; False where none came in time."""
        scheduled = self._interval_ns > 0
        wake_ns = min(until_ns, self._due_ns) if scheduled else until_ns
        try:
            self._snaps.get(timeout=max(0, wake_ns - boottime_ns()) / 1e9)
        except queue.Empty:
            late_ns = boottime_ns() - self._due_ns
            if not scheduled or late_ns < 0:
                return False
            missed = late_ns // self._interval_ns
            self._due_ns += (missed + 1) * self._interval_ns
            self._own["missed"] += missed
            self._number += missed
            self._lost += missed
        return True
