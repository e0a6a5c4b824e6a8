import pytest

from tests.contracts.target import NetworkContract
from tests.moveshelf import of_subject, serving


@pytest.fixture
def far(tmp_path):
    with serving(tmp_path) as server:
        yield server


class TestMoveshelf(NetworkContract):
    @pytest.fixture
    def far(self, far):
        return far

    def make(self, folder, content):
        return of_subject(folder, content)
