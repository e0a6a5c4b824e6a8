"""I2C sensors over the virtual bus: what a core spends per kHz and sensor on reading their FIFOs and recording one of
them, the chip's own process left out; against reading an MPU-6050's registers one at a time, as tutorials do."""

import random
import struct
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agent.clock import Clock
from agent.device import Device
from agent.gate import Gate
from agent.negative import NegativeReader
from agent.recording import Orders, RecordingSettings
from agent.ring import Ring
from agent.sample_writer import SampleWriter
from agent.stream import Stream
from agent.takes import Takes
from bench import Measure, beside
from bench._timing import cpu_s, where
from drivers import adxl345, icm20948, icm42688, lis3dh, lsm6ds, mpu6050
from drivers.ports.virtual.i2c import VirtualTransfers

SECONDS = 6.0
AIM_PERCENT = 2.0
"""Of the MPU-6050. Others have FIFOs that cost more transfers: the ADXL345 one for each sample."""
_SHARE = 0.2
"""Of what the tutorials' way costs."""
_SYNC_S = 2.0
_TUTORIAL_SAMPLES = 1_000
MPU = mpu6050.Settings(bus="virtual", rate_hz=1000, filter_hz=188)
_SENSORS: tuple[tuple[str, Any], ...] = (
    ("MPU-6050", MPU),
    ("LSM6DSOX", lsm6ds.Settings(bus="virtual", rate_hz=833)),
    ("ICM-20948", icm20948.Settings(bus="virtual", rate_hz=1125)),
    ("ICM-42688-P", icm42688.Settings(bus="virtual", rate_hz=1000)),
    ("ADXL345", adxl345.Settings(bus="virtual", rate_hz=800)),
    ("LIS3DH", lis3dh.Settings(bus="virtual", rate_hz=400)),
)
_PWR_MGMT_1, _ACCEL_XOUT_H, _GYRO_XOUT_H = 0x6B, 0x3B, 0x43


def measure() -> list[Measure]:
    peers = {
        "MPU-6050, a register at a time": _tutorial_percent(_one_at_a_time),
        "MPU-6050, 14 registers a sample": _tutorial_percent(_together),
    }
    found = [
        _measured(f"{name} at {settings.rate_hz:g} Hz: reading its FIFO", lambda s=settings: _reading_percent(s), peers)
        for name, settings in _SENSORS
    ]
    return [*found, _measured("MPU-6050 at 1000 Hz: reading, ring and recording", _recording_percent, peers)]


def _measured(what: str, percent_of: Callable[[], float], peers: dict[str, float]) -> Measure:
    percent, (name, its) = percent_of(), next(iter(peers.items()))
    one = what.startswith("MPU-6050")
    met = percent < AIM_PERCENT if one else percent <= _SHARE * its
    return Measure(
        what=what,
        figure=percent,
        unit="% of one core per kHz",
        against=beside(name, its, "%"),
        ratio=percent / its,
        aim=f"under {AIM_PERCENT:g} %" if one else f"ratio at most {_SHARE:g}",
        met=met,
        peers=peers,
        reason="" if met else where(percent_of),
    )


def _tutorial_percent(read: Callable[[VirtualTransfers], tuple[float, ...]]) -> float:
    """CPU of one core, in percent, at 1 kHz; it neither waits for a sample nor notices one that it misses."""
    transfers = VirtualTransfers("mpu6050", MPU.virtual.document())
    try:
        transfers.write(_PWR_MGMT_1, b"\0")
        time.sleep(0.2)
        spent = cpu_s(lambda: [read(transfers) for _ in range(_TUTORIAL_SAMPLES)])
    finally:
        transfers.close()
    return 100 * spent / _TUTORIAL_SAMPLES * 1000


def _one_at_a_time(transfers: VirtualTransfers) -> tuple[float, ...]:
    """Two byte reads for each axis, put together and scaled."""
    values = []
    for register in (*range(_ACCEL_XOUT_H, _ACCEL_XOUT_H + 6, 2), *range(_GYRO_XOUT_H, _GYRO_XOUT_H + 6, 2)):
        high, low = transfers.read(register, 1)[0], transfers.read(register + 1, 1)[0]
        value = high << 8 | low
        values.append(value - 65536 if value >= 0x8000 else value)
    return (*(value / 16384.0 for value in values[:3]), *(value / 131.0 for value in values[3:]))


def _together(transfers: VirtualTransfers) -> tuple[float, ...]:
    """All 14 registers in one read."""
    values = struct.unpack(">7h", transfers.read(_ACCEL_XOUT_H, 14))
    return (*(value / 16384.0 for value in values[:3]), *(value / 131.0 for value in values[4:]))


def _reading_percent(settings: Any) -> float:
    """CPU of one core, in percent per kHz, that the driver alone takes."""
    driver = settings.open()
    try:
        rate_hz = driver.start().rate_hz
        begun, cpu, samples = time.monotonic(), time.process_time(), 0
        while (elapsed := time.monotonic() - begun) < SECONDS:
            block = driver.read(0.25)
            samples += block.count if block else 0
        spent_s = time.process_time() - cpu
    finally:
        driver.close()
    return _per_khz(spent_s, samples, rate_hz, elapsed)


def _recording_percent() -> float:
    """CPU of one core, in percent, of reader thread, ring, writer thread and a disk sync every two seconds."""

    def failed(name: str, error: BaseException) -> None:
        raise RuntimeError(f"{name} failed") from error

    clock = Clock()
    stream = Stream("imu", "mpu6050", MPU, ring=Ring(20.0, 1 << 24), clock=clock, jitter=random.Random(1))
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
            spent_s = time.process_time() - cpu
            samples = stream.samples - before
        finally:
            reading.stop()
            writing.stop()
        kept = sum(block.count for _, block in NegativeReader(finished[0]).blocks())
    if kept != stream.samples or stream.lost:
        raise RuntimeError(f"{stream.samples} samples were read, {kept} recorded, {stream.lost} lost")
    return _per_khz(spent_s, samples, 1000.0, elapsed)


def _per_khz(cpu_s: float, samples: int, rate_hz: float, seconds: float) -> float:
    """Percent of a core. RuntimeError where so little came that it would say nothing."""
    if samples < 0.8 * rate_hz * seconds:
        raise RuntimeError(f"{samples} samples in {seconds:.1f} s are not {rate_hz:g} Hz: is the machine overloaded?")
    return 100 * cpu_s / (samples / 1000)
