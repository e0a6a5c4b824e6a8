import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from agent.targets import Home, Refused, Unreachable
from agent.targets.directory import Directory, Settings
from drivers.settings import SettingsError
from tests.captures import make_capture
from tests.contracts.target import TargetContract, put


class Folder:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.home = Home("bay3", "0badcafe", path / "secrets")

    def open(self, **settings) -> Directory:
        return Settings(path=str(self.path), **settings).open(self.home)

    def files(self) -> dict[str, bytes]:
        found = [path for path in self.path.rglob("*") if path.is_file()]
        assert not [path for path in found if path.name.endswith(".part")], "something torn was left"
        assert len({path.name for path in found}) == len(found)
        return {path.name: path.read_bytes() for path in found}

    def forget(self) -> None:
        """It is on the disk anyway."""


class TestDirectory(TargetContract):
    """A folder has no network, answers nothing and cannot be asked: `NetworkContract` does not apply to it."""

    @pytest.fixture
    def far(self, tmp_path):
        (tmp_path / "nas").mkdir()
        return Folder(tmp_path / "nas")

    def test_lies_as_it_does_here(self, far, target, capture):
        put(target, capture)
        assert sorted(str(path.relative_to(far.path)) for path in far.path.rglob("*.*")) == sorted(
            f"2026-11-21/{path.name}" for path in capture.files
        )

    def test_layout(self, far, capture):
        put(far.open(layout="{device}/{device_id}/{recording}/{date}/{uuid}/{file}"), capture)
        assert (far.path / "bay3/0badcafe/walk/2026-11-21" / capture.uuid / capture.files[0].name).exists()

    def test_another_file_of_that_name_is_refused_and_left_alone(self, far, target, capture):
        put(target, capture)
        there = far.path / "2026-11-21" / capture.files[0].name
        there.write_bytes(b"precious")
        with pytest.raises(Refused, match="other content"):
            put(target, capture)
        assert there.read_bytes() == b"precious"

    def test_another_captures_sidecar_is_refused(self, far, target, capture, tmp_path):
        put(target, capture)
        twin = make_capture(tmp_path / "other", capture.files[0].read_bytes(), name=capture.name)
        with pytest.raises(Refused, match="not this capture's sidecar"):
            put(target, twin)

    def test_an_older_revision_changes_nothing(self, far, target, capture):
        later = capture.amended(labels={"a": 1})
        put(target, later)
        put(target, capture)
        assert json.loads(far.files()[capture.sidecar.name])["revision"] == 2

    def test_a_name_without_content_is_made_good(self, far, target, capture):
        folder = far.path / "2026-11-21"
        folder.mkdir()
        for path in capture.files:
            (folder / path.name).touch()
        put(target, capture)
        assert far.files() == self.expected(capture)

    def test_what_a_cut_off_try_left_goes(self, far, target, capture):
        folder = far.path / "2026-11-21"
        folder.mkdir()
        (folder / f".{capture.files[0].name}.{capture.uuid[:8]}.part").write_bytes(b"half")
        put(target, capture)
        assert far.files() == self.expected(capture)

    def test_no_folder_is_made_where_the_stick_should_be(self, far, target, capture):
        far.path.rmdir()
        with pytest.raises(Unreachable, match="no such folder"):
            put(target, capture)
        assert not far.path.exists()

    def test_an_empty_mount_point_stays_empty(self, far, capture):
        with pytest.raises(Unreachable, match="nothing is mounted"):
            put(far.open(require_mount=True), capture)
        assert far.files() == {}

    def test_what_is_mounted_is_written_to(self, capture, tmp_path):
        if not (os.path.ismount("/dev/shm") and os.access("/dev/shm", os.W_OK)):
            pytest.skip("/dev/shm is no mount that may be written to")
        path = Path("/dev/shm") / f"capture-agent-{os.getpid()}"
        path.mkdir()
        try:
            put(Folder(path).open(require_mount=True), capture)
            assert Folder(path).files() == self.expected(capture)
        finally:
            shutil.rmtree(path)

    def test_a_full_disk_is_the_targets_trouble_and_leaves_nothing(self, tmp_path):
        script = textwrap.dedent("""
            import os, sys
            from pathlib import Path
            from agent.targets import Unreachable
            from tests.captures import make_capture
            from tests.contracts.target import put
            from tests.test_directory import Folder
            capture = make_capture(Path(sys.argv[1]) / "captures", os.urandom(200_000))
            far = Folder(Path(sys.argv[1]) / "stick")
            try:
                put(far.open(require_mount=True), capture)
            except Unreachable as error:
                print(error)
            print(far.files())
        """)
        (tmp_path / "stick").mkdir()
        mount = 'mount -t tmpfs -o size=64k none "$1/stick" || exit 99; exec "$2" -c "$3" "$1"'
        ran = subprocess.run(
            ["unshare", "-rm", "sh", "-c", mount, "sh", str(tmp_path), sys.executable, script],
            capture_output=True,
            text=True,
            check=False,
            cwd=Path(__file__).parents[1],
        )
        if ran.returncode == 99 or ran.stderr.startswith("unshare:"):
            pytest.skip(f"no mounting here: {ran.stderr.strip()}")
        assert ran.stdout.startswith(f"{tmp_path}/stick: No space left on device"), ran.stderr
        assert ran.stdout.splitlines()[1] == "{}"

    @pytest.mark.parametrize("file", ["../../etc/passwd.csv", "/etc/x.csv", "..", ""])
    def test_names_are_never_paths(self, far, target, capture, file):
        document = {**capture.document, "payloads": [{**capture.document["payloads"][0], "file": file}]}
        with pytest.raises(Refused, match="plain file name"):
            put(target, type(capture)(capture.folder, document))

    def test_placeholders_are_never_paths(self, far, capture):
        sly = type(capture)(capture.folder, {**capture.document, "recording": "../../x", "uuid": "../.."})
        with pytest.raises(Refused, match="plain folder name"):
            put(far.open(layout="{recording}/{uuid}/{file}"), sly)
        assert far.files() == {}

    def test_one_of_several_payloads_where_formats_say_so(self, far, capture):
        put(far.open(formats=("mcap", "csv")), capture)
        assert far.files() == self.expected(capture)


@pytest.mark.parametrize(
    ("settings", "wrong"),
    [
        ({"path": "nas"}, "path"),
        ({"path": "/nas", "layout": "{day}/{file}"}, "layout"),
        ({"path": "/nas", "layout": "{date}"}, "layout"),
        ({"path": "/nas", "layout": "../{file}"}, "layout"),
        ({"path": "/nas", "layout": "/{file}"}, "layout"),
        ({"path": "/nas", "layout": "{date/{file}"}, "layout"),
        ({"path": "/nas", "layout": "{date!r}/{file}"}, "layout"),
    ],
)
def test_mistakes_are_found_at_start(settings, wrong):
    with pytest.raises(SettingsError) as error:
        Settings(**settings)
    assert [name for name, _, _ in error.value.mistakes] == [wrong]
