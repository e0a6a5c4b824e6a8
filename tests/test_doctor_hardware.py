"""The doctor and what is attached: chips on virtual buses, pseudo-terminals that talk, cameras that are listed."""

import errno
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.doctor.buses import buses
from agent.doctor.cameras import cameras
from agent.doctor.chips import chips, declared
from agent.doctor.lines import Heard, heard, lines, ports
from agent.doctor.scene import Scene
from drivers._ssi2_frames import header
from drivers.mplab_stream import looks_like as is_mplab
from drivers.ports.virtual.uart import VirtualLine
from drivers.ssi import VirtualSsi
from drivers.ssi import looks_like as is_ssi
from drivers.text_lines import looks_like as is_text
from tests.machine import Chips, changed, machine, programs, worst
from tests.test_uart import FarEnd

HALLMARKS = declared("HALLMARKS")
PI = {"proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.5\0", "dev/i2c-1": "", "dev/i2c-20": ""}
IMU = '[stream.imu]\ndriver = "mpu6050"\n'


@pytest.mark.parametrize("driver", HALLMARKS)
def test_every_chip_is_recognised_and_only_asked_for_its_hallmark(tmp_path: Path, driver: str) -> None:
    (mark, *_) = HALLMARKS[driver]
    bus = Chips(**{driver: mark.addresses[0]})
    (chip,) = chips(machine(tmp_path, open_bus=bus.opened), 1, HALLMARKS)
    assert (chip.driver, chip.address, chip.sure) == (driver, mark.addresses[0], mark.sure)
    assert chip.model in mark.answers.values()
    # a byte read without a register could come out of a FIFO, and be missing there
    ours = {address for marks in HALLMARKS.values() for mark in marks for address in mark.addresses}
    assert not ours & {address for address, register in bus.asked if register is None}
    assert {a for a, register in bus.asked if register is not None} == ours


def test_a_bus_with_its_chip_a_stranger_and_one_of_the_kernel(tmp_path: Path) -> None:
    bus = Chips(others=[0x20], mpu6050=0x68)
    scene = machine(tmp_path, IMU, files=PI, open_bus=bus.opened)
    taken = scene.path("sys/bus/i2c/devices/1-0076")
    taken.mkdir(parents=True)
    (scene.path("sys/bus/i2c/drivers/bmp280")).mkdir(parents=True)
    (taken / "driver").symlink_to("../../drivers/bmp280")
    found = list(buses(scene))
    assert worst(found).state == "ok"
    said = found[0].seen
    assert "0x68 MPU-6050" in said and "0x20 a chip that no driver here knows" in said
    assert "0x76 is with the kernel (bmp280)" in said
    assert 0x76 not in {address for address, _ in bus.asked}
    assert "left alone: bus 20" in found[-1].seen


def test_a_chip_that_is_not_there_or_another_one(tmp_path: Path) -> None:
    scene = machine(tmp_path, IMU, files=PI, open_bus=Chips(mpu6050=0x69).opened)
    found = worst(list(buses(scene)))
    assert found.state == "fail" and "stream imu: nobody answers at 0x68" in found.seen
    found = worst(list(buses(changed(scene, open_bus=Chips(icm42688=0x68).opened))))
    assert found.state == "fail" and "ICM-42688-P and no mpu6050" in found.seen
    assert 'driver = "icm42688"' in found.remedy


@pytest.mark.parametrize(("code", "words"), [(errno.ETIMEDOUT, "holds SDA or SCL low"), (errno.EACCES, "as root")])
def test_a_bus_that_hangs_is_asked_once(tmp_path: Path, code: int, words: str) -> None:
    bus = Chips(hung=code)
    found = worst(list(buses(machine(tmp_path, IMU, files=PI, open_bus=bus.opened))))
    assert found.state == "fail" and words in found.remedy
    assert len(bus.asked) == 1


def test_chips_that_only_the_kernel_may_have(tmp_path: Path) -> None:
    scene = machine(tmp_path, IMU, files=PI, open_bus=Chips(hung=errno.EBUSY).opened)
    assert "is with the kernel's driver unknown" in worst(list(buses(scene))).seen


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"boot/firmware/config.txt": "#dtparam=i2c_arm=on\n"}, "config.txt does not enable it"),
        ({"boot/config.txt": "dtparam=i2c_arm=on\n", "proc/modules": "spidev 1\n"}, "i2c-dev is not loaded"),
        ({"boot/config.txt": "dtparam=i2c_arm=on\n", "proc/modules": "i2c_dev 1\n"}, "there is no bus"),
    ],
)
def test_a_bus_that_is_not_enabled(tmp_path: Path, files: dict[str, str], words: str) -> None:
    found = worst(list(buses(machine(tmp_path, IMU, files=files))))
    assert found.state == "fail" and words in found.seen
    assert worst(list(buses(machine(tmp_path, files={**files, "proc/device-tree/model": PI_MODEL})))).state == "warn"


PI_MODEL = PI["proc/device-tree/model"]


def test_a_bus_of_another_number(tmp_path: Path) -> None:
    scene = machine(tmp_path, IMU + "bus = 3\n", files=PI, open_bus=Chips(others=[0x20]).opened)
    found = worst(list(buses(scene)))
    assert found.state == "fail" and "no bus 3, which stream imu wants" in found.seen
    assert "set bus to one of 1, 20" in found.remedy


def test_buses_of_other_boards_are_left_alone_unless_asked_for(tmp_path: Path) -> None:
    bus = Chips(others=[0x50])
    scene = machine(tmp_path, files={"dev/i2c-0": ""}, open_bus=bus.opened)
    list(buses(scene))
    assert not bus.asked
    assert "0x50" in next(iter(buses(changed(scene, buses=(0,))))).seen


@contextmanager
def talking(message: bytes, every_s: float = 0.05) -> Iterator[FarEnd]:
    """A pseudo-terminal at whose far end somebody says the same again and again."""
    end, over = FarEnd(), threading.Event()

    def talk() -> None:
        while not over.wait(every_s):
            os.write(end.master, message)

    thread = threading.Thread(target=talk)
    thread.start()
    try:
        yield end
    finally:
        over.set()
        thread.join()
        end.unplug()


def plugged(scene: Scene, path: str, name: str = "usb-Board-if00") -> str:
    """The line at `path` by a name that stays; that name."""
    link = scene.path(f"dev/serial/by-id/{name}")
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(path)
    return str(link)


GGA = b"$GPGGA,123519,4807.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,*47\r\n"
MPLAB = b"".join(bytes([0xA5, *range(n, n + 12), 0x5A]) for n in range(8))


@pytest.mark.parametrize(
    ("message", "driver", "words"),
    [
        (b"0.1,0.2,9.8\r\n" * 3, "text_lines", "lines of 3 numbers"),
        (b"x:1 y:2\n" * 3, "text_lines", "lines of 2 numbers: x, y"),
        (MPLAB, "mplab_stream", "12 bytes of variables between 0xA5"),
        (GGA, "nmea", "a GPS receiver"),
    ],
)
def test_what_comes_in_on_a_line_is_recognised(message: bytes, driver: str, words: str) -> None:
    with talking(message) as end:
        line = heard(Path(end.path))
    assert (line.driver, line.baud) == (driver, 115200)
    assert words in line.what


def test_a_device_that_announces_itself_is_recognised_and_told_nothing() -> None:
    line = VirtualLine("ssi", VirtualSsi().document() | {"port": "virtual"})
    try:
        found = heard(Path(line.path))
        assert found.driver == "ssi" and "AccelerometerX" in found.what and "100 Hz" in found.what
        again = heard(Path(line.path))  # it was not connected to: it announces itself still
        assert again.driver == "ssi"
    finally:
        line.close()


def test_bytes_that_are_nearly_something() -> None:
    frames = [header(12, 0, number) + bytes(12) + b"x" for number in range(7, 10)]
    assert is_ssi(b"gar\xff" + frames[0] + frames[1]) == "SSI version 2, under way"
    assert not is_ssi(frames[0] + frames[2])
    assert "cannot be followed" in is_ssi(
        b'{"version":3,"sample_rate":1,"samples_per_packet":1,"column_location":{"a":0}}\n'
    )
    assert not is_text(GGA * 5) and not is_text(b"1,2\n3,4\n")
    assert not is_mplab(MPLAB[:-1].replace(b"\x5a", b"\x5b"))
    for looks_like in (is_ssi, is_text, is_mplab):
        assert looks_like(b"") == "" and looks_like(bytes(range(256)) * 4) == ""


def test_silence_and_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.doctor.lines._USB_S", 0.05)
    monkeypatch.setattr("agent.doctor.lines._UART_S", 0.05)
    end = FarEnd()
    try:
        assert heard(Path(end.path)).what == "silence"
    finally:
        end.unplug()
    with talking(b"\x81\x92\xa3") as noisy:
        assert "that nobody here knows, such as 81 92 a3" in heard(Path(noisy.path)).what


def test_the_speed_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pseudo-terminal has no speed, so what comes at others is garbled here."""
    monkeypatch.setattr("agent.doctor.lines._USB_S", 0.1)
    monkeypatch.setattr("agent.doctor.lines._UART_S", 0.1)
    from drivers.ports.uart import Uart

    read: Callable[[Uart, float], tuple[bytes, int]] = Uart.read

    def garbled(uart: Uart, timeout: float) -> tuple[bytes, int]:
        data, observed_ns = read(uart, timeout)
        good = uart._serial.baudrate == 921600
        return (data if good else bytes(byte | 0x80 for byte in data)), observed_ns

    monkeypatch.setattr(Uart, "read", garbled)
    with talking(b"1,2,3\n" * 4, 0.01) as end:
        assert (heard(Path(end.path)).driver, heard(Path(end.path)).baud) == ("text_lines", 921600)


TEXT = '[stream.mcu]\ndriver = "{0}"\nport = "{1}"\n'


def test_a_stream_whose_line_is_gone(tmp_path: Path) -> None:
    scene = machine(tmp_path, TEXT.format("text_lines", "/dev/ttyACM0"))
    found = worst(list(lines(scene)))
    assert found.state == "fail" and "stream mcu: there is no /dev/ttyACM0" in found.seen
    with talking(b"1,2\n" * 4) as end:
        plugged(scene, end.path)
        assert "there is /dev/serial/by-id/usb-Board-if00" in worst(list(lines(scene))).remedy


def test_a_line_with_another_device_than_its_stream_expects(tmp_path: Path) -> None:
    with talking(b"1,2\n" * 4) as end:
        scene = machine(tmp_path, TEXT.format("ssi", "/dev/serial/by-id/usb-Board-if00"))
        plugged(scene, end.path)
        found = worst(list(lines(scene)))
        assert found.state == "fail" and 'set driver = "text_lines"' in found.remedy
        scene = machine(tmp_path, TEXT.format("text_lines", "/dev/serial/by-id/usb-Board-if00") + "baud = 9600\n")
        assert worst(list(lines(scene))).remedy == "set baud = 115200"
        scene = machine(tmp_path, TEXT.format("text_lines", "/dev/serial/by-id/usb-Board-if00"))
        assert worst(list(lines(scene))).state == "ok"


def test_a_line_that_somebody_has_open_is_left_alone(tmp_path: Path) -> None:
    from drivers.ports.uart import open_uart

    end = FarEnd()
    scene = machine(tmp_path, TEXT.format("text_lines", "/dev/serial/by-id/usb-Board-if00"))
    plugged(scene, end.path)
    holder = open_uart(end.path, 115200, device="", virtual={})
    try:
        found = worst(list(lines(scene)))
        assert found.state == "ok" and "is open already" in found.seen
        assert "another program has it" in heard(Path(end.path)).error
    finally:
        holder.close()
        end.unplug()
    gone = heard(Path(scene.path("dev/none")))
    assert gone == Heard(str(scene.path("dev/none")), error=gone.error) and "no such port" in gone.error


def test_which_lines_are_listened_to(tmp_path: Path) -> None:
    names = ("ttyACM0", "ttyUSB0", "ttyAMA0", "ttyAMA1", "ttyS0", "ttyS4")
    files = {f"dev/{name}": "" for name in names} | {"proc/cmdline": "console=tty1 console=ttyAMA1,115200 root=x"}
    scene = machine(tmp_path, files=files)
    scene.path("dev/serial0").symlink_to("ttyS0")
    scene.path("dev/serial1").symlink_to("ttyAMA0")  # Bluetooth
    plugged(scene, str(scene.path("dev/ttyACM0")))
    assert [path.name for path in ports(scene)] == ["usb-Board-if00", "serial0", "ttyUSB0"]


def test_no_line_and_none_wanted(tmp_path: Path) -> None:
    assert worst(list(lines(machine(tmp_path)))).state == "ok"


LISTED = (
    "Available cameras\n-----------------\n0 : imx708 [4608x2592 10-bit RGGB] (/base/soc/i2c0mux/i2c@1/imx708@1a)\n"
)
CAM = '[stream.cam]\ndriver = "picamera"\n'


def test_cameras(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.doctor.cameras.has_library", lambda: True)
    scene = machine(tmp_path, CAM, run=programs(rpicam_hello=LISTED))
    assert worst(list(cameras(scene))).state == "ok"
    assert "number 0 is an imx708" in next(iter(cameras(scene))).seen
    none = changed(scene, run=programs(libcamera_hello="No cameras available!\n"))
    found = worst(list(cameras(none)))
    assert found.state == "fail" and "both ends of its cable" in found.remedy
    assert "rpicam-apps-lite" in worst(list(cameras(changed(scene, run=programs())))).remedy
    monkeypatch.setattr("agent.doctor.cameras.has_library", lambda: False)
    found = worst(list(cameras(scene)))
    assert found.state == "fail" and "python3-picamera2" in found.remedy
    assert worst(list(cameras(machine(tmp_path, run=programs())))).state == "ok"


def test_webcams(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.doctor.cameras.reads_webcams", lambda: True)
    webcam = "/dev/v4l/by-id/usb-046d_C920_12AB-video-index0"
    config = f'[stream.cam]\ndriver = "v4l2camera"\ncamera = "{webcam}"\n'
    scene = machine(tmp_path, config, files={webcam[1:]: ""}, run=programs())
    (found,) = cameras(scene)
    assert found.state == "ok" and webcam in found.seen
    monkeypatch.setattr("agent.doctor.cameras.reads_webcams", lambda: False)
    found = worst(list(cameras(scene)))
    assert found.state == "fail" and "capture-agent[v4l2]" in found.remedy
    monkeypatch.setattr("agent.doctor.cameras.reads_webcams", lambda: True)
    scene.path(webcam[1:]).rename(scene.path("dev/v4l/by-id/usb-other-video-index0"))
    found = worst(list(cameras(scene)))
    assert found.state == "fail" and "there is /dev/v4l/by-id/usb-other-video-index0" in found.seen
