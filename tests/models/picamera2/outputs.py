"""A model of picamera2's circular output: it holds frames back, and gives each the time of one that came later."""

import io
import threading
from collections import deque
from typing import Any


class CircularOutput:
    def __init__(self, file: Any = None, pts: Any = None, buffersize: int = 150) -> None:
        assert file is None and buffersize > 0
        self.recording = False
        self._held: deque[tuple[bytes, bool]] = deque(maxlen=buffersize)
        self._lock = threading.Lock()
        self.fileoutput = None

    @property
    def fileoutput(self) -> Any:
        return self._file

    @fileoutput.setter
    def fileoutput(self, file: Any) -> None:
        if file is not None and not isinstance(file, io.BufferedIOBase):
            raise RuntimeError("Must pass io.BufferedIOBase")
        self._file, self._begun = file, False

    def start(self) -> None:
        self.recording = True

    def outputframe(
        self, frame: bytes, keyframe: bool = True, timestamp: Any = None, packet: Any = None, audio: bool = False
    ) -> None:
        with self._lock:
            self._held.append((frame, keyframe))
            if self._file is not None and self.recording:
                self._let_go(1 if self._begun else len(self._held), once=True)

    def stop(self) -> None:
        if not self.recording or self._file is None:
            return
        with self._lock:
            self._let_go(len(self._held), once=False)
        self.recording = False

    def _let_go(self, most: int, *, once: bool) -> None:
        for _ in range(most):
            frame, keyframe = self._held.popleft()
            self._begun |= keyframe
            if self._begun:
                self._file.write(frame)
                self._file.flush()
                if once:
                    return
