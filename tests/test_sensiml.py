"""SensiML: what every target must do, against a server with all the traps of the real one."""

from pathlib import Path

import pytest

from agent.capture import Capture
from agent.targets import Refused
from tests.captures import make_capture
from tests.contracts.target import NetworkContract, put
from tests.sensiml import serving, sheet


class TestSensiml(NetworkContract):
    @pytest.fixture
    def far(self, tmp_path):
        with serving(tmp_path) as server:
            yield server

    def make(self, folder: Path, content: bytes) -> Capture:
        return make_capture(folder, sheet(content))

    def expected(self, *captures: Capture) -> dict[str, bytes]:
        return {capture.files[0].name: capture.files[0].read_bytes() for capture in captures}

    def test_an_empty_payload_arrives(self, far, target, tmp_path):
        """It must not: the server takes no file without samples."""
        for content in (b"", b"sequence,A\n"):
            with pytest.raises(Refused, match="no file without samples"):
                put(target, make_capture(tmp_path / "captures", content))
        assert far.model.requests == []
