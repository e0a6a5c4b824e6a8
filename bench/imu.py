"""An MPU-6050 at 1 kHz over the virtual I2C port: what the daemon's own process spends on it, its child left out."""

import random
import tempfile
import time
from pathlib import Path

from agent.clock import Clock
from agent.device import Device
from agent.gate import Gate
from agent.negative import NegativeReader
from agent.recording import Orders, RecordingSettings
from agent.ring import Ring
from agent.sample_writer import SampleWriter
from agent.stream import Stream
from agent.takes import Takes
from bench import Measure
from drivers.mpu6050 import Settings

SECONDS = 10.0
AIM_PERCENT = 2.0
_SYNC_S = 2.0


def measure() -> list[Measure]:
    return [
        _measure("reading its FIFO", reading_percent()),
        _measure("reading, ring and recording", recording_percent()),
    ]


def _measure(what: str, percent: float) -> Measure:
    return Measure(
        what=f"MPU-6050 at 1 kHz: {what}",
        figure=percent,
        unit="% of one core",
        against=f"the aim of {AIM_PERCENT:g} %",
        ratio=percent / AIM_PERCENT,
        aim=f"under {AIM_PERCENT:g} % of one core",
        met=percent < AIM_PERCENT,
    )


def _settings() -> Settings:
    return Settings(bus="virtual", rate_hz=1000, filter_hz=188)


def reading_percent() -> float:
    """CPU of one core, in percent, that the driver alone takes."""
    driver = _settings().open()
    try:
        driver.start()
        begun, cpu, samples = time.monotonic(), time.process_time(), 0
        while (elapsed := time.monotonic() - begun) < SECONDS:
            block = driver.read(0.25)
            samples += block.count if block else 0
        percent = 100 * (time.process_time() - cpu) / elapsed
    finally:
        driver.close()
    _expect(samples, elapsed)
    return percent


def recording_percent() -> float:
    """CPU of one core, in percent, of reader thread, ring, writer thread and a disk sync every two seconds."""

    def failed(name: str, error: BaseException) -> None:
        raise RuntimeError(f"{name} failed") from error

    clock = Clock()
    stream = Stream("imu", "mpu6050", _settings(), ring=Ring(20.0, 1 << 24), clock=clock, jitter=random.Random(1))
    recipe = RecordingSettings(streams=("imu",), length_s=0)
    finished: list[Path] = []
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        takes = Takes(
            Orders("bench", recipe),
            recipe,
            folder=Path(folder),
            clock=clock,
            device=Device("bench", "00000000"),
            finished=finished.append,
            room=lambda: "",
        )
        writer = SampleWriter([stream], takes, clock=clock, gate=Gate(None, clock))
        reading = stream.start(failed)
        writing = writer.start(failed)
        try:
            time.sleep(1)
            begun, cpu, before = time.monotonic(), time.process_time(), stream.samples
            while (elapsed := time.monotonic() - begun) < SECONDS:
                time.sleep(_SYNC_S)
                for negative in writer.open_negatives():
                    negative.sync()
            percent = 100 * (time.process_time() - cpu) / elapsed
            samples = stream.samples - before
        finally:
            reading.stop()
            writing.stop()
        kept = sum(block.count for _, block in NegativeReader(finished[0]).blocks())
    _expect(samples, elapsed)
    if kept != stream.samples or stream.lost:
        raise RuntimeError(f"{stream.samples} samples were read, {kept} recorded, {stream.lost} lost")
    return percent


def _expect(samples: int, seconds: float) -> None:
    if abs(samples - 1000 * seconds) > 100:
        raise RuntimeError(f"{samples} samples in {seconds:.1f} s are not 1 kHz")
