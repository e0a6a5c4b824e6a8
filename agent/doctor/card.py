"""The card or disk: how worn it says it is, and what errors the file system has met."""

from collections.abc import Iterator

from agent.doctor import Finding, fail, ok, warn
from agent.doctor.scene import Scene

_WORN, _USED_UP = 0x09, 0x0B
"""Of life_time: tenths of its life, 0x0B beyond it (JEDEC JESD84-B51, EXT_CSD registers 268 and 269)."""
_REPLACE = "copy what is on it and replace it soon"


def card(scene: Scene) -> Iterator[Finding]:
    """Each card or eMMC by its own word, where it has one: SD cards mostly do not."""
    for device in scene.glob("sys/block/mmcblk[0-9]/device"):
        block = device.parent.name
        where = f"sys/block/{block}/device"
        called = " ".join(filter(None, (scene.text(f"{where}/{name}") for name in ("type", "name", "date"))))
        life = [int(word, 16) for word in (scene.text(f"{where}/life_time") or "").split()]
        warning = int(scene.text(f"{where}/pre_eol_info") or "0", 16)
        worn = max(life, default=0)
        tenths = f"beyond its life ({called})" if worn >= _USED_UP else f"has used {worn * 10} % of its life ({called})"
        if worn >= _USED_UP or warning == 3:
            yield fail("card", f"{block} {tenths}" if worn else f"{block} ({called}) is at its end", _REPLACE)
        elif worn >= _WORN or warning == 2:
            yield warn("card", f"{block} {tenths}" if worn else f"{block} ({called}) is nearly worn", _REPLACE)
        else:
            yield ok("card", f"{block} {tenths}" if worn else f"{block} ({called}) does not tell its wear")


def file_system(scene: Scene) -> Iterator[Finding]:
    """Errors that ext4 has noted in the file system itself."""
    for path in scene.glob("sys/fs/ext4/*/errors_count"):
        count = int(path.read_text())
        if count:
            name = path.parent.name
            yield fail(
                "card", f"ext4 has met {count} errors on {name}", f"let it be checked at the next start: fsck {name}"
            )
