"""The doctor and folders that are written: those that the unit's sandbox, or a folder above, keeps from the daemon."""

import os
import struct
from pathlib import Path

import pytest

from agent.doctor.access import access
from agent.doctor.sandbox import sandbox
from tests.machine import changed, machine, programs, worst

VIRTUAL = '[stream.imu]\ndriver = "mpu6050"\nbus = "virtual"\n'
SANDBOX = (
    "LoadState=loaded\nProtectSystem=strict\nProtectHome=yes\nPrivateTmp=yes\nStateDirectory=capture-agent\n"
    "ReadWritePaths=-/mnt -/media\nBindPaths=\n"
)


def test_a_folder_on_the_way_that_lets_the_user_not_through(tmp_path: Path) -> None:
    home = tmp_path / "root/home/pi"
    (home / "captures").mkdir(parents=True)
    (home / "captures").chmod(0o777)
    home.chmod(0o700)
    scene = machine(tmp_path, VIRTUAL + f'[target.nas]\nkind = "directory"\npath = "{home}/captures"\n')
    found = worst(list(access(scene)))
    assert (
        found.state == "fail" and f"user edge may not go through {home} to {home}/captures (target nas)" in found.seen
    )
    assert f"chmod o+x {home}" in found.remedy
    (there,) = access(changed(scene, data_dir=home / "data", config=None))
    assert f"through {home} to {home}/data (data folder)" in there.seen
    home.chmod(0o701)
    assert list(access(scene)) == []


def test_a_folder_on_the_way_with_an_access_list_is_not_judged_by_its_mode(tmp_path: Path) -> None:
    home = tmp_path / "root/home/pi"
    home.mkdir(parents=True)
    home.chmod(0o700)
    scene = changed(machine(tmp_path), data_dir=home / "data")
    assert scene.shut(scene.data_dir) == home
    entries = ((0x01, 7, -1), (0x02, 1, 65534), (0x04, 0, -1), (0x10, 1, -1), (0x20, 0, -1))  # tag, permissions, id
    content = struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *entry) for entry in entries)
    try:
        os.setxattr(home, "system.posix_acl_access", content)
    except OSError as error:
        pytest.skip(f"no access lists here: {error}")
    assert scene.shut(scene.data_dir) is None


@pytest.mark.parametrize(
    ("folder", "unit", "remedy"),
    [
        ("/var/lib/capture-agent", {}, None),
        ("/mnt/nas/bay3", {}, None),
        ("/dev/shm/captures", {}, None),
        ("/srv/captures", {}, "[Service], ReadWritePaths=-/srv/captures, each"),
        ("/mntx", {}, "ReadWritePaths=-/mntx,"),
        ("/srv/cap tures", {}, 'ReadWritePaths="-/srv/cap tures",'),
        ("/srv/captures", {"ReadWritePaths": "-/mnt -/media -/srv/captures"}, None),
        ("/srv/cap tures", {"ReadWritePaths": '"-/srv/cap tures"'}, None),
        ("/srv/captures", {"ProtectSystem": "full"}, None),
        ("/srv/captures", {"LoadState": "not-found"}, None),
        ("/home/pi/captures", {}, "[Service], ProtectHome=read-only, ReadWritePaths=-/home/pi/captures, each"),
        ("/home/pi/captures", {"ReadWritePaths": "-/home"}, "ProtectHome=read-only"),
        ("/home/pi/captures", {"ProtectHome": "read-only"}, "[Service], ReadWritePaths=-/home/pi/captures, each"),
        ("/home/pi/captures", {"ProtectHome": "read-only", "ReadWritePaths": "-/home/pi/captures"}, None),
        ("/home/pi/captures", {"ProtectHome": "read-only", "ProtectSystem": "no"}, "ReadWritePaths=-/home"),
        ("/home/pi/captures", {"ProtectHome": "tmpfs"}, "ProtectHome=read-only"),
        ("/home/pi/captures", {"ProtectHome": "tmpfs", "BindPaths": "/home/pi/captures:/home/pi/captures:rbind"}, None),
        ("/var/tmp/captures", {}, "choose another folder than /var/tmp/captures"),
        ("/var/tmp/captures", {"PrivateTmp": "no", "ReadWritePaths": "/var/tmp"}, None),
    ],
)
def test_folders_that_the_sandbox_keeps_from_the_daemon(
    tmp_path: Path, folder: str, unit: dict[str, str], remedy: str | None
) -> None:
    said = dict(line.split("=", 1) for line in SANDBOX.splitlines()) | unit
    show = programs(systemctl="".join(f"{name}={value}\n" for name, value in said.items()))
    targets = VIRTUAL + f'[target.nas]\nkind = "directory"\npath = "{folder}"\n'
    scene = machine(tmp_path, targets, files={"run/systemd/system/.here": ""}, run=show)
    for other, what in (
        (changed(scene, data_dir=Path("/var/lib/capture-agent")), "target nas"),
        (changed(scene, data_dir=Path(folder), config=None), "data folder"),
    ):
        found = list(sandbox(other))
        assert [what in one.seen and remedy in one.remedy for one in found if remedy] == [True] * (remedy is not None)
        assert [one.state for one in found] == ["fail"] * (remedy is not None)


def test_without_the_service_there_is_no_sandbox(tmp_path: Path) -> None:
    assert list(sandbox(machine(tmp_path, VIRTUAL, run=programs(systemctl=SANDBOX)))) == []
