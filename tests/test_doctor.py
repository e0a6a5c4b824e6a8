"""The doctor and the machine: each check finds what was broken on purpose, and is content with what is well."""

import os
import sqlite3
from pathlib import Path

import pytest

from agent.doctor import Finding
from agent.doctor.access import access
from agent.doctor.card import card, file_system
from agent.doctor.configuration import configuration
from agent.doctor.examination import CHECKS, examine
from agent.doctor.ledger import database
from agent.doctor.power import power, temperature
from agent.doctor.scene import Account, Scene, ran
from agent.doctor.service import daemon, unit
from agent.doctor.storage import storage
from agent.doctor.timekeeping import clock
from tests.machine import Clocks, changed, machine, programs, worst
from tests.recorded import make_data_folder
from tests.running import Running

IMU = '[stream.imu]\ndriver = "mpu6050"\n'
VIRTUAL = '[stream.imu]\ndriver = "mpu6050"\nbus = "virtual"\n'
PI = {"proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.5\0"}
THROTTLED = "sys/devices/platform/soc/soc:firmware/get_throttled"
UNIT = (
    "LoadState=loaded\nActiveState={0}\nSubState={1}\nResult={2}\nNRestarts={3}\nExecMainStatus={4}\n"
    "UnitFileState={5}\n"
)


def test_a_configuration_that_is_right_and_one_that_is_not(tmp_path: Path) -> None:
    assert worst(list(configuration(machine(tmp_path, IMU)))).state == "ok"
    wrong = worst(list(configuration(machine(tmp_path, IMU + "rate_hzz = 3\n"))))
    assert wrong.state == "fail" and "stream.imu.rate_hzz" in wrong.seen and "did you mean rate_hz" in wrong.seen
    missing = Scene.here(tmp_path / "none.toml")
    assert "capture-agent setup" in worst(list(configuration(missing))).remedy


def test_a_wrong_configuration_still_says_where_the_data_are(tmp_path: Path) -> None:
    scene = machine(tmp_path, "[stream.imu]\n")
    assert scene.config is None
    assert Scene.here(scene.config_path).data_dir == tmp_path / "data"


@pytest.mark.parametrize(
    ("flags", "state", "said"),
    [("0", "ok", "no undervoltage"), ("50000", "warn", "undervoltage since"), ("50005", "fail", "undervoltage, now")],
)
def test_power(tmp_path: Path, flags: str, state: str, said: str) -> None:
    (tmp_path / "older").mkdir()
    sysfs = machine(tmp_path, files={THROTTLED: f"{flags}\n"})
    program = machine(tmp_path / "older", files=PI, run=programs(vcgencmd=f"throttled=0x{flags}\n"))
    for scene in (sysfs, program):
        found = worst(list(power(scene)))
        assert (found.state, said in found.seen) == (state, True)
    assert worst(list(power(changed(program, run=programs())))).state == "warn"


def test_temperature(tmp_path: Path) -> None:
    zone = "sys/class/thermal/thermal_zone0/temp"
    assert worst(list(temperature(machine(tmp_path, files={zone: "48300"})))).state == "ok"
    hot = worst(list(temperature(machine(tmp_path, files={zone: "84100"}))))
    assert hot.state == "warn" and "84 degrees" in hot.seen


def test_the_clock_and_who_keeps_it(tmp_path: Path) -> None:
    files = {"run/systemd/timesync/synchronized": "", "sys/class/rtc/rtc0/name": "rtc-ds1307"}
    good = worst(list(clock(machine(tmp_path, files=files))))
    assert good.state == "ok" and "systemd-timesyncd" in good.seen and "rtc-ds1307" in good.seen
    lost = machine(tmp_path, clock=Clocks(synchronised=False, dated=False))
    found = worst(list(clock(lost)))
    assert found.state == "warn" and "UDP port 123" in found.remedy
    set_by_rtc = changed(lost, clock=Clocks(synchronised=False))
    assert "set by its battery clock (rtc-ds1307)" in worst(list(clock(set_by_rtc))).seen
    past = list(clock(changed(lost, clock=Clocks(synchronised=False, dated=False, wall_ns=86400 * 10**9))))
    assert worst(past).state == "fail" and "1970-01-02" in worst(past).seen
    (tmp_path / "alone").mkdir()
    alone = machine(tmp_path / "alone", clock=Clocks(synchronised=False, dated=False))
    assert "timedatectl" in worst(list(clock(alone))).remedy
    (tmp_path / "with chrony").mkdir()
    unheard = Clocks(synchronised=False, dated=False)
    chrony = machine(tmp_path / "with chrony", clock=unheard, files={"run/chrony/chronyd.pid": "1"})
    assert "rtcsync" in worst(list(clock(chrony))).remedy


@pytest.mark.parametrize(
    ("life", "warning", "state"),
    [("", "", "ok"), ("0x01 0x02", "0x01", "ok"), ("0x09 0x01", "0x01", "warn"), ("0x0b 0x01", "0x03", "fail")],
)
def test_a_card_that_tells_its_wear(tmp_path: Path, life: str, warning: str, state: str) -> None:
    device = "sys/block/mmcblk0/device"
    files = {f"{device}/name": "SC64G", f"{device}/type": "SD"}
    files |= {f"{device}/life_time": life, f"{device}/pre_eol_info": warning} if life else {}
    assert worst(list(card(machine(tmp_path, files=files)))).state == state


def test_errors_that_the_file_system_has_met(tmp_path: Path) -> None:
    assert not list(file_system(machine(tmp_path, files={"sys/fs/ext4/mmcblk0p2/errors_count": "0\n"})))
    found = list(file_system(machine(tmp_path, files={"sys/fs/ext4/mmcblk0p2/errors_count": "3\n"})))
    assert worst(found).state == "fail" and "mmcblk0p2" in worst(found).seen


@pytest.fixture
def stored(tmp_path: Path) -> Scene:
    """A machine whose data folder belongs to the daemon's user."""
    scene = machine(tmp_path, VIRTUAL)
    seen = scene.data_dir.stat()
    return changed(scene, account=Account("edge", seen.st_uid, frozenset({seen.st_gid})))


def test_a_data_folder_that_is_well_is_left_as_it_was(stored: Scene) -> None:
    assert [finding.state for finding in storage(stored)] == ["ok", "ok", "ok"]
    assert list(stored.data_dir.iterdir()) == []


def test_a_disk_that_is_slow_or_stalls(stored: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("agent.doctor.storage.time.monotonic", lambda: now[0])
    spans = {"slow": [0.2] * 12, "stalls": [0.01] * 11 + [4.0]}
    for name, state in (("slow", "warn"), ("stalls", "fail")):
        left = spans[name]

        def sync(descriptor: int, left: list[float] = left) -> None:
            now[0] += left.pop()

        found = worst(list(storage(changed(stored, sync=sync))))
        assert found.state == state and "class A1" in found.remedy


def test_a_disk_that_fails_is_full_or_lets_nobody_in(stored: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    assert "Input/output error" in worst(list(storage(changed(stored, sync=broken)))).seen

    stored.data_dir.chmod(0o700)
    other = changed(stored, account=Account("edge", 65534, frozenset()))
    assert "may not write" in worst(list(storage(other))).seen and "chown" in worst(list(storage(other))).remedy

    full = machine(stored.root.parent, "free_floor_percent_ = 1\n")  # wrong: the usual floor counts
    usage = os.statvfs(stored.data_dir)
    few = os.statvfs_result((usage.f_bsize, usage.f_frsize, usage.f_blocks, 10, 10, *usage[5:]))
    monkeypatch.setattr("agent.doctor.storage.os.statvfs", lambda folder: few)
    assert [f for f in storage(full) if f.state == "fail" and "nothing more is captured" in f.seen]


def test_a_data_folder_that_whoever_asks_may_not_open(stored: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(**more: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("agent.doctor.storage.tempfile.NamedTemporaryFile", refuses)
    found = worst(list(storage(stored)))
    assert found.state == "warn" and "as root" in found.remedy


def test_a_file_system_without_links(stored: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*paths: object) -> None:
        raise PermissionError(1, "Operation not permitted")  # what vfat answers

    monkeypatch.setattr("agent.doctor.storage.os.link", refuses)
    found = worst(list(storage(stored)))
    assert found.state == "fail" and "hard links" in found.seen


def test_a_data_folder_that_is_not_there_yet(stored: Scene) -> None:
    stored.data_dir.rmdir()
    assert worst(list(storage(stored))).state == "warn"
    stored.data_dir.parent.chmod(0o755)
    found = worst(list(storage(changed(stored, account=Account("edge", 65534, frozenset())))))
    assert found.state == "fail" and "install -d -o edge" in found.remedy


def test_a_database_and_what_it_owes(tmp_path: Path) -> None:
    scene = machine(tmp_path, VIRTUAL)
    assert list(database(scene)) == []  # none yet
    scene.data_dir.rmdir()
    make_data_folder(scene.data_dir)
    found = list(database(scene))
    assert found[0].state == "ok" and "is whole" in found[0].seen
    owed = [finding for finding in found if finding.about == "backlog"]
    assert owed
    late = list(database(changed(scene, clock=Clocks(wall_ns=1_900_000_000 * 10**9))))
    assert [f for f in late if f.about == "backlog" and f.state == "warn" and "days ago" in f.seen]


def test_a_damaged_database(tmp_path: Path) -> None:
    scene = machine(tmp_path, VIRTUAL)
    scene.data_dir.rmdir()
    make_data_folder(scene.data_dir)
    path = scene.data_dir / "agent.db"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    content = bytearray(path.read_bytes())
    for page in range(2, len(content) // 4096):
        content[page * 4096 : page * 4096 + 64] = os.urandom(64)
    path.write_bytes(content)
    found = worst(list(database(scene)))
    assert found.state == "fail" and "damaged" in found.seen and "next start" in found.remedy
    path.write_bytes(b"no database at all" * 500)
    assert worst(list(database(scene))).state == "fail"


def test_a_database_that_can_be_read_and_is_not_whole(tmp_path: Path) -> None:
    scene = machine(tmp_path, VIRTUAL)
    scene.data_dir.rmdir()
    make_data_folder(scene.data_dir)
    with (scene.data_dir / "agent.db").open("r+b") as file:
        file.seek(36)  # how many pages are free (SQLite's file format, 1.3)
        file.write((7).to_bytes(4, "big"))
    found = list(database(scene))
    assert found[0].state == "fail" and "is damaged: " in found[0].seen


def test_captures_that_a_target_refused(tmp_path: Path) -> None:
    scene = machine(tmp_path, VIRTUAL)
    scene.data_dir.rmdir()
    make_data_folder(scene.data_dir)
    with sqlite3.connect(scene.data_dir / "agent.db") as connection:
        connection.execute("UPDATE parcel SET state = 'refused', error = 'no such project'")
    connection.close()
    (found,) = [finding for finding in database(scene) if finding.state == "warn"]
    assert "captures: no such project" in found.seen and "outbox retry" in found.remedy


def test_a_database_of_another_version(tmp_path: Path) -> None:
    scene = machine(tmp_path, VIRTUAL)
    connection = sqlite3.connect(scene.data_dir / "agent.db")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    assert "schema 99" in worst(list(database(scene))).seen


def test_devices_that_the_user_may_not_open(tmp_path: Path) -> None:
    scene = machine(tmp_path, IMU, files={"dev/i2c-1": ""})
    node = scene.path("dev/i2c-1")
    node.chmod(0o660)
    found = worst(list(access(scene)))
    assert found.state == "fail" and "user edge may not read and write /dev/i2c-1" in found.seen
    assert "usermod -aG" in found.remedy
    member = Account("edge", 65534, frozenset({node.stat().st_gid}))
    assert worst(list(access(changed(scene, account=member)))).state == "ok"
    node.chmod(0o620)
    assert worst(list(access(changed(scene, account=member)))).state == "fail"


def test_a_folder_as_target_that_root_alone_may_write(tmp_path: Path) -> None:
    folder = tmp_path / "nas"
    folder.mkdir(mode=0o755)
    scene = machine(tmp_path, VIRTUAL + f'[target.nas]\nkind = "directory"\npath = "{folder}"\n')
    found = worst(list(access(scene)))
    assert found.state == "fail" and f"user edge may not write in {folder} (target nas)" in found.seen
    folder.chmod(0o777)
    assert list(access(scene)) == []


@pytest.mark.parametrize(
    ("said", "state", "words"),
    [
        (UNIT.format("active", "running", "success", 0, 0, "enabled"), "ok", "never started again"),
        (UNIT.format("active", "running", "watchdog", 3, 0, "enabled"), "warn", "3 times: a thread hung"),
        (UNIT.format("active", "running", "success", 0, 0, "disabled"), "warn", "next boot"),
        (UNIT.format("failed", "failed", "oom-kill", 5, 9, "enabled"), "fail", "memory was short"),
        (UNIT.format("failed", "failed", "exit-code", 0, 78, "enabled"), "fail", "configuration is wrong"),
        (UNIT.format("inactive", "dead", "success", 0, 0, "enabled"), "warn", "is inactive"),
        ("LoadState=not-found\nActiveState=inactive\n", "warn", "not-found"),
        (UNIT.format("activating", "start", "success", 0, 0, "enabled"), "warn", "is activating (start)"),
        (
            UNIT.format("activating", "start", "success", 0, 0, "enabled") + "StatusText=cannot begin: no /srv = bad\n",
            "fail",
            "cannot begin: no /srv = bad",
        ),
        (  # what it said before it ended is over
            UNIT.format("activating", "auto-restart", "signal", 1, 9, "enabled") + "StatusText=3 streams\n",
            "warn",
            "is activating (auto-restart)",
        ),
    ],
)
def test_the_unit(tmp_path: Path, said: str, state: str, words: str) -> None:
    scene = machine(tmp_path, VIRTUAL, run=programs(systemctl=said))
    assert worst(list(unit(scene))).state == "ok"  # no systemd here
    scene.path("run/systemd/system").mkdir(parents=True)
    found = worst(list(unit(scene)))
    assert (found.state, words in found.seen) == (state, True), found


def test_a_daemon_that_runs_and_one_with_problems(tmp_path: Path) -> None:
    scene = machine(tmp_path, VIRTUAL)
    assert worst(list(daemon(scene))).state == "warn"
    config = (
        VIRTUAL + '[stream.bad]\ndriver = "mpu6050"\nbus = "virtual"\n[stream.bad.virtual]\nfaults = ["0 nack 99"]\n'
    )
    running = Running(tmp_path, config)
    running.start()
    try:
        running.until(lambda status: bool(status["problems"]))
        found = worst(list(daemon(scene)))
        assert found.state == "fail" and "stream bad is lost" in found.seen
    finally:
        running.terminate()


def test_a_check_that_fails_hides_no_other(tmp_path: Path) -> None:
    scene = machine(tmp_path, VIRTUAL, files={"sys/class/thermal/thermal_zone0/temp": "no number"})
    heard: list[str] = []
    found: list[Finding] = list(examine(scene, heard.append))
    assert heard == [what for what, _ in CHECKS]
    (failed,) = [finding for finding in found if finding.about == "doctor"]
    assert "looking at temperature failed: ValueError" in failed.seen
    assert {"configuration", "clock", "data folder"} <= {finding.about for finding in found}


def test_programs_that_are_not_there() -> None:
    assert ran(["no-such-program-here"]) is None
    assert ran(["echo", "here"]) == "here\n"
