"""Clips, which are neither pictures nor samples: at Viam they are files, whatever becomes of samples."""

import pytest

from agent.targets import Progress
from tests.captures import make_capture
from tests.models.viam import PART
from tests.viam import awake, serving

MP4 = b"\0\0\0\x18ftypmp42" + bytes(range(256)) * 600


@pytest.fixture(scope="module", autouse=True)
def grpc_is_awake():
    with awake():
        yield


@pytest.fixture
def far(tmp_path):
    with serving(tmp_path) as server:
        yield server


@pytest.mark.parametrize("samples", ["readings", "files", "both"])
@pytest.mark.parametrize("kind", [("mp4", "video/mp4", ".mp4"), ("another_clip", "video/webm", ".webm")])
def test_a_clip_is_a_file_with_its_own_type(far, tmp_path, samples, kind):
    clip = make_capture(tmp_path / "captures", MP4, kind=kind, recording="birds")
    target = far.open(samples=samples)
    receipt = target.put(clip, Progress())
    assert far.files() == {path.name: path.read_bytes() for path in clip.files}
    stored, _ = far.cloud.stored
    assert stored.method == "FileUpload"
    assert (stored.metadata["part_id"], stored.metadata["mime_type"]) == (PART, kind[1])
    assert stored.metadata["file_extension"] == kind[2]
    assert "readings" not in receipt and far.cloud.readings == []
    held = {held.file: held for held in target.inventory([(clip, receipt)])}
    pieces: list[bytes] = []
    target.fetch(held[clip.files[0].name], pieces.append)
    assert b"".join(pieces) == MP4
